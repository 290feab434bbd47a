//! ICMP errors: passed on only if the packet that they quote is one of a living flow, and one that may really be
//! in flight; then translated inside and out.

use crate::{
    decide::{self, Packet, Translate},
    flows::{Flow, Key, NetKey, UPLINK, tcp::Direction},
    pmtu::{MIN_MTU_V4, MIN_MTU_V6},
    state::{Common, Family},
    verdict::{DropReason, Verdict},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::{
    headers::Transport,
    icmp, icmpv6, ipv4, ipv6,
    quoted::{self, Quoted},
    rewrite::{self, Endpoints},
};

/// An address family whose quoted packets can be read.
pub trait Quote: Translate {
    /// Reads the packet that an error quotes.
    fn read(bytes: &[u8]) -> Option<Quoted<Self>>;
}

impl Quote for Ipv4Addr {
    fn read(bytes: &[u8]) -> Option<Quoted<Self>> {
        quoted::parse_v4(bytes).ok()
    }
}

impl Quote for Ipv6Addr {
    fn read(bytes: &[u8]) -> Option<Quoted<Self>> {
        quoted::parse_v6(bytes).ok()
    }
}

/// Whether the message is an error of a kind that is passed on.
#[must_use]
pub fn is_error(transport: &Transport) -> bool {
    match transport {
        Transport::Icmp(message) => message.is_error(),
        Transport::Icmpv6(message) => message.is_error(),
        _ => false,
    }
}

/// An error of the network about a packet that we sent for a client.
pub fn inward<A: Quote>(family: &mut Family<A>, common: &mut Common, packet: &Packet<'_>) -> Verdict {
    inner_inward(family, common, packet).unwrap_or_else(Verdict::Drop)
}

fn inner_inward<A: Quote>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
) -> Result<Verdict, DropReason> {
    let (source, _) = A::of(&packet.headers.network).ok_or(DropReason::Internal)?;
    let quoted = read::<A>(packet)?;
    if family.address != Some(quoted.source) {
        return Err(DropReason::IcmpQuote);
    }
    let (nat_port, remote_port) = ours_and_theirs(&quoted, quoted.source_port, quoted.destination_port);
    let key = NetKey { remote: quoted.destination, remote_port, nat_port, protocol: quoted.protocol };
    let (flow, _) = decide::known(family, common, &key.into(), None).ok_or(DropReason::IcmpQuote)?;
    let flow = family.flows.get(flow).ok_or(DropReason::Internal)?;
    in_flight(flow, &quoted, Direction::Outward)?;
    common.client(flow.link).ok_or(DropReason::LinkDown)?;
    // The virtual name server answers for the one behind it.
    let outer = if source == flow.remote { flow.destination } else { source };
    Ok(Verdict::ToClient(flow.link, A::plan_error((outer, flow.client), reversed(flow.inward()))))
}

/// A client's error about a packet that came for it.
pub fn outward<A: Quote>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    link: u8,
) -> Verdict {
    inner_outward(family, common, packet, link).unwrap_or_else(Verdict::Drop)
}

fn inner_outward<A: Quote>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    link: u8,
) -> Result<Verdict, DropReason> {
    let (source, destination) = A::of(&packet.headers.network).ok_or(DropReason::Internal)?;
    let quoted = read::<A>(packet)?;
    // Errors go to who sent the quoted packet, and come from who was to get it.
    if quoted.source != destination || quoted.destination != source {
        return Err(DropReason::IcmpQuote);
    }
    let (client_port, destination_port) =
        ours_and_theirs(&quoted, quoted.destination_port, quoted.source_port);
    let (protocol, source_port) = (quoted.protocol, client_port);
    let key = Key { source, destination, source_port, destination_port, protocol, link };
    let (flow, direction) = decide::known(family, common, &key, None).ok_or(DropReason::IcmpQuote)?;
    let flow = family.flows.get(flow).ok_or(DropReason::Internal)?;
    in_flight(flow, &quoted, direction.reversed())?;
    match direction {
        Direction::Outward if flow.peer == UPLINK => {
            let uplink = family.address.ok_or(DropReason::NoUplink)?;
            Ok(Verdict::ToNet(A::plan_error((uplink, flow.remote), reversed(flow.outward(uplink)))))
        }
        Direction::Outward => {
            let ends = reversed(flow.outward(flow.client));
            Ok(Verdict::ToClient(flow.peer, A::plan_error((flow.client, flow.remote), ends)))
        }
        Direction::Inward => {
            let ends = reversed(flow.inward());
            Ok(Verdict::ToClient(flow.link, A::plan_error((flow.destination, flow.client), ends)))
        }
    }
}

/// The quoted packet went the other way.
const fn reversed<A: Copy>(ends: Endpoints<A>) -> Endpoints<A> {
    Endpoints {
        source: ends.destination,
        destination: ends.source,
        source_port: ends.destination_port,
        destination_port: ends.source_port,
    }
}

/// Verifies the message and reads the packet that it quotes.
fn read<A: Quote>(packet: &Packet<'_>) -> Result<Quoted<A>, DropReason> {
    let headers = packet.headers;
    match &headers.transport {
        Transport::Icmp(message) => {
            let needed = (message.kind, message.code) == (icmp::UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED);
            if needed && message.sequence < MIN_MTU_V4 {
                return Err(DropReason::IcmpMtu);
            }
        }
        Transport::Icmpv6(message) if message.kind == icmpv6::TOO_BIG && message.mtu() < MIN_MTU_V6 => {
            return Err(DropReason::IcmpMtu);
        }
        _ => {}
    }
    if headers.hop_limit() <= 1 {
        return Err(DropReason::HopLimit);
    }
    if !rewrite::icmp_is_valid(packet.frame, headers) {
        return Err(DropReason::IcmpChecksum);
    }
    packet.frame.get(headers.payload_at..headers.end).and_then(A::read).ok_or(DropReason::IcmpQuote)
}

/// The port of our side and of the other; an echo's identifier is always ours.
const fn ours_and_theirs<A>(quoted: &Quoted<A>, ours: u16, theirs: u16) -> (u16, u16) {
    match quoted.protocol {
        ipv4::ICMP | ipv6::ICMPV6 => (quoted.source_port, 0),
        _ => (ours, theirs),
    }
}

/// RFC 5927 §4.1: the quoted segment must be one that `sender` may have in flight.
fn in_flight<A>(flow: &Flow<A>, quoted: &Quoted<A>, sender: Direction) -> Result<(), DropReason> {
    match quoted.sequence {
        Some(sequence) if !flow.tracker.in_flight(sender, sequence) => Err(DropReason::IcmpQuote),
        _ => Ok(()),
    }
}
