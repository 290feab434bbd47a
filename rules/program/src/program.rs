//! A program in force: verified bytes, and the answers they give.

use crate::{
    assemble::MAGIC,
    policy::{Action, Policy, Ports, Protocols, Rule, Target},
    question::{Gate, Judgement, Peer, Question, Transport},
};
use core::net::IpAddr;

/// Why bytes are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a program, or of a version that this build does not know.
    Version,
    /// A part is missing, too long or points outside.
    Malformed,
    /// No memory for it.
    OutOfMemory,
}

impl Refusal {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "not a rule program of a version that is known here",
            Self::Malformed => "a damaged rule program",
            Self::OutOfMemory => "no memory for the rule program",
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Refusal {}

/// Verified rules.
#[derive(Clone, Debug)]
pub struct Program {
    policy: Policy,
}

impl Program {
    /// Verifies a program's bytes.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn load(bytes: &[u8]) -> Result<Self, Refusal> {
        let body = bytes.strip_prefix(&MAGIC[..]).ok_or(Refusal::Version)?;
        match postcard::take_from_bytes(body) {
            Ok((policy, [])) => Ok(Self { policy }),
            _ => Err(Refusal::Malformed),
        }
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policy.rules.len()
    }

    /// Whether there is none: everything is dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policy.rules.is_empty()
    }

    /// Host names that the rules refer to; a name's place is its number.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policy.names.iter().map(alloc::string::String::as_str)
    }

    /// Domains that the rules refer to; a domain's place is its number.
    pub fn domains(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policy.domains.iter().map(alloc::string::String::as_str)
    }

    /// The rules with a rate or connection limit: number and limits.
    pub fn limited(&self) -> impl Iterator<Item = (u16, Option<crate::policy::Rate>, Option<u32>)> {
        (0..).zip(&self.policy.rules).filter_map(|(number, rule)| {
            (rule.rate.is_some() || rule.connections.is_some()).then_some((
                number,
                rule.rate,
                rule.connections,
            ))
        })
    }

    /// The rules that forward ports: number, transport protocols, ports of the uplink's address.
    pub fn forwards(&self) -> impl Iterator<Item = (u16, Protocols, Ports)> {
        (0..).zip(&self.policy.rules).filter_map(|(number, rule)| {
            matches!(rule.action, Action::Forward { .. }).then_some((
                number,
                rule.protocols,
                rule.destination_ports,
            ))
        })
    }

    /// The first rule that matches.
    pub fn judge(&self, question: &Question<'_>, gate: &mut impl Gate) -> Judgement {
        let found = (0u16..).zip(&self.policy.rules).find(|(number, rule)| {
            matches(rule, question)
                && ((rule.rate.is_none() && rule.connections.is_none()) || gate.admits(*number))
        });
        found.map_or(Judgement::NO_RULE, |(number, rule)| Judgement {
            action: rule.action,
            rule: Some(number),
            log: rule.log,
        })
    }
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
