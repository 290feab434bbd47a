//! The rules one by one: slow and obvious.

use crate::{
    policy::{Policy, Ports, Protocols, Rule, Target},
    question::{Gate, Judgement, Peer, Question, Transport},
};
use core::net::IpAddr;

pub(super) fn judge(policy: &Policy, question: &Question<'_>, gate: &mut impl Gate) -> Judgement {
    let found = (0u16..).zip(&policy.rules).find(|(number, rule)| {
        matches(rule, question)
            && ((rule.rate.is_none() && rule.connections.is_none()) || gate.admits(*number))
    });
    found.map_or(Judgement::NO_RULE, |(number, rule)| Judgement {
        action: rule.action,
        rule: Some(number),
        log: rule.log,
    })
}

fn matches(rule: &Rule, question: &Question<'_>) -> bool {
    let (protocol, ports, kind) = match question.transport {
        Transport::Tcp { source, destination } => (Protocols::TCP, Some((source, destination)), None),
        Transport::Udp { source, destination } => (Protocols::UDP, Some((source, destination)), None),
        Transport::Icmp { kind } => (Protocols::ICMP, None, Some(kind)),
        Transport::Icmpv6 { kind } => (Protocols::ICMPV6, None, Some(kind)),
    };
    let ports = match ports {
        Some((source, destination)) => {
            rule.source_ports.contains(source) && rule.destination_ports.contains(destination)
        }
        None => rule.source_ports == Ports::ALL && rule.destination_ports == Ports::ALL,
    };
    rule.direction == question.direction
        && rule.protocols.contains(protocol)
        && ports
        && (rule.icmp_type.is_none() || rule.icmp_type == kind)
        && is_target(rule, question)
}

fn is_target(rule: &Rule, question: &Question<'_>) -> bool {
    let in_network = matches!(question.peer, Peer::Net | Peer::Dns);
    let is_it = |target: &Target| match (target, question.remote) {
        (Target::V4(net), IpAddr::V4(remote)) => in_network && net.contains(&remote),
        (Target::V6(net), IpAddr::V6(remote)) => in_network && net.contains(&remote),
        (Target::AnyV4, IpAddr::V4(_)) | (Target::AnyV6, IpAddr::V6(_)) => in_network,
        (Target::Name(name), _) => in_network && question.names.contains(name),
        (Target::Domain(domain), _) => question.peer == Peer::Domain(Some(*domain)),
        (Target::Dns, _) => {
            let port = match question.transport {
                Transport::Tcp { destination, .. } | Transport::Udp { destination, .. } => destination,
                _ => 0,
            };
            question.peer == Peer::Dns && port == 53
        }
        _ => false,
    };
    if rule.targets.is_empty() { in_network } else { rule.targets.iter().any(is_it) }
}
