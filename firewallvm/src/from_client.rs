//! Takes a frame from one client's link; refuses a source that is not the client's own.
//!
//! What is meant for the firewall itself is answered here: ARP, neighbour discovery, DHCP, echo. The rest goes to
//! `decide`.

use crate::{
    decide::{self, Origin, Packet},
    errors,
    flows::ClientKey,
    state::Core,
    verdict::{Answer, DropReason, Verdict},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::{
    Client,
    address::{OUR_LINK_LOCAL, OUR_MAC, gateway_v6, prefix64},
    arp, dhcp, nd,
};
use packet::{
    ethernet::{self, Ethernet},
    headers::{Headers, Network, Transport},
    icmp, icmpv6,
    ipv4::{Ipv4, TCP, UDP},
    ipv6::Ipv6,
};

/// The link-local /64.
const LINK_LOCAL: [u16; 4] = [0xfe80, 0, 0, 0];

/// Judges an IP packet of the client on `port`.
#[inline]
pub fn judge(core: &mut Core, packet: &Packet<'_>, port: u8) -> Verdict {
    let Some(client) = core.common.client(port) else { return DropReason::LinkDown.into() };
    if let Err(reason) = check_macs(client, &packet.headers.ethernet) {
        return reason.into();
    }
    match &packet.headers.network {
        Network::V4(ip) => v4(core, packet, port, ip),
        Network::V6(ip) => v6(core, packet, port, ip),
    }
}

/// Judges an ARP body of the client on `port`.
pub fn judge_arp(core: &Core, ethernet: &Ethernet, body: &packet::arp::Arp, port: u8) -> Verdict {
    let Some(client) = core.common.client(port) else { return DropReason::LinkDown.into() };
    if let Err(reason) = check_macs(client, ethernet) {
        return reason.into();
    }
    match arp::answer(client, body) {
        Ok(Some(reply)) => Verdict::Answer(Answer::Arp(reply)),
        Ok(None) => Verdict::Absorbed,
        Err(_) => DropReason::Arp.into(),
    }
}

/// The client's own hardware address as source; ours or a group as destination.
#[inline]
fn check_macs(client: &Client, ethernet: &Ethernet) -> Result<(), DropReason> {
    if ethernet.source != client.mac {
        return Err(DropReason::SourceMac);
    }
    if ethernet.destination != OUR_MAC && !ethernet::is_group(ethernet.destination) {
        return Err(DropReason::DestinationMac);
    }
    Ok(())
}

#[inline]
fn v4(core: &mut Core, packet: &Packet<'_>, port: u8, ip: &Ipv4) -> Verdict {
    let Some(client) = core.common.client(port) else { return DropReason::LinkDown.into() };
    if let Some(verdict) = foreign_v4(client, packet.headers, ip) {
        return verdict;
    }
    if packet.hinted().is_none() || packet.headers.ethernet.destination != OUR_MAC {
        if let Some(verdict) = local_v4(client, packet.headers, ip) {
            return verdict;
        }
        if let Transport::Fragment(fragment) = &packet.headers.transport {
            return core.fragments.add(port, packet, fragment, core.common.now);
        }
        if errors::is_error(&packet.headers.transport) {
            return errors::outward(&mut core.v4, &mut core.common, packet, port);
        }
    }
    decide::outward(&mut core.v4, &mut core.common, packet, port)
}

/// What comes from an address that is not the client's.
#[inline]
fn foreign_v4(client: &Client, headers: &Headers, ip: &Ipv4) -> Option<Verdict> {
    if ip.source == client.v4 {
        return None;
    }
    Some(match ip.source {
        Ipv4Addr::UNSPECIFIED if ip.destination.is_broadcast() && dhcp::is_request(headers) => {
            Verdict::Answer(Answer::Dhcp)
        }
        _ => DropReason::Spoofed.into(),
    })
}

/// The connection that a packet over IPv4, with ports but of no flow, may open: what [`judge`] finds out about one before rules are asked.
///
/// # Errors
/// What becomes of it instead.
#[inline]
pub fn opens(core: &Core, headers: &Headers, port: u8) -> Result<ClientKey<Ipv4Addr>, Verdict> {
    let Network::V4(ip) = &headers.network else { return Err(DropReason::Internal.into()) };
    let (protocol, client_port, destination_port) = match &headers.transport {
        Transport::Tcp(tcp) => (TCP, tcp.source_port, tcp.destination_port),
        Transport::Udp(udp) => (UDP, udp.source_port, udp.destination_port),
        _ => return Err(DropReason::Internal.into()),
    };
    let client = core.client(port).ok_or(DropReason::LinkDown)?;
    check_macs(client, &headers.ethernet)?;
    match foreign_v4(client, headers, ip).or_else(|| local_v4(client, headers, ip)) {
        Some(verdict) => Err(verdict),
        None => Ok(ClientKey {
            client: ip.source,
            destination: ip.destination,
            client_port,
            destination_port,
            protocol,
            link: port,
        }),
    }
}

/// What goes no farther than this link.
#[inline]
fn local_v4(client: &Client, headers: &Headers, ip: &Ipv4) -> Option<Verdict> {
    if dhcp::is_request(headers) && (ip.destination.is_broadcast() || ip.destination == client.v4_gateway) {
        return Some(Verdict::Answer(Answer::Dhcp));
    }
    let last = client.covers_v4(ip.destination) && ip.destination != client.v4_gateway;
    if ip.destination.is_multicast() || ip.destination.is_broadcast() || last {
        return Some(DropReason::Multicast.into());
    }
    if headers.ethernet.destination != OUR_MAC {
        return Some(DropReason::DestinationMac.into());
    }
    (ip.destination == client.v4_gateway).then(|| to_us(headers)).flatten()
}

#[inline]
fn v6(core: &mut Core, packet: &Packet<'_>, port: u8, ip: &Ipv6) -> Verdict {
    let Some(client) = core.common.client(port) else { return DropReason::LinkDown.into() };
    let Some(prefix) = client.v6_prefix else { return DropReason::Spoofed.into() };
    let plain = packet.hinted().is_some() && packet.headers.ethernet.destination == OUR_MAC;
    if !plain || !client.owns_v6(ip.source) {
        if let Some(verdict) = local_v6(client, packet, ip, prefix) {
            return verdict;
        }
        if !client.owns_v6(ip.source) {
            return DropReason::Spoofed.into();
        }
        if let Transport::Fragment(fragment) = &packet.headers.transport {
            return core.fragments.add(port, packet, fragment, core.common.now);
        }
        if errors::is_error(&packet.headers.transport) {
            return errors::outward(&mut core.v6, &mut core.common, packet, port);
        }
    }
    decide::outward(&mut core.v6, &mut core.common, packet, port)
}

/// What goes no farther than this link.
fn local_v6(client: &Client, packet: &Packet<'_>, ip: &Ipv6, prefix: Ipv6Addr) -> Option<Verdict> {
    let on_link = prefix64(ip.source) == LINK_LOCAL && ip.source != OUR_LINK_LOCAL;
    let known = on_link || client.owns_v6(ip.source);
    if let Transport::Icmpv6(message) = packet.headers.transport {
        match message.kind {
            nd::FIRST..=nd::LAST if known || ip.source.is_unspecified() => {
                return Some(neighbour(packet, &message, prefix));
            }
            // Multicast listener reports: there is nobody else on this link.
            nd::MLD_QUERY..=nd::MLD_DONE | nd::MLD_REPORT_V2 if ip.destination.is_multicast() => {
                return Some(if known || ip.source.is_unspecified() {
                    Verdict::Absorbed
                } else {
                    DropReason::Spoofed.into()
                });
            }
            _ => {}
        }
    }
    if !known {
        return Some(DropReason::Spoofed.into());
    }
    if ip.destination.is_multicast() {
        return Some(DropReason::Multicast.into());
    }
    if packet.headers.ethernet.destination != OUR_MAC {
        return Some(DropReason::DestinationMac.into());
    }
    if ip.destination == OUR_LINK_LOCAL || ip.destination == gateway_v6(prefix) {
        return to_us(packet.headers);
    }
    on_link.then(|| DropReason::Destination.into())
}

/// Neighbour discovery, which is believed in one piece only (RFC 6980).
fn neighbour(packet: &Packet<'_>, message: &icmpv6::Icmpv6, prefix: Ipv6Addr) -> Verdict {
    if packet.origin != Origin::Whole {
        return DropReason::Neighbour.into();
    }
    match nd::read(packet.frame, packet.headers, message, Some(prefix)) {
        Ok(nd::Asked::Router) => Verdict::Answer(Answer::Router),
        Ok(nd::Asked::Neighbour(target)) => Verdict::Answer(Answer::Neighbour(target)),
        Ok(nd::Asked::Nothing) => Verdict::Absorbed,
        Err(_) => DropReason::Neighbour.into(),
    }
}

/// A packet to one of our own addresses: echo is answered; fragments are put together first.
fn to_us(headers: &Headers) -> Option<Verdict> {
    match headers.transport {
        Transport::Fragment(_) => None,
        Transport::Icmp(message) if (message.kind, message.code) == (icmp::ECHO_REQUEST, 0) => {
            Some(Verdict::Answer(Answer::Echo))
        }
        Transport::Icmpv6(message) if (message.kind, message.code) == (icmpv6::ECHO_REQUEST, 0) => {
            Some(Verdict::Answer(Answer::Echo))
        }
        _ => Some(DropReason::NotForUs.into()),
    }
}
