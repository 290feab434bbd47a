//! Rules and questions of four shapes, the same in every run; shared by the bench and the instruction count.
#![expect(clippy::cast_possible_truncation, reason = "numbers that are drawn are cut to size")]

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};

use rules_program::{
    Program, assemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target},
    question::{Open, Peer, Question, Transport},
};

/// Questions of a shape: more than a branch predictor learns by heart.
pub(crate) const QUESTIONS: usize = 8192;

/// What rules look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Hosts and ports to accept, some networks and names, ICMP, the rest dropped.
    Qubes,
    /// Nested prefixes, ports as in published rule sets: none, one, the upper ones, ranges. Whatever is asked lies
    /// in some rule.
    Nested,
    /// Worst for prefixes: 25 of them, each around the next, and all rules are ranges of ports at one of these.
    Chain,
    /// Worst of all: source ports at one target.
    Sources,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::Qubes, Self::Nested, Self::Chain, Self::Sources];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Qubes => "qubes",
            Self::Nested => "nested",
            Self::Chain => "chain",
            Self::Sources => "sources",
        }
    }

    /// So many rules.
    pub(crate) fn policy(self, rules: usize) -> Policy {
        let mut random = Random(7 + rules as u64);
        let mut policy = Policy::default();
        if self == Self::Qubes {
            policy.names = (0..rules / 20).take(1000).map(|nth| format!("host-{nth}.example")).collect();
        }
        for nth in 0..rules {
            let rule = match self {
                Self::Qubes if nth + 1 == rules => {
                    Rule { action: Action::Drop, ..rule(Vec::new(), Protocols::ALL, Ports::ALL) }
                }
                Self::Qubes if nth + 2 == rules => rule(Vec::new(), Protocols::ICMP, Ports::ALL),
                Self::Qubes => host(&mut random, policy.names.len()),
                Self::Nested => network(&mut random, &policy.rules),
                Self::Chain => link(&mut random),
                Self::Sources => source(&mut random),
            };
            policy.rules.push(rule);
        }
        if self == Self::Nested {
            // Longer prefixes first, as an administrator has to write them.
            policy.rules.sort_by_key(|rule| std::cmp::Reverse(prefix(rule).1));
        }
        policy
    }

    /// Questions for a policy of this shape: of four, three that a rule, drawn evenly, is about; the rest about
    /// anything (not so for [`Shape::Nested`]).
    pub(crate) fn questions(self, policy: &Policy) -> Vec<Question<'static>> {
        let mut random = Random(99);
        (0..QUESTIONS).map(|_| self.question(policy, &mut random)).collect()
    }

    fn question(self, policy: &Policy, random: &mut Random) -> Question<'static> {
        let rule = &policy.rules[random.below(policy.rules.len())];
        let (address, len) = prefix(rule);
        let mut remote = address | (random.next() & u32::MAX.checked_shr(len.into()).unwrap_or(0));
        let within = |random: &mut Random, ports: Ports| {
            ports.first + random.below(usize::from(ports.last - ports.first) + 1) as u16
        };
        let source =
            if self == Self::Sources { within(random, rule.source_ports) } else { random.next() as u16 };
        let mut destination = within(random, rule.destination_ports);
        if self != Self::Nested && random.below(4) == 0 {
            (remote, destination) = (remote ^ random.next() >> 20, random.next() as u16);
        }
        let transport = if rule.protocols.contains(Protocols::TCP) {
            Transport::Tcp { source, destination }
        } else if rule.protocols.contains(Protocols::UDP) {
            Transport::Udp { source, destination }
        } else {
            Transport::Icmp { kind: 8 }
        };
        let remote = IpAddr::V4(Ipv4Addr::from_bits(remote));
        Question { direction: Direction::Outward, peer: Peer::Net, remote, names: &[], transport }
    }
}

/// The rules of a shape, loaded, and what they are asked.
pub(crate) struct Bench {
    pub(crate) program: Program,
    pub(crate) questions: Vec<Question<'static>>,
}

impl Bench {
    pub(crate) fn new(shape: Shape, rules: usize) -> Self {
        let policy = shape.policy(rules);
        let bytes = assemble(&policy).expect("not too large");
        let program = Program::load(&bytes).expect("sound");
        Self { program, questions: shape.questions(&policy) }
    }

    /// Judges some questions; none has to wait for the answer of another.
    #[inline(never)]
    pub(crate) fn stream(&self, which: Range<usize>) -> usize {
        let judge = |question| self.program.judge(question, &mut Open).rule.map_or(0, usize::from);
        self.questions[which].iter().map(judge).sum()
    }

    /// The same, but each can be looked at only when the one before is answered. `zero` is 0.
    #[inline(never)]
    pub(crate) fn chained(&self, which: Range<usize>, zero: usize) -> usize {
        let mut last = 0;
        for at in which {
            let question = &self.questions[at | (last & zero)];
            last = self.program.judge(question, &mut Open).rule.map_or(0, usize::from);
        }
        last
    }
}

fn rule(targets: Vec<Target>, protocols: Protocols, destination_ports: Ports) -> Rule {
    Rule { targets, protocols, destination_ports, ..Rule::any(Direction::Outward, Action::Accept) }
}

fn prefix(rule: &Rule) -> (u32, u8) {
    match rule.targets.first() {
        Some(Target::V4(net)) => (net.addr().to_bits(), net.prefix_len()),
        _ => (0, 0),
    }
}

fn net(address: u32, len: u8) -> Target {
    let address = address & !u32::MAX.checked_shr(len.into()).unwrap_or(0);
    Target::V4(ipnet::Ipv4Net::new(address.into(), len).expect("a length"))
}

fn one(port: u16) -> Ports {
    Ports { first: port, last: port }
}

/// `accept 198.51.100.7 tcp 443`, and what else is found there.
fn host(random: &mut Random, names: usize) -> Rule {
    // Providers' networks: 256 of the size of a /16.
    let address = (random.below(256) as u32).wrapping_mul(0x9E37_79B1) & 0xFFFF_0000 | random.next() & 0xFFFF;
    let target = match random.below(20) {
        0 if names > 0 => Target::Name(random.below(names) as u16),
        0 | 1 => net(address, 24),
        _ => net(address, 32),
    };
    let (protocols, ports) = match random.below(8) {
        0..4 => (Protocols::TCP, one(443)),
        4 => (Protocols::TCP, one(80)),
        5 => (Protocols::TCP, one([22, 25, 587, 993, 5222, 8443][random.below(6)])),
        6 => (Protocols::UDP, one([53, 123, 443][random.below(3)])),
        _ => (Protocols::ALL, Ports::ALL),
    };
    rule(vec![target], protocols, ports)
}

fn network(random: &mut Random, others: &[Rule]) -> Rule {
    let around = (!others.is_empty() && random.below(4) > 0).then(|| &others[random.below(others.len())]);
    let (address, len) = around.map_or((random.next(), 4), prefix);
    let len = (len + 1 + random.below(8) as u8).min(32);
    let inside = u32::MAX.checked_shr(u32::from(len)).map_or(0, |bits| !bits);
    let above = around.map_or(0, |rule| u32::MAX.checked_shr(prefix(rule).1.into()).unwrap_or(0));
    let address = (address | random.next() & above) & inside;
    let (first, width) = (random.next() as u16, random.below(2000) as u16);
    let ports = match random.below(10) {
        0..3 => Ports::ALL,
        3..6 => one([80, 443, 53, 22, 25, 123, 1521, 1433, 6667, 161][random.below(10)]),
        6 => Ports { first: 1024, last: u16::MAX },
        7 => one(first),
        _ => Ports { first, last: first.saturating_add(width) },
    };
    let protocols = match random.below(10) {
        0..6 => Protocols::TCP,
        6..8 => Protocols::UDP,
        8 if ports == Ports::ALL => Protocols::ICMP,
        _ => Protocols::ALL,
    };
    rule(vec![net(address, len)], protocols, ports)
}

fn link(random: &mut Random) -> Rule {
    let (first, width) = (random.next() as u16, random.below(100) as u16);
    let ports = Ports { first, last: first.saturating_add(width) };
    rule(vec![net(0x0A00_0001, 8 + random.below(25) as u8)], Protocols::TCP, ports)
}

fn source(random: &mut Random) -> Rule {
    let (first, width) = (random.next() as u16, random.below(100) as u16);
    let source_ports = Ports { first, last: first.saturating_add(width) };
    let first = random.next() as u16;
    let destination = Ports { first, last: first.saturating_add(random.below(20_000) as u16) };
    Rule { source_ports, ..rule(Vec::new(), Protocols::TCP, destination) }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}
