//! Policies over everything that both sides can say, about few enough addresses and ports that packets meet rules.

use proptest::{collection::vec, option, prelude::*, sample::select};
use rules_program::policy::{Action, Direction, Policy, Ports, Protocols, Rate, Rule, Target};

/// The host names that rules may have.
pub(crate) const NAMES: [&str; 2] = ["www.example.org", "mail.example.net"];
/// The other domains.
pub(crate) const DOMAINS: [&str; 2] = ["peer", "nobody"];

/// Networks whose boundaries packets are sent to.
pub(crate) const NETS: [&str; 14] = [
    "198.51.100.0/24",
    "198.51.100.9/32",
    "192.0.2.0/25",
    "203.0.113.128/25",
    "203.0.113.255/32",
    "8.8.8.8/32",
    "10.139.1.0/24",
    "128.0.0.0/1",
    "0.0.0.0/0",
    "2001:db8:ffff::/48",
    "2001:db8:ffff::9/128",
    "2001:db8:8000::/33",
    "2600::/12",
    "::/0",
];

const RANGES: [(u16, u16); 9] = [
    (53, 53),
    (80, 80),
    (443, 443),
    (1, 1023),
    (1024, 65_535),
    (1023, 1024),
    (65_535, 65_535),
    (0, 65_535),
    (8000, 8100),
];

fn target() -> impl Strategy<Value = Target> {
    let net = select(&NETS[..]).prop_map(|text| match text.parse().unwrap() {
        ipnet::IpNet::V4(net) => Target::V4(net),
        ipnet::IpNet::V6(net) => Target::V6(net),
    });
    prop_oneof![
        12 => net,
        1 => Just(Target::AnyV4),
        1 => Just(Target::AnyV6),
        2 => Just(Target::Dns),
        1 => (0..2u16).prop_map(Target::Name),
        2 => (0..2u16).prop_map(Target::Domain),
    ]
}

fn targets() -> impl Strategy<Value = Vec<Target>> {
    let scattered = (0..=255u8, 17..60usize).prop_map(|(start, count)| {
        let nets = (0..count).map(|n| {
            let last = u8::try_from(n * 7 % 256).unwrap();
            Target::V4(ipnet::Ipv4Net::new_assert([198, 51, 100, start.wrapping_add(last)].into(), 32))
        });
        nets.collect()
    });
    prop_oneof![4 => Just(vec![]), 8 => vec(target(), 1..5), 1 => scattered]
}

fn ports() -> impl Strategy<Value = Ports> {
    prop_oneof![
        4 => Just(Ports::ALL),
        3 => select(&RANGES[..]).prop_map(|(first, last)| Ports { first, last }),
    ]
}

fn protocols() -> impl Strategy<Value = Protocols> {
    let bits = (1..16u8).prop_map(|bits| Protocols::from_bits(bits).unwrap());
    prop_oneof![4 => Just(Protocols::ALL), 4 => Just(Protocols::TCP), 4 => Just(Protocols::UDP), 6 => bits]
}

/// How limited rules are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    None,
    /// So slow that nothing is earned back while a test runs; at most one kind in a rule, for which of two is asked
    /// first is nobody's promise.
    Some,
}

/// What both sides can be asked about in the same words.
pub(crate) fn rule(limits: Limits) -> impl Strategy<Value = Rule> {
    let action = select(vec![Action::Accept, Action::Accept, Action::Drop, Action::Reject]);
    let icmp = prop_oneof![5 => Just(None), 1 => select(vec![0, 3, 8, 13, 128, 129]).prop_map(Some)];
    let source = prop_oneof![5 => Just(Ports::ALL), 1 => ports()];
    let limit = option::of((any::<bool>(), 1..4u32));
    (action, targets(), protocols(), ports(), source, icmp, any::<bool>(), limit).prop_map(
        move |(action, targets, protocols, destination_ports, source_ports, icmp_type, log, limit)| {
            let limit = limit.filter(|_| limits == Limits::Some);
            let rate = limit.filter(|(by_rate, _)| *by_rate);
            let connections = limit.filter(|(by_rate, _)| !by_rate && action == Action::Accept);
            Rule {
                direction: Direction::Outward,
                action,
                targets,
                protocols,
                destination_ports,
                source_ports,
                icmp_type,
                rate: rate.map(|(_, burst)| Rate { count: 1, per_seconds: 86_400, burst }),
                connections: connections.map(|(_, most)| most),
                log,
                line: 0,
            }
        },
    )
}

/// A policy; half of them end by accepting the rest.
pub(crate) fn policy(limits: Limits) -> impl Strategy<Value = Policy> {
    (vec(rule(limits), 0..12), any::<bool>()).prop_map(|(mut rules, open)| {
        if open {
            rules.push(accept_all());
        }
        Policy {
            rules,
            names: NAMES.map(str::to_owned).to_vec(),
            domains: DOMAINS.map(str::to_owned).to_vec(),
        }
    })
}

/// Rules in the other direction, or about other domains: what `kind` makes of rules as usual.
pub(crate) fn policy_of(kind: fn(Rule) -> Rule) -> impl Strategy<Value = Policy> {
    vec(rule(Limits::None).prop_map(kind), 1..8).prop_map(|rules| Policy {
        rules,
        names: vec![],
        domains: DOMAINS.map(str::to_owned).to_vec(),
    })
}

/// Accepts everything outward.
pub(crate) fn accept_all() -> Rule {
    Rule::any(Direction::Outward, Action::Accept)
}
