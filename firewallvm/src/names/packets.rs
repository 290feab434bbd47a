//! What the packet path calls for packets of flows to port 53: finds the messages in them.

use super::Conversation;
use crate::{
    decide::{Packet, Translate},
    flows::Flow,
    state::Common,
};
use first_hop::address::DNS_PORT;
use packet::{
    checksum::{pseudo_v4, pseudo_v6},
    headers::{Network, Transport},
    ipv4::UDP,
    rewrite::Field,
};

/// Takes note of a client's packet in one of its flows, if it is a question to a virtual name server.
#[cold]
#[inline(never)]
pub fn saw_question<A: Translate>(common: &mut Common, packet: &Packet<'_>, flow: &Flow<A>) {
    if !common.names.watches(flow.link) {
        return;
    }
    if let Some((conversation, message)) = message(packet, flow) {
        common.names.asked(flow.link, conversation, message, common.now);
    }
}

/// Reads a packet of the network in a client's flow, if it is an answer of a name server. The client has to accept it
/// too: not with a wrong checksum.
#[cold]
#[inline(never)]
pub fn saw_answer<A: Translate>(common: &mut Common, packet: &Packet<'_>, flow: &Flow<A>) {
    if !common.names.watches(flow.link) {
        return;
    }
    let Some((conversation, message)) = message(packet, flow) else { return };
    if is_sound(packet) {
        common.names.answered(flow.link, conversation, message, common.now);
    }
}

/// The DNS message in a packet over UDP between a client and a virtual name server.
fn message<'f, A: Translate>(packet: &Packet<'f>, flow: &Flow<A>) -> Option<(Conversation, &'f [u8])> {
    flow.destination.virtual_server()?;
    if flow.protocol != UDP || flow.remote_port != DNS_PORT {
        return None;
    }
    let message = packet.frame.get(packet.headers.payload_at..packet.headers.end)?;
    Some((Conversation { port: flow.client_port, server: flow.destination.into() }, message))
}

/// Whether the datagram's checksum is right, or may be missing.
fn is_sound(packet: &Packet<'_>) -> bool {
    let headers = packet.headers;
    let Transport::Udp(udp) = &headers.transport else { return false };
    if packet.offload.verified || packet.offload.field == Field::Partial {
        return true;
    }
    let sum = match &headers.network {
        Network::V4(_) if udp.checksum == 0 => return true,
        Network::V4(ip) => pseudo_v4(ip.source, ip.destination, UDP, u32::from(udp.len)),
        Network::V6(ip) => pseudo_v6(ip.source, ip.destination, UDP, u32::from(udp.len)),
    };
    packet.frame.get(headers.transport_at..headers.end).is_some_and(|bytes| sum.bytes(bytes).is_valid())
}
