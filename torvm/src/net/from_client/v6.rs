//! IPv6 of a client: neighbour discovery is answered, questions and TCP go where they go over IPv4, the rest is forbidden.

use super::{Arrived, question, segment};
use crate::{
    frames::Frames,
    net::{arrival, counters::Count, links::Links, state::Core, to_client},
};
use core::net::Ipv6Addr;
use first_hop::{
    Client,
    address::{DNS_PORT, OUR_LINK_LOCAL, OUR_MAC, gateway_v6, prefix64},
    nd,
};
use packet::{
    ethernet::HEADER_LEN,
    headers::Transport,
    icmpv6::Icmpv6,
    ipv6::{self, Ipv6},
};

/// Deals with a packet.
pub(super) fn take<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    mut arrived: Arrived<'_>,
    ip: &Ipv6,
) -> Result<(), Count> {
    let client = &core.guest(arrived.port).ok_or(Count::LinkDown)?.client;
    let own = client.owns_v6(ip.source);
    let on_link = prefix64(ip.source) == [0xfe80, 0, 0, 0] && ip.source != OUR_LINK_LOCAL;
    if let Transport::Icmpv6(message) = arrived.headers.transport {
        match message.kind {
            nd::FIRST..=nd::LAST if own || on_link || ip.source.is_unspecified() => {
                return neighbour(core, links, &arrived, (ip, &message));
            }
            nd::MLD_QUERY..=nd::MLD_DONE | nd::MLD_REPORT_V2 if ip.destination.is_multicast() => {
                return Ok(());
            }
            _ => {}
        }
    }
    if !own && !on_link {
        return Err(Count::Spoofed);
    }
    if ip.destination.is_multicast() {
        return Err(Count::Multicast);
    }
    if arrived.headers.ethernet.destination != OUR_MAC {
        return Err(Count::DestinationMac);
    }
    let reachable = is_reachable(client, ip.destination);
    // Who has no address but the link's has no business beyond it. Nothing stands between IP and what it carries.
    let bare = arrived.headers.transport_at == HEADER_LEN + ipv6::HEADER_LEN;
    match arrived.headers.transport {
        Transport::Udp(udp) if own && bare && udp.destination_port == DNS_PORT => {
            arrival::check_transport(arrived.meta, arrived.frame, arrived.headers)?;
            question(core, &arrived, udp.source_port)
        }
        Transport::Tcp(_) if own && bare && reachable => {
            arrival::check_transport(arrived.meta, arrived.frame, arrived.headers)?;
            segment(core, links, &mut arrived)
        }
        // Never in answer to an error, nor to a later fragment (RFC 4443 section 2.4).
        Transport::Icmpv6(message) if message.is_error() => Err(Count::Ipv6),
        Transport::Fragment(fragment) if fragment.offset != 0 => Err(Count::Ipv6),
        _ => {
            let reason = if reachable { Count::Ipv6 } else { Count::Destination };
            let quoted = (&*arrived.frame, arrived.headers.end);
            to_client::prohibit_v6(core, links, arrived.port, (quoted, ip.source), reason)
        }
    }
}

/// Whether a connection may be asked for: to us, or to anybody in what is given out as global unicast (2000::/3), but
/// for addresses that stand for IPv4 ones, or for no place at all. An exit would look for them beside itself.
fn is_reachable(client: &Client, destination: Ipv6Addr) -> bool {
    if client.v6_prefix.is_some_and(|prefix| destination == gateway_v6(prefix)) {
        return true;
    }
    match destination.segments() {
        // Teredo (RFC 4380), benchmarks (RFC 5180), identifiers (RFC 4843, RFC 7343), 6to4 (RFC 3056).
        [0x2001, 0, ..] | [0x2001, 2, 0, ..] | [0x2001, 0x10..=0x2f, ..] | [0x2002, ..] => false,
        [first, ..] => first >> 13 == 1,
    }
}

/// Neighbour discovery, which a client with a prefix is told of a router by.
fn neighbour<F: Frames>(
    core: &Core,
    links: &mut Links<F>,
    arrived: &Arrived<'_>,
    (ip, message): (&Ipv6, &Icmpv6),
) -> Result<(), Count> {
    let client = &core.guest(arrived.port).ok_or(Count::LinkDown)?.client;
    let asked = nd::read(arrived.frame, arrived.headers, message, client.v6_prefix);
    match asked.map_err(|_| Count::Neighbour)? {
        nd::Asked::Router => to_client::advertise(core, links, arrived.port, ip.source),
        nd::Asked::Neighbour(target) => {
            let mut out = [0; packet::ndp::MAX_FRAME_LEN];
            let len = nd::answer(&mut out, client, ip.source, target).ok_or(Count::Internal)?;
            links.send_own(arrived.port, out.get(..len).ok_or(Count::Internal)?)
        }
        nd::Asked::Nothing => Ok(()),
    }
}
