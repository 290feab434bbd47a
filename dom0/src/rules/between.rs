//! What the rules of several domains mean together: ports that two want, words that only one of two said.

use crate::name::Name;
use rules_program::policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target};

/// Warnings at most: more would hide the first ones.
const MAX_WARNINGS: usize = 20;

/// A domain's policy and where it was written.
#[derive(Clone, Copy, Debug)]
pub struct Side<'p> {
    /// The domain.
    pub name: &'p Name,
    /// Its file, for messages.
    pub file: &'p str,
    /// What the file means.
    pub policy: &'p Policy,
}

/// Where another domain is, seen from one behind a firewallvm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Behind the same firewallvm.
    Here,
    /// Elsewhere; no packet of it ever comes here.
    Elsewhere,
    /// There is none.
    Nowhere,
}

/// The first port of the uplink that two of the domains want: who, where and what.
#[must_use]
pub fn clash(mine: &Side<'_>, others: &[Side<'_>]) -> Option<String> {
    let rules = mine.policy.rules.iter().filter(|rule| is_forward(rule));
    for rule in rules {
        for other in others {
            let same = |theirs: &&Rule| {
                is_forward(theirs) && overlap(rule, theirs) && families(rule) & families(theirs) != 0
            };
            if let Some(theirs) = other.policy.rules.iter().find(same) {
                let port = rule.destination_ports.first.max(theirs.destination_ports.first);
                return Some(format!(
                    "{} port {port} of the uplink is forwarded at {}:{} and at {}:{}",
                    protocol_word(rule.protocols, theirs.protocols),
                    mine.file,
                    rule.line,
                    other.file,
                    theirs.line
                ));
            }
        }
    }
    None
}

/// What looks like a mistake in the words between domains. `others`: those behind the same firewallvm.
#[must_use]
pub fn warnings(
    mine: &Side<'_>,
    others: &[Side<'_>],
    whereabouts: impl Fn(&str) -> Whereabouts,
) -> Vec<String> {
    let mut found = Vec::new();
    for rule in mine.policy.rules.iter().filter(|r| r.action == Action::Accept) {
        for other in named(mine.policy, rule) {
            let why = match whereabouts(other) {
                Whereabouts::Nowhere => format!("there is no domain {other:?}"),
                Whereabouts::Elsewhere => {
                    format!(
                        "{other} is not behind the firewall of {}: no packet passes between them",
                        mine.name
                    )
                }
                Whereabouts::Here if is_answered(mine, rule, others, other) => continue,
                Whereabouts::Here => {
                    let key = if rule.direction == Direction::Outward { "srcdomain" } else { "dstdomain" };
                    format!(
                        "{other} has no matching {key}={} rule: nothing passes until both say so",
                        mine.name
                    )
                }
            };
            if found.len() >= MAX_WARNINGS {
                found.push(format!("{}: and more like these", mine.file));
                return found;
            }
            let text = format!("{}:{}: {why}", mine.file, rule.line);
            if !found.contains(&text) {
                found.push(text);
            }
        }
    }
    found
}

const fn is_forward(rule: &Rule) -> bool {
    matches!(rule.action, Action::Forward { .. })
}

fn named<'p>(policy: &'p Policy, rule: &'p Rule) -> impl Iterator<Item = &'p str> {
    rule.targets.iter().filter_map(|target| match target {
        Target::Domain(place) => policy.domains.get(usize::from(*place)).map(String::as_str),
        _ => None,
    })
}

fn is_answered(mine: &Side<'_>, rule: &Rule, others: &[Side<'_>], other: &str) -> bool {
    let Some(theirs) = others.iter().find(|o| o.name.as_str() == other) else { return false };
    theirs.policy.rules.iter().any(|answer| {
        answer.action == Action::Accept
            && answer.direction != rule.direction
            && overlap(rule, answer)
            && named(theirs.policy, answer).any(|name| name == mine.name.as_str())
    })
}

/// Whether some packet's protocol and destination port match both.
fn overlap(one: &Rule, other: &Rule) -> bool {
    let meet = |a: Ports, b: Ports| a.first <= b.last && b.first <= a.last;
    one.protocols.bits() & other.protocols.bits() != 0 && meet(one.destination_ports, other.destination_ports)
}

/// Address families that a rule is about: bit 0 IPv4, bit 1 IPv6.
fn families(rule: &Rule) -> u8 {
    let family = |target: &Target| match target {
        Target::V4(_) | Target::AnyV4 => 1,
        Target::V6(_) | Target::AnyV6 => 2,
        _ => 3,
    };
    rule.targets.iter().map(family).reduce(|a, b| a | b).unwrap_or(3)
}

fn protocol_word(one: Protocols, other: Protocols) -> &'static str {
    let both = one.bits() & other.bits();
    if both & Protocols::TCP.bits() != 0 { "TCP" } else { "UDP" }
}

#[cfg(test)]
mod tests;
