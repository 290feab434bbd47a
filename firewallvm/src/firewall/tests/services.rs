//! ARP, DHCP, neighbour discovery and echo, as real clients use them.
use super::world::*;
use crate::verdict::DropReason;
use first_hop::address::OUR_MAC;
use packet::{
    arp::{Arp, Operation},
    ethernet::BROADCAST,
    ndp,
};
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};

const DHCP: (u16, u16) = (68, 67);

/// A BOOTP request with these options.
fn bootp(chaddr: [u8; 6], ciaddr: Ipv4Addr, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    message[10..12].copy_from_slice(&flags.to_be_bytes());
    message[12..16].copy_from_slice(&ciaddr.octets());
    message[28..34].copy_from_slice(&chaddr);
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message.extend(options);
    message
}

fn broadcast(n: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = Path::Four(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST).udp(mac(n), DHCP, message);
    frame[..6].copy_from_slice(&BROADCAST);
    frame
}

/// What Debian's dhclient 4.4 asks for: host name, a long request list, padding to 300 bytes.
fn dhclient(kind: u8, extra: &[u8]) -> Vec<u8> {
    let mut options = vec![53, 1, kind];
    options.extend(extra);
    options.extend([12, 4, b'w', b'o', b'r', b'k']);
    options.extend([55, 13, 1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42, 255]);
    options.resize(60, 0);
    options
}

/// What systemd-networkd 252 asks for: a DUID as client identifier, maximum size, no broadcast flag.
fn networkd(kind: u8, extra: &[u8]) -> Vec<u8> {
    let mut options = vec![53, 1, kind, 61, 19, 255, 0x12, 0x34, 0x56, 0x78, 0, 2, 0, 0, 0xab, 0x11];
    options.extend([
        1, 2, 3, 4, 5, 6, 7, 8, 55, 11, 1, 3, 12, 15, 6, 33, 121, 42, 119, 108, 120, 57, 2, 5, 0xdc,
    ]);
    options.extend(extra);
    options.push(255);
    options
}

/// The one answer at the client, taken apart by smoltcp; gives type, address and the option of this number.
fn lease(w: &mut World) -> (Vec<u8>, DhcpMessageType, Ipv4Addr) {
    let mut got = w.at_client(0);
    assert_eq!(got.len(), 1);
    let (_, frame) = got.pop().unwrap();
    assert_sound(&frame);
    let h = headers(&frame);
    let bytes = &frame[h.payload_at..h.end];
    assert!(bytes.len() >= 300, "some clients want what BOOTP had");
    let packet = DhcpPacket::new_checked(bytes).unwrap();
    let repr = DhcpRepr::parse(&packet).unwrap();
    assert_eq!(repr.transaction_id, 0xdead_beef);
    assert_eq!(repr.server_identifier, Some(gateway4(0)));
    if repr.message_type != DhcpMessageType::Nak {
        assert_eq!(repr.router, Some(gateway4(0)));
        assert_eq!(repr.subnet_mask, Some(Ipv4Addr::new(255, 255, 255, 252)));
        let dns = repr.dns_servers.clone().unwrap();
        assert_eq!(dns[..], [Ipv4Addr::new(10, 139, 1, 1), Ipv4Addr::new(10, 139, 1, 2)]);
        assert!(packet.options().any(|o| (o.kind, o.data) == (26, &[5, 220][..])), "MTU 1500");
    }
    let found = (repr.message_type, repr.your_ip);
    (frame.clone(), found.0, found.1)
}

#[test]
fn dhclient_and_networkd_get_the_address() {
    for options in [dhclient as fn(u8, &[u8]) -> Vec<u8>, networkd] {
        let mut w = World::new(1);
        let none = Ipv4Addr::UNSPECIFIED;
        w.client_sends(0, &broadcast(0, &bootp(mac(0), none, 0, &options(1, &[]))));
        let (frame, kind, address) = lease(&mut w);
        assert_eq!((kind, address), (DhcpMessageType::Offer, client4(0)));
        assert_eq!(frame[..6], mac(0));
        assert_eq!(ends(&frame).2, std::net::IpAddr::from(client4(0)));
        let mut chosen = vec![54, 4];
        chosen.extend(gateway4(0).octets());
        chosen.extend([50, 4]);
        chosen.extend(client4(0).octets());
        w.client_sends(0, &broadcast(0, &bootp(mac(0), none, 0, &options(3, &chosen))));
        let (_, kind, address) = lease(&mut w);
        assert_eq!((kind, address), (DhcpMessageType::Ack, client4(0)));
        // Renewal, to the server alone, from the address.
        let renew = bootp(mac(0), client4(0), 0, &options(3, &[]));
        w.client_sends(0, &Path::Four(client4(0), gateway4(0)).udp(mac(0), DHCP, &renew));
        assert_eq!(lease(&mut w).1, DhcpMessageType::Ack);
        // Rebinding, to everybody.
        let mut rebind = Path::Four(client4(0), Ipv4Addr::BROADCAST).udp(mac(0), DHCP, &renew);
        rebind[..6].copy_from_slice(&BROADCAST);
        w.client_sends(0, &rebind);
        assert_eq!(lease(&mut w).1, DhcpMessageType::Ack);
    }
}

#[test]
fn dhcp_details() {
    let mut w = World::new(1);
    let none = Ipv4Addr::UNSPECIFIED;
    // The broadcast flag is honoured.
    w.client_sends(0, &broadcast(0, &bootp(mac(0), none, 0x8000, &networkd(1, &[]))));
    let (frame, ..) = lease(&mut w);
    assert_eq!(frame[..6], BROADCAST);
    // RFC 6842: the client identifier comes back.
    let h = headers(&frame);
    let packet = DhcpPacket::new_checked(&frame[h.payload_at..h.end]).unwrap();
    assert!(packet.options().any(|option| option.kind == 61 && option.data.len() == 19));
    // A client that remembers an address from elsewhere is told to begin again.
    w.client_sends(0, &broadcast(0, &bootp(mac(0), none, 0, &dhclient(3, &[50, 4, 192, 168, 1, 5]))));
    let (frame, kind, address) = lease(&mut w);
    assert_eq!((kind, address), (DhcpMessageType::Nak, none));
    assert_eq!(frame[..6], BROADCAST);
    // Information without a lease.
    w.client_sends(
        0,
        &Path::Four(client4(0), gateway4(0)).udp(
            mac(0),
            DHCP,
            &bootp(mac(0), client4(0), 0, &dhclient(8, &[])),
        ),
    );
    let (_, kind, address) = lease(&mut w);
    assert_eq!((kind, address), (DhcpMessageType::Ack, none));
    // For another server, for another client, through a relay, no DHCP at all, goodbye.
    let relayed = {
        let mut message = bootp(mac(0), none, 0, &dhclient(1, &[]));
        message[24] = 10;
        message
    };
    for message in [
        bootp(mac(0), none, 0, &dhclient(3, &[54, 4, 10, 0, 0, 1])),
        bootp(mac(1), none, 0, &dhclient(1, &[])),
        relayed,
        bootp(mac(0), none, 0, &[]),
        bootp(mac(0), none, 0, &[53, 200]),
        bootp(mac(0), none, 0, &dhclient(7, &[])),
        bootp(mac(0), none, 0, &dhclient(4, &[])),
        bootp(mac(0), none, 0, &dhclient(2, &[])),
        vec![1, 1, 6],
    ] {
        w.refused(0, &broadcast(0, &message), DropReason::Dhcp);
    }
    assert!(w.at_client(0).is_empty());
}

fn arp(n: usize, operation: Operation, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    Arp { operation, sender_mac: mac(n), sender, target_mac: [0; 6], target }.emit(BROADCAST).to_vec()
}

#[test]
fn arp_has_one_answer_and_learns_nothing() {
    let mut w = World::new(2);
    for sender in [client4(0), Ipv4Addr::UNSPECIFIED] {
        w.client_sends(0, &arp(0, Operation::Request, sender, gateway4(0)));
        let (_, frame) = w.at_client(0).pop().unwrap();
        let reply = Arp::parse(&frame[14..]).unwrap();
        assert_eq!(
            (reply.operation, reply.sender, reply.sender_mac),
            (Operation::Reply, gateway4(0), OUR_MAC)
        );
        assert_eq!((reply.target, reply.target_mac, &frame[..6]), (sender, mac(0), &mac(0)[..]));
    }
    // Nobody else is there; above all nobody has the client's own address (RFC 5227 probe).
    for target in [client4(0), client4(1), gateway4(1), SERVER4] {
        w.client_sends(0, &arp(0, Operation::Request, client4(0), target));
        w.client_sends(0, &arp(0, Operation::Request, Ipv4Addr::UNSPECIFIED, target));
        w.client_sends(0, &arp(0, Operation::Reply, client4(0), target));
    }
    w.refused(0, &arp(0, Operation::Request, client4(1), gateway4(0)), DropReason::Arp);
    w.refused(0, &arp(0, Operation::Reply, gateway4(0), gateway4(0)), DropReason::Arp);
    let mut lying = arp(0, Operation::Request, client4(0), gateway4(0));
    lying[22] ^= 4;
    w.refused(0, &lying, DropReason::Arp);
    assert!(w.at_client(0).is_empty() && w.at_client(1).is_empty() && w.at_net().is_empty());
}

/// A neighbour discovery message from the client, hop limit 255.
fn nd(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let mut frame = Path::Six(source, destination).frame(mac(0), 58, message);
    frame[21] = 255;
    if destination.is_multicast() {
        frame[..6].copy_from_slice(&ndp::multicast_mac(destination));
    }
    frame
}

#[test]
fn the_router_is_found_while_the_uplink_has_ipv6() {
    let mut w = World::new(1);
    let own = v6("fe80::62:6bff:fe00:1");
    for (source, to) in [(own, own), (v6("::"), ndp::ALL_NODES)] {
        w.client_sends(0, &nd(source, ndp::ALL_ROUTERS, 133, &[0; 4]));
        let (_, frame) = w.at_client(0).pop().unwrap();
        assert_sound(&frame);
        assert_eq!(ends(&frame).2, std::net::IpAddr::from(to));
        let h = headers(&frame);
        assert_eq!(h.hop_limit(), 255);
        let ra = &frame[h.transport_at..h.end];
        assert_eq!(ra[6..8], 1800u16.to_be_bytes());
        assert!(ra.windows(16).any(|w| w == prefix6(0).octets()));
        assert!(ra.windows(16).any(|w| w == v6("fd09:24ef:4179::53").octets()));
    }
    // IPv6 goes: everybody hears it at once; the address stays good, the way out and the name server do not.
    w.uplink(&control::message::Uplink { v6: None, ..uplink() });
    let (_, frame) = w.at_client(0).pop().unwrap();
    let h = headers(&frame);
    let ra = &frame[h.transport_at..h.end];
    assert_eq!((ra[0], &ra[6..8]), (134, &[0, 0][..]));
    let option = ra.windows(4).position(|w| w == [25, 3, 0, 0]).unwrap();
    assert_eq!(ra[option + 4..option + 8], [0; 4]);
    w.uplink(&uplink());
    assert_eq!(w.at_client(0).len(), 1);
    w.now += 401_000_000;
    w.run();
    assert_eq!(w.at_client(0).len(), 1, "now and then unasked");
}

#[test]
fn neighbour_discovery() {
    let mut w = World::new(1);
    let own = v6("fe80::62:6bff:fe00:1");
    for target in [link_local(), v6("fd09:24ef:4179:1::1")] {
        let mut body = vec![0; 4];
        body.extend(target.octets());
        body.extend([1, 1, 2, 0x62, 0x6b, 0, 0, 1]);
        for to in [ndp::solicited_node(target), target] {
            w.client_sends(0, &nd(own, to, 135, &body));
            let (_, frame) = w.at_client(0).pop().unwrap();
            assert_sound(&frame);
            assert_eq!(ends(&frame).2, std::net::IpAddr::from(own));
            let h = headers(&frame);
            let na = &frame[h.transport_at..h.end];
            assert_eq!(
                (na[0], na[4], &na[8..24], &na[26..32]),
                (136, 0xE0, &target.octets()[..], &OUR_MAC[..])
            );
        }
        // Whoever probes one of our addresses learns that it is taken.
        w.client_sends(0, &nd(v6("::"), ndp::solicited_node(target), 135, &body[..20]));
        let (_, frame) = w.at_client(0).pop().unwrap();
        assert_eq!(ends(&frame).2, std::net::IpAddr::from(ndp::ALL_NODES));
        // Not from beyond a router, not broken.
        let mut far = nd(own, target, 135, &body);
        far[21] = 254;
        w.refused(0, &far, DropReason::Neighbour);
        let mut broken = nd(own, target, 135, &body);
        broken[60] ^= 1;
        w.refused(0, &broken, DropReason::Neighbour);
        w.refused(0, &nd(own, target, 135, &body[..10]), DropReason::Neighbour);
    }
    // The client's own addresses, also while it probes them, and nobody's.
    for target in [own, client6(0), client6(1), v6("fe80::99")] {
        let body = [&[0; 4][..], &target.octets()].concat();
        w.client_sends(0, &nd(v6("::"), ndp::solicited_node(target), 135, &body));
        w.client_sends(0, &nd(own, ndp::solicited_node(target), 135, &body));
        w.client_sends(0, &nd(own, ndp::ALL_NODES, 136, &body));
    }
    // Only routers say these.
    for kind in [134, 137] {
        w.refused(0, &nd(own, ndp::ALL_NODES, kind, &[0; 36]), DropReason::Neighbour);
    }
    // What a client announces about groups is no concern of ours, behind a router alert as Linux sends it.
    let mut report = Path::Six(own, v6("ff02::16")).raw(mac(0), 0, &{
        let mut b = vec![58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1];
        b.extend([4, 0, 0, 0]);
        b.extend(v6("ff02::1:ff00:1").octets());
        b
    });
    report[..6].copy_from_slice(&ndp::multicast_mac(v6("ff02::16")));
    w.client_sends(0, &report);
    assert_eq!(w.fw.core().drops.iter().map(|(_, n)| n).sum::<u64>(), 8);
    assert!(w.at_client(0).is_empty() && w.at_net().is_empty());
}

#[test]
fn the_gateway_answers_echo_and_nothing_else() {
    let mut w = World::new(1);
    let paths = [
        Path::Four(client4(0), gateway4(0)),
        Path::Six(client6(0), v6("fd09:24ef:4179:1::1")),
        Path::Six(v6("fe80::62:6bff:fe00:1"), link_local()),
    ];
    for path in paths {
        let asked = path.echo(mac(0), true, 99, b"are you there?");
        w.client_sends(0, &asked);
        let (_, frame) = w.at_client(0).pop().unwrap();
        assert_sound(&frame);
        let (a, b) = (ends(&asked), ends(&frame));
        assert_eq!((a.0, a.2, a.1), (b.2, b.0, b.1));
        assert_eq!(&frame[headers(&frame).payload_at..], b"are you there?");
        let mut broken = asked.clone();
        *broken.last_mut().unwrap() ^= 1;
        w.refused(0, &broken, DropReason::IcmpChecksum);
        for frame in [
            path.udp(mac(0), (5000, 53), b"x"),
            path.tcp(mac(0), (5000, 80), 2, (1, 0), 9, b""),
            path.echo(mac(0), false, 1, b""),
        ] {
            w.refused(0, &frame, DropReason::NotForUs);
        }
    }
    assert!(w.at_client(0).is_empty());
}
