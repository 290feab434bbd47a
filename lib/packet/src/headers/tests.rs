//! Literal frames, frames built by pnet, and noise.
use super::*;
use pnet_packet::{
    MutablePacket as _,
    ethernet::{EtherTypes, MutableEthernetPacket},
    ip::IpNextHeaderProtocols,
    ipv4::MutableIpv4Packet,
    tcp::MutableTcpPacket,
};
use proptest::prelude::*;

/// An ordinary DNS question, captured by hand.
const DNS: &[u8] = &[
    0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x62, 0x6b, 0x00, 0x00, 0x01, 0x08, 0x00, // Ethernet
    0x45, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x25, 0xb2, 0x0a, 0x89, 0x00, 0x06, 0x0a,
    0x8b, 0x01, 0x01, // IPv4
    0xab, 0xcd, 0x00, 0x35, 0x00, 0x0b, 0x00, 0x00, // UDP
    0x01, 0x02, 0x03, // payload
    0x00, 0x00, 0x00, // padding
];

fn fixed(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = crate::checksum::Sum::new().bytes(&frame[14..24]).bytes(&frame[26..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn a_literal_frame() {
    let Ok(Frame::Ip(headers)) = parse(&fixed(DNS.to_vec())) else { panic!() };
    assert_eq!((headers.transport_at, headers.payload_at, headers.end), (34, 42, 45));
    assert_eq!(headers.payload_len(), 3);
    let Transport::Udp(udp) = headers.transport else { panic!() };
    assert_eq!((udp.source_port, udp.destination_port), (0xabcd, 53));
    let Network::V4(ip) = headers.network else { panic!() };
    assert_eq!(ip.destination, core::net::Ipv4Addr::new(10, 139, 1, 1));
}

#[test]
fn every_lie_has_its_name() {
    let change = |edits: &[(usize, u8)]| {
        let mut frame = DNS.to_vec();
        edits.iter().for_each(|(at, value)| frame[*at] = *value);
        parse(&fixed(frame)).unwrap_err()
    };
    assert_eq!(change(&[(12, 0x81)]), Fault::EtherType);
    assert_eq!(change(&[(14, 0x46)]), Fault::IpOptions);
    assert_eq!(change(&[(14, 0x44)]), Fault::IpHeader);
    assert_eq!(change(&[(17, 0x80)]), Fault::IpLength);
    assert_eq!(change(&[(17, 0x10)]), Fault::IpLength);
    assert_eq!(change(&[(17, 0x18)]), Fault::TransportLength);
    assert_eq!(change(&[(17, 0x20)]), Fault::TransportLength, "UDP shorter than IP says");
    assert_eq!(change(&[(23, 47)]), Fault::Protocol);
    assert_eq!(change(&[(36, 0), (37, 0)]), Fault::PortZero);
    assert_eq!(change(&[(23, 6), (46, 0x50)]), Fault::TransportLength, "TCP in 11 bytes");
    assert_eq!(change(&[(20, 0x20)]), Fault::FragmentShape, "11 bytes and more to follow");
    assert_eq!(change(&[(20, 0x1f), (21, 0xff)]), Fault::FragmentShape, "beyond 64 KiB");
    let mut frame = fixed(DNS.to_vec());
    frame[25] ^= 1;
    assert_eq!(parse(&frame), Err(Fault::IpChecksum));
    for len in 0..45 {
        assert!(parse(&fixed(DNS.to_vec())[..len]).is_err(), "{len}");
    }
}

#[test]
fn extension_headers_are_walked() {
    let mut frame = vec![0; 14];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    let header = Ipv6 {
        source: "fd00::1".parse().unwrap(),
        destination: "2001:db8::1".parse().unwrap(),
        hop_limit: 64,
        next: ipv6::DESTINATION_OPTIONS,
        payload_len: 8 + 8 + 5,
    };
    frame.extend(header.emit());
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend([0, 7, 0, 53, 0, 13, 0, 0, 1, 2, 3, 4, 5]);
    let Ok(Frame::Ip(headers)) = parse(&frame) else { panic!("{:?}", parse(&frame)) };
    assert_eq!((headers.transport_at, headers.payload_at, headers.end), (62, 70, 75));
    assert!(matches!(headers.transport, Transport::Udp(_)));
    frame[18] = 0;
    frame[19] = 0;
    assert_eq!(parse(&frame), Err(Fault::ExtensionHeader), "the jumbogram's length 0");
}

proptest! {
    #[test]
    fn pnet_builds_what_we_read(
        source: u32, destination: u32, ports in (1u16.., 1u16..), sequence: u32, window: u16,
        payload in proptest::collection::vec(any::<u8>(), 0..200), options in 0u8..10, padding in 0usize..20,
    ) {
        let tcp_len = 20 + usize::from(options) * 4;
        let total = 20 + tcp_len + payload.len();
        let mut bytes = vec![0; 14 + total + padding];
        let mut ethernet = MutableEthernetPacket::new(&mut bytes).unwrap();
        ethernet.set_ethertype(EtherTypes::Ipv4);
        let mut ip = MutableIpv4Packet::new(ethernet.payload_mut()).unwrap();
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_total_length(u16::try_from(total).unwrap());
        ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
        ip.set_source(source.into());
        ip.set_destination(destination.into());
        ip.set_ttl(9);
        let sum = pnet_packet::ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        let mut tcp = MutableTcpPacket::new(ip.payload_mut()).unwrap();
        tcp.set_source(ports.0);
        tcp.set_destination(ports.1);
        tcp.set_sequence(sequence);
        tcp.set_window(window);
        tcp.set_flags(0x10);
        tcp.set_data_offset(5 + options);
        let Ok(Frame::Ip(headers)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        prop_assert_eq!(headers.payload_len(), payload.len());
        prop_assert_eq!(headers.end, 14 + total);
        prop_assert_eq!(headers.hop_limit(), 9);
        let Transport::Tcp(read) = headers.transport else { panic!() };
        prop_assert_eq!((read.source_port, read.destination_port), ports);
        prop_assert_eq!((read.sequence, read.window), (sequence, window));
    }

    /// Whatever is accepted has offsets in order and within the frame.
    #[test]
    fn noise_never_panics(
        kind in prop_oneof![Just(0x0800u16), Just(0x86DD), Just(0x0806)], v6: bool,
        mut bytes in proptest::collection::vec(any::<u8>(), 14..200),
    ) {
        bytes[12..14].copy_from_slice(&kind.to_be_bytes());
        if bytes.len() > 34 {
            bytes[14] = if v6 { 0x60 } else { 0x45 };
            let len = u16::try_from(bytes.len() - if v6 { 54.min(bytes.len()) } else { 14 }).unwrap();
            if v6 { bytes[18..20].copy_from_slice(&len.to_be_bytes()) } else { bytes[16..18].copy_from_slice(&len.to_be_bytes()) }
            if !v6 { bytes = fixed(bytes); }
        }
        if let Ok(Frame::Ip(h)) = parse(&bytes) {
            prop_assert!(h.transport_at <= h.payload_at && h.payload_at <= h.end && h.end <= bytes.len());
        }
    }
}
