//! Checksum insertion and segmentation, checked on the wire by independent code (`pnet_packet`).

use super::*;
use pnet_packet::ip::IpNextHeaderProtocols::Tcp;
use pnet_packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet_packet::tcp::{MutableTcpPacket, TcpPacket, ipv4_checksum, ipv6_checksum};
use pnet_packet::{Packet, tcp};

const V4: usize = 20;
const V6: usize = 40;

/// Bytes before the IP header.
fn ethernet(vlan: bool, ethertype: u16) -> Vec<u8> {
    let mut header = vec![2; 12];
    if vlan {
        header.extend([0x81, 0x00, 0x00, 0x07]);
    }
    header.extend(ethertype.to_be_bytes());
    header
}

fn tcp_header(options: usize) -> Vec<u8> {
    let mut bytes = vec![1; 20 + options];
    let mut tcp = MutableTcpPacket::new(&mut bytes).unwrap();
    tcp.set_source(40_000);
    tcp.set_destination(80);
    tcp.set_sequence(0xFFFF_F000);
    tcp.set_acknowledgement(7);
    tcp.set_data_offset(((20 + options) / 4).try_into().unwrap());
    tcp.set_flags(tcp::TcpFlags::ACK | tcp::TcpFlags::PSH | tcp::TcpFlags::FIN);
    tcp.set_checksum(0xDEAD);
    bytes
}

fn ipv4(payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; V4];
    let mut ip = MutableIpv4Packet::new(&mut bytes).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length((V4 + payload).min(65_535).try_into().unwrap());
    ip.set_identification(0xFFFE);
    ip.set_flags(2);
    ip.set_ttl(64);
    ip.set_next_level_protocol(Tcp);
    ip.set_source([10, 137, 0, 2].into());
    ip.set_destination([203, 0, 113, 9].into());
    ip.set_checksum(0xBEEF);
    bytes
}

fn ipv6(payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; V6];
    let mut ip = MutableIpv6Packet::new(&mut bytes).unwrap();
    ip.set_version(6);
    ip.set_payload_length(payload.min(65_535).try_into().unwrap());
    ip.set_next_header(Tcp);
    ip.set_hop_limit(64);
    ip.set_source("fd09:24ef:4179::2".parse().unwrap());
    ip.set_destination("2001:db8::9".parse().unwrap());
    bytes
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251).to_le_bytes()[0]).collect()
}

#[test]
fn tcp4_is_segmented_with_right_lengths_sequence_flags_and_checksums() {
    for (vlan, options, len, mss) in
        [(false, 0, 65_000, 1460), (true, 12, 10_000, 1448), (false, 40, 1500, 64), (false, 0, 1460, 1460)]
    {
        let mut bench = Bench::new();
        let mut nic = bench.up();
        let (eth, tcp, body) = (ethernet(vlan, 0x0800), tcp_header(options), data(len));
        let ip = ipv4(tcp.len() + len);
        let (_, mut tx) = nic.rings();
        tx.send(&[&eth, &ip, &tcp, &body[..700], &body[700..]], TxOffload::Segment { mss }).unwrap();
        tx.kick();
        assert_eq!(tx.reclaim(), 1);
        let sent = bench.card.take_sent();
        assert_eq!(sent.len(), len.div_ceil(usize::from(mss)));
        let mut seen = Vec::new();
        for (index, frame) in sent.iter().enumerate() {
            let packet = Ipv4Packet::new(&frame[eth.len()..]).unwrap();
            assert_eq!(usize::from(packet.get_total_length()), frame.len() - eth.len());
            assert_eq!(packet.get_checksum(), pnet_packet::ipv4::checksum(&packet));
            assert_eq!(packet.get_identification(), 0xFFFE_u16.wrapping_add(index.try_into().unwrap()));
            let segment = TcpPacket::new(packet.payload()).unwrap();
            let checksum = ipv4_checksum(&segment, &packet.get_source(), &packet.get_destination());
            assert_eq!(segment.get_checksum(), checksum);
            let offset = u32::try_from(seen.len()).unwrap();
            assert_eq!(segment.get_sequence(), 0xFFFF_F000_u32.wrapping_add(offset));
            let fin = segment.get_flags() & (tcp::TcpFlags::FIN | tcp::TcpFlags::PSH) != 0;
            assert_eq!(fin, index + 1 == sent.len(), "FIN and PSH on the last segment only");
            seen.extend_from_slice(segment.payload());
        }
        assert_eq!(seen, body);
        bench.assert_clean();
    }
}

#[test]
fn tcp6_is_segmented() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let (eth, tcp, body) = (ethernet(false, 0x86DD), tcp_header(12), data(40_000));
    let (_, mut tx) = nic.rings();
    let ip = ipv6(tcp.len() + body.len());
    tx.send(&[&eth, &ip, &tcp, &body], TxOffload::Segment { mss: 1428 }).unwrap();
    tx.kick();
    let sent = bench.card.take_sent();
    assert_eq!(sent.len(), 40_000_usize.div_ceil(1428));
    let mut seen = Vec::new();
    for frame in &sent {
        let packet = Ipv6Packet::new(&frame[14..]).unwrap();
        assert_eq!(usize::from(packet.get_payload_length()), frame.len() - 14 - V6);
        let segment = TcpPacket::new(packet.payload()).unwrap();
        let checksum = ipv6_checksum(&segment, &packet.get_source(), &packet.get_destination());
        assert_eq!(segment.get_checksum(), checksum);
        seen.extend_from_slice(segment.payload());
    }
    assert_eq!(seen, body);
    bench.assert_clean();
}

#[test]
fn segmentation_crosses_the_end_of_the_ring() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    for round in 0..40 {
        let (eth, tcp, body) = (ethernet(false, 0x0800), tcp_header(0), data(20_000 + round * 1000));
        let ip = ipv4(tcp.len() + body.len());
        let (_, mut tx) = nic.rings();
        tx.send(&[&eth, &ip, &tcp, &body], TxOffload::Segment { mss: 1460 }).unwrap();
        tx.kick();
        assert_eq!(tx.reclaim(), 1);
        let bytes: Vec<_> = bench.card.take_sent().iter().flat_map(|frame| frame[54..].to_vec()).collect();
        assert_eq!(bytes, body);
    }
    bench.assert_clean();
}

#[test]
fn a_tcp_checksum_is_inserted_and_its_context_reused() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    for len in [0, 5, 100, 1400] {
        let (eth, mut tcp, body) = (ethernet(false, 0x0800), tcp_header(0), data(len));
        let ip = ipv4(tcp.len() + len);
        // The pseudo-header sum, length included, in the checksum field.
        let sum: u32 = [0x0A89, 0x0002, 0xCB00, 0x7109, 6, u32::try_from(20 + len).unwrap()].iter().sum();
        let seed = u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap();
        tcp[16..18].copy_from_slice(&seed.to_be_bytes());
        let (_, mut tx) = nic.rings();
        tx.send(&[&eth, &ip, &tcp, &body], TxOffload::Checksum { start: 34, offset: 16 }).unwrap();
        tx.kick();
        let sent = bench.card.take_sent();
        assert_eq!(sent[0].len(), (54 + len).max(60), "padded by the card");
        let packet = Ipv4Packet::new(&sent[0][14..]).unwrap();
        let segment = TcpPacket::new(&packet.payload()[..20 + len]).unwrap();
        let checksum = ipv4_checksum(&segment, &packet.get_source(), &packet.get_destination());
        assert_eq!(segment.get_checksum(), checksum);
    }
    // Four frames, one context: five descriptors.
    assert_eq!(bench.card.peek(crate::regs::TDT0), 5);
    bench.assert_clean();
}

#[test]
fn requests_that_do_not_fit_the_frame_are_refused() {
    let mut bench = Bench::new();
    let mut nic = bench.up();
    let whole = [ethernet(false, 0x0800), ipv4(20 + 3000), tcp_header(0), data(3000)].concat();
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut frame = whole.clone();
        change(&mut frame);
        frame
    };
    let frames = [
        broken(|frame| frame[12] = 0x12),   // not IP
        broken(|frame| frame[14] = 0x65),   // version
        broken(|frame| frame[14] = 0x44),   // header too short
        broken(|frame| frame[20] = 0x20),   // more fragments
        broken(|frame| frame[23] = 17),     // not TCP
        broken(|frame| frame[46] = 0x40),   // TCP header too short
        broken(|frame| frame.truncate(54)), // no payload
        broken(|frame| frame.truncate(30)), // no TCP header
    ];
    let (_, mut tx) = nic.rings();
    for (index, frame) in frames.iter().enumerate() {
        let offload = TxOffload::Segment { mss: 1460 };
        assert_eq!(tx.send(&[frame], offload), Err(TxError::Offload), "case {index}");
    }
    for mss in [0, 63, 1465, u16::MAX] {
        assert_eq!(tx.send(&[&whole], TxOffload::Segment { mss }), Err(TxError::Offload), "mss {mss}");
    }
    let short = &whole[..1000];
    for (start, offset) in [(0, 16), (13, 2), (34, 65_535), (990, 16), (34, 965), (300, 16)] {
        let offload = TxOffload::Checksum { start, offset };
        assert_eq!(tx.send(&[short], offload), Err(TxError::Offload), "{start}+{offset}");
    }
    tx.kick();
    assert!(bench.card.take_sent().is_empty());
    bench.assert_clean();
}
