//! Policy → bytes.

use crate::{
    format::{self, HEADER, MAGIC, RuleRecord, TargetRecord},
    policy::{MAX_DOMAINS, MAX_LIMITED, MAX_NAMES, MAX_RULES, MAX_TARGETS, Policy, Target},
};
use alloc::{string::String, vec::Vec};

/// The policy exceeds a limit of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// What there is too much of.
    pub what: &'static str,
    /// How much of it is allowed.
    pub limit: usize,
}

impl core::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "more than {} {}", self.limit, self.what)
    }
}

impl core::error::Error for TooLarge {}

/// Makes the program of a policy. A policy that breaks what its types' descriptions say (ports out of order, a rate
/// of 0, a name that is none) gives bytes that [`Program::load`](crate::Program::load) refuses.
///
/// # Errors
/// [`TooLarge`].
pub fn assemble(policy: &Policy) -> Result<Vec<u8>, TooLarge> {
    check(policy)?;
    let mut sections = Sections::default();
    let order4 = places(policy.rules.iter().flat_map(|rule| &rule.targets).filter_map(v4));
    let order6 = places(policy.rules.iter().flat_map(|rule| &rule.targets).filter_map(v6));
    let (mut places4, mut places6) = (order4.1.iter(), order6.1.iter());
    for rule in &policy.rules {
        let count = u16::try_from(rule.targets.len())
            .map_err(|_| TooLarge { what: "addresses and names in one rule", limit: u16::MAX.into() })?;
        sections.rules.extend(RuleRecord::of(rule, count).encode());
        if rule.rate.is_some() || rule.connections.is_some() {
            sections.limits.extend(format::encode_limit(rule.rate, rule.connections));
        }
        for target in &rule.targets {
            let record = match *target {
                Target::V4(net) if net.prefix_len() == 0 => TargetRecord::AnyV4,
                Target::V6(net) if net.prefix_len() == 0 => TargetRecord::AnyV6,
                Target::V4(_) => TargetRecord::Prefix4(places4.next().copied().unwrap_or(u32::MAX)),
                Target::V6(_) => TargetRecord::Prefix6(places6.next().copied().unwrap_or(u32::MAX)),
                Target::AnyV4 => TargetRecord::AnyV4,
                Target::AnyV6 => TargetRecord::AnyV6,
                Target::Name(place) => TargetRecord::Name(place),
                Target::Domain(place) => TargetRecord::Domain(place),
                Target::Dns => TargetRecord::Dns,
            };
            sections.targets.extend(record.encode());
        }
    }
    for (address, len) in &order4.0 {
        sections.prefixes4.extend(address.to_le_bytes());
        sections.prefixes4.extend([*len, 0, 0, 0]);
    }
    for (address, len) in &order6.0 {
        sections.prefixes6.extend(address.to_le_bytes());
        sections.prefixes6.extend([*len, 0, 0, 0]);
    }
    strings(&mut sections.names, &policy.names)?;
    strings(&mut sections.domains, &policy.domains)?;
    sections.join(policy)
}

fn check(policy: &Policy) -> Result<(), TooLarge> {
    let limited = policy.rules.iter().filter(|rule| rule.rate.is_some() || rule.connections.is_some());
    let counts = [
        (policy.rules.len(), "rules", MAX_RULES),
        (policy.rules.iter().map(|rule| rule.targets.len()).sum(), "addresses and names", MAX_TARGETS),
        (policy.names.len(), "host names", MAX_NAMES),
        (policy.domains.len(), "domains", MAX_DOMAINS),
        (limited.count(), "rules with limits", MAX_LIMITED),
    ];
    for (count, what, limit) in counts {
        if count > limit {
            return Err(TooLarge { what, limit });
        }
    }
    Ok(())
}

fn v4(target: &Target) -> Option<(u32, u8)> {
    let Target::V4(net) = target else { return None };
    (net.prefix_len() > 0).then(|| (net.network().to_bits(), net.prefix_len()))
}

fn v6(target: &Target) -> Option<(u128, u8)> {
    let Target::V6(net) = target else { return None };
    (net.prefix_len() > 0).then(|| (net.network().to_bits(), net.prefix_len()))
}

/// The distinct prefixes in order, and for each that was given its place among them.
fn places<K: Copy + Ord>(prefixes: impl Iterator<Item = (K, u8)>) -> (Vec<(K, u8)>, Vec<u32>) {
    let mut given: Vec<((K, u8), u32)> = prefixes.zip(0..).collect();
    given.sort_unstable();
    let mut distinct = Vec::with_capacity(given.len());
    let mut places = alloc::vec![0; given.len()];
    for (prefix, nth) in given {
        if distinct.last() != Some(&prefix) {
            distinct.push(prefix);
        }
        if let Some(place) = places.get_mut(nth as usize) {
            *place = u32::try_from(distinct.len()).unwrap_or(u32::MAX).wrapping_sub(1);
        }
    }
    (distinct, places)
}

fn strings(section: &mut Vec<u8>, strings: &[String]) -> Result<(), TooLarge> {
    for string in strings {
        let len = u8::try_from(string.len())
            .map_err(|_| TooLarge { what: "bytes in a name", limit: u8::MAX.into() })?;
        section.push(len);
        section.extend(string.as_bytes());
    }
    Ok(())
}

#[derive(Default)]
struct Sections {
    rules: Vec<u8>,
    targets: Vec<u8>,
    prefixes4: Vec<u8>,
    prefixes6: Vec<u8>,
    limits: Vec<u8>,
    names: Vec<u8>,
    domains: Vec<u8>,
}

impl Sections {
    fn join(&self, policy: &Policy) -> Result<Vec<u8>, TooLarge> {
        let sections = [
            &self.rules,
            &self.targets,
            &self.prefixes4,
            &self.prefixes6,
            &self.limits,
            &self.names,
            &self.domains,
        ];
        let len = HEADER + sections.iter().map(|section| section.len()).sum::<usize>() + format::CHECKSUM;
        let numbers = [
            len,
            policy.rules.len(),
            self.targets.len() / format::TARGET,
            self.prefixes4.len() / format::PREFIX4,
            self.prefixes6.len() / format::PREFIX6,
            self.limits.len() / format::LIMIT,
            policy.names.len(),
            self.names.len(),
            policy.domains.len(),
            self.domains.len(),
        ];
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(MAGIC);
        for number in numbers {
            let number =
                u32::try_from(number).map_err(|_| TooLarge { what: "bytes", limit: u32::MAX as usize })?;
            bytes.extend(number.to_le_bytes());
        }
        for section in sections {
            bytes.extend_from_slice(section);
        }
        bytes.extend(format::checksum(&bytes).to_le_bytes());
        Ok(bytes)
    }
}
