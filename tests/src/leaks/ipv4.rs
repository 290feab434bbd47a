//! IPv4: TCP with relays and the card's own DHCP, without options and without fragments.

use super::{BringUp, Cable, Cause, Verdict, Way, dhcp, padding, tcp};
use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{self, Ipv4Flags, Ipv4Packet};
use pnet_packet::{Packet, udp};

const HEADER: usize = 14;
/// Length of a header without options, in words.
const PLAIN: u8 = 5;

pub(super) fn explain(cable: &Cable, way: Way, bytes: &[u8], connections: &mut tcp::Connections) -> Verdict {
    let frame = EthernetPacket::new(bytes).ok_or("no Ethernet header")?;
    let packet = Ipv4Packet::new(frame.payload()).ok_or("IPv4 header cut short")?;
    whole(&packet, bytes)?;
    let payload = payload(&packet).ok_or("IPv4 packet shorter than its header")?;
    match packet.get_next_level_protocol() {
        IpNextHeaderProtocols::Tcp => {
            if way == Way::Out {
                manner(cable, &packet)?;
            }
            if frame.get_destination().is_multicast() {
                return Err("TCP to a group".to_owned());
            }
            tcp::explain(cable, way, tcp::Ends::of(&packet), payload, connections).map(Cause::Relay)
        }
        IpNextHeaderProtocols::Udp if cable.bring_up == BringUp::Netvm => {
            datagram(cable, way, &packet, payload)
        }
        other => {
            Err(format!("protocol {} from {} to {}", other.0, packet.get_source(), packet.get_destination()))
        }
    }
}

/// Whether it is a complete and undamaged packet.
fn whole(packet: &Ipv4Packet<'_>, frame: &[u8]) -> Result<(), String> {
    if packet.get_version() != 4 {
        return Err(format!("IPv4 of version {}", packet.get_version()));
    }
    if packet.get_header_length() != PLAIN {
        return Err(format!("IPv4 header of {} words", packet.get_header_length()));
    }
    padding(frame, HEADER + usize::from(packet.get_total_length()))?;
    if packet.get_checksum() != ipv4::checksum(packet) {
        return Err("wrong IPv4 checksum".to_owned());
    }
    if packet.get_flags() & !Ipv4Flags::DontFragment != 0 || packet.get_fragment_offset() != 0 {
        return Err(format!("a fragment, from {} to {}", packet.get_source(), packet.get_destination()));
    }
    Ok(())
}

fn payload<'p>(packet: &'p Ipv4Packet<'_>) -> Option<&'p [u8]> {
    packet.packet().get(usize::from(PLAIN) * 4..usize::from(packet.get_total_length()))
}

/// What an IPv4 header of the gateway's looks like, whatever an AppVM's looked like.
fn manner(cable: &Cable, packet: &Ipv4Packet<'_>) -> Result<(), String> {
    if packet.get_ttl() != cable.ttl {
        return Err(format!("time to live {} instead of {}", packet.get_ttl(), cable.ttl));
    }
    if (packet.get_dscp(), packet.get_ecn()) != (0, 0) {
        return Err("traffic class that is not zero".to_owned());
    }
    if packet.get_identification() != 0 || packet.get_flags() != Ipv4Flags::DontFragment {
        return Err(format!("IPv4 identification {:#06x}", packet.get_identification()));
    }
    Ok(())
}

fn datagram(cable: &Cable, way: Way, packet: &Ipv4Packet<'_>, payload: &[u8]) -> Verdict {
    let datagram = udp::UdpPacket::new(payload).ok_or("UDP header cut short")?;
    let (from, to) = (packet.get_source(), packet.get_destination());
    let ports = (datagram.get_source(), datagram.get_destination());
    let expected = if way == Way::Out { (68, 67) } else { (67, 68) };
    if ports != expected {
        return Err(format!("UDP from {from}:{} to {to}:{}", ports.0, ports.1));
    }
    if usize::from(datagram.get_length()) != payload.len()
        || datagram.get_checksum() % 0xffff != udp::ipv4_checksum(&datagram, &from, &to) % 0xffff
    {
        return Err("damaged UDP datagram".to_owned());
    }
    let ours = from.is_unspecified() && to.is_broadcast() || from == cable.address && cable.is_near(to);
    if way == Way::Out && !ours {
        return Err(format!("DHCP from {from} to {to}"));
    }
    dhcp::explain(cable, way, datagram.payload())
}
