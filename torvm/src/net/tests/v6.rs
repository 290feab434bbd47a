//! IPv6 of clients: TCP and questions go where they go over IPv4, under the client's one name; nothing else goes anywhere.

use super::{super::*, world::*};
use crate::{errno::Errno, sockets::Sockets as _};
use first_hop::address::{DNS_V6, OUR_LINK_LOCAL, OUR_MAC, gateway_v6};
use link::{Csum, Gso, GsoKind, Meta};
use packet::{
    checksum::pseudo_v6,
    ndp::{self, ALL_NODES, ALL_ROUTERS},
    tcp::{ACK, FIN, RST, SYN},
};
use pnet_packet::{Packet as _, icmpv6::Icmpv6Packet, ipv6::Ipv6Packet, tcp::TcpPacket};
use proptest::prelude::*;
use smoltcp::{
    socket::{tcp::State, udp},
    wire::{Icmpv6Packet as Message, IpAddress, NdiscPrefixInfoFlags},
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

const WEB: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x80, 0, 0, 0, 0, 0x80);

fn far(port: u16) -> SocketAddr {
    (WEB, port).into()
}

/// A packet of the client on port 2.
fn frame(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&OUR_MAC[..], &client_mac(2), &[0x86, 0xDD, 0x60, 0, 0, 0], &len, &[next, 64]].concat();
    [&head[..], &source.octets(), &destination.octets(), payload].concat()
}

/// The same, with the checksum that its protocol has at `at`.
fn summed(source: Ipv6Addr, destination: Ipv6Addr, (next, at): (u8, usize), payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    let len = u32::try_from(payload.len()).unwrap();
    let sum = pseudo_v6(source, destination, next, len).bytes(&payload).finish();
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame(source, destination, next, &payload)
}

/// smoltcp asks for one neighbour a second.
fn another_neighbour(world: &mut World) {
    world.pass(1_100);
}

fn segment(source: Ipv6Addr, destination: Ipv6Addr, flags: u8) -> Vec<u8> {
    let header = [3, 0xe7, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0, 0, 0, 0, 0];
    summed(source, destination, (6, 16), &header)
}

fn datagram(source: Ipv6Addr, destination: Ipv6Addr, port: u8) -> Vec<u8> {
    let header = [3, 0xe7, 0, port, 0, 28, 0, 0];
    summed(source, destination, (17, 6), &[&header[..], &[0; 20]].concat())
}

fn echo(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    summed(source, destination, (58, 2), &[128, 0, 0, 0, 0, 1, 0, 1])
}

/// A world with listeners, and nobody but us in it.
fn alone() -> World {
    let mut world = World::with_v6();
    for port in [TRANSPARENT, 9050] {
        world.listen(port);
    }
    world.resolver();
    world.clients.clear();
    while world.net.poll(world.now_us) {}
    world.ends.iter().for_each(|end| end.0.borrow_mut().from_net.clear());
    world
}

/// Gives a frame of the client to us; gives what came back, and checks that this alone was counted, and that nothing left
/// on the uplink nor to the other client.
fn refused(world: &mut World, frame: Vec<u8>, count: Count) -> Vec<Vec<u8>> {
    let dropped = |world: &World| -> u64 {
        world.net.counters().filter(|(name, _)| name.starts_with("drop_")).map(|(_, n)| n).sum()
    };
    let before = (world.net.count(count), dropped(world));
    world.inject(2, frame);
    world.net.poll(world.now_us);
    // The allowance of errors comes back.
    world.now_us += 100_000;
    assert_eq!((world.net.count(count), dropped(world)), (before.0 + 1, before.1 + 1), "{count:?}");
    for other in [1, 3] {
        assert!(world.ends[other].0.borrow().from_net.is_empty(), "{count:?}");
    }
    world.ends[2].0.borrow_mut().from_net.drain(..).map(|(_, frame)| frame).collect()
}

fn silent(world: &mut World, frame: Vec<u8>, count: Count) {
    assert_eq!(refused(world, frame, count), Vec::<Vec<u8>>::new(), "{count:?}");
}

/// The refusal is told by ICMPv6: communication administratively prohibited.
fn prohibited(world: &mut World, frame: &[u8], count: Count) {
    let told = refused(world, frame.to_vec(), count);
    let [told] = &told[..] else { panic!("{count:?}: {told:?}") };
    assert_eq!(told[..14], [&client_mac(2)[..], &OUR_MAC, &[0x86, 0xdd]].concat());
    let (ip, asked) = (Ipv6Packet::new(&told[14..]).unwrap(), Ipv6Packet::new(&frame[14..]).unwrap());
    assert_eq!((ip.get_source(), ip.get_destination()), (OUR_LINK_LOCAL, asked.get_source()));
    let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
    assert_eq!((icmp.get_icmpv6_type().0, icmp.get_icmpv6_code().0), (1, 1));
    let sum = pnet_packet::icmpv6::checksum(&icmp, &ip.get_source(), &ip.get_destination());
    assert_eq!(icmp.get_checksum(), sum);
    assert_eq!(icmp.payload()[4..], frame[14..]);
}

#[test]
fn a_client_has_one_name_over_both_protocols() {
    let mut world = World::with_v6();
    let listener = world.listen(TRANSPARENT);
    // `accept` checks that the name is the client's.
    let (theirs, ours) = world.accept(0, listener, far(443));
    let (_, other) = world.accept(1, listener, far(443));
    another_neighbour(&mut world);
    let (_, v4) = world.accept(0, listener, SocketAddrV4::new(Ipv4Addr::new(93, 184, 216, 34), 443));
    let name = |id| *world.net.peer(id).unwrap().ip();
    assert_eq!((name(ours), name(v4)), (client_address(2), client_address(2)));
    assert_eq!(name(other), client_address(3));
    assert_eq!(world.net.original_destination(ours), Ok(far(443)));
    assert_eq!(world.net.original_destination(other), Ok(far(443)));
    assert!(world.net.original_destination(v4).unwrap().is_ipv4());
    assert_eq!(world.net.local(ours), Ok(SocketAddrV4::new(gateway(2), TRANSPARENT)));
    world.converse(theirs, ours);
    for id in [ours, other, v4] {
        world.net.set_reset_on_close(id, true);
        world.net.close(id);
    }
    world.settle();
    assert_eq!(world.net.core.connections, 0);
    world.assert_uplink_clean(&[]);
}

#[test]
fn our_own_address_has_the_other_listeners() {
    let mut world = World::with_v6();
    let (socks, transparent) = (world.listen(9050), world.listen(TRANSPARENT));
    let (_, ours) = world.accept(1, socks, SocketAddr::from((gateway_v6(prefix(3)), 9050)));
    assert_eq!(world.net.local(ours), Ok(SocketAddrV4::new(gateway(3), 9050)));
    another_neighbour(&mut world);
    world.accept(1, transparent, far(9050));
    // Where nobody listens.
    let refused = world.clients[1].connect(50_000, SocketAddr::from((gateway_v6(prefix(3)), 1)));
    world.settle();
    assert_eq!(world.clients[1].get(refused).state(), State::Closed);
    assert_eq!((world.net.count(Count::NoListener), world.net.count(Count::ResetTold)), (1, 1));
    // Another client's gateway is nobody's.
    let elsewhere = world.clients[1].connect(50_001, SocketAddr::from((gateway_v6(prefix(2)), 9050)));
    world.settle();
    assert_ne!(world.clients[1].get(elsewhere).state(), State::Established);
    assert_eq!(world.net.count(Count::Destination), 1);
}

#[test]
fn a_megabyte_arrives_unharmed_both_ways_in_long_frames_that_others_cut() {
    let mut world = World::with_v6();
    let listener = world.listen(TRANSPARENT);
    let (theirs, ours) = world.accept(0, listener, far(443));
    let syn_ack = world.clients[0].seen.iter().find(|frame| frame.get(67) == Some(&(SYN | ACK))).unwrap();
    assert_eq!(syn_ack[74..78], [2, 4, 5, 0xa0], "MSS 1440, whatever we tell ourselves");
    assert_eq!(world.net.send(ours, &[7; 20_000]), Ok(20_000));
    while world.net.poll(world.now_us) {}
    let gso = Gso { kind: GsoKind::Tcp6, size: 1440, header_len: 74 };
    let frames: Vec<_> =
        world.ends[2].0.borrow().from_net.iter().map(|(meta, frame)| (meta.gso, frame.len())).collect();
    assert_eq!(frames, [(Some(gso), 74 + 20_000)]);
    world.settle();
    assert_eq!(world.clients[0].read(theirs), [7; 20_000]);
    // The longest of them are cut into full segments.
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for plain in [false, true] {
        world.ends[2].0.borrow_mut().plain = plain;
        let (theirs, ours) = world.accept(0, listener, far(443));
        let (mut sent, mut back) = (0, 0);
        let (mut got, mut returned) = (Vec::new(), Vec::new());
        while got.len() < bytes.len() || returned.len() < bytes.len() {
            sent += world.clients[0].get(theirs).send_slice(&bytes[sent..]).unwrap();
            back += world.net.send(ours, &bytes[back..]).unwrap_or(0);
            world.settle();
            got.extend(world.read(ours));
            returned.extend(world.clients[0].read(theirs));
            world.now_us += 1_000;
        }
        assert!(got == bytes && returned == bytes, "{plain}");
    }
    assert!(world.clients[0].seen.iter().all(|frame| frame.len() <= 1514));
}

#[test]
fn a_client_may_leave_segments_to_be_cut_and_sums_to_be_completed() {
    let mut world = alone();
    let csum = Csum::Partial { start: 54, offset: 16 };
    let mut give = |meta: Meta, frame: Vec<u8>| {
        let before = world.net.count(Count::Offload);
        world.ends[2].0.borrow_mut().to_net.push_back((meta, frame));
        world.net.poll(world.now_us);
        world.ends[2].0.borrow_mut().from_net.clear();
        world.net.count(Count::Offload) == before
    };
    let syn = segment(client_v6(2), WEB, SYN);
    let long = frame(client_v6(2), WEB, 6, &[&syn[54..], &[1; 5000]].concat());
    let gso = |kind| Some(Gso { kind, size: 1440, header_len: 74 });
    assert!(give(Meta { csum, ..Meta::default() }, syn.clone()));
    assert!(give(Meta { csum, gso: gso(GsoKind::Tcp6), ..Meta::default() }, long.clone()));
    assert!(!give(Meta { csum, gso: gso(GsoKind::Tcp4), ..Meta::default() }, long.clone()));
    assert!(!give(Meta { gso: gso(GsoKind::Tcp6), ..Meta::default() }, long));
    assert!(!give(Meta { csum: Csum::Partial { start: 34, offset: 16 }, ..Meta::default() }, syn));
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked_to_the_one_that_asked() {
    let mut world = World::with_v6();
    let resolver = world.resolver();
    let asking = world.clients[0].udp(5353);
    let servers: [IpAddress; 4] =
        [DNS_V6.into(), gateway_v6(prefix(2)).into(), WEB.into(), Ipv4Addr::new(9, 9, 9, 9).into()];
    let asked: Vec<_> = (7..).zip(servers).collect();
    for (id, server) in asked.iter().copied() {
        let socket = world.clients[0].sockets.get_mut::<udp::Socket<'_>>(asking);
        socket.send_slice(&question(id), (server, 53)).unwrap();
        world.settle();
        another_neighbour(&mut world);
    }
    world.answer(resolver, asking, &asked);
    world.assert_uplink_clean(&[]);
}

/// An answer comes from the address that was asked: that is never one that only the client itself can have, or nobody.
#[test]
fn questions_to_no_address_or_to_the_client_itself_are_refused() {
    let mut world = alone();
    let me = client_v6(2);
    let neighbour = Ipv6Addr::from_bits(prefix(2).to_bits() | 7);
    let bad =
        ["::", "::1", "::10.9.0.1", "::ffff:10.9.0.1", "fe80::1", "fec0::1"].map(|to| to.parse().unwrap());
    for to in [me, prefix(2), neighbour, ndp::link_local(client_mac(2))].into_iter().chain(bad) {
        prohibited(&mut world, &datagram(me, to, 53), Count::Destination);
    }
    assert_eq!(world.net.count(Count::Questions), 0);
}

/// Whatever prefix dom0 has for a client: within it there is nobody but the client and us.
#[test]
fn within_a_global_prefix_there_are_no_places_either() {
    let mut world = alone();
    let global: Ipv6Addr = "2001:db8:1:2::".parse().unwrap();
    let me = Ipv6Addr::from_bits(global.to_bits() | 6);
    let client = control::message::Client { v6_prefix: Some(global), ..described(2) };
    assert!(world.net.set_client(2, &client));
    world.net.poll(world.now_us);
    world.ends.iter().for_each(|end| end.0.borrow_mut().from_net.clear());
    for to in [me, global, Ipv6Addr::from_bits(global.to_bits() | 7)] {
        prohibited(&mut world, &segment(me, to, SYN), Count::Destination);
        prohibited(&mut world, &datagram(me, to, 53), Count::Destination);
    }
}

#[test]
fn addresses_that_are_no_places_of_their_own_are_refused() {
    let mut world = alone();
    for to in [
        // Loopback, nobody, IPv4's in several guises: mapped, compatible, NAT64, 6to4, Teredo.
        "::1",
        "::",
        "::ffff:10.9.0.1",
        "::10.9.0.1",
        "64:ff9b::a09:1",
        "64:ff9b:1::a09:1",
        "2002:a09:1::1",
        "2001:0:a09:1::1",
        "::ffff:0:a09:1",
        // Discarded, benchmarks, identifiers.
        "100::1",
        "2001:2::1",
        "2001:10::1",
        "2001:1f::1",
        "2001:20::1",
        "2001:2f:ffff::1",
        // Unique local: another client's, its own neighbours, the name server's; site-local, link-local.
        "fc00::1",
        "fd00::1",
        "fd09:24ef:4179:3::6",
        "fd09:24ef:4179:3::1",
        "fd09:24ef:4179:2::7",
        "fd09:24ef:4179:2::",
        "fd09:24ef:4179::53",
        "fec0::1",
        "fe80::1",
        "fe80::fcff:ffff:feff:ffff",
        // Not given out.
        "4000::1",
        "5f00::1",
        "8000::1",
        "e000::1",
        "1fff:ffff::1",
    ] {
        let to: Ipv6Addr = to.parse().unwrap();
        prohibited(&mut world, &segment(client_v6(2), to, SYN), Count::Destination);
        prohibited(&mut world, &datagram(client_v6(2), to, 80), Count::Destination);
    }
    assert_eq!(world.net.core.connections, 0);
    for to in ["2000::1", "2001:1::1", "2001:200::1", "2001:db8::1", "2003::1", "2a00::1", "3fff:ffff::1"] {
        let to: Ipv6Addr = to.parse().unwrap();
        world.inject(2, segment(client_v6(2), to, SYN));
        world.net.poll(world.now_us);
        let (_, answer) = world.ends[2].0.borrow_mut().from_net.pop_front().unwrap();
        assert_eq!((&answer[22..38], answer[67]), (&to.octets()[..], SYN | ACK), "{to}");
    }
}

#[test]
fn everything_else_is_prohibited() {
    let mut world = alone();
    let me = client_v6(2);
    for to in [WEB, gateway_v6(prefix(2))] {
        for port in [80, 123] {
            prohibited(&mut world, &datagram(me, to, port), Count::Ipv6);
        }
        prohibited(&mut world, &echo(me, to), Count::Ipv6);
    }
    // Between IP and TCP, or a question, there is something: hop-by-hop options, destination options, a whole fragment.
    let (syn, question) = (segment(me, WEB, SYN), datagram(me, WEB, 53));
    for (next, whole) in [(6, &syn), (17, &question)] {
        for (kind, header) in [
            (0, [next, 0, 1, 4, 0, 0, 0, 0]),
            (60, [next, 0, 1, 4, 0, 0, 0, 0]),
            (44, [next, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            let payload = [&header[..], &whole[54..]].concat();
            prohibited(&mut world, &frame(me, WEB, kind, &payload), Count::Ipv6);
        }
        let first = [&[next, 0, 0, 1, 0, 0, 0, 1][..], &whole[54..54 + 16]].concat();
        prohibited(&mut world, &frame(me, WEB, 44, &first), Count::Ipv6);
        let later = [&[next, 0, 0, 8, 0, 0, 0, 1][..], &[0; 16]].concat();
        silent(&mut world, frame(me, WEB, 44, &later), Count::Ipv6);
    }
    for protocol in [4, 41, 47, 50, 51, 59, 132, 253] {
        let carried = frame(me, WEB, protocol, &[0; 32]);
        prohibited(&mut world, &carried, Count::Ipv6);
        // Also behind a header, and without what stands behind the packet in the frame.
        prohibited(&mut world, &frame(me, WEB, 60, &[protocol, 0, 1, 4, 0, 0, 0, 0]), Count::Ipv6);
        let told = refused(&mut world, [&carried[..], b"padding"].concat(), Count::Ipv6);
        assert!(told.iter().all(|told| told.ends_with(&carried[14..])) && told.len() == 1);
        prohibited(&mut world, &frame(me, Ipv6Addr::LOCALHOST, protocol, &[]), Count::Destination);
        silent(&mut world, frame(me, ALL_NODES, protocol, &[0; 32]), Count::Multicast);
        silent(&mut world, frame(client_v6(3), WEB, protocol, &[0; 32]), Count::Spoofed);
        let broadcast = [&[0xff; 6], &carried[6..]].concat();
        silent(&mut world, broadcast, Count::DestinationMac);
    }
    // What only routers need, and what no packet may have.
    for (header, payload) in [(43, [6, 0, 0, 0, 0, 0, 0, 0]), (0, [6, 0, 0xc2, 4, 0, 1, 0, 0])] {
        let segment = [&payload[..], &syn[54..]].concat();
        silent(&mut world, frame(me, WEB, header, &segment), Count::IpOptions);
    }
    let mut longer = syn.clone();
    longer[19] += 1;
    silent(&mut world, longer, Count::IpHeader);
    // Who has only the address of the link is told as well.
    let link_local = ndp::link_local(client_mac(2));
    prohibited(&mut world, &segment(link_local, WEB, SYN), Count::Ipv6);
    prohibited(&mut world, &datagram(link_local, WEB, 53), Count::Ipv6);
    // Errors are never answered.
    silent(&mut world, summed(me, WEB, (58, 2), &[1, 0, 0, 0, 0, 0, 0, 0]), Count::Ipv6);
    for group in ["ff02::fb", "ff02::1:3", "ff0e::1"] {
        silent(&mut world, datagram(me, group.parse().unwrap(), 53), Count::Multicast);
    }
    let mut damaged = syn.clone();
    damaged[70] ^= 1;
    silent(&mut world, damaged, Count::TransportChecksum);
    let mut without = question.clone();
    without[60..62].fill(0);
    silent(&mut world, without, Count::TransportChecksum);
    let mut broadcast = syn;
    broadcast[..6].fill(0xff);
    silent(&mut world, broadcast, Count::DestinationMac);
    assert_eq!((world.net.core.connections, world.net.count(Count::Questions)), (0, 0));
}

#[test]
fn whoever_speaks_for_somebody_else_is_not_heard() {
    let mut world = alone();
    let ours = [prefix(2), gateway_v6(prefix(2)), OUR_LINK_LOCAL, DNS_V6];
    let others = [client_v6(3), WEB, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, "2002::1".parse().unwrap()];
    for source in ours.into_iter().chain(others) {
        for frame in [
            segment(source, WEB, SYN),
            segment(source, gateway_v6(prefix(2)), SYN),
            datagram(source, WEB, 53),
            datagram(source, WEB, 80),
            echo(source, WEB),
        ] {
            silent(&mut world, frame, Count::Spoofed);
        }
    }
}

#[test]
fn a_client_hears_of_its_router_when_it_asks_and_now_and_then() {
    let mut world = alone();
    let solicit = |source: Ipv6Addr| {
        let mut frame = summed(source, ALL_ROUTERS, (58, 2), &[133, 0, 0, 0, 0, 0, 0, 0]);
        frame[21] = 255;
        frame
    };
    for (source, to) in [(Ipv6Addr::UNSPECIFIED, ALL_NODES), (client_v6(2), client_v6(2))] {
        world.inject(2, solicit(source));
        world.net.poll(world.now_us);
        let (_, told) = world.ends[2].0.borrow_mut().from_net.pop_front().expect("an advertisement");
        advertised(&told, to, prefix(2));
        assert!(world.ends[3].0.borrow().from_net.is_empty());
    }
    let at = world.net.poll_at().expect("there is another time");
    assert!(at > world.now_us && at <= world.now_us + 1_000_000_000);
    world.now_us = at;
    world.net.poll(at);
    for n in [2, 3] {
        let (_, told) = world.ends[usize::from(n)].0.borrow_mut().from_net.pop_front().expect("once more");
        advertised(&told, ALL_NODES, prefix(n));
    }
    // A new link hears it at once.
    assert!(world.net.attach(2, world.ends[2].clone()));
    world.net.poll(world.now_us);
    let (_, told) = world.ends[2].0.borrow_mut().from_net.pop_front().expect("and again");
    advertised(&told, ALL_NODES, prefix(2));
}

fn advertised(frame: &[u8], to: Ipv6Addr, prefix: Ipv6Addr) {
    let ip = Ipv6Packet::new(&frame[14..]).unwrap();
    assert_eq!((ip.get_source(), ip.get_destination(), ip.get_hop_limit()), (OUR_LINK_LOCAL, to, 255));
    let message = Message::new_checked(ip.payload()).unwrap();
    let repr = smoltcp::wire::Icmpv6Repr::parse(&OUR_LINK_LOCAL, &to, &message, &Default::default()).unwrap();
    let smoltcp::wire::Icmpv6Repr::Ndisc(smoltcp::wire::NdiscRepr::RouterAdvert {
        router_lifetime,
        prefix_info: Some(info),
        mtu: Some(1500),
        ..
    }) = repr
    else {
        panic!("{repr:?}")
    };
    assert!(router_lifetime.secs() > 0);
    assert_eq!((info.prefix, info.prefix_len), (prefix, 64));
    assert_eq!(info.flags, NdiscPrefixInfoFlags::ADDRCONF);
    let server = [25, 3, 0, 0, 0, 0, 0x0e, 0x10];
    assert!(frame.windows(24).any(|option| option[..8] == server && option[8..] == DNS_V6.octets()));
}

#[test]
fn segments_of_no_connection_are_reset() {
    let mut world = alone();
    for (flags, expected) in [(ACK, Some(RST)), (FIN | ACK, Some(RST)), (RST, None)] {
        let told = refused(&mut world, segment(client_v6(2), WEB, flags), Count::NoConnection);
        let flags: Vec<_> = told
            .iter()
            .map(|frame| {
                let ip = Ipv6Packet::new(&frame[14..]).unwrap();
                assert_eq!((ip.get_source(), ip.get_destination()), (WEB, client_v6(2)));
                let tcp = TcpPacket::new(ip.payload()).unwrap();
                let sum = pnet_packet::tcp::ipv6_checksum(&tcp, &ip.get_source(), &ip.get_destination());
                assert_eq!(tcp.get_checksum(), sum);
                tcp.get_flags()
            })
            .collect();
        assert_eq!(flags, Vec::from_iter(expected));
    }
}

#[test]
fn no_two_clients_have_one_prefix_and_who_gets_another_is_another() {
    let mut world = World::with_v6();
    let theirs = control::message::Client { v6_prefix: Some(prefix(2)), ..described(4) };
    assert!(!world.net.set_client(4, &theirs));
    assert!(world.net.set_client(4, &described_v6(4)));
    let listener = world.listen(TRANSPARENT);
    let (theirs, ours) = world.accept(0, listener, far(443));
    assert!(world.net.set_client(2, &described_v6(2)), "the same again");
    world.settle();
    assert_eq!(world.clients[0].get(theirs).state(), State::Established);
    assert!(world.net.set_client(2, &described(2)), "without IPv6");
    world.settle();
    assert_eq!(world.clients[0].get(theirs).state(), State::Closed);
    assert_eq!(world.net.receive(ours, &mut [0; 1]), Err(Errno::CONNRESET));
}

/// Addresses that a client may try to be somebody with, or to reach somebody by.
fn addresses() -> Vec<Ipv6Addr> {
    let prefix = prefix(2).to_bits();
    let own = [6, 7, u64::MAX].map(|id| Ipv6Addr::from_bits(prefix | u128::from(id)));
    let ours = [gateway_v6(super::world::prefix(2)), super::world::prefix(2), OUR_LINK_LOCAL, DNS_V6];
    let groups = [ALL_NODES, ALL_ROUTERS, ndp::solicited_node(ours[0]), ndp::solicited_node(OUR_LINK_LOCAL)];
    let others = [client_v6(3), gateway_v6(super::world::prefix(3)), WEB, ndp::link_local(client_mac(2))];
    let odd =
        ["::", "::1", "::ffff:10.9.0.1", "64:ff9b::1", "2002::1", "2001::1", "fe80::", "ff0e::1", "2a00::1"];
    let odd = odd.map(|address| address.parse().unwrap());
    own.into_iter().chain(ours).chain(groups).chain(others).chain(odd).collect()
}

/// What comes behind the IPv6 header of a hostile client's packet: extension headers, perhaps, and then whatever it is.
fn carried() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let last = prop_oneof![
        (any::<u8>(), 0..3u8, bytes(30)).prop_map(|(flags, port, rest)| {
            let port = [80, 0x5a, 53][usize::from(port)];
            (
                6,
                [
                    &[3, 0xe7, 35, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags & 0x3f, 0xff, 0, 0, 0, 0, 0],
                    &rest[..],
                ]
                .concat(),
            )
        }),
        (any::<bool>(), bytes(60)).prop_map(|(asks, rest)| {
            let len = u8::try_from(rest.len() + 8).unwrap();
            (17, [&[3, 0xe7, 0, if asks { 53 } else { 54 }, 0, len, 0, 0], &rest[..]].concat())
        }),
        (128..144u8, 0..2u8, 0..addresses().len(), bytes(40)).prop_map(|(kind, code, target, options)| {
            let target = addresses()[target].octets();
            (58, [&[kind, code, 0, 0, 0, 0, 0, 0], &target[..], &options].concat())
        }),
        (any::<u8>(), bytes(60)),
    ];
    let header = (prop::sample::select(vec![0u8, 43, 44, 51, 60]), any::<[u8; 7]>(), 0..4u8);
    (prop::collection::vec(header, 0..3), last).prop_map(|(headers, (mut next, payload))| {
        let mut all = payload;
        for (kind, bytes, sane) in headers {
            let rest = if sane > 0 { [0, 0, 1, 4, 0, 0, 0] } else { bytes };
            let rest = if kind == 44 && sane > 1 { [0, 0, 0, 0, 0, 0, 1] } else { rest };
            all = [&[next][..], &rest[..], &all].concat();
            next = kind;
        }
        (next, all)
    })
}

/// A hostile client's frame: numbers of its addresses, what it carries, hop limit, whether its checksum is right, how much
/// its length is wrong, and to which hardware address it goes.
type Hostile = ((usize, usize), (u8, Vec<u8>), (u8, bool), (i8, u8));

fn hostile() -> impl Strategy<Value = Hostile> {
    let address = || prop_oneof![Just(0), 0..addresses().len()];
    let wrong = prop_oneof![8 => Just(0), 1 => -9..9i8];
    let limit = prop::sample::select(vec![255, 64, 1, 0]);
    ((address(), 0..addresses().len()), carried(), (limit, prop::bool::weighted(0.9)), (wrong, 0..6u8))
}

fn made((ends, (next, payload), (limit, sums), (wrong, to)): &Hostile) -> Vec<u8> {
    let (source, destination) = (addresses()[ends.0], addresses()[ends.1]);
    let mut payload = payload.clone();
    let at = match next {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    if *sums && payload.len() >= at + 2 {
        payload[at..at + 2].fill(0);
        let len = u32::try_from(payload.len()).unwrap();
        let sum = pseudo_v6(source, destination, *next, len).bytes(&payload).finish();
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = frame(source, destination, *next, &payload);
    frame[21] = *limit;
    frame[19] = frame[19].wrapping_add_signed(*wrong);
    match to {
        0 => frame[..6].fill(0xff),
        1 => frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]),
        2 => frame[..6].copy_from_slice(&client_mac(3)),
        _ => {}
    }
    frame
}

/// Whether it is one of the client's own addresses.
fn own(address: Ipv6Addr) -> bool {
    let ours = [gateway_v6(prefix(2)), prefix(2), OUR_LINK_LOCAL];
    let networks = [prefix(2), OUR_LINK_LOCAL].map(|network| network.to_bits() >> 64);
    networks.contains(&(address.to_bits() >> 64)) && !ours.contains(&address)
}

fn is_nobody(address: Ipv6Addr) -> bool {
    let is_v4 = address.to_ipv4_mapped().is_some();
    is_v4 || address.is_multicast() || address.is_loopback() || address.is_unspecified()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever it sends, it alone is told something: one frame for one, at an address of its own, by one that is neither
    /// its own nor nobody's.
    #[test]
    fn whatever_a_client_sends_it_alone_is_answered(said in prop::collection::vec(hostile(), 1..60)) {
        let mut world = alone();
        let resolver = world.net.core.resolver.map(|slot| world.net.core.table.id(slot)).unwrap();
        for hostile in said {
            let frame = made(&hostile);
            world.inject(2, frame.clone());
            world.net.poll(world.now_us);
            // The program answers at once.
            let mut question = [0; 1500];
            while let Ok((len, peer)) = world.net.receive_from(resolver, &mut question) {
                prop_assert_eq!(*peer.ip(), client_address(2));
                prop_assert!(world.net.send_to(resolver, &question[..len], peer).is_ok());
            }
            world.now_us += 1_000;
            let mut sent = [1, 2, 3].map(|port: usize| std::mem::take(&mut world.ends[port].0.borrow_mut().from_net));
            prop_assert!(sent[0].is_empty() && sent[2].is_empty(), "{hostile:?}: {sent:?}");
            let told: Vec<_> = sent[1].drain(..).map(|(_, frame)| frame).collect();
            prop_assert!(told.len() <= 1, "{hostile:?}: {told:?}");
            for told in told {
                let ip = Ipv6Packet::new(&told[14..]).unwrap();
                let (from, to) = (ip.get_source(), ip.get_destination());
                prop_assert!(own(to) || to == ALL_NODES, "{hostile:?}: to {to}");
                prop_assert!(!own(from) && !is_nobody(from), "{hostile:?}: from {from}");
                prop_assert_eq!(&told[6..12], &OUR_MAC);
                prop_assert!(told[..6] == client_mac(2) || to == ALL_NODES);
                prop_assert!(told.len() <= 14 + 1280, "{hostile:?}: {} bytes", told.len());
            }
        }
        for guest in [3, 4] {
            prop_assert!(world.net.core.guest(guest).is_none_or(|guest| guest.connections == 0));
        }
        prop_assert!(world.net.core.connections <= 33);
    }
}
