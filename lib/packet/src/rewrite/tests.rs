//! After every edit, all checksums recomputed by pnet.
use super::*;
use crate::{
    headers::{Frame, parse},
    quoted,
};
use pnet_packet::{Packet as _, icmp::IcmpPacket, icmpv6::Icmpv6Packet, ipv4::Ipv4Packet, ipv6::Ipv6Packet};
use proptest::prelude::*;

fn low(address: u128) -> Ipv4Addr {
    let [.., a, b, c, d] = address.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

fn headers(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

fn with_ip(v6: bool, addresses: (u128, u128), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    let len = u16::try_from(payload.len()).unwrap();
    if v6 {
        frame.extend([0x86, 0xdd]);
        let (source, destination) = (addresses.0.into(), addresses.1.into());
        frame.extend(Ipv6 { source, destination, hop_limit: 7, next: protocol, payload_len: len }.emit());
    } else {
        frame.extend([0x08, 0x00]);
        let mut ip = Ipv4::fields(&[0; 20]);
        ip.source = low(addresses.0);
        ip.destination = low(addresses.1);
        (ip.ttl, ip.protocol, ip.total_len) = (7, protocol, len + 20);
        frame.extend(ip.emit());
    }
    frame.extend(payload);
    frame
}

/// A transport packet with a right checksum, computed by pnet.
fn packet(v6: bool, addresses: (u128, u128), kind: u8, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut t = Vec::new();
    let protocol = match (kind, v6) {
        (0, _) => 6,
        (1, _) => 17,
        (_, false) => 1,
        (_, true) => 58,
    };
    match kind {
        0 => {
            t.extend(ports.0.to_be_bytes());
            t.extend(ports.1.to_be_bytes());
            t.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
        }
        1 => {
            let len = u16::try_from(8 + data.len()).unwrap();
            t.extend(udp::Udp { source_port: ports.0, destination_port: ports.1, len, checksum: 0 }.emit());
        }
        _ => {
            t.extend([if v6 { 128 } else { 8 }, 0, 0, 0]);
            t.extend(ports.0.to_be_bytes());
            t.extend([0, 1]);
        }
    }
    t.extend(data);
    let (at, sum) = recomputed(v6, addresses, protocol, &t);
    t[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    with_ip(v6, addresses, protocol, &t)
}

/// Where the checksum is and what pnet says it ought to be.
fn recomputed(v6: bool, (s, d): (u128, u128), protocol: u8, t: &[u8]) -> (usize, u16) {
    let (s4, d4) = (low(s), low(d));
    let (s6, d6) = (Ipv6Addr::from_bits(s), Ipv6Addr::from_bits(d));
    match (protocol, v6) {
        (6, false) => {
            (16, pnet_packet::tcp::ipv4_checksum(&pnet_packet::tcp::TcpPacket::new(t).unwrap(), &s4, &d4))
        }
        (6, true) => {
            (16, pnet_packet::tcp::ipv6_checksum(&pnet_packet::tcp::TcpPacket::new(t).unwrap(), &s6, &d6))
        }
        (17, false) => {
            (6, pnet_packet::udp::ipv4_checksum(&pnet_packet::udp::UdpPacket::new(t).unwrap(), &s4, &d4))
        }
        (17, true) => {
            (6, pnet_packet::udp::ipv6_checksum(&pnet_packet::udp::UdpPacket::new(t).unwrap(), &s6, &d6))
        }
        (1, _) => (2, pnet_packet::icmp::checksum(&IcmpPacket::new(t).unwrap())),
        _ => (2, pnet_packet::icmpv6::checksum(&Icmpv6Packet::new(t).unwrap(), &s6, &d6)),
    }
}

fn assert_sound(frame: &[u8], v6: bool) {
    let h = headers(frame);
    let (addresses, protocol) = match h.network {
        Network::V4(ip) => {
            let pnet = Ipv4Packet::new(&frame[14..]).unwrap();
            assert_eq!(pnet.get_checksum(), pnet_packet::ipv4::checksum(&pnet));
            ((ip.source.to_bits().into(), ip.destination.to_bits().into()), ip.protocol)
        }
        Network::V6(ip) => ((ip.source.to_bits(), ip.destination.to_bits()), ip.next),
    };
    let t = &frame[h.transport_at..h.end];
    let (at, sum) = recomputed(v6, addresses, protocol, t);
    assert_eq!([t[at], t[at + 1]], sum.to_be_bytes());
}

proptest! {
    #[test]
    fn a_translated_packet_has_right_checksums(
        v6: bool, from: (u128, u128), to: (u128, u128), kind in 0u8..3, ports in (1u16.., 1u16..),
        new_ports in (1u16.., 1u16..), data in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let new_ports = if kind == 2 { (new_ports.0, 0) } else { new_ports };
        let mut frame = packet(v6, from, kind, ports, &data);
        assert_sound(&frame, v6);
        let h = headers(&frame);
        let (source_port, destination_port) = new_ports;
        if v6 {
            let to = Endpoints { source: to.0.into(), destination: to.1.into(), source_port, destination_port };
            super::v6(&mut frame, &h, &to, Field::Complete).unwrap();
        } else {
            let (s, d) = (low(to.0), low(to.1));
            v4(&mut frame, &h, &Endpoints { source: s, destination: d, source_port, destination_port }, Field::Complete).unwrap();
        }
        assert_sound(&frame, v6);
        let after = headers(&frame);
        prop_assert_eq!(after.hop_limit(), 6);
        let read = match after.transport {
            Transport::Tcp(t) => (t.source_port, t.destination_port),
            Transport::Udp(t) => (t.source_port, t.destination_port),
            Transport::Icmp(t) => (t.identifier, 0),
            Transport::Icmpv6(t) => (t.identifier, 0),
            Transport::Fragment(_) => panic!(),
        };
        prop_assert_eq!(read, new_ports);
        prop_assert_eq!(&frame[after.payload_at..after.end], &data[..]);
    }

    #[test]
    fn a_partial_checksum_is_completed_to_a_right_one(
        v6: bool, from: (u128, u128), to: (u128, u128), tcp: bool, ports in (1u16.., 1u16..), junk: u16,
        data in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut frame = packet(v6, from, u8::from(!tcp), ports, &data);
        let h = headers(&frame);
        let at = h.transport_at + if tcp { 16 } else { 6 };
        frame[at..at + 2].copy_from_slice(&junk.to_be_bytes());
        let h = headers(&frame);
        let (source_port, destination_port) = (4000, 443);
        if v6 {
            let to = Endpoints { source: to.0.into(), destination: to.1.into(), source_port, destination_port };
            super::v6(&mut frame, &h, &to, Field::Partial).unwrap();
        } else {
            let (s, d) = (low(to.0), low(to.1));
            v4(&mut frame, &h, &Endpoints { source: s, destination: d, source_port, destination_port }, Field::Partial).unwrap();
        }
        let mut completed = frame.clone();
        complete(&mut completed, &h).unwrap();
        assert_sound(&completed, v6);
        // What a card does: sum from the transport header on, the field included.
        let sum = match Sum::new().bytes(&frame[h.transport_at..h.end]).finish() { 0 if !tcp => 0xFFFF, sum => sum };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        assert_sound(&frame, v6);
    }

    #[test]
    fn an_error_is_translated_inside_and_outside(
        v6: bool, from: (u128, u128), to: (u128, u128), router: u128, kind in 0u8..3, ports in (1u16.., 1u16..),
        cut in 8usize..60,
    ) {
        let original = packet(v6, from, kind, ports, &[7; 30]);
        let expected = {
            let mut frame = original.clone();
            let h = headers(&frame);
            edit(&mut frame, &h, v6, to, kind);
            frame
        };
        let ip_len = if v6 { 40 } else { 20 };
        let quoted_len = (ip_len + cut).min(original.len() - 14);
        let mut message = vec![if v6 { 1 } else { 3 }, 0, 0, 0, 0, 0, 0, 0];
        message.extend(&original[14..14 + quoted_len]);
        let protocol = if v6 { 58 } else { 1 };
        let (at, sum) = recomputed(v6, (router, from.0), protocol, &message);
        message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut frame = with_ip(v6, (router, from.0), protocol, &message);
        let h = headers(&frame);
        prop_assert!(icmp_is_valid(&frame, &h));
        let (source_port, destination_port) = if kind == 2 { (9, 0) } else { (9, 10) };
        if v6 {
            let q = quoted::parse_v6(&frame[h.payload_at..h.end]).unwrap();
            let inner = Endpoints { source: to.0.into(), destination: to.1.into(), source_port, destination_port };
            error_v6(&mut frame, &h, (router.into(), to.0.into()), &q, &inner).unwrap();
        } else {
            let q = quoted::parse_v4(&frame[h.payload_at..h.end]).unwrap();
            let (s, d) = (low(to.0), low(to.1));
            let inner = Endpoints { source: s, destination: d, source_port, destination_port };
            error_v4(&mut frame, &h, (low(router), s), &q, &inner).unwrap();
        }
        assert_sound(&frame, v6);
        // The quoted packet is now what the translated original was, the hop aside.
        let h = headers(&frame);
        let mut expected = expected[14..14 + quoted_len].to_vec();
        if v6 {
            expected[7] += 1;
        } else {
            expected[8] += 1;
            let sum = Sum::new().bytes(&expected[..10]).bytes(&expected[12..20]).finish();
            expected[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        // Half a checksum cannot be updated; nobody can check it either.
        let whole = quoted_len - usize::from(kind == 0 && quoted_len - ip_len == 17);
        prop_assert_eq!(&frame[h.payload_at..h.payload_at + whole], &expected[..whole]);
    }
}

fn edit(frame: &mut [u8], h: &Headers, v6: bool, to: (u128, u128), kind: u8) {
    let (source_port, destination_port) = if kind == 2 { (9, 0) } else { (9, 10) };
    if v6 {
        let to = Endpoints { source: to.0.into(), destination: to.1.into(), source_port, destination_port };
        super::v6(frame, h, &to, Field::Complete).unwrap();
    } else {
        let (s, d) = (low(to.0), low(to.1));
        let to = Endpoints { source: s, destination: d, source_port, destination_port };
        v4(frame, h, &to, Field::Complete).unwrap();
    }
}

#[test]
fn an_echo_request_becomes_its_reply() {
    for v6 in [false, true] {
        let mut frame = packet(v6, (1, 2), 2, (77, 0), b"hello");
        let h = headers(&frame);
        echo_reply(&mut frame, &h).unwrap();
        assert_sound(&frame, v6);
        let h = headers(&frame);
        match (h.network, h.transport) {
            (Network::V4(ip), Transport::Icmp(i)) => {
                assert_eq!((ip.source.to_bits(), ip.destination.to_bits(), i.kind), (2, 1, 0));
            }
            (Network::V6(ip), Transport::Icmpv6(i)) => {
                assert_eq!((ip.source.to_bits(), ip.destination.to_bits(), i.kind), (2, 1, 129));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(h.hop_limit(), 64);
        if let Some(ip) = Ipv6Packet::new(&frame[14..]).filter(|_| v6) {
            assert_eq!(ip.payload()[4..6], [0, 77]);
        }
    }
}

#[test]
fn a_short_frame_is_an_answer_not_a_panic() {
    let frame = packet(false, (1, 2), 0, (1, 2), &[]);
    let h = headers(&frame);
    let to = Endpoints {
        source: Ipv4Addr::LOCALHOST,
        destination: Ipv4Addr::LOCALHOST,
        source_port: 1,
        destination_port: 1,
    };
    for len in 0..frame.len() {
        assert_eq!(v4(&mut frame.clone()[..len], &h, &to, Field::Complete), None);
    }
}
