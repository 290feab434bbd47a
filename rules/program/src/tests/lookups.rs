//! The index answers as the rules do.

use super::{given, oracle};
use crate::{
    Program, assemble, disassemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rate, Rule, Target},
    question::{Gate, Open, Peer, Question, Transport},
};
use core::net::{IpAddr, Ipv4Addr};
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::{collection::vec, prelude::*};
use std::{vec, vec::Vec};

/// Opens as its pattern says, and remembers who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stateful {
    pattern: u64,
    asked: Vec<u16>,
}

impl Gate for Stateful {
    fn admits(&mut self, rule: u16) -> bool {
        self.asked.push(rule);
        self.pattern = self.pattern.rotate_left(1) ^ (u64::from(rule) << 17);
        self.pattern & 1 == 1
    }
}

fn agree(policy: &Policy, program: &Program, question: &Question<'_>, pattern: u64) {
    let mut ours = Stateful { pattern, asked: Vec::new() };
    let mut theirs = ours.clone();
    let answer = program.judge(question, &mut ours);
    assert_eq!(answer, oracle::judge(policy, question, &mut theirs), "{question:?}");
    assert_eq!(ours, theirs, "the gate was asked otherwise for {question:?}");
}

fn loaded(policy: &Policy) -> Program {
    Program::load(&assemble(policy).unwrap()).unwrap()
}

/// Asks each question as it is, and moved to an edge of some rule.
fn agree_about(policy: &Policy, questions: &[(given::Asked, u64)]) {
    let program = loaded(policy);
    for (nth, (asked, pattern)) in questions.iter().enumerate() {
        agree(policy, &program, &asked.question(), *pattern);
        let edge = given::edges(policy, nth.wrapping_add(*pattern as usize), asked);
        agree(policy, &program, &edge.question(), *pattern);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn as_the_rules_say(
        policy in given::policy(0..60),
        questions in vec((given::asked(), any::<u64>()), 40),
    ) {
        agree_about(&policy, &questions);
    }

    #[test]
    fn as_few_rules_say(
        policy in given::policy(0..6),
        questions in vec((given::asked(), any::<u64>()), 30),
    ) {
        agree_about(&policy, &questions);
    }

    #[test]
    fn what_was_assembled_comes_back(mut policy in given::policy(0..40)) {
        let bytes = assemble(&policy).unwrap();
        let back = disassemble(&bytes).unwrap();
        prop_assert_eq!(&assemble(&back).unwrap(), &bytes);
        for target in policy.rules.iter_mut().flat_map(|rule| &mut rule.targets) {
            *target = match *target {
                Target::V4(net) if net.prefix_len() == 0 => Target::AnyV4,
                Target::V6(net) if net.prefix_len() == 0 => Target::AnyV6,
                Target::V4(net) => Target::V4(net.trunc()),
                Target::V6(net) => Target::V6(net.trunc()),
                other => other,
            };
        }
        prop_assert_eq!(&back, &policy);
        let forwards = (0..).zip(&policy.rules).filter(|(_, rule)| matches!(rule.action, Action::Forward { .. }));
        let forwards = forwards.map(|(nth, rule)| (nth, rule.protocols, rule.destination_ports));
        let limited = (0..).zip(&policy.rules).filter(|(_, rule)| rule.rate.is_some() || rule.connections.is_some());
        let program = Program::load(&bytes).unwrap();
        prop_assert!(program.forwards().eq(forwards));
        prop_assert!(program.limited().eq(limited.map(|(nth, rule)| (nth, rule.rate, rule.connections))));
        prop_assert!(program.names().eq(policy.names.iter()) && program.domains().eq(policy.domains.iter()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn as_many_rules_say(
        policy in given::policy(1000..3000),
        questions in vec((given::asked(), any::<u64>()), 200),
    ) {
        // No more limits than are allowed.
        let mut policy = policy;
        let limited = policy.rules.iter_mut().filter(|rule| rule.rate.is_some() || rule.connections.is_some());
        for rule in limited.skip(crate::policy::MAX_LIMITED) {
            (rule.rate, rule.connections) = (None, None);
        }
        agree_about(&policy, &questions);
    }
}

fn rule(targets: Vec<Target>, destination_ports: Ports) -> Rule {
    Rule {
        targets,
        protocols: Protocols::TCP,
        destination_ports,
        ..Rule::any(Direction::Outward, Action::Accept)
    }
}

fn tcp(remote: u32, source: u16, destination: u16) -> Question<'static> {
    let remote = IpAddr::V4(Ipv4Addr::from_bits(remote));
    let transport = Transport::Tcp { source, destination };
    Question { direction: Direction::Outward, peer: Peer::Net, remote, names: &[], transport }
}

/// Numbers that look random.
fn numbers(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) as u32
    }
}

fn ports(a: u32, b: u32) -> Ports {
    let (a, b) = (a as u16, b as u16);
    Ports { first: a.min(b), last: a.max(b) }
}

#[test]
fn no_rule_drops() {
    let program = loaded(&Policy::default());
    assert!(program.is_empty());
    assert_eq!(program.judge(&tcp(1, 2, 3), &mut Open).rule, None);
}

#[test]
fn ten_thousand_ranges_of_ports_at_one_target() {
    let mut next = numbers(1);
    let mut policy = Policy::default();
    for _ in 0..10_000 {
        let (a, width) = (next(), next() % 50);
        policy.rules.push(rule(Vec::new(), ports(a, u32::from((a as u16).saturating_add(width as u16)))));
    }
    let program = loaded(&policy);
    assert!(program.memory() < 1 << 20, "{}", program.memory());
    for _ in 0..3000 {
        agree(&policy, &program, &tcp(next(), next() as u16, next() as u16), 0);
    }
}

#[test]
fn ten_thousand_source_ports_at_one_target() {
    let mut next = numbers(2);
    let mut policy = Policy::default();
    for nth in 0..10_000 {
        let mut rule = rule(Vec::new(), ports(next(), next()));
        rule.source_ports = ports(nth, nth + next() % 50);
        policy.rules.push(rule);
    }
    let program = loaded(&policy);
    assert!(program.memory() < 1 << 20, "{}", program.memory());
    for _ in 0..300 {
        agree(&policy, &program, &tcp(next(), next() as u16 & 0x3FFF, next() as u16), 0);
    }
}

#[test]
fn ten_thousand_targets_below_many_limits() {
    let mut next = numbers(3);
    let mut policy = Policy::default();
    for nth in 0..250 {
        let mut rule = rule(Vec::new(), ports(next(), next()));
        rule.rate = Some(Rate { count: 1 + nth, per_seconds: 1, burst: 1 });
        policy.rules.push(rule);
    }
    for nth in 0..10_000 {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(nth << 10), 24 + (nth % 9) as u8).unwrap();
        let at = policy.rules.len() - (nth as usize % 250);
        policy.rules.insert(at, rule(vec![Target::V4(net)], ports(next(), next())));
    }
    let program = loaded(&policy);
    assert!(program.memory() < 2 << 20, "{}", program.memory());
    for _ in 0..500 {
        agree(&policy, &program, &tcp((next() % 10_000) << 10, 1, next() as u16), u64::from(next()) << 20);
    }
}

#[test]
fn prefixes_nested_as_deep_as_can_be() {
    let mut next = numbers(4);
    let mut policy = Policy::default();
    let (net4, net6) = (Ipv4Addr::from_bits(0xAAAA_AAAA), core::net::Ipv6Addr::from_bits(u128::MAX / 3));
    for nth in 0..5000u32 {
        let v4 = Ipv4Net::new(net4, (nth % 33) as u8).unwrap().trunc();
        let v6 = Ipv6Net::new(net6, (nth % 129) as u8).unwrap().trunc();
        policy.rules.push(rule(vec![Target::V4(v4), Target::V6(v6)], ports(next(), (next() & 0xFF) | nth)));
    }
    let program = loaded(&policy);
    for _ in 0..2000 {
        let bit = next() % 128;
        agree(&policy, &program, &tcp(net4.to_bits() ^ (1 << (bit % 32)), 1, next() as u16), 0);
        let remote = IpAddr::V6((net6.to_bits() ^ (1 << bit)).to_be_bytes().into());
        agree(&policy, &program, &Question { remote, ..tcp(0, 1, next() as u16) }, 0);
    }
}

#[test]
fn addresses_in_clusters_far_apart() {
    let mut next = numbers(5);
    let mut policy = Policy::default();
    for nth in 0..10_000u32 {
        let cluster = [0, 1 << 31, 0xFFFF_F000, 0x0A00_0000, 3][nth as usize % 5];
        let net = Ipv4Net::new(Ipv4Addr::from_bits(cluster ^ (next() % (1 << (nth % 20)))), 32).unwrap();
        policy.rules.push(rule(vec![Target::V4(net)], ports(80, 80 + nth % 3)));
    }
    let program = loaded(&policy);
    assert!(program.memory() < 1 << 20, "{}", program.memory());
    for nth in 0..4000_usize {
        let cluster = [0, 1 << 31, 0xFFFF_F000, 0x0A00_0000, 3][nth % 5];
        agree(&policy, &program, &tcp(cluster ^ (next() % (1 << (nth % 20))), 1, 79 + nth as u16 % 5), 0);
    }
}

#[test]
fn a_rule_with_one_target_many_times() {
    let mut policy = Policy::default();
    let net = Target::V4("192.0.2.0/24".parse().unwrap());
    for _ in 0..2 {
        let mut rule = rule(vec![net; 30_000], Ports { first: 1, last: 9 });
        rule.connections = Some(1);
        policy.rules.push(rule);
    }
    let program = loaded(&policy);
    agree(&policy, &program, &tcp(0xC000_0201, 1, 5), 0);
    agree(&policy, &program, &tcp(0xC000_0201, 1, 5), u64::MAX);
}

#[test]
fn too_much_is_named() {
    let policy = Policy { rules: vec![rule(Vec::new(), Ports::ALL); 16_385], ..Policy::default() };
    assert_eq!(assemble(&policy).unwrap_err().what, "rules");
    let most = Policy { rules: vec![rule(vec![Target::Dns; 4], Ports::ALL); 16_384], ..Policy::default() };
    assert_eq!(loaded(&most).len(), 16_384);
    let more = Policy { rules: vec![rule(vec![Target::Dns; 65_536], Ports::ALL)], ..Policy::default() };
    assert_eq!(assemble(&more).unwrap_err().limit, 65_535);
}
