//! What a rule asks of a packet, as statements: a list of alternatives, any of which is enough.

use super::expressions::{
    End, Family, Stmt, address, any_of, conntrack, family_is, field, icmp_type, is, meta, network, ports,
    protocols, word,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nftables::expr::{CTDir, Expression, MetaKey};
use rules_program::policy::{Direction, Policy, Ports, Protocols, Rule, Target};

/// Conditions that must all hold.
pub(super) type All = Vec<Stmt>;
/// Conditions of which one is enough; empty: there is nothing that they hold for.
pub(super) type Any = Vec<All>;

/// Longest list of networks that is written into the rule itself.
const INLINE: usize = 16;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A host in the network, or a name server.
    Network,
    /// Another domain.
    Domain,
}

/// Which ports of a packet rules are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortsOf {
    /// Those that it has now.
    Packet,
    /// Those that the connection's first packet had when it came.
    Original,
}

/// A set that conditions refer to.
#[derive(Clone, Debug)]
pub(super) struct NamedSet {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) elements: Vec<IpNet>,
}

/// The name of the set with a host name's addresses. nft's names are as long as a host name may be, less a few bytes.
pub(super) fn name_set(policy: &Policy, name: u16, family: Family) -> Option<String> {
    let host = policy.names.get(usize::from(name))?;
    let digit = family.digit();
    Some(if host.len() <= 240 { format!("name{digit}.{host}") } else { format!("name{digit}-{name}") })
}

/// The name of the set with a domain's addresses.
pub(super) fn domain_set(policy: &Policy, domain: u16, family: Family) -> Option<String> {
    let name = policy.domains.get(usize::from(domain))?;
    Some(format!("domain{}.{name}", family.digit()))
}

/// The name of the set with the name servers' virtual addresses.
pub(super) fn server_set(family: Family) -> String {
    format!("name-servers{}", family.digit())
}

/// What rules ask about protocol, ports and ICMP type.
pub(super) fn transport(rule: &Rule, of: PortsOf) -> Any {
    let ported = (rule.source_ports, rule.destination_ports) != (Ports::ALL, Ports::ALL);
    let mut asked = rule.protocols.bits();
    if ported {
        asked &= Protocols::TCP.and(Protocols::UDP).bits();
    }
    if rule.icmp_type.is_some() {
        asked &= Protocols::ICMP.and(Protocols::ICMPV6).bits();
    }
    let Some(asked) = Protocols::from_bits(asked).filter(|set| set.bits() != 0) else { return Vec::new() };
    let which = || is(meta(MetaKey::L4proto), protocols(asked));
    if let Some(kind) = rule.icmp_type {
        return vec![vec![which(), icmp_type(kind)]];
    }
    if ported && of == PortsOf::Original {
        // nft 1.0.6 needs to know one protocol to write such a port as a number.
        let each = [Protocols::TCP, Protocols::UDP].into_iter().filter(|one| asked.contains(*one));
        return each.map(|one| original_ports(rule, one)).collect();
    }
    let mut all = Vec::new();
    let header = match asked {
        Protocols::TCP if ported => "tcp",
        Protocols::UDP if ported => "udp",
        _ => "th",
    };
    if asked != Protocols::ALL && (header == "th" || !ported) {
        all.push(which());
    }
    for (name, asked) in [("sport", rule.source_ports), ("dport", rule.destination_ports)] {
        if asked != Ports::ALL {
            all.push(is(field(header, name), ports(asked)));
        }
    }
    vec![all]
}

fn original_ports(rule: &Rule, protocol: Protocols) -> All {
    let mut all = vec![is(meta(MetaKey::L4proto), protocols(protocol))];
    for (key, asked) in [("proto-src", rule.source_ports), ("proto-dst", rule.destination_ports)] {
        if asked != Ports::ALL {
            all.push(is(conntrack(key, Some(CTDir::Original)), ports(asked)));
        }
    }
    all
}

/// What a rule asks about the other end. Lists that are too long to be written into the rule are added to `sets`.
pub(super) fn target(policy: &Policy, number: usize, class: Class, sets: &mut Vec<NamedSet>) -> Any {
    let Some(rule) = policy.rules.get(number) else { return Vec::new() };
    let end = if rule.direction == Direction::Outward { End::Destination } else { End::Source };
    match class {
        Class::Domain => domains(policy, rule, end),
        Class::Network if rule.targets.is_empty() => vec![Vec::new()],
        Class::Network => {
            let mut any = Any::new();
            for family in Family::BOTH {
                any.extend(networks(rule, number, family, (end, sets)));
            }
            any.extend(names(policy, rule, end));
            if rule.targets.contains(&Target::Dns) && rule.direction == Direction::Outward {
                any.extend(Family::BOTH.map(name_servers));
            }
            any
        }
    }
}

/// Networks without overlaps, as interval sets want them; `None`: every address.
fn merged(rule: &Rule, family: Family) -> Option<Vec<IpNet>> {
    let mut everything = false;
    let (mut v4, mut v6) = (Vec::<Ipv4Net>::new(), Vec::<Ipv6Net>::new());
    for target in &rule.targets {
        match target {
            Target::V4(net) => v4.push(net.trunc()),
            Target::V6(net) => v6.push(net.trunc()),
            Target::AnyV4 => everything |= family == Family::V4,
            Target::AnyV6 => everything |= family == Family::V6,
            Target::Name(_) | Target::Domain(_) | Target::Dns => {}
        }
    }
    let nets: Vec<IpNet> = match family {
        Family::V4 => Ipv4Net::aggregate(&v4).into_iter().map(Into::into).collect(),
        Family::V6 => Ipv6Net::aggregate(&v6).into_iter().map(Into::into).collect(),
    };
    (!everything && nets.iter().all(|net| net.prefix_len() > 0)).then_some(nets)
}

fn networks(
    rule: &Rule,
    number: usize,
    family: Family,
    (end, sets): (End, &mut Vec<NamedSet>),
) -> Option<All> {
    let Some(nets) = merged(rule, family) else { return Some(vec![family_is(family)]) };
    if nets.is_empty() {
        return None;
    }
    let right = if nets.len() <= INLINE {
        any_of(nets.into_iter().map(network).collect())
    } else {
        let name = format!("rule-{number}-ip{}", family.digit());
        let reference = word(format!("@{name}"));
        if sets.iter().all(|set| set.name != name) {
            sets.push(NamedSet { name, family, elements: nets });
        }
        reference
    };
    Some(vec![is(address(family, end), right)])
}

fn names(policy: &Policy, rule: &Rule, end: End) -> Any {
    in_sets(rule, end, |target, family| match target {
        Target::Name(name) => name_set(policy, *name, family),
        _ => None,
    })
}

fn domains(policy: &Policy, rule: &Rule, end: End) -> Any {
    in_sets(rule, end, |target, family| match target {
        Target::Domain(domain) => domain_set(policy, *domain, family),
        _ => None,
    })
}

/// In one of the sets that `set` names for the rule's targets.
fn in_sets(rule: &Rule, end: End, set: impl Fn(&Target, Family) -> Option<String>) -> Any {
    let mut seen = Vec::new();
    for (target, family) in rule.targets.iter().flat_map(|target| Family::BOTH.map(|family| (target, family)))
    {
        let Some(name) = set(target, family) else { continue };
        let one = vec![is(address(family, end), word(format!("@{name}")))];
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

fn name_servers(family: Family) -> All {
    vec![
        is(address(family, End::Destination), word(format!("@{}", server_set(family)))),
        is(meta(MetaKey::L4proto), protocols(Protocols::TCP.and(Protocols::UDP))),
        is(field("th", "dport"), Expression::Number(53)),
    ]
}

/// Both conditions, each with each.
pub(super) fn both(one: &Any, other: &Any) -> Any {
    other.iter().flat_map(|b| one.iter().map(|a| [&a[..], &b[..]].concat())).collect()
}
