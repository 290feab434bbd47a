//! What rules mean, said as plainly as possible.
//!
//! This is the specification: it reads the checked text itself, rule after rule and condition after condition, knows
//! nothing of policies or programs, and is slow. Programs are tested against it, and [`Unmet`] says why a rule does not match.

use crate::{
    ast::{File, Host, OtherEnd, Rule},
    packet::{Packet, Peer},
};
use rules_program::{
    policy::{Action, Ports, Protocols},
    question::{Gate, Transport},
};
use std::{collections::HashSet, net::IpAddr};

/// What a file says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The rule that says so, by its place in the file; `None`: no rule matched.
    pub rule: Option<u16>,
    /// Whether the decision is to be reported.
    pub log: bool,
}

/// The first condition of a rule that a packet does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The rule has expired.
    Expired,
    /// The rule is about connections the other way.
    Direction,
    /// Somebody else is at the other end.
    OtherEnd,
    /// Another transport protocol.
    Protocol,
    /// Another destination port.
    DestinationPort,
    /// Another source port.
    SourcePort,
    /// Another ICMP type.
    IcmpType,
    /// The rule's limit is used up.
    Limit,
}

/// Judges a packet at `now` (seconds since 1970 UTC). `gate` is asked by places in the file.
pub fn judge(file: &File, now: u64, packet: &Packet, gate: &mut impl Gate) -> Verdict {
    for (number, rule) in (0u16..).zip(&file.rules) {
        if unmet(file, rule, now, packet).is_none() && (!rule.is_limited() || gate.admits(number)) {
            return Verdict { action: rule.action, rule: Some(number), log: rule.log };
        }
    }
    Verdict { action: Action::Drop, rule: None, log: false }
}

/// The first condition that the packet does not meet, limits aside.
#[must_use]
pub fn unmet(file: &File, rule: &Rule, now: u64, packet: &Packet) -> Option<Unmet> {
    let conditions = [
        (Unmet::Expired, !rule.is_expired(now)),
        (Unmet::Direction, rule.direction == packet.direction),
        (Unmet::OtherEnd, is_other_end(file, rule, packet)),
        (Unmet::Protocol, is_protocol(rule, packet)),
        (Unmet::DestinationPort, is_port(&rule.destination_ports, ports(packet).map(|(_, port)| port))),
        (Unmet::SourcePort, is_port(&rule.source_ports, ports(packet).map(|(port, _)| port))),
        (Unmet::IcmpType, rule.icmp_type.is_none() || rule.icmp_type == icmp_type(packet)),
    ];
    conditions.into_iter().find(|(_, met)| !met).map(|(unmet, _)| unmet)
}

fn is_other_end(file: &File, rule: &Rule, packet: &Packet) -> bool {
    let in_network = matches!(packet.peer, Peer::Net | Peer::Dns);
    match &rule.other_end {
        OtherEnd::Anyone => in_network,
        OtherEnd::Domain(name) => packet.peer == Peer::Domain(name.value.clone()),
        OtherEnd::NameServers => {
            packet.peer == Peer::Dns && ports(packet).is_some_and(|(_, destination)| destination == 53)
        }
        OtherEnd::Hosts(hosts) => {
            in_network && expand(file, hosts.iter().map(|host| &host.value)).any(|host| is_host(host, packet))
        }
    }
}

/// Hosts without sets: what is in the sets instead.
pub(crate) fn expand<'f>(
    file: &'f File,
    hosts: impl Iterator<Item = &'f Host>,
) -> impl Iterator<Item = &'f Host> {
    let mut rest: Vec<&Host> = hosts.collect();
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    while let Some(host) = rest.pop() {
        match host {
            Host::Set(name) => {
                let set = file.sets.iter().find(|set| set.name.value == *name);
                if let Some(set) = set.filter(|_| seen.insert(name)) {
                    rest.extend(set.items.iter().map(|item| &item.value));
                }
            }
            _ => out.push(host),
        }
    }
    out.into_iter()
}

fn is_host(host: &Host, packet: &Packet) -> bool {
    match (host, packet.remote) {
        (Host::V4(net), IpAddr::V4(remote)) => net.contains(&remote),
        (Host::V6(net), IpAddr::V6(remote)) => net.contains(&remote),
        (Host::Name(name), _) => packet.names.contains(name),
        _ => false,
    }
}

fn is_protocol(rule: &Rule, packet: &Packet) -> bool {
    let protocol = match packet.transport {
        Transport::Tcp { .. } => Protocols::TCP,
        Transport::Udp { .. } => Protocols::UDP,
        Transport::Icmp { .. } => Protocols::ICMP,
        Transport::Icmpv6 { .. } => Protocols::ICMPV6,
    };
    rule.protocols.is_none_or(|protocols| protocols.contains(protocol))
}

fn is_port(wanted: &[Ports], port: Option<u16>) -> bool {
    wanted.is_empty() || port.is_some_and(|port| wanted.iter().any(|range| range.contains(port)))
}

/// Source and destination.
pub(crate) const fn ports(packet: &Packet) -> Option<(u16, u16)> {
    match packet.transport {
        Transport::Tcp { source, destination } | Transport::Udp { source, destination } => {
            Some((source, destination))
        }
        Transport::Icmp { .. } | Transport::Icmpv6 { .. } => None,
    }
}

pub(crate) const fn icmp_type(packet: &Packet) -> Option<u8> {
    match packet.transport {
        Transport::Icmp { kind } | Transport::Icmpv6 { kind } => Some(kind),
        _ => None,
    }
}
