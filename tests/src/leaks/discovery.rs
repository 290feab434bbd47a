//! IPv6: the card's own router and neighbour discovery (RFC 4861), on the link alone.

use super::{BringUp, Cable, Cause, Mac, Verdict, Way, padding};
use pnet_packet::Packet;
use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::icmpv6::{self, Icmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::Ipv6Packet;
use std::net::Ipv6Addr;

const HEADER: usize = 14 + 40;
const HOP_LIMIT: u8 = 255;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Options with a hardware address: of the source, of the target.
const SOURCE: u8 = 1;
const TARGET: u8 = 2;

pub(super) fn explain(cable: &Cable, way: Way, bytes: &[u8]) -> Verdict {
    let frame = EthernetPacket::new(bytes).ok_or("no Ethernet header")?;
    let packet = Ipv6Packet::new(frame.payload()).ok_or("IPv6 header cut short")?;
    let (from, to) = (packet.get_source(), packet.get_destination());
    if packet.get_version() != 6 {
        return Err(format!("IPv6 of version {}", packet.get_version()));
    }
    padding(bytes, HEADER + usize::from(packet.get_payload_length()))?;
    if packet.get_next_header() != IpNextHeaderProtocols::Icmpv6 || packet.get_hop_limit() != HOP_LIMIT {
        return Err(format!("IPv6 protocol {} from {from} to {to}", packet.get_next_header().0));
    }
    let message = &bytes[HEADER..HEADER + usize::from(packet.get_payload_length())];
    let icmp = Icmpv6Packet::new(message).ok_or("ICMPv6 cut short")?;
    if icmp.get_checksum() != icmpv6::checksum(&icmp, &from, &to) || icmp.get_icmpv6_code().0 != 0 {
        return Err("damaged ICMPv6".to_owned());
    }
    let kind = icmp.get_icmpv6_type().0;
    let meant = match way {
        Way::Out => said_by_us(cable, &packet, kind, message)?,
        // Where the card says nothing, a router may still announce itself to everybody.
        Way::In if cable.bring_up == BringUp::Arp => kind == ROUTER_ADVERTISEMENT && to.is_multicast(),
        Way::In => matches!(kind, ROUTER_ADVERTISEMENT | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT),
    };
    if meant { Ok(Cause::Discovery) } else { Err(format!("ICMPv6 type {kind} from {from} to {to}")) }
}

/// Ours: from our own address on the link or from none, about ourselves or a router on the link.
fn said_by_us(cable: &Cable, packet: &Ipv6Packet<'_>, kind: u8, message: &[u8]) -> Result<bool, String> {
    let (from, to) = (packet.get_source(), packet.get_destination());
    if packet.get_traffic_class() != 0 || packet.get_flow_label() != 0 {
        return Err("IPv6 traffic class or flow label that is not zero".to_owned());
    }
    if !from.is_unspecified() && !is_own(cable.card, from) {
        return Err(format!("ICMPv6 from {from} to {to}"));
    }
    match kind {
        ROUTER_SOLICITATION => {
            options(cable.card, message, 8, SOURCE)?;
            Ok(to == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2))
        }
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => {
            let target = message.get(8..24).ok_or("neighbour discovery cut short")?;
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(target).map_err(|e| e.to_string())?);
            let asks = kind == NEIGHBOUR_SOLICITATION;
            options(cable.card, message, 24, if asks { SOURCE } else { TARGET })?;
            if !(is_own(cable.card, target) || asks && target.is_unicast_link_local()) {
                return Err(format!("neighbour discovery about {target}"));
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether an address ends in the card's interface identifier (RFC 4291 appendix A) and is not one of the inside.
fn is_own(card: Mac, address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f] = card;
    let identifier = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    address.octets()[8..] == identifier && !crate::lab::cable::is_inner(address.into())
}

/// No option, or the one with the card's own hardware address.
fn options(card: Mac, message: &[u8], at: usize, kind: u8) -> Result<(), String> {
    match message.get(at..) {
        Some([]) => Ok(()),
        Some([found, 1, mac @ ..]) if *found == kind && *mac == card => Ok(()),
        _ => Err("neighbour discovery with a strange option".to_owned()),
    }
}
