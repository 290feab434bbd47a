//! Frames byte by byte, with right checksums unless a test breaks them.

use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::{Packet, icmpv6, ipv4, tcp, udp};
use std::net::{Ipv4Addr, Ipv6Addr};
use tests::leaks::Mac;

/// Where a packet comes from and goes.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) to: (Ipv4Addr, u16),
}

impl Way {
    /// The way back.
    pub(crate) fn back(self) -> Self {
        Self { macs: (self.macs.1, self.macs.0), from: self.to, to: self.from }
    }
}

/// A TCP segment; its options must be whole words.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// What smoltcp sends with a SYN.
pub(crate) const SMOLTCP_OPTIONS: &[u8] = &[2, 4, 5, 0xb4, 3, 3, 6, 4, 2, 0, 0, 0];
/// What Linux does, timestamps and all.
pub(crate) const LINUX_OPTIONS: &[u8] = &[2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

pub(crate) fn ethernet(macs: (Mac, Mac), kind: u16, payload: &[u8]) -> Vec<u8> {
    [&macs.1[..], &macs.0, &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 packet of `ttl`, as the gateway's stack makes them.
pub(crate) fn ipv4(way: Way, ttl: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet.extend(payload);
    let mut header = ipv4::MutableIpv4Packet::new(&mut packet).unwrap();
    header.set_version(4);
    header.set_header_length(5);
    header.set_total_length(u16::try_from(20 + payload.len()).unwrap());
    header.set_flags(ipv4::Ipv4Flags::DontFragment);
    header.set_ttl(ttl);
    header.set_next_level_protocol(IpNextHeaderProtocol(protocol));
    header.set_source(way.from.0);
    header.set_destination(way.to.0);
    let frame = ethernet(way.macs, 0x0800, &packet);
    repaired(frame)
}

/// The same frame with its IPv4 header's checksum made right.
pub(crate) fn repaired(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = ipv4::checksum(&ipv4::Ipv4Packet::new(&frame[14..]).unwrap());
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

pub(crate) fn segment(way: Way, ttl: u8, segment: Segment<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes.extend(segment.options);
    bytes.extend(segment.payload);
    let mut header = tcp::MutableTcpPacket::new(&mut bytes).unwrap();
    header.set_source(way.from.1);
    header.set_destination(way.to.1);
    header.set_sequence(segment.sequence);
    header.set_acknowledgement(if segment.flags & ACK == 0 { 0 } else { 0x0505_0505 });
    header.set_data_offset(u8::try_from(5 + segment.options.len() / 4).unwrap());
    header.set_flags(segment.flags);
    header.set_window(64_000);
    header.set_checksum(tcp::ipv4_checksum(&header.to_immutable(), &way.from.0, &way.to.0));
    ipv4(way, ttl, 6, &bytes)
}

pub(crate) fn datagram(way: Way, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(payload);
    let length = u16::try_from(bytes.len()).unwrap();
    let mut header = udp::MutableUdpPacket::new(&mut bytes).unwrap();
    header.set_source(way.from.1);
    header.set_destination(way.to.1);
    header.set_length(length);
    header.set_checksum(udp::ipv4_checksum(&header.to_immutable(), &way.from.0, &way.to.0));
    ipv4(way, 64, 17, &bytes)
}

/// The sum that ICMP has over its message.
pub(crate) fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(body);
    let sum = pnet_packet::util::checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// ARP of operation 1 (request) or 2 (reply).
pub(crate) fn arp(macs: (Mac, Mac), operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let asked = if operation == 1 { [0; 6] } else { macs.1 };
    let message = [&head[..], &macs.0, &sender.octets(), &asked, &target.octets()].concat();
    ethernet(macs, 0x0806, &message)
}

/// An IPv6 packet.
pub(crate) fn ipv6(macs: (Mac, Mac), ends: (Ipv6Addr, Ipv6Addr), next: (u8, u8), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], next.0, next.1];
    let packet = [&head[..], &ends.0.octets(), &ends.1.octets(), payload].concat();
    ethernet(macs, 0x86dd, &packet)
}

/// An ICMPv6 message with hop limit 255.
pub(crate) fn icmpv6(macs: (Mac, Mac), ends: (Ipv6Addr, Ipv6Addr), kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let sum = icmpv6::checksum(&icmpv6::Icmpv6Packet::new(&message).unwrap(), &ends.0, &ends.1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(macs, ends, (58, 255), &message)
}

/// A UDP datagram over IPv6.
pub(crate) fn datagram_v6(
    macs: (Mac, Mac),
    ends: (Ipv6Addr, Ipv6Addr),
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(payload);
    let length = u16::try_from(bytes.len()).unwrap();
    let mut header = udp::MutableUdpPacket::new(&mut bytes).unwrap();
    header.set_source(ports.0);
    header.set_destination(ports.1);
    header.set_length(length);
    header.set_checksum(udp::ipv6_checksum(&header.to_immutable(), &ends.0, &ends.1));
    assert_eq!(header.packet().len(), usize::from(length));
    ipv6(macs, ends, (17, 1), &bytes)
}
