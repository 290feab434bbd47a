//! What may leave the firewall at all, checked with parsers that are not the firewall's.

use crate::world::{CLIENTS, FIREWALL_MAC, NIC, UPLINK4, client_mac, client4, in_prefix, uplink6};
use pnet_packet::{
    Packet,
    arp::ArpPacket,
    ethernet::{EtherTypes, EthernetPacket},
    ip::IpNextHeaderProtocol,
    ipv4::{self, Ipv4Packet},
    ipv6::Ipv6Packet,
    util,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the parsers say of an IP packet.
pub(crate) struct Sound {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) fragment: bool,
    pub(crate) transport: Vec<u8>,
    /// Whether the transport's checksum is right, or there is none to check.
    pub(crate) summed: bool,
}

/// An IP packet in an Ethernet frame, whoever sent it.
pub(crate) fn packet(frame: &[u8]) -> Result<Sound, String> {
    let ethernet = EthernetPacket::new(frame).ok_or("shorter than an Ethernet header")?;
    match ethernet.get_ethertype() {
        EtherTypes::Ipv4 => sound4(ethernet.payload()),
        EtherTypes::Ipv6 => sound6(ethernet.payload()),
        other => Err(format!("{other}")),
    }
}

/// A frame to netvm: from us, from the uplink's address, to the outside, sound.
pub(crate) fn to_net(frame: &[u8]) -> Result<Sound, String> {
    let ethernet = EthernetPacket::new(frame).ok_or("shorter than an Ethernet header")?;
    check(ethernet.get_destination().octets() == NIC, "not to the card")?;
    check(ethernet.get_source().octets() == FIREWALL_MAC, "not from the firewall")?;
    let packet = packet(frame)?;
    match packet.from {
        IpAddr::V4(from) => check(from == UPLINK4, "source is not the uplink's")?,
        IpAddr::V6(from) => check(from == uplink6(), "source is not the uplink's")?,
    }
    check(!is_inside(packet.to), "to the inside")?;
    check(!is_local(packet.to), "to an address that no router forwards")?;
    Ok(packet)
}

/// A frame to client `n`: from us, to it or its groups, sound.
pub(crate) fn to_client(n: usize, frame: &[u8]) -> Result<Option<Sound>, String> {
    let ethernet = EthernetPacket::new(frame).ok_or("shorter than an Ethernet header")?;
    let to = ethernet.get_destination();
    check(to.octets() == client_mac(n) || to.octets()[..2] == [0x33, 0x33], "not to the client")?;
    check(ethernet.get_source().octets() == FIREWALL_MAC, "not from the firewall")?;
    if ethernet.get_ethertype() == EtherTypes::Arp {
        let arp = ArpPacket::new(ethernet.payload()).ok_or("short ARP")?;
        check(arp.get_sender_hw_addr().octets() == FIREWALL_MAC, "ARP teaches another's address")?;
        return Ok(None);
    }
    let packet = packet(frame)?;
    match packet.to {
        // The answer to a DHCP request may be broadcast.
        IpAddr::V4(to) => check(to == client4(n) || to.is_broadcast(), "destination is not the client's")?,
        IpAddr::V6(to) => {
            let local = to.is_unicast_link_local() || to.is_multicast();
            check(in_prefix(n, to) || local, "destination is not the client's")?;
        }
    }
    check(
        (0..CLIENTS).filter(|other| *other != n).all(|other| !is_of(other, packet.from)),
        "from another client",
    )?;
    Ok(Some(packet))
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn is_of(n: usize, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == client4(n),
        IpAddr::V6(address) => in_prefix(n, address),
    }
}

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets(), [10, 137, ..] | [10, 139, 1, _]),
        IpAddr::V6(address) => matches!(address.segments(), [0xfd09, 0x24ef, 0x4179, ..]),
    }
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(to) => {
            to.is_loopback()
                || to.is_multicast()
                || to.is_broadcast()
                || to.is_link_local()
                || to.octets()[0] == 0
        }
        IpAddr::V6(to) => {
            to.is_loopback() || to.is_multicast() || to.is_unicast_link_local() || to.is_unspecified()
        }
    }
}

fn sound4(packet: &[u8]) -> Result<Sound, String> {
    let ip = Ipv4Packet::new(packet).ok_or("short IPv4 header")?;
    check(ip.get_version() == 4 && ip.get_header_length() == 5, "IPv4 version or options")?;
    check(usize::from(ip.get_total_length()) == packet.len(), "IPv4 length")?;
    check(ip.get_checksum() == ipv4::checksum(&ip), "IPv4 checksum")?;
    check(ip.get_ttl() > 0, "no hop left")?;
    let fragment = ip.get_fragment_offset() != 0 || ip.get_flags() & 1 != 0;
    let ends = (IpAddr::V4(ip.get_source()), IpAddr::V4(ip.get_destination()));
    finish(ends, ip.get_next_level_protocol().0, fragment, ip.payload())
}

fn sound6(packet: &[u8]) -> Result<Sound, String> {
    let ip = Ipv6Packet::new(packet).ok_or("short IPv6 header")?;
    check(ip.get_version() == 6, "IPv6 version")?;
    check(usize::from(ip.get_payload_length()) + 40 == packet.len(), "IPv6 length")?;
    check(ip.get_hop_limit() > 0, "no hop left")?;
    let (mut next, mut rest, mut fragment) = (ip.get_next_header().0, ip.payload(), false);
    let mut first = true;
    loop {
        match next {
            0 if first => {}
            60 => {}
            44 => {
                let header = rest.get(..8).ok_or("short fragment header")?;
                fragment |= u16::from_be_bytes([header[2], header[3]]) & 0xFFF9 != 0;
                (next, rest, first) = (header[0], &rest[8..], false);
                if fragment {
                    break;
                }
                continue;
            }
            0 | 43 => return Err(format!("extension header {next}")),
            _ => break,
        }
        let len = 8 * (1 + usize::from(*rest.get(1).ok_or("short extension header")?));
        (next, rest, first) = (rest[0], rest.get(len..).ok_or("extension header beyond the end")?, false);
    }
    let ends = (IpAddr::V6(ip.get_source()), IpAddr::V6(ip.get_destination()));
    finish(ends, next, fragment, rest)
}

fn finish(
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    fragment: bool,
    transport: &[u8],
) -> Result<Sound, String> {
    let sound = Sound { from, to, fragment, transport: transport.to_vec(), summed: true };
    if fragment {
        return Ok(sound);
    }
    let (least, at) = match (protocol, from) {
        (6, _) => (20, 16),
        (17, _) => (8, 6),
        (1, IpAddr::V4(_)) | (58, IpAddr::V6(_)) => (8, 2),
        _ => return Err(format!("protocol {protocol}")),
    };
    check(transport.len() >= least, "short transport header")?;
    let stated = u16::from_be_bytes([transport[at], transport[at + 1]]);
    // UDP over IPv4 may do without.
    if protocol == 17 && stated == 0 && from.is_ipv4() {
        return Ok(sound);
    }
    let sum = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) if protocol == 1 => util::checksum(transport, at / 2),
        (IpAddr::V4(from), IpAddr::V4(to)) => sum4(transport, at, from, to, protocol),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum6(transport, at, from, to, protocol),
        _ => return Err("two families".to_owned()),
    };
    // UDP writes 0xFFFF for 0.
    let summed = sum == stated || (protocol == 17 && sum == 0 && stated == 0xFFFF);
    Ok(Sound { summed, ..sound })
}

fn sum4(bytes: &[u8], at: usize, from: Ipv4Addr, to: Ipv4Addr, protocol: u8) -> u16 {
    util::ipv4_checksum(bytes, at / 2, &[], &from, &to, IpNextHeaderProtocol(protocol))
}

fn sum6(bytes: &[u8], at: usize, from: Ipv6Addr, to: Ipv6Addr, protocol: u8) -> u16 {
    util::ipv6_checksum(bytes, at / 2, &[], &from, &to, IpNextHeaderProtocol(protocol))
}
