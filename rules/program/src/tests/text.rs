//! The listing's text.

use crate::{
    Listing, assemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rate, Rule, Target},
};
use std::{string::ToString, vec};

const LISTED: &str = "\
7 rules, 1 name, 1 domain
0  outward  accept  www.example.org, 192.0.2.0/24, 2001:db8::/32  tcp 80-443  ; line 1
1  outward  accept  name servers  tcp,udp  10 in 60 s, 20 at once
2  outward  drop  domain work  any  log  ; line 4
3  inward  forward to 8080  any address  tcp 80  from 1024-65535  at most 50 alive
4  inward  forward  any IPv4 address  udp 53
5  outward  reject  any IPv6 address  icmpv6  type 128
6  outward  drop  any address  nothing
";

/// Matches everything.
fn any() -> Rule {
    Rule::any(Direction::Outward, Action::Accept)
}

#[test]
fn is_stable() {
    let any = any();
    let targets = vec![
        Target::Name(0),
        Target::V4("192.0.2.77/24".parse().unwrap()),
        Target::V6("2001:db8::/32".parse().unwrap()),
    ];
    let ports = |first, last| Ports { first, last };
    let both = Protocols::TCP.and(Protocols::UDP);
    let rate = Some(Rate { count: 10, per_seconds: 60, burst: 20 });
    let inward = Rule { direction: Direction::Inward, ..any.clone() };
    let rules = vec![
        Rule {
            targets,
            protocols: Protocols::TCP,
            destination_ports: ports(80, 443),
            line: 1,
            ..any.clone()
        },
        Rule { targets: vec![Target::Dns], protocols: both, rate, ..any.clone() },
        Rule { action: Action::Drop, targets: vec![Target::Domain(0)], log: true, line: 4, ..any.clone() },
        Rule {
            action: Action::Forward { to_port: Some(8080) },
            protocols: Protocols::TCP,
            destination_ports: ports(80, 80),
            source_ports: ports(1024, u16::MAX),
            connections: Some(50),
            ..inward.clone()
        },
        Rule {
            action: Action::Forward { to_port: None },
            targets: vec![Target::V4("0.0.0.0/0".parse().unwrap())],
            protocols: Protocols::UDP,
            destination_ports: ports(53, 53),
            ..inward
        },
        Rule {
            action: Action::Reject,
            targets: vec![Target::AnyV6],
            protocols: Protocols::ICMPV6,
            icmp_type: Some(128),
            ..any.clone()
        },
        Rule { action: Action::Drop, protocols: Protocols::from_bits(0).unwrap(), ..any },
    ];
    let policy = Policy { rules, names: vec!["www.example.org".into()], domains: vec!["work".into()] };
    let listing = Listing::of(&assemble(&policy).unwrap()).unwrap();
    assert_eq!(listing.to_string(), LISTED);
    let line = listing.rule(2).map(|line| line.to_string());
    assert_eq!(line.as_deref(), LISTED.lines().nth(3));
    assert!(listing.rule(7).is_none());
}
