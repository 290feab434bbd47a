//! IPv6 of a client: neighbour discovery is answered, questions and TCP go where they go over IPv4, the rest is forbidden.

use super::{Arrived, question, segment};
use crate::{
    frames::Frames,
    net::{arrival, counters::Count, links::Links, state::Core, to_client},
};
use core::net::Ipv6Addr;
use first_hop::{
    Client,
    address::{DNS_PORT, OUR_LINK_LOCAL, OUR_MAC, gateway_v6, is_bad_v6, prefix64},
    nd,
};
use packet::{
    ethernet::{Ethernet, HEADER_LEN, Mac},
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
    if let Transport::Icmpv6(message) = arrived.headers.transport {
        match message.kind {
            nd::FIRST..=nd::LAST if own || is_on_link(ip.source) || ip.source.is_unspecified() => {
                return neighbour(core, links, &arrived, (ip, &message));
            }
            nd::MLD_QUERY..=nd::MLD_DONE | nd::MLD_REPORT_V2 if ip.destination.is_multicast() => {
                return Ok(());
            }
            _ => {}
        }
    }
    check_addresses(client, ip, arrived.headers.ethernet.destination)?;
    let reachable = is_reachable(client, ip.destination);
    let asked = !is_bad_v6(ip.destination) && !is_neighbour(client, ip.destination);
    // Who has no address but the link's has no business beyond it. Nothing stands between IP and what it carries.
    let bare = arrived.headers.transport_at == HEADER_LEN + ipv6::HEADER_LEN;
    match arrived.headers.transport {
        Transport::Udp(udp) if own && bare && asked && udp.destination_port == DNS_PORT => {
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
            let quoted = (&*arrived.frame, arrived.headers.end);
            let reason = reason(client, ip.destination);
            to_client::prohibit_v6(core, links, arrived.port, (quoted, ip.source), reason)
        }
    }
}

/// A packet that carries neither TCP, UDP nor ICMPv6, in one piece.
pub(super) fn other_protocol<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    frame: &[u8],
) -> Result<(), Count> {
    let (ethernet, body) = frame.split_first_chunk().ok_or(Count::Truncated)?;
    let ip = Ipv6::parse(body.first_chunk().ok_or(Count::Truncated)?)?;
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    check_addresses(client, &ip, Ethernet::parse(ethernet).destination)?;
    let reason = reason(client, ip.destination);
    let end = HEADER_LEN + ipv6::HEADER_LEN + usize::from(ip.payload_len);
    to_client::prohibit_v6(core, links, port, ((frame, end), ip.source), reason)
}

/// One of the client's own addresses as source, to somebody alone, by us.
fn check_addresses(client: &Client, ip: &Ipv6, to: Mac) -> Result<(), Count> {
    if !client.owns_v6(ip.source) && !is_on_link(ip.source) {
        return Err(Count::Spoofed);
    }
    if ip.destination.is_multicast() {
        return Err(Count::Multicast);
    }
    if to == OUR_MAC { Ok(()) } else { Err(Count::DestinationMac) }
}

/// Whether it is an address of the link alone, and not ours.
fn is_on_link(address: Ipv6Addr) -> bool {
    prefix64(address) == [0xfe80, 0, 0, 0] && address != OUR_LINK_LOCAL
}

/// Whether it is in the client's /64, and not ours: there is nobody but the client itself.
fn is_neighbour(client: &Client, address: Ipv6Addr) -> bool {
    client.covers_v6(address) && client.v6_prefix.map(gateway_v6) != Some(address)
}

/// What a packet to somewhere is counted as that goes nowhere.
fn reason(client: &Client, destination: Ipv6Addr) -> Count {
    if is_reachable(client, destination) { Count::Ipv6 } else { Count::Destination }
}

/// Whether a connection may be asked for: to us, or to anybody in what is given out as global unicast (2000::/3), but
/// for addresses that stand for IPv4 ones, or for no place at all. An exit would look for them beside itself.
fn is_reachable(client: &Client, destination: Ipv6Addr) -> bool {
    if client.v6_prefix.is_some_and(|prefix| destination == gateway_v6(prefix)) {
        return true;
    }
    if is_neighbour(client, destination) {
        return false;
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
