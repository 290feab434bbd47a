//! ARP: the card asks for its routers and answers for itself; the segment does the same.

use super::{BringUp, Cable, Cause, Verdict, Way, padding};
use pnet_packet::Packet;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket};
use pnet_packet::ethernet::{EtherTypes, EthernetPacket};

const HEADER: usize = 14;
const MESSAGE: usize = 28;

pub(super) fn explain(cable: &Cable, way: Way, bytes: &[u8]) -> Verdict {
    padding(bytes, HEADER + MESSAGE)?;
    let frame = EthernetPacket::new(bytes).ok_or("no Ethernet header")?;
    let arp = ArpPacket::new(frame.payload()).ok_or("ARP cut short")?;
    let sizes = (arp.get_hw_addr_len(), arp.get_proto_addr_len());
    if (arp.get_hardware_type(), arp.get_protocol_type(), sizes)
        != (ArpHardwareTypes::Ethernet, EtherTypes::Ipv4, (6, 4))
    {
        return Err("ARP for something other than IPv4 on Ethernet".to_owned());
    }
    if arp.get_sender_hw_addr() != frame.get_source() {
        return Err("ARP: the sender is not the frame's".to_owned());
    }
    let request = match arp.get_operation() {
        ArpOperations::Request => true,
        ArpOperations::Reply => false,
        other => return Err(format!("ARP operation {}", other.0)),
    };
    match way {
        Way::Out => said_by_us(cable, &arp, request),
        Way::In if cable.is_near(arp.get_sender_proto_addr()) => Ok(()),
        Way::In => Err(format!("ARP from {} on this segment", arp.get_sender_proto_addr())),
    }?;
    Ok(Cause::Arp)
}

fn said_by_us(cable: &Cable, arp: &ArpPacket<'_>, request: bool) -> Result<(), String> {
    let (sender, target) = (arp.get_sender_proto_addr(), arp.get_target_proto_addr());
    // Before it uses an address, a host may ask whether anybody has it (RFC 5227).
    let probe = cable.bring_up == BringUp::Netvm && request && sender.is_unspecified();
    if sender != cable.address && !probe {
        return Err(format!("ARP as {sender}"));
    }
    let meant = if request { cable.routers.contains(&target) || target == cable.address } else { true };
    if !meant || !cable.is_near(target) {
        return Err(format!("ARP about {target}"));
    }
    Ok(())
}
