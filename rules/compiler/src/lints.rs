//! What was probably not meant: warnings about rules that are valid.

mod shadow;

use crate::{
    ast::File,
    diagnostic::Diagnostic,
    packet::{DNS_PORT, NAME_SERVER_V6, NAME_SERVERS_V4},
    span::Span,
};
use rules_program::policy::{Action, Direction, Policy, Protocols, Rule, Target};

/// Comparisons of forwards at most.
const FORWARD_BUDGET: usize = 20_000;

/// Rules that are no more.
pub(crate) fn expired(file: &File, now: u64) -> Vec<Diagnostic> {
    let rules = file.rules.iter().filter(|rule| rule.is_expired(now));
    let warning = |span| Diagnostic::warning(span, "this rule has expired").label("means nothing any more");
    rules.map(|rule| warning(rule.span)).collect()
}

/// What the policy of a file shows.
pub(crate) fn of_policy(file: &File, policy: &Policy, places: &[u16]) -> Vec<Diagnostic> {
    let span = |place: u16| file.rules.get(usize::from(place)).map_or(Span::default(), |rule| rule.span);
    let mut out = Vec::new();
    let shadowed = shadow::find(policy, places);
    for (rule, by) in &shadowed {
        let wrong = Diagnostic::warning(span(*rule), "this rule can never match");
        let wrong = wrong.label("whatever it is about was decided before");
        out.push(wrong.other(span(*by), format!("rule {by} matches all of it")));
    }
    out.extend(names_without_dns(policy).and_then(|number| {
        let place = *places.get(number)?;
        let wrong = Diagnostic::warning(span(place), "a host name, but no rule lets DNS through");
        let wrong = wrong.label("matches only what the domain was told by its name servers");
        Some(wrong.help("add `action=accept specialtarget=dns`"))
    }));
    for (first, second) in forwarded_twice(policy) {
        let (Some(first), Some(second)) = (places.get(first), places.get(second)) else { continue };
        if first != second && !shadowed.iter().any(|(rule, _)| rule == second) {
            let wrong = Diagnostic::warning(span(*second), "a port that is forwarded twice");
            let wrong = wrong.label("part of these ports never come here");
            out.push(wrong.other(span(*first), "this rule comes first"));
        }
    }
    out
}

/// The first rule that accepts a host name, if nothing accepts DNS.
fn names_without_dns(policy: &Policy) -> Option<usize> {
    let accepts = |rule: &&Rule| rule.action == Action::Accept && rule.direction == Direction::Outward;
    let asks = |rule: &Rule| {
        let protocol = rule.protocols.contains(Protocols::UDP) || rule.protocols.contains(Protocols::TCP);
        let target = rule.targets.is_empty() || rule.targets.iter().any(is_name_server);
        protocol && target && rule.destination_ports.contains(DNS_PORT)
    };
    if policy.names.is_empty() || policy.rules.iter().filter(accepts).any(asks) {
        return None;
    }
    let named = |rule: &Rule| rule.targets.iter().any(|target| matches!(target, Target::Name(_)));
    policy.rules.iter().position(|rule| accepts(&rule) && named(rule))
}

fn is_name_server(target: &Target) -> bool {
    match target {
        Target::Dns | Target::AnyV4 | Target::AnyV6 => true,
        Target::V4(net) => NAME_SERVERS_V4.iter().any(|server| net.contains(server)),
        Target::V6(net) => net.contains(&NAME_SERVER_V6),
        Target::Name(_) | Target::Domain(_) => false,
    }
}

/// Pairs of forwards of which the first takes part of the second one's ports, whoever comes.
fn forwarded_twice(policy: &Policy) -> Vec<(usize, usize)> {
    let forwards = policy.rules.iter().enumerate();
    let is_forward = |rule: &Rule| matches!(rule.action, Action::Forward { .. });
    let forwards: Vec<_> = forwards.filter(|(_, rule)| is_forward(rule)).collect();
    let mut out = Vec::new();
    let mut budget = FORWARD_BUDGET;
    for (place, (second, late)) in forwards.iter().enumerate() {
        if place > budget {
            break;
        }
        budget -= place;
        let takes = |early: &Rule| {
            let (a, b) = (early.destination_ports, late.destination_ports);
            let from = early.targets.is_empty() || early.targets == late.targets;
            let protocol = early.protocols.bits() & late.protocols.bits() != 0;
            let limited = early.rate.is_some() || early.connections.is_some();
            from && protocol && !limited && a.first <= b.last && b.first <= a.last
        };
        out.extend(
            forwards[..place].iter().find(|(_, early)| takes(early)).map(|(first, _)| (*first, *second)),
        );
    }
    out
}
