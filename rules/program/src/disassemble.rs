//! Bytes → policy.

use crate::{
    format::{self, TargetRecord},
    policy::{Policy, Rule, Target},
    program::Refusal,
    verify::Verified,
};
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};
use ipnet::{Ipv4Net, Ipv6Net};

/// The policy that a program was made of; of prefixes only the bits that count. For people and tools: unlike
/// [`Program::load`](crate::Program::load) it does not answer for the lack of memory.
///
/// # Errors
/// [`Refusal`].
pub fn disassemble(bytes: &[u8]) -> Result<Policy, Refusal> {
    let program = Verified::of(bytes)?;
    let mut limits = program.limits().iter();
    let rules = program.rules_with_targets().map(|(rule, targets)| {
        let limits = if rule.is_limited() { limits.next() } else { None };
        let (rate, connections) =
            limits.and_then(|limits| format::limit(&rule, limits)).unwrap_or((None, None));
        Rule {
            direction: rule.direction,
            action: rule.action,
            targets: targets.filter_map(|record| target(&program, record)).collect(),
            protocols: rule.protocols,
            destination_ports: rule.destination_ports,
            source_ports: rule.source_ports,
            icmp_type: rule.icmp_type,
            rate,
            connections,
            log: rule.log,
            line: rule.line,
        }
    });
    Ok(Policy {
        rules: rules.collect(),
        names: program.names().map(String::from).collect(),
        domains: program.domains().map(String::from).collect(),
    })
}

fn target(program: &Verified<'_>, record: TargetRecord) -> Option<Target> {
    Some(match record {
        TargetRecord::AnyV4 => Target::AnyV4,
        TargetRecord::AnyV6 => Target::AnyV6,
        TargetRecord::Dns => Target::Dns,
        TargetRecord::Name(place) => Target::Name(place),
        TargetRecord::Domain(place) => Target::Domain(place),
        TargetRecord::Prefix4(place) => {
            let (address, len) = format::prefix4(program.prefixes4.get(place as usize)?)?;
            Target::V4(Ipv4Net::new(Ipv4Addr::from_bits(address), len).ok()?)
        }
        TargetRecord::Prefix6(place) => {
            let (address, len) = format::prefix6(program.prefixes6.get(place as usize)?)?;
            Target::V6(Ipv6Net::new(Ipv6Addr::from_bits(address), len).ok()?)
        }
    })
}
