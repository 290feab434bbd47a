//! Whose is a frame from the segment: firewallvm's, netvm's own, or nobody's?

use crate::counters::Counter;
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::{
    arp::{Arp, Operation},
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    ndp,
};

const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;

/// What netvm is on the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) mac: Mac,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    pub(crate) link_local: Ipv6Addr,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To firewallvm.
    Firewall,
    /// Netvm's own: ARP or DHCP.
    Address4,
    /// Netvm's own: neighbour discovery or DHCPv6.
    Address6,
    /// Nowhere.
    Drop(Counter),
}

/// Decides about one frame.
#[inline]
pub(crate) fn classify(frame: &[u8], local: &Local) -> Verdict {
    let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
        return Verdict::Drop(Counter::Malformed);
    };
    let ethernet = Ethernet::parse(header);
    let ours = ethernet.destination == local.mac;
    if ethernet::is_group(ethernet.source) || ethernet.source == local.mac {
        return Verdict::Drop(Counter::Malformed);
    }
    if !ours && !ethernet::is_group(ethernet.destination) {
        return Verdict::Drop(Counter::NotOurMac);
    }
    match ethernet.ethertype {
        ethernet::IPV4 => classify_v4(body, ours, local),
        ethernet::IPV6 => classify_v6(body, ours, local),
        ethernet::ARP => classify_arp(body, ours, local),
        _ => Verdict::Drop(Counter::EtherType),
    }
}

/// Frames for the uplink's address, which must come in a frame for us alone.
#[inline]
fn for_firewall(is_address: bool, ours: bool) -> Verdict {
    match (is_address, ours) {
        (true, true) => Verdict::Firewall,
        (true, false) => Verdict::Drop(Counter::NotOurMac),
        (false, _) => Verdict::Drop(Counter::NotOurAddress),
    }
}

#[inline]
fn classify_v4(body: &[u8], ours: bool, local: &Local) -> Verdict {
    let Some((header, rest)) = body.split_first_chunk() else { return Verdict::Drop(Counter::Malformed) };
    let Ok(ip) = Ipv4::parse(header) else { return Verdict::Drop(Counter::Malformed) };
    if usize::from(ip.total_len) > body.len() {
        return Verdict::Drop(Counter::Malformed);
    }
    let whole = ip.fragment_offset == 0 && !ip.more_fragments;
    if ip.protocol == ipv4::UDP && whole && destination_port(rest) == Some(DHCP_CLIENT) {
        return Verdict::Address4;
    }
    for_firewall(local.v4 == Some(ip.destination), ours)
}

#[inline]
fn classify_v6(body: &[u8], ours: bool, local: &Local) -> Verdict {
    let Some((header, rest)) = body.split_first_chunk() else { return Verdict::Drop(Counter::Malformed) };
    let Ok(ip) = Ipv6::parse(header) else { return Verdict::Drop(Counter::Malformed) };
    if usize::from(ip.payload_len) > rest.len() {
        return Verdict::Drop(Counter::Malformed);
    }
    if ip.next == ipv6::ICMPV6
        && let Some(kind @ ndp::ROUTER_SOLICITATION..=ndp::REDIRECT) = rest.first().copied()
    {
        return classify_discovery(kind, &ip, rest, local);
    }
    if ip.destination == local.link_local {
        let dhcp = ip.next == ipv4::UDP && destination_port(rest) == Some(DHCPV6_CLIENT);
        return if dhcp && ours { Verdict::Address6 } else { Verdict::Drop(Counter::NotOurAddress) };
    }
    for_firewall(local.v6 == Some(ip.destination), ours)
}

/// Neighbour discovery never passes to firewallvm; what comes from beyond the segment is not even looked at.
fn classify_discovery(kind: u8, ip: &Ipv6, message: &[u8], local: &Local) -> Verdict {
    let concerns_us = match kind {
        ndp::ROUTER_ADVERTISEMENT | ndp::NEIGHBOUR_ADVERTISEMENT => true,
        ndp::NEIGHBOUR_SOLICITATION => ndp::solicited_target(message)
            .is_ok_and(|target| target == local.link_local || Some(target) == local.v6),
        _ => false,
    };
    if ip.hop_limit == ndp::HOP_LIMIT && concerns_us {
        Verdict::Address6
    } else {
        Verdict::Drop(Counter::Discovery)
    }
}

fn classify_arp(body: &[u8], ours: bool, local: &Local) -> Verdict {
    let Ok(arp) = Arp::parse(body) else { return Verdict::Drop(Counter::Malformed) };
    let concerns_us = match arp.operation {
        Operation::Request => Some(arp.target) == local.v4,
        Operation::Reply => ours,
    };
    if concerns_us { Verdict::Address4 } else { Verdict::Drop(Counter::OtherArp) }
}

#[inline]
fn destination_port(udp: &[u8]) -> Option<u16> {
    match udp {
        [_, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}
