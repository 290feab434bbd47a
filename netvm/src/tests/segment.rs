//! The other stations on the segment, and the frames that they speak.

use super::world::{OUR_MAC, World};
use pnet_packet::{
    MutablePacket, Packet,
    arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket},
    ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket},
    icmpv6::{self, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet, ndp},
    ip::IpNextHeaderProtocols,
    ipv4::{self, Ipv4Packet, MutableIpv4Packet},
    ipv6::{Ipv6Packet, MutableIpv6Packet},
    tcp::{self, MutableTcpPacket},
    udp::{self, MutableUdpPacket, UdpPacket},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    vec::Vec,
};

pub(super) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

pub(super) fn ethernet(to: [u8; 6], from: [u8; 6], kind: EtherType, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + body.len()];
    let mut packet = MutableEthernetPacket::new(&mut frame).unwrap();
    packet.set_destination(to.into());
    packet.set_source(from.into());
    packet.set_ethertype(kind);
    packet.set_payload(body);
    frame
}

pub(super) fn arp(
    operation: ArpOperation,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
) -> Vec<u8> {
    let mut body = vec![0; 28];
    let mut packet = MutableArpPacket::new(&mut body).unwrap();
    packet.set_hardware_type(ArpHardwareTypes::Ethernet);
    packet.set_protocol_type(EtherTypes::Ipv4);
    packet.set_hw_addr_len(6);
    packet.set_proto_addr_len(4);
    packet.set_operation(operation);
    packet.set_sender_hw_addr(sender.0.into());
    packet.set_sender_proto_addr(sender.1);
    packet.set_target_hw_addr(target.0.into());
    packet.set_target_proto_addr(target.1);
    let to = if operation == ArpOperations::Request { [0xFF; 6] } else { target.0 };
    ethernet(to, sender.0, EtherTypes::Arp, &body)
}

pub(super) fn udp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 28 + payload.len()];
    let mut datagram = MutableUdpPacket::new(&mut body[20..]).unwrap();
    datagram.set_source(from.1);
    datagram.set_destination(to.1);
    datagram.set_length(u16::try_from(8 + payload.len()).unwrap());
    datagram.set_payload(payload);
    let sum = udp::ipv4_checksum(&datagram.to_immutable(), &from.0, &to.0);
    datagram.set_checksum(sum);
    ip4(&mut body, from.0, to.0, IpNextHeaderProtocols::Udp);
    body
}

fn ip4(body: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, next: pnet_packet::ip::IpNextHeaderProtocol) {
    let len = u16::try_from(body.len()).unwrap();
    let mut packet = MutableIpv4Packet::new(body).unwrap();
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(len);
    packet.set_ttl(64);
    packet.set_identification(0x1000);
    packet.set_next_level_protocol(next);
    packet.set_source(from);
    packet.set_destination(to);
    let sum = ipv4::checksum(&packet.to_immutable());
    packet.set_checksum(sum);
}

/// A frame of firewallvm's: its hardware addresses are the link's.
pub(super) fn from_firewall(body: &[u8], kind: EtherType) -> Vec<u8> {
    ethernet(OUR_MAC, [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], kind, body)
}

/// A TCP packet with this many payload bytes; FIN and PSH set, checksum whole.
pub(super) fn tcp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: usize) -> Vec<u8> {
    let mut body = vec![0; 40 + payload];
    for (i, byte) in body[40..].iter_mut().enumerate() {
        *byte = u8::try_from(i % 251).unwrap();
    }
    fill_tcp(&mut body[20..], from.1, to.1);
    let mut segment = MutableTcpPacket::new(&mut body[20..]).unwrap();
    let sum = tcp::ipv4_checksum(&segment.to_immutable(), &from.0, &to.0);
    segment.set_checksum(sum);
    ip4(&mut body, from.0, to.0, IpNextHeaderProtocols::Tcp);
    body
}

pub(super) fn fill_tcp(segment: &mut [u8], from: u16, to: u16) {
    let mut segment = MutableTcpPacket::new(segment).unwrap();
    segment.set_source(from);
    segment.set_destination(to);
    segment.set_sequence(0xFFFF_FF00);
    segment.set_acknowledgement(7);
    segment.set_data_offset(5);
    segment.set_flags(tcp::TcpFlags::ACK | tcp::TcpFlags::PSH | tcp::TcpFlags::FIN | tcp::TcpFlags::CWR);
    segment.set_window(1000);
}

pub(super) fn ip6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 40 + payload.len()];
    let mut packet = MutableIpv6Packet::new(&mut body).unwrap();
    packet.set_version(6);
    packet.set_payload_length(u16::try_from(payload.len()).unwrap());
    packet.set_next_header(pnet_packet::ip::IpNextHeaderProtocol::new(next));
    packet.set_hop_limit(hops);
    packet.set_source(from);
    packet.set_destination(to);
    packet.set_payload(payload);
    body
}

/// An ICMPv6 message with its checksum, as an IPv6 packet.
pub(super) fn icmp6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let mut packet = MutableIcmpv6Packet::new(&mut message).unwrap();
    let sum = icmpv6::checksum(&packet.to_immutable(), &from, &to);
    packet.set_checksum(sum);
    ip6(from, to, 58, 255, &message)
}

/// A station that answers ARP for its address.
pub(super) fn answers_arp(mac: [u8; 6], address: Ipv4Addr) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |frame| {
        let packet = EthernetPacket::new(frame).unwrap();
        let asks = packet.get_ethertype() == EtherTypes::Arp;
        let Some(asked) = ArpPacket::new(packet.payload()).filter(|_| asks) else { return vec![] };
        if asked.get_operation() != ArpOperations::Request || asked.get_target_proto_addr() != address {
            return vec![];
        }
        let target = (asked.get_sender_hw_addr().octets(), asked.get_sender_proto_addr());
        vec![arp(ArpOperations::Reply, (mac, address), target)]
    }
}

/// What a DHCP server says; every option by number and body.
#[derive(Clone)]
pub(super) struct DhcpAnswer {
    pub(super) yours: Ipv4Addr,
    pub(super) options: Vec<(u8, Vec<u8>)>,
}

impl DhcpAnswer {
    /// An honest lease of an hour.
    pub(super) fn honest() -> Self {
        Self::lease(OURS, 24, ROUTER, 3600)
    }

    pub(super) fn lease(yours: Ipv4Addr, prefix: u32, router: Ipv4Addr, seconds: u32) -> Self {
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0).to_be_bytes().to_vec();
        let options = vec![
            (54, ROUTER.octets().to_vec()),
            (51, seconds.to_be_bytes().to_vec()),
            (1, mask),
            (3, router.octets().to_vec()),
            (6, [RESOLVER.octets(), [127, 0, 0, 1]].concat()),
        ];
        Self { yours, options }
    }

    pub(super) fn with(mut self, option: u8, body: &[u8]) -> Self {
        self.options.retain(|(known, _)| *known != option);
        self.options.push((option, body.to_vec()));
        self
    }
}

/// The type and transaction of a DHCP message from netvm, and its whole body.
pub(super) fn dhcp_question(frame: &[u8]) -> Option<(u8, Vec<u8>)> {
    let packet = EthernetPacket::new(frame)?;
    let ip = Ipv4Packet::new(packet.payload()).filter(|_| packet.get_ethertype() == EtherTypes::Ipv4)?;
    let datagram = UdpPacket::new(ip.payload())
        .filter(|_| ip.get_next_level_protocol() == IpNextHeaderProtocols::Udp)?;
    if (datagram.get_source(), datagram.get_destination()) != (68, 67) {
        return None;
    }
    assert_eq!(
        datagram.get_checksum(),
        udp::ipv4_checksum(&datagram, &ip.get_source(), &ip.get_destination())
    );
    let body = datagram.payload().to_vec();
    let kind = body[240..].windows(3).find(|w| w[0] == 53 && w[1] == 1).map(|w| w[2])?;
    Some((kind, body))
}

/// The bytes of a DHCP answer of type `kind` to `question`.
pub(super) fn dhcp_body(question: &[u8], kind: u8, answer: &DhcpAnswer) -> Vec<u8> {
    let mut body = vec![0; 240];
    body[..4].copy_from_slice(&[2, 1, 6, 0]);
    body[4..8].copy_from_slice(&question[4..8]);
    body[16..20].copy_from_slice(&answer.yours.octets());
    body[28..34].copy_from_slice(&OUR_MAC);
    body[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    body.extend([53, 1, kind]);
    for (option, bytes) in &answer.options {
        body.extend([*option, u8::try_from(bytes.len()).unwrap()]);
        body.extend(bytes);
    }
    body.push(255);
    body
}

pub(super) fn dhcp_frame(body: &[u8]) -> Vec<u8> {
    let packet = udp4((ROUTER, 67), (Ipv4Addr::BROADCAST, 68), body);
    ethernet([0xFF; 6], ROUTER_MAC, EtherTypes::Ipv4, &packet)
}

/// A server that gives everybody this lease.
pub(super) fn serves_dhcp(answer: DhcpAnswer) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |frame| match dhcp_question(frame) {
        Some((1, question)) => vec![dhcp_frame(&dhcp_body(&question, 2, &answer))],
        Some((3, question)) => vec![dhcp_frame(&dhcp_body(&question, 5, &answer))],
        _ => vec![],
    }
}

/// A machine that has got its address, on a segment with a router and a peer.
pub(super) fn online(offloads: crate::nic::Offloads) -> World {
    let mut world = World::with(offloads);
    world.station(serves_dhcp(DhcpAnswer::honest()));
    world.station(answers_arp(ROUTER_MAC, ROUTER));
    world.station(answers_arp(PEER_MAC, PEER));
    world.pass(super::world::SECOND);
    world.take_sent();
    world.at_firewall();
    world.at_dom0();
    world
}

pub(super) const ROUTER_LL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(super) const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
/// The prefix with the identifier that follows from `OUR_MAC`.
pub(super) const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0x5054, 0xff, 0xfe12, 0x3456);
pub(super) const OURS_LL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);

/// An advertisement's fixed part: flags and router lifetime.
pub(super) fn ra(flags: u8, lifetime: u16, options: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, flags];
    message.extend(lifetime.to_be_bytes());
    message.extend([0; 8]);
    for option in options {
        message.extend(option);
    }
    message
}

pub(super) fn prefix_option(prefix: Ipv6Addr, len: u8, flags: u8, valid: u32) -> Vec<u8> {
    let mut option = vec![3, 4, len, flags];
    option.extend(valid.to_be_bytes());
    option.extend(valid.to_be_bytes());
    option.extend([0; 4]);
    option.extend(prefix.octets());
    option
}

pub(super) fn rdnss_option(lifetime: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
    let mut option = vec![25, u8::try_from(1 + 2 * servers.len()).unwrap(), 0, 0];
    option.extend(lifetime.to_be_bytes());
    for server in servers {
        option.extend(server.octets());
    }
    option
}

pub(super) fn from_router6(message: &[u8]) -> Vec<u8> {
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    ethernet([0x33, 0x33, 0, 0, 0, 1], ROUTER_MAC, EtherTypes::Ipv6, &icmp6(ROUTER_LL, all, message))
}

/// A discovery message that netvm sent: type, source, target (in a solicitation or advertisement).
pub(super) fn discovery(frame: &[u8]) -> Option<(u8, Ipv6Addr, Option<Ipv6Addr>)> {
    let packet = EthernetPacket::new(frame)?;
    let ip = Ipv6Packet::new(packet.payload()).filter(|_| packet.get_ethertype() == EtherTypes::Ipv6)?;
    let message =
        Icmpv6Packet::new(ip.payload()).filter(|_| ip.get_next_header() == IpNextHeaderProtocols::Icmpv6)?;
    assert_eq!(message.get_checksum(), icmpv6::checksum(&message, &ip.get_source(), &ip.get_destination()));
    assert_eq!(ip.get_hop_limit(), 255);
    let target = match message.get_icmpv6_type() {
        Icmpv6Types::NeighborSolicit => {
            Some(ndp::NeighborSolicitPacket::new(ip.payload())?.get_target_addr())
        }
        Icmpv6Types::NeighborAdvert => Some(ndp::NeighborAdvertPacket::new(ip.payload())?.get_target_addr()),
        _ => None,
    };
    Some((message.get_icmpv6_type().0, ip.get_source(), target))
}

/// A router that advertises when asked, and answers for its link-local address.
pub(super) fn advertises(message: Vec<u8>) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> {
    move |frame| match discovery(frame) {
        Some((133, ..)) => vec![from_router6(&message)],
        Some((135, source, Some(target))) if target == ROUTER_LL && !source.is_unspecified() => {
            vec![neighbour_advert(ROUTER_MAC, target, source)]
        }
        _ => vec![],
    }
}

pub(super) fn neighbour_advert(mac: [u8; 6], target: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(mac);
    ethernet(OUR_MAC, mac, EtherTypes::Ipv6, &icmp6(target, to, &message))
}

/// A payload mutated in place, for those who need it.
pub(super) fn udp6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8 + payload.len()];
    let mut packet = MutableUdpPacket::new(&mut datagram).unwrap();
    packet.set_source(from.1);
    packet.set_destination(to.1);
    packet.set_length(u16::try_from(8 + payload.len()).unwrap());
    packet.payload_mut().copy_from_slice(payload);
    let sum = udp::ipv6_checksum(&packet.to_immutable(), &from.0, &to.0);
    packet.set_checksum(sum);
    ip6(from.0, to.0, 17, 64, &datagram)
}
