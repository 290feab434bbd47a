//! The packet path in both directions.

use super::{
    segment::*,
    world::{OUR_MAC, SECOND, World},
};
use crate::{
    Counter,
    nic::{Offload, Offloads, RxChecksum},
};
use control::message::FromDomain;
use link::{Csum, Gso, GsoKind, Meta};
use pnet_packet::{
    Packet,
    arp::{ArpOperations, ArpPacket},
    ethernet::{EtherTypes, EthernetPacket},
    ipv4::{self, Ipv4Packet},
    ipv6::Ipv6Packet,
    tcp::{self, TcpFlags, TcpPacket},
    udp::{self, UdpPacket},
};
use std::net::{Ipv4Addr, Ipv6Addr};

const ALL_OFFLOADS: Offloads = Offloads { checksum: true, tcp_segmentation: true };

fn to_us(body: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv4, body)
}

/// Frames of the packet path among those sent: not ARP.
fn packets(world: &mut World) -> Vec<Vec<u8>> {
    let sent = world.take_sent();
    sent.into_iter().filter(|f| EthernetPacket::new(f).unwrap().get_ethertype() != EtherTypes::Arp).collect()
}

fn destination(frame: &[u8]) -> [u8; 6] {
    EthernetPacket::new(frame).unwrap().get_destination().octets()
}

#[test]
fn frames_for_our_address_go_to_the_firewall() {
    let mut world = online(Offloads::default());
    let body = udp4((FAR, 53), (OURS, 4000), b"answer");
    world.arrive(&to_us(&body));
    world.cable.borrow_mut().to_card.push_back((to_us(&body), Some(RxChecksum::Good)));
    world.settle();
    let (frames, _) = world.at_firewall();
    assert_eq!(frames.len(), 2);
    assert_eq!(destination(&frames[0].0), [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(frames[0].0[14..], body);
    assert_eq!((frames[0].1.csum, frames[1].1.csum), (Csum::None, Csum::Verified));
    assert_eq!(world.count(Counter::ToFirewall), 2);
}

#[test]
fn nothing_else_reaches_the_firewall() {
    let mut world = online(Offloads::default());
    let ours = udp4((FAR, 53), (OURS, 4000), b"x");
    let mut bad_checksum = ours.clone();
    bad_checksum[10] ^= 1;
    let cut = ours[..ours.len() - 1].to_vec();
    let cases = [
        (ethernet(PEER_MAC, ROUTER_MAC, EtherTypes::Ipv4, &ours), Counter::NotOurMac),
        (ethernet([0xFF; 6], ROUTER_MAC, EtherTypes::Ipv4, &ours), Counter::NotOurMac),
        (ethernet(OUR_MAC, [1, 0, 0, 0, 0, 1], EtherTypes::Ipv4, &ours), Counter::Malformed),
        (to_us(&udp4((FAR, 53), (PEER, 4000), b"x")), Counter::NotOurAddress),
        (
            ethernet(
                [0xFF; 6],
                ROUTER_MAC,
                EtherTypes::Ipv4,
                &udp4((PEER, 1), (Ipv4Addr::BROADCAST, 2), b""),
            ),
            Counter::NotOurAddress,
        ),
        (to_us(&bad_checksum), Counter::Malformed),
        (to_us(&cut), Counter::Malformed),
        (to_us(&[]), Counter::Malformed),
        (vec![0; 13], Counter::Malformed),
        (ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Vlan, &ours), Counter::EtherType),
        (
            ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv6, &udp6((ROUTER_LL, 1), (OURS_LL, 2), b"")),
            Counter::NotOurAddress,
        ),
        (
            ethernet(
                OUR_MAC,
                ROUTER_MAC,
                EtherTypes::Ipv6,
                &icmp6(ROUTER_LL, OURS_LL, &[137, 0, 0, 0, 0, 0, 0, 0]),
            ),
            Counter::Discovery,
        ),
    ];
    for (frame, reason) in cases {
        let before = world.count(reason);
        world.arrive(&frame);
        world.settle();
        assert_eq!(world.count(reason), before + 1, "{reason:?} {frame:x?}");
        assert_eq!(world.at_firewall().0.len(), 0);
    }
}

#[test]
fn a_firewall_that_does_not_read_costs_frames_and_nothing_else() {
    let mut world = online(Offloads::default());
    let frame = to_us(&udp4((FAR, 53), (OURS, 4000), &[7; 1400]));
    for _ in 0..1000 {
        world.arrive(&frame);
    }
    world.settle();
    let dropped = world.count(Counter::FirewallFull);
    assert!(dropped > 700, "256 KiB hold fewer than 200 such frames");
    world.arrive(&arp(ArpOperations::Request, (PEER_MAC, PEER), ([0; 6], OURS)));
    world.settle();
    assert_eq!(world.take_sent().len(), 1, "ARP is still answered");
    assert_eq!(world.at_firewall().0.len() as u64, 1000 - dropped);
}

#[test]
fn frames_out_wait_for_their_hop_and_take_its_address() {
    let mut world = online(Offloads::default());
    let far = from_firewall(&udp4((OURS, 4000), (FAR, 53), b"far"), EtherTypes::Ipv4);
    let near = from_firewall(&udp4((OURS, 4000), (PEER, 53), b"near"), EtherTypes::Ipv4);
    for frame in [&far, &near, &far] {
        world.firewall_sends(frame, Meta::default());
    }
    world.settle();
    let sent = packets(&mut world);
    let to: Vec<_> = sent.iter().map(|frame| destination(frame)).collect();
    assert_eq!(to, [ROUTER_MAC, PEER_MAC, ROUTER_MAC].map(|mac| mac).to_vec());
    assert!(sent.iter().all(|frame| EthernetPacket::new(frame).unwrap().get_source().octets() == OUR_MAC));
    assert_eq!(sent[0][14..], far[14..]);
    world.firewall_sends(&far, Meta::default());
    world.settle();
    assert_eq!(world.take_sent().len(), 1, "the hop is known: no question");
}

#[test]
fn a_hop_that_is_silent_is_given_up() {
    let mut world = online(Offloads::default());
    let lost = Ipv4Addr::new(192, 0, 2, 99);
    for _ in 0..20 {
        world.firewall_sends(
            &from_firewall(&udp4((OURS, 1), (lost, 2), b""), EtherTypes::Ipv4),
            Meta::default(),
        );
    }
    world.pass(10 * SECOND);
    let mut questions = world.take_sent();
    questions.retain(|frame| EthernetPacket::new(frame).unwrap().get_ethertype() == EtherTypes::Arp);
    assert_eq!(questions.len(), 3);
    assert_eq!(
        ArpPacket::new(EthernetPacket::new(&questions[0]).unwrap().payload())
            .unwrap()
            .get_target_proto_addr(),
        lost
    );
    assert_eq!((world.count(Counter::PendingFull), world.count(Counter::HopSilent)), (12, 8));
}

#[test]
fn a_scan_of_the_segment_is_bounded_and_does_not_cost_the_router() {
    let mut world = online(Offloads::default());
    let far = from_firewall(&udp4((OURS, 4000), (FAR, 53), b"far"), EtherTypes::Ipv4);
    world.firewall_sends(&far, Meta::default());
    world.settle();
    world.take_sent();
    for host in 60..=254 {
        let to = Ipv4Addr::new(192, 0, 2, host);
        world.firewall_sends(
            &from_firewall(&udp4((OURS, 1), (to, 2), b""), EtherTypes::Ipv4),
            Meta::default(),
        );
        world.firewall_sends(&far, Meta::default());
        world.settle();
    }
    assert_eq!(packets(&mut world).len(), 195, "every frame by the router left");
    world.pass(20 * SECOND);
    assert_eq!(world.count(Counter::PendingFull) + world.count(Counter::HopSilent), 195);
}

#[test]
fn an_answer_that_nobody_asked_for_changes_nothing() {
    let mut world = online(Offloads::default());
    let far = from_firewall(&udp4((OURS, 4000), (FAR, 53), b"far"), EtherTypes::Ipv4);
    world.firewall_sends(&far, Meta::default());
    world.settle();
    world.take_sent();
    world.arrive(&arp(ArpOperations::Reply, (PEER_MAC, ROUTER), (OUR_MAC, OURS)));
    world.settle();
    world.firewall_sends(&far, Meta::default());
    world.settle();
    assert_eq!(destination(&packets(&mut world)[0]), ROUTER_MAC);
}

#[test]
fn what_must_not_leave_does_not() {
    let mut world = online(Offloads::default());
    let cases = [
        (udp4((Ipv4Addr::new(10, 137, 0, 6), 1), (FAR, 2), b""), Counter::ForeignSource),
        (udp4((OURS, 1), (Ipv4Addr::new(127, 0, 0, 1), 2), b""), Counter::Unroutable),
        (udp4((OURS, 1), (Ipv4Addr::new(224, 0, 0, 251), 2), b""), Counter::Unroutable),
        (udp4((OURS, 1), (Ipv4Addr::new(192, 0, 2, 255), 2), b""), Counter::Unroutable),
        (udp4((OURS, 1), (Ipv4Addr::BROADCAST, 2), b""), Counter::Unroutable),
        (udp4((OURS, 1), (OURS, 2), b""), Counter::Unroutable),
        (udp4((OURS, 1), (FAR, 2), &[0; 1473]), Counter::TooLong),
    ];
    for (body, reason) in cases {
        world.firewall_sends(&from_firewall(&body, EtherTypes::Ipv4), Meta::default());
        world.settle();
        assert_eq!(world.count(reason), 1, "{reason:?}");
        world.netvm.counters();
        assert_eq!(world.take_sent().len(), 0);
        world = online(Offloads::default());
    }
    let arp = arp(ArpOperations::Request, (OUR_MAC, OURS), ([0; 6], PEER));
    world.firewall_sends(&arp, Meta::default());
    world.firewall_sends(b"nonsense", Meta::MESSAGE);
    world.settle();
    assert_eq!((world.count(Counter::BadFrame), world.take_sent().len()), (2, 0));
}

#[test]
fn without_a_gateway_only_the_segment_is_reached() {
    let mut world = World::new();
    world.station(serves_dhcp(DhcpAnswer::lease(OURS, 24, Ipv4Addr::new(203, 0, 113, 1), 3600)));
    world.station(answers_arp(PEER_MAC, PEER));
    world.pass(SECOND);
    world.take_sent();
    for to in [FAR, PEER] {
        world.firewall_sends(
            &from_firewall(&udp4((OURS, 1), (to, 2), b""), EtherTypes::Ipv4),
            Meta::default(),
        );
    }
    world.settle();
    assert_eq!((packets(&mut world).len(), world.count(Counter::NoGateway)), (1, 1));
}

#[test]
fn a_full_card_holds_frames_back_and_loses_none() {
    let mut world = online(Offloads::default());
    let frame = |n: u16| from_firewall(&udp4((OURS, 4000), (FAR, n), b""), EtherTypes::Ipv4);
    world.firewall_sends(&frame(1), Meta::default());
    world.settle();
    world.take_sent();
    world.cable.borrow_mut().room = Some(0);
    for n in 2..300 {
        world.firewall_sends(&frame(n), Meta::default());
    }
    let until = world.settle();
    assert!(until <= world.now_us + 10_000, "a full card is looked at again soon");
    assert_eq!(world.take_sent().len(), 0);
    world.cable.borrow_mut().room = Some(100);
    world.settle();
    assert_eq!(world.take_sent().len(), 100);
    world.cable.borrow_mut().room = None;
    world.settle();
    let ports: Vec<u16> = world.take_sent().iter().map(|f| u16::from_be_bytes([f[36], f[37]])).collect();
    assert_eq!(ports, (102..300).collect::<Vec<_>>());
}

fn gso(kind: GsoKind, header_len: u16) -> Meta {
    Meta {
        csum: Csum::Partial { start: 34, offset: 16 },
        gso: Some(Gso { kind, size: 1400, header_len }),
        ..Meta::default()
    }
}

/// Checks the segments of a cut IPv4 TCP packet as a receiver would put them together.
fn reassemble(segments: &[Vec<u8>], original: &[u8]) {
    let mut payload = Vec::new();
    for (index, frame) in segments.iter().enumerate() {
        let ethernet = EthernetPacket::new(frame).unwrap();
        let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
        assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
        assert_eq!(usize::from(ip.get_total_length()), frame.len() - 14);
        assert_eq!(usize::from(ip.get_identification()), 0x1000 + index);
        let segment = TcpPacket::new(ip.payload()).unwrap();
        assert_eq!(
            segment.get_checksum(),
            tcp::ipv4_checksum(&segment, &ip.get_source(), &ip.get_destination())
        );
        assert_eq!(
            segment.get_sequence(),
            0xFFFF_FF00_u32.wrapping_add(u32::try_from(payload.len()).unwrap())
        );
        let last = index + 1 == segments.len();
        assert_eq!(segment.get_flags() & (TcpFlags::FIN | TcpFlags::PSH) != 0, last);
        assert_eq!(segment.get_flags() & TcpFlags::CWR != 0, index == 0);
        payload.extend_from_slice(segment.payload());
    }
    assert_eq!(payload, original[40..]);
}

#[test]
fn a_card_without_offloads_gets_segments() {
    let mut world = online(Offloads::default());
    let warm = from_firewall(&udp4((OURS, 4000), (FAR, 53), b""), EtherTypes::Ipv4);
    world.firewall_sends(&warm, Meta::default());
    world.settle();
    world.take_sent();
    for payload in [1, 1399, 1400, 1401, 60_000, 65_495] {
        let body = tcp4((OURS, 4000), (FAR, 443), payload);
        world.firewall_sends(&from_firewall(&body, EtherTypes::Ipv4), gso(GsoKind::Tcp4, 54));
        world.settle();
        let segments = packets(&mut world);
        assert_eq!(segments.len(), payload.div_ceil(1400));
        reassemble(&segments, &body);
    }
}

#[test]
fn segments_survive_a_card_that_fills_up_between_them() {
    let mut world = online(Offloads::default());
    world.firewall_sends(&from_firewall(&udp4((OURS, 1), (FAR, 2), b""), EtherTypes::Ipv4), Meta::default());
    world.settle();
    world.take_sent();
    let body = tcp4((OURS, 4000), (FAR, 443), 20_000);
    world.cable.borrow_mut().room = Some(3);
    world.firewall_sends(&from_firewall(&body, EtherTypes::Ipv4), gso(GsoKind::Tcp4, 54));
    world.settle();
    world.cable.borrow_mut().room = None;
    world.settle();
    let segments = packets(&mut world);
    assert_eq!(segments.len(), 15);
    reassemble(&segments, &body);
}

#[test]
fn long_udp_packets_and_ipv6_are_cut_too() {
    let mut world = online(Offloads::default());
    world.station(advertises(ra(0, 1800, &[prefix_option(PREFIX, 64, 0xC0, 86400)])));
    world.pass(6 * SECOND);
    let far: Ipv6Addr = "2001:db8:ffff::9".parse().unwrap();
    let warm = udp6((OURS6, 1), (far, 2), b"");
    world.firewall_sends(&from_firewall(&warm, EtherTypes::Ipv6), Meta::default());
    world.settle();
    world.take_sent();
    let payload: Vec<u8> = (0..5000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let meta = Meta { csum: Csum::Partial { start: 54, offset: 6 }, ..gso(GsoKind::Udp, 62) };
    world.firewall_sends(&from_firewall(&udp6((OURS6, 7), (far, 9), &payload), EtherTypes::Ipv6), meta);
    world.settle();
    let mut got = Vec::new();
    for frame in packets(&mut world) {
        let ethernet = EthernetPacket::new(&frame).unwrap();
        assert_eq!(ethernet.get_destination().octets(), ROUTER_MAC);
        let ip = Ipv6Packet::new(ethernet.payload()).unwrap();
        let datagram = UdpPacket::new(ip.payload()).unwrap();
        assert_eq!(usize::from(datagram.get_length()), ip.payload().len());
        assert_eq!(
            datagram.get_checksum(),
            udp::ipv6_checksum(&datagram, &ip.get_source(), &ip.get_destination())
        );
        got.extend_from_slice(datagram.payload());
    }
    assert_eq!(got, payload);
}

#[test]
fn a_card_with_offloads_is_left_to_it() {
    let mut world = online(ALL_OFFLOADS);
    world.firewall_sends(&from_firewall(&udp4((OURS, 1), (FAR, 2), b""), EtherTypes::Ipv4), Meta::default());
    world.settle();
    world.take_sent();
    let body = from_firewall(&tcp4((OURS, 4000), (FAR, 443), 9000), EtherTypes::Ipv4);
    world.firewall_sends(&body, gso(GsoKind::Tcp4, 54));
    let short = from_firewall(&tcp4((OURS, 4000), (FAR, 443), 90), EtherTypes::Ipv4);
    world.firewall_sends(&short, Meta { gso: None, ..gso(GsoKind::Tcp4, 54) });
    world.settle();
    let offloads: Vec<_> = world.sent.iter().map(|(frame, offload)| (frame.len(), *offload)).collect();
    assert_eq!(
        offloads,
        [(9054, Offload::Segment { size: 1400 }), (144, Offload::Checksum { start: 34, offset: 16 })]
    );
}

#[test]
fn a_partial_checksum_is_completed_for_a_card_that_cannot() {
    let mut world = online(Offloads::default());
    let mut body = tcp4((OURS, 4000), (FAR, 443), 91);
    // What a guest leaves there: the folded sum of the pseudo header.
    let sum = packet::checksum::pseudo_v4(OURS, FAR, 6, 111).fold();
    body[36..38].copy_from_slice(&sum.to_be_bytes());
    world.firewall_sends(
        &from_firewall(&body, EtherTypes::Ipv4),
        Meta { gso: None, ..gso(GsoKind::Tcp4, 54) },
    );
    world.settle();
    let sent = packets(&mut world);
    let ethernet = EthernetPacket::new(&sent[0]).unwrap();
    let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
    let segment = TcpPacket::new(ip.payload()).unwrap();
    assert_eq!(segment.get_checksum(), tcp::ipv4_checksum(&segment, &OURS, &FAR));
}

#[test]
fn metadata_that_do_not_fit_the_frame_are_refused() {
    let mut world = online(ALL_OFFLOADS);
    let tcp = from_firewall(&tcp4((OURS, 4000), (FAR, 443), 9000), EtherTypes::Ipv4);
    let good = gso(GsoKind::Tcp4, 54);
    let with = |size, header_len, kind| Meta { gso: Some(Gso { kind, size, header_len }), ..good };
    let bad = [
        with(1400, 54, GsoKind::Tcp6),
        with(1400, 54, GsoKind::Udp),
        with(1400, 34, GsoKind::Tcp4),
        with(1400, 66, GsoKind::Tcp4),
        with(1461, 54, GsoKind::Tcp4),
        with(63, 54, GsoKind::Tcp4),
    ];
    for (n, meta) in bad.into_iter().enumerate() {
        world.firewall_sends(&tcp, meta);
        world.settle();
        assert_eq!(world.count(Counter::BadFrame), n as u64 + 1, "{meta:?}");
    }
    assert_eq!(world.take_sent().len(), 0);
}

#[test]
fn a_firewall_that_breaks_the_link_is_reported_and_can_come_back() {
    let mut world = online(Offloads::default());
    let (near, mut wild) = link::host::scribbled(link::Geometry::DEFAULT, 5).unwrap();
    wild.write(0, &link::layout::IDENTITY.to_le_bytes());
    wild.write(8, &5_u64.to_le_bytes());
    wild.write(0x80, &7_u64.to_le_bytes());
    world.netvm.attach_firewall(1, near);
    world.settle();
    let messages = world.at_dom0();
    assert!(matches!(messages.last(), Some(FromDomain::PeerFault { port: 1, .. })), "{messages:?}");
    world.arrive(&to_us(&udp4((FAR, 53), (OURS, 4000), b"x")));
    world.settle();
    assert_eq!(world.count(Counter::NoFirewall), 1);
    let (near, far) = link::host::pair(link::Geometry::DEFAULT, 6).unwrap();
    world.netvm.attach_firewall(1, near);
    world.firewall = far;
    world.arrive(&to_us(&udp4((FAR, 53), (OURS, 4000), b"x")));
    world.settle();
    assert_eq!(world.at_firewall().0.len(), 1);
}

#[test]
fn a_card_that_is_gone_ends_the_domain() {
    let mut world = online(Offloads::default());
    world.cable.borrow_mut().gone = true;
    world.now_us += 2 * SECOND;
    assert_eq!(world.netvm.step(world.now_us), Err(crate::nic::NicGone));
}
