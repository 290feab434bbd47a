//! From text to policy.

use crate::problem::Problem;
use rules_program::policy::{Action, Direction, Policy, Ports, Protocols, Rule};

/// Compiles a text; the policy and when the next rule ends.
pub(super) fn compile(what: &str, text: &str, _now: u64) -> Result<(Policy, Option<u64>), Problem> {
    let mut policy = Policy::default();
    for (line, rule) in (1..).zip(text.lines()) {
        let action = match rule.split('#').next().unwrap_or_default().trim() {
            "" => continue,
            "accept" => Action::Accept,
            "drop" => Action::Drop,
            "reject" => Action::Reject,
            _ => {
                return Err(Problem::new(format!("{what}:{line}"), "not a rule", "write `accept` or `drop`"));
            }
        };
        policy.rules.push(Rule {
            direction: Direction::Outward,
            action,
            targets: Vec::new(),
            protocols: Protocols::ALL,
            destination_ports: Ports::ALL,
            source_ports: Ports::ALL,
            icmp_type: None,
            rate: None,
            connections: None,
            log: false,
            line,
        });
    }
    Ok((policy, None))
}

/// A text without the rules whose time is over.
pub(super) fn without_expired(text: &str, _now: u64) -> String {
    text.to_owned()
}
