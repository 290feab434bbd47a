//! Everything that is not TCP, DNS or a necessity of the link goes nowhere; its sender is told where that is seemly.

use super::{super::*, world::*};
use crate::sockets::{SocketKind, Sockets as _};
use link::{Csum, Gso, GsoKind, Meta};
use packet::tcp::{ACK, SYN};
use pnet_packet::{
    Packet as _,
    icmp::{IcmpPacket, IcmpTypes},
    icmpv6::Icmpv6Packet,
    ipv4::Ipv4Packet,
    ipv6::Ipv6Packet,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

const FAR: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const US: [u8; 6] = first_hop::address::OUR_MAC;
const MACS: ([u8; 6], [u8; 6]) = ([2, 0x62, 0x6b, 0, 0, 2], US);

fn me() -> Ipv4Addr {
    client_address(2)
}

/// A world with listeners, and nobody but us in it.
fn world() -> World {
    let mut world = World::new();
    for port in [TRANSPARENT, 9050] {
        world.listen(port);
    }
    let resolver = world.net.open(SocketKind::Datagram).unwrap();
    world.net.bind(resolver, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
    world.clients.clear();
    world
}

/// Gives a frame of the client to us; gives what came back, and checks that one thing was counted, and nothing left on
/// the uplink nor to the other client.
fn refused(world: &mut World, meta: Meta, frame: Vec<u8>, count: Count) -> Vec<Vec<u8>> {
    let before = world.net.count(count);
    let dropped = |world: &World| -> u64 {
        world.net.counters().filter(|(name, _)| name.starts_with("drop_")).map(|(_, n)| n).sum()
    };
    let all = dropped(world);
    world.ends[2].0.borrow_mut().to_net.push_back((meta, frame));
    world.net.poll(world.now_us);
    assert_eq!((world.net.count(count), dropped(world)), (before + 1, all + 1), "{count:?}");
    for other in [1, 3] {
        assert!(world.ends[other].0.borrow().from_net.is_empty(), "{count:?}");
    }
    world.ends[2].0.borrow_mut().from_net.drain(..).map(|(_, frame)| frame).collect()
}

/// The refusal is silent.
fn silent(world: &mut World, frame: Vec<u8>, count: Count) {
    assert_eq!(refused(world, Meta::default(), frame, count), Vec::<Vec<u8>>::new(), "{count:?}");
}

/// The refusal is told by ICMP: communication administratively prohibited.
fn prohibited(world: &mut World, frame: &[u8], count: Count) {
    let told = refused(world, Meta::default(), frame.to_vec(), count);
    assert_eq!(told.len(), 1, "{count:?}");
    assert_eq!(told[0][..14], [&client_mac(2)[..], &US, &[8, 0]].concat());
    let ip = Ipv4Packet::new(&told[0][14..]).unwrap();
    assert_eq!((ip.get_source(), ip.get_destination()), (gateway(2), me()));
    let icmp = IcmpPacket::new(ip.payload()).unwrap();
    assert_eq!((icmp.get_icmp_type(), icmp.get_icmp_code().0), (IcmpTypes::DestinationUnreachable, 13));
    assert_eq!(icmp.get_checksum(), pnet_packet::icmp::checksum(&icmp));
    let quoted = &icmp.payload()[4..];
    assert_eq!(quoted, &frame[14..14 + quoted.len()]);
    assert!(quoted.len() >= 28.min(frame.len() - 14));
}

#[test]
fn udp_icmp_and_other_protocols_are_prohibited() {
    let mut world = world();
    for port in [123, 443, 853, 5353, 3478] {
        prohibited(&mut world, &udp_frame(MACS, (me(), 999), (FAR, port), b"0123456789abcdef"), Count::Udp);
    }
    prohibited(&mut world, &udp_frame(MACS, (me(), 999), (gateway(2), 9050), b"x"), Count::Udp);
    for to in [FAR, gateway(2)] {
        prohibited(&mut world, &ip_frame(MACS, me(), to, 1, &[8, 0, 0xF7, 0xFD, 0, 1, 0, 1]), Count::Icmp);
    }
    for protocol in [2, 4, 41, 47, 50, 132, 255] {
        prohibited(&mut world, &ip_frame(MACS, me(), FAR, protocol, &[0; 32]), Count::Protocol);
    }
    // The start of a fragmented datagram.
    let mut fragment = udp_frame(MACS, (me(), 999), (FAR, 53), &[0; 24]);
    refragment(&mut fragment, 0x2000);
    prohibited(&mut world, &fragment, Count::Fragment);
}

/// Writes the fragment field, and the checksum.
fn refragment(frame: &mut [u8], field: u16) {
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame[24..26].fill(0);
    let sum = packet::checksum::Sum::new().bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn errors_later_fragments_and_groups_are_dropped_without_a_word() {
    let mut world = world();
    for kind in [3, 11, 12] {
        silent(&mut world, ip_frame(MACS, me(), FAR, 1, &[kind, 0, 0, 0, 0, 0, 0, 0]), Count::Icmp);
    }
    let mut fragment = udp_frame(MACS, (me(), 999), (FAR, 53), &[0; 24]);
    refragment(&mut fragment, 2);
    silent(&mut world, fragment, Count::Fragment);
    let group = ([2, 0x62, 0x6b, 0, 0, 2], [1, 0, 0x5e, 0, 0, 0xfb]);
    for (address, port) in [([224, 0, 0, 251], 5353), ([224, 0, 0, 252], 5355), ([239, 255, 255, 250], 1900)]
    {
        silent(&mut world, udp_frame(group, (me(), 999), (address.into(), port), b"x"), Count::Multicast);
    }
    let everybody = ([2, 0x62, 0x6b, 0, 0, 2], [0xFF; 6]);
    for address in [[255, 255, 255, 255], [10, 137, 2, 255]] {
        silent(&mut world, udp_frame(everybody, (me(), 137), (address.into(), 137), b"x"), Count::Multicast);
        silent(
            &mut world,
            udp_frame(everybody, (me(), 53), (address.into(), 53), &[0; 20]),
            Count::Multicast,
        );
        let syn = tcp_frame(everybody, (me(), 999), (address.into(), 80), (SYN, 1, 0), b"");
        silent(&mut world, syn, Count::Multicast);
    }
    // A unicast packet in a broadcast frame.
    silent(&mut world, tcp_frame(everybody, (me(), 999), (FAR, 80), (SYN, 1, 0), b""), Count::DestinationMac);
    for address in [[127, 0, 0, 1], [0, 0, 0, 0], [169, 254, 169, 254], [240, 0, 0, 1]] {
        let syn = tcp_frame(MACS, (me(), 999), (address.into(), 80), (SYN, 1, 0), b"");
        silent(&mut world, syn, Count::Destination);
    }
}

#[test]
fn whoever_speaks_for_somebody_else_is_not_heard() {
    let mut world = world();
    let mut arp = packet::arp::Arp {
        operation: packet::arp::Operation::Request,
        sender_mac: client_mac(2),
        sender: client_address(3),
        target_mac: [0; 6],
        target: gateway(2),
    };
    silent(&mut world, arp.emit([0xFF; 6]).to_vec(), Count::Arp);
    arp.sender_mac = client_mac(3);
    silent(&mut world, arp.emit([0xFF; 6]).to_vec(), Count::SourceMac);
    for source in
        [client_address(3), gateway(2), FAR, Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::UNSPECIFIED, OURS]
    {
        for frame in [
            tcp_frame(MACS, (source, 999), (FAR, 80), (SYN, 1, 0), b""),
            udp_frame(MACS, (source, 999), (FAR, 53), &[0; 20]),
            udp_frame(MACS, (source, 999), (FAR, 123), b"x"),
            ip_frame(MACS, source, FAR, 1, &[8, 0, 0xF7, 0xFD, 0, 1, 0, 1]),
            ip_frame(MACS, source, FAR, 47, &[0; 32]),
        ] {
            silent(&mut world, frame, Count::Spoofed);
        }
    }
    let other = (client_mac(3), US);
    silent(&mut world, tcp_frame(other, (me(), 999), (FAR, 80), (SYN, 1, 0), b""), Count::SourceMac);
    let elsewhere = (client_mac(2), [2, 2, 2, 2, 2, 2]);
    silent(&mut world, tcp_frame(elsewhere, (me(), 999), (FAR, 80), (SYN, 1, 0), b""), Count::DestinationMac);
}

#[test]
fn what_is_malformed_is_counted_for_what_it_is() {
    let mut world = world();
    let good = tcp_frame(MACS, (me(), 999), (FAR, 80), (SYN, 1, 0), b"");
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    silent(&mut world, good[..10].to_vec(), Count::Truncated);
    silent(&mut world, good[..40].to_vec(), Count::IpHeader);
    silent(&mut world, with(12, 0x81), Count::EtherType);
    silent(&mut world, with(14, 0x46), Count::IpOptions);
    silent(&mut world, with(22, 1), Count::IpChecksum);
    silent(&mut world, with(50, good[50] ^ 1), Count::TransportChecksum);
    silent(&mut world, with(47, 0), Count::TcpFlags);
    silent(&mut world, udp_frame(MACS, (me(), 999), (FAR, 53), b"short"), Count::DnsLength);
    silent(&mut world, udp_frame(MACS, (me(), 999), (FAR, 53), &[0; 1400]), Count::DnsLength);
    silent(&mut world, udp_frame(MACS, (me(), 68), (gateway(2), 67), b"x"), Count::Dhcp);
    for meta in [
        Meta { csum: Csum::Partial { start: 34, offset: 6 }, ..Meta::default() },
        Meta { csum: Csum::Partial { start: 14, offset: 16 }, ..Meta::default() },
        Meta { gso: Some(Gso { kind: GsoKind::Tcp4, size: 1448, header_len: 54 }), ..Meta::default() },
        Meta {
            csum: Csum::Partial { start: 34, offset: 16 },
            gso: Some(Gso { kind: GsoKind::Udp, size: 1448, header_len: 54 }),
            ..Meta::default()
        },
    ] {
        assert!(refused(&mut world, meta, good.clone(), Count::Offload).is_empty());
    }
    assert!(refused(&mut world, Meta::MESSAGE, good, Count::Message).is_empty());
}

#[test]
fn clients_are_told_a_bounded_number_of_errors() {
    let mut world = world();
    let frame = udp_frame(MACS, (me(), 999), (FAR, 123), b"x");
    for _ in 0..1000 {
        world.inject(2, frame.clone());
    }
    while world.net.poll(world.now_us) {}
    let told = world.ends[2].0.borrow_mut().from_net.drain(..).count();
    assert!((1..=32).contains(&told), "{told}");
    assert_eq!(world.net.count(Count::Udp), 1000);
    world.now_us += 1_000_000;
    prohibited(&mut world, &frame, Count::Udp);
}

fn ipv6_frame(source: Ipv6Addr, destination: Ipv6Addr, (next, hops): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [
        &US[..],
        &client_mac(2),
        &[0x86, 0xDD, 0x60, 0, 0, 0],
        &len,
        &[next, hops],
        &source.octets(),
        &destination.octets(),
        payload,
    ]
    .concat()
}

#[test]
fn ipv6_is_prohibited_but_for_what_the_link_needs() {
    let mut world = world();
    let client = packet::ndp::link_local(client_mac(2));
    let far: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let echo = {
        let mut echo = vec![128, 0, 0, 0, 0, 1, 0, 1];
        let sum = packet::checksum::pseudo_v6(client, far, 58, 8).bytes(&echo).finish();
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
        echo
    };
    let segment = tcp_frame(MACS, (me(), 999), (FAR, 80), (SYN, 1, 0), b"")[34..].to_vec();
    let question = udp_frame(MACS, (me(), 999), (FAR, 53), &[0; 20])[34..].to_vec();
    for (protocol, payload) in [(58, &echo), (6, &segment), (17, &question)] {
        let told = refused(
            &mut world,
            Meta::default(),
            ipv6_frame(client, far, (protocol, 64), payload),
            Count::Ipv6,
        );
        assert_eq!(told.len(), 1);
        let ip = Ipv6Packet::new(&told[0][14..]).unwrap();
        assert_eq!((ip.get_source(), ip.get_destination()), (first_hop::address::OUR_LINK_LOCAL, client));
        let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
        assert_eq!((icmp.get_icmpv6_type().0, icmp.get_icmpv6_code().0), (1, 1));
        assert_eq!(icmp.get_checksum(), pnet_packet::icmpv6::checksum(&icmp, &ip.get_source(), &client));
    }
    silent(&mut world, ipv6_frame(far, far, (6, 64), &segment), Count::Spoofed);
    silent(&mut world, ipv6_frame(client, "ff02::fb".parse().unwrap(), (17, 1), &question), Count::Multicast);
    // No router answers a solicitation; neighbours find us.
    let solicit = |kind: u8, to: Ipv6Addr, body: &[u8]| {
        let mut message = [&[kind, 0, 0, 0, 0, 0, 0, 0], body].concat();
        let len = u32::try_from(message.len()).unwrap();
        let sum = packet::checksum::pseudo_v6(client, to, 58, len).bytes(&message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        ipv6_frame(client, to, (58, 255), &message)
    };
    world.inject(2, solicit(133, packet::ndp::ALL_ROUTERS, &[]));
    world.net.poll(world.now_us);
    assert!(world.ends[2].0.borrow().from_net.is_empty(), "no router advertisement");
    world.inject(2, solicit(135, client, &first_hop::address::OUR_LINK_LOCAL.octets()));
    world.net.poll(world.now_us);
    let answer = world.ends[2].0.borrow_mut().from_net.pop_front().unwrap().1;
    assert_eq!(answer[54], 136, "a neighbour advertisement");
    silent(&mut world, solicit(134, packet::ndp::ALL_NODES, &[0; 8]), Count::Neighbour);
}

#[test]
fn limits_hold_for_each_client_and_each_listener() {
    let mut world = world();
    let syn = |n: u16, to: (Ipv4Addr, u16)| tcp_frame(MACS, (me(), 1000 + n), to, (SYN, 1, 0), b"");
    // A backlog of 16 and one more.
    for n in 0..17 {
        world.inject(2, syn(n, (FAR, 80)));
    }
    while world.net.poll(world.now_us) {}
    assert_eq!(world.ends[2].0.borrow_mut().from_net.drain(..).count(), 17);
    silent(&mut world, syn(17, (FAR, 80)), Count::Backlog);
    let other = tcp_frame((client_mac(3), US), (client_address(3), 7), (FAR, 80), (SYN, 1, 0), b"");
    world.inject(3, other);
    world.net.poll(world.now_us);
    assert_eq!(world.ends[3].0.borrow_mut().from_net.drain(..).count(), 1, "another client has its own");
    assert_eq!(world.net.count(Count::Backlog), 1);
    // Nobody completes a handshake: all of them are forgotten, without a word.
    world.now_us += 21_000_000;
    world.net.poll(world.now_us);
    world.ends[2].0.borrow_mut().from_net.clear();
    assert_eq!((world.net.core.connections, world.net.core.guest(2).unwrap().connections), (0, 0));
    world.inject(2, syn(18, (FAR, 80)));
    world.net.poll(world.now_us);
    assert_eq!(world.ends[2].0.borrow().from_net.len(), 1);
    assert_eq!(world.net.core.connections, 1);
}

#[test]
fn a_client_has_its_share_and_no_more() {
    let mut world = world();
    let listener = world.listen(7);
    world.net.listen(listener, 100_000).unwrap();
    let mut accepted = Vec::new();
    for n in 0..guest::CONNECTIONS_OF_CLIENT {
        let port = 1000 + u16::try_from(n).unwrap();
        establish(&mut world, (2, port), (gateway(2), 7));
        accepted.push(world.net.accept(listener).unwrap().0);
    }
    silent(&mut world, tcp_frame(MACS, (me(), 9), (gateway(2), 7), (SYN, 1, 0), b""), Count::Quota);
    // The other client does not suffer.
    establish(&mut world, (3, 9), (gateway(3), 7));
    world.net.accept(listener).unwrap();
    // One that is reset makes room.
    world.net.set_reset_on_close(accepted[0], true);
    world.net.close(accepted[0]);
    while world.net.poll(world.now_us) {}
    world.ends[2].0.borrow_mut().from_net.clear();
    establish(&mut world, (2, 9), (gateway(2), 7));
    world.net.accept(listener).unwrap();
}

#[test]
fn no_client_takes_what_another_has_a_right_to() {
    let mut world = world();
    let listener = world.listen(7);
    world.net.listen(listener, 1000).unwrap();
    for n in 4..8 {
        assert!(world.net.set_client(n, &described(n)));
        world.ends.push(End::default());
        assert!(world.net.attach(n, world.ends[usize::from(n)].clone()));
    }
    // Three of six take as much as they get.
    let mut got = [0; 3];
    for n in 2..5u8 {
        for port in 1000..1000 + 150 {
            let from = (client_address(n), port);
            world.inject(n, tcp_frame((client_mac(n), US), from, (gateway(n), 7), (SYN, 1, 0), b""));
            world.net.poll(world.now_us);
            let Some((_, answer)) = world.ends[usize::from(n)].0.borrow_mut().from_net.pop_front() else {
                continue;
            };
            let next = u32::from_be_bytes(answer[38..42].try_into().unwrap()).wrapping_add(1);
            world.inject(n, tcp_frame((client_mac(n), US), from, (gateway(n), 7), (ACK, 2, next), b""));
            world.net.poll(world.now_us);
            world.net.accept(listener).unwrap();
            got[usize::from(n) - 2] += 1;
        }
    }
    assert_eq!(got, [128, 64, 16]);
    for n in 5..8 {
        for port in 0..16 {
            establish(&mut world, (n, 1000 + port), (gateway(n), 7));
            world.net.accept(listener).unwrap();
        }
    }
}

/// A handshake by hand.
fn establish(world: &mut World, (n, port): (u8, u16), to: (Ipv4Addr, u16)) {
    let (macs, from) = ((client_mac(n), US), (client_address(n), port));
    world.inject(n, tcp_frame(macs, from, to, (SYN, 1, 0), b""));
    world.net.poll(world.now_us);
    let (_, answer) = world.ends[usize::from(n)].0.borrow_mut().from_net.pop_front().expect("an answer");
    let sequence = u32::from_be_bytes(answer[38..42].try_into().unwrap());
    world.inject(n, tcp_frame(macs, from, to, (ACK, 2, sequence.wrapping_add(1)), b""));
    world.net.poll(world.now_us);
}
