//! Rules that can never match, because one before them matches all that they match.
//!
//! Rules are found by what they are about (an address lies in so many prefixes at most), and only the first and last few
//! of each are looked at: a file of any kind costs a bounded amount of work per rule, and a shadow may be missed.

use ipnet::{Ipv4Net, Ipv6Net};
use rules_program::policy::{Direction, Policy, Rule, Target};
use std::collections::HashMap;

/// Earlier rules that are compared for each kind of target, from the first and from the last.
const LOOK_AT: usize = 8;
/// Comparisons of targets for the whole policy at most.
const BUDGET: usize = 200_000;

/// The rules (by place in the file) that can never match, each with the one before it that matches all of it.
pub(super) fn find(policy: &Policy, places: &[u16]) -> Vec<(u16, u16)> {
    let mut earlier = Earlier::default();
    let mut out: Vec<(u16, u16)> = Vec::new();
    let mut rules = policy.rules.iter().zip(places).zip(0u32..).peekable();
    // Rules of one place stand side by side: all of them must be covered.
    while let Some(((first, place), number)) = rules.next() {
        let mut by = earlier.covering(policy, first);
        let mut of_place = vec![(first, number)];
        while let Some(((rule, _), number)) = rules.next_if(|((_, next), _)| *next == place) {
            by = by.filter(|_| earlier.covering(policy, rule).is_some());
            of_place.push((rule, number));
        }
        let by = by.and_then(|by| places.get(by as usize));
        out.extend(by.map(|by| (*place, *by)));
        for (rule, number) in of_place {
            earlier.add(rule, number);
        }
    }
    out
}

/// Rules that match always when their conditions hold, by their targets.
#[derive(Debug)]
struct Earlier {
    by_target: HashMap<(Direction, Option<Target>), Vec<u32>>,
    /// Lengths of prefixes that occur, a bit each.
    v4_lengths: u64,
    v6_lengths: [u64; 3],
    budget: usize,
}

impl Default for Earlier {
    fn default() -> Self {
        Self { by_target: HashMap::new(), v4_lengths: 0, v6_lengths: [0; 3], budget: BUDGET }
    }
}

impl Earlier {
    fn add(&mut self, rule: &Rule, number: u32) {
        if rule.rate.is_some() || rule.connections.is_some() {
            return;
        }
        if rule.targets.is_empty() {
            self.by_target.entry((rule.direction, None)).or_default().push(number);
        }
        for target in &rule.targets {
            match target {
                Target::V4(net) => self.v4_lengths |= 1 << net.prefix_len(),
                Target::V6(net) => {
                    let length = net.prefix_len();
                    self.v6_lengths[usize::from(length / 64)] |= 1 << (length % 64);
                }
                _ => {}
            }
            self.by_target.entry((rule.direction, Some(*target))).or_default().push(number);
        }
    }

    fn covering(&mut self, policy: &Policy, rule: &Rule) -> Option<u32> {
        let mut found = self.among(policy, rule, None);
        if let Some(first) = rule.targets.first() {
            for target in self.around(*first) {
                found = found.or_else(|| self.among(policy, rule, Some(target)));
            }
        }
        found
    }

    /// Targets that hold this one, as far as they occur.
    fn around(&self, target: Target) -> Vec<Target> {
        let mut out = vec![target];
        match target {
            Target::V4(net) => {
                out.push(Target::AnyV4);
                let lengths = (1..net.prefix_len()).filter(|length| self.v4_lengths >> length & 1 == 1);
                out.extend(
                    lengths.filter_map(|length| {
                        Some(Target::V4(Ipv4Net::new(net.addr(), length).ok()?.trunc()))
                    }),
                );
            }
            Target::V6(net) => {
                out.push(Target::AnyV6);
                let occurs =
                    |length: &u8| self.v6_lengths[usize::from(length / 64)] >> (length % 64) & 1 == 1;
                let lengths = (1..net.prefix_len()).filter(occurs);
                out.extend(
                    lengths.filter_map(|length| {
                        Some(Target::V6(Ipv6Net::new(net.addr(), length).ok()?.trunc()))
                    }),
                );
            }
            _ => {}
        }
        out
    }

    fn among(&mut self, policy: &Policy, rule: &Rule, target: Option<Target>) -> Option<u32> {
        let rules = self.by_target.get(&(rule.direction, target))?;
        let tail = rules.len().saturating_sub(LOOK_AT).max(LOOK_AT.min(rules.len()));
        let some = rules.iter().take(LOOK_AT).chain(rules.get(tail..).unwrap_or_default());
        for number in some {
            let Some(early) = policy.rules.get(*number as usize) else { continue };
            let cost = 1 + early.targets.len() * rule.targets.len();
            self.budget = self.budget.checked_sub(cost)?;
            if covers(early, rule) {
                return Some(*number);
            }
        }
        None
    }
}

/// Whether whatever the second rule matches is matched by the first.
fn covers(early: &Rule, late: &Rule) -> bool {
    let domain = |target: &Target| matches!(target, Target::Domain(_));
    let targets = if early.targets.is_empty() {
        !late.targets.iter().any(domain)
    } else {
        let held = |target: &Target| early.targets.iter().any(|holder| holds(holder, target));
        !late.targets.is_empty() && late.targets.iter().all(held)
    };
    targets
        && early.protocols.contains(late.protocols)
        && early.destination_ports.first <= late.destination_ports.first
        && early.destination_ports.last >= late.destination_ports.last
        && early.source_ports.first <= late.source_ports.first
        && early.source_ports.last >= late.source_ports.last
        && (early.icmp_type.is_none() || early.icmp_type == late.icmp_type)
}

fn holds(holder: &Target, target: &Target) -> bool {
    match (holder, target) {
        (Target::V4(outer), Target::V4(inner)) => outer.contains(inner),
        (Target::V6(outer), Target::V6(inner)) => outer.contains(inner),
        (Target::AnyV4, Target::V4(_)) | (Target::AnyV6, Target::V6(_)) => true,
        _ => holder == target,
    }
}
