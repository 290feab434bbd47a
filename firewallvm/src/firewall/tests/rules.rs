//! Rules: from dom0 into force, and what they decide.

use super::world::*;
use crate::verdict::DropReason;
use control::message::{FromDomain, RULES_PIECE, ToFirewall};
use proptest::prelude::*;
use rules_program::{
    Program, assemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target},
    question::{self, Open, Peer, Question},
};

/// What the rules do with everything outward that goes to the network.
pub(super) fn everything(action: Action) -> Rule {
    Rule::any(Direction::Outward, action)
}

pub(super) fn port(number: u16) -> Ports {
    Ports { first: number, last: number }
}

pub(super) fn policy(rules: impl IntoIterator<Item = Rule>) -> Policy {
    Policy { rules: rules.into_iter().collect(), ..Policy::default() }
}

pub(super) fn accept_all() -> Policy {
    policy([everything(Action::Accept)])
}

impl World {
    /// Sends a program in pieces.
    pub(super) fn send_rules(&mut self, n: usize, generation: u32, program: &[u8]) {
        let port = u8::try_from(n + 2).unwrap();
        ToFirewall::rules(port, generation, program).for_each(|piece| self.tell(&piece));
    }

    pub(super) fn send_piece(
        &mut self,
        n: usize,
        generation: u32,
        (total, offset): (u32, u32),
        piece: &[u8],
    ) {
        let bytes = piece.iter().copied().collect();
        let port = u8::try_from(n + 2).unwrap();
        self.tell(&ToFirewall::Rules { port, generation, total, offset, bytes });
    }

    /// Puts rules in force.
    #[track_caller]
    pub(super) fn install(&mut self, n: usize, policy: &Policy) {
        self.at_dom0();
        self.send_rules(n, 1, &assemble(policy).unwrap());
        assert_eq!(self.told_of_rules(), [(n, 1, None)]);
    }

    /// What dom0 was told about rules: client, generation, why refused.
    pub(super) fn told_of_rules(&mut self) -> Vec<(usize, u32, Option<String>)> {
        let answer = |message| match message {
            FromDomain::Rules { port, generation, refused } => {
                Some((usize::from(port) - 2, generation, refused.map(|why| why.to_string())))
            }
            _ => None,
        };
        self.at_dom0().into_iter().filter_map(answer).collect()
    }

    /// How often each rule of a client decided, and none.
    pub(super) fn hits(&mut self, n: usize) -> (Vec<u64>, u64) {
        self.at_dom0();
        self.tell(&ToFirewall::GetRuleCounters { port: u8::try_from(n + 2).unwrap() });
        let (mut all, mut none, mut done) = (Vec::new(), 0, false);
        for message in self.at_dom0() {
            let FromDomain::RuleCounters { first, hits, no_rule, more, .. } = message else { continue };
            assert!(!done && usize::from(first) == all.len());
            all.extend(hits);
            (none, done) = (no_rule, !more);
        }
        assert!(done);
        (all, none)
    }

    /// The client's frame goes nowhere, and it is told that this is forbidden.
    #[track_caller]
    pub(super) fn rejected(&mut self, n: usize, frame: &[u8]) {
        self.refused(n, frame, DropReason::Policy);
        let told = self.at_client(n);
        assert_eq!(told.len(), 1);
        assert_sound(&told[0].1);
        let prohibited = match headers(&told[0].1).transport {
            Transport::Icmp(m) => (m.kind, m.code) == (3, 13),
            Transport::Icmpv6(m) => (m.kind, m.code) == (1, 1),
            _ => false,
        };
        assert!(prohibited);
    }

    /// The client's frame goes nowhere, and nobody is told.
    #[track_caller]
    pub(super) fn dropped(&mut self, n: usize, frame: &[u8]) {
        self.refused(n, frame, DropReason::Policy);
        assert!(self.at_client(n).is_empty());
    }
}

#[test]
fn without_rules_nothing_passes_but_what_the_firewall_answers() {
    let mut w = World::new(1);
    w.tell(&ToFirewall::ForgetClient { port: 2 });
    let client = w.description(0);
    w.tell(&ToFirewall::Client { port: 2, client });
    w.at_client(0);
    for six in [false, true] {
        let path = to_server(six, 0);
        w.dropped(0, &path.udp(mac(0), (5000, 4433), b""));
        w.dropped(0, &path.tcp(mac(0), (5000, 443), 2, (1, 0), 1000, b""));
        w.dropped(0, &path.echo(mac(0), true, 7, b""));
        w.refused_from_net(&from_server(six).udp(NIC, (4433, 5000), b""), DropReason::NoFlow);
    }
    let gateway = Path::Four(client4(0), gateway4(0));
    w.client_sends(0, &gateway.echo(mac(0), true, 7, b"hello"));
    assert_eq!(w.at_client(0).len(), 1, "echo of the gateway");
    assert_eq!(w.hits(0), (vec![], 0), "nothing is counted where there are no rules");
    w.install(0, &accept_all());
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""));
}

#[test]
fn the_first_rule_that_matches_decides_and_is_counted() {
    let mut w = World::new(2);
    let udp = |number, action| Rule {
        protocols: Protocols::UDP,
        destination_ports: port(number),
        ..everything(action)
    };
    w.install(
        0,
        &policy([
            udp(1, Action::Drop),
            udp(2, Action::Reject),
            udp(1, Action::Accept),
            udp(3, Action::Accept),
            Rule { icmp_type: Some(8), protocols: Protocols::ICMP, ..everything(Action::Accept) },
            Rule { icmp_type: Some(128), protocols: Protocols::ICMPV6, ..everything(Action::Reject) },
        ]),
    );
    for six in [false, true] {
        let path = to_server(six, 0);
        w.dropped(0, &path.udp(mac(0), (5000, 1), b""));
        w.rejected(0, &path.udp(mac(0), (5000, 2), b""));
        w.out(0, &path.udp(mac(0), (5000, 3), b""));
        w.out(0, &path.udp(mac(0), (5000, 3), b"a known flow is not judged again"));
        w.dropped(0, &path.udp(mac(0), (5000, 4), b""));
    }
    w.out(0, &to_server(false, 0).echo(mac(0), true, 7, b""));
    w.rejected(0, &to_server(true, 0).echo(mac(0), true, 7, b""));
    assert_eq!(w.hits(0), (vec![2, 2, 0, 2, 1, 1], 2));
    assert_eq!(w.hits(1), (vec![0], 0));
    w.out(1, &to_server(false, 1).udp(mac(1), (5000, 2), b""));
    assert_eq!(w.hits(1), (vec![1], 0), "everybody has rules of their own");
}

#[test]
fn name_servers_have_a_target_of_their_own() {
    let mut w = World::new(1);
    w.install(0, &policy([Rule { targets: vec![Target::Dns], ..everything(Action::Accept) }]));
    let dns = Path::Four(client4(0), Ipv4Addr::new(10, 139, 1, 1));
    let sent = w.out(0, &dns.udp(mac(0), (5000, 53), b"query"));
    assert_eq!(ends(&sent).2, std::net::IpAddr::from(RESOLVER4));
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5000, 53), b"query"));
}

#[test]
fn a_name_matches_what_the_client_was_told() {
    use crate::names::tests::messages::{Asked, is};
    let mut w = World::new(2);
    let named = Rule { targets: vec![Target::Dns, Target::Name(0)], ..everything(Action::Accept) };
    let rules = Policy { names: vec!["files.example".into()], ..policy([named]) };
    for n in 0..2 {
        w.install(n, &rules);
    }
    let frame = |n| to_server(false, n).udp(mac(n), (5000, 4433), b"");
    w.dropped(0, &frame(0));
    let asked = Asked::a(7, "files.example");
    let dns = Path::Four(client4(0), Ipv4Addr::new(10, 139, 1, 1));
    let out = w.out(0, &dns.udp(mac(0), (40_000, 53), &asked.bytes()));
    let said = asked.answer(&[is("files.example", "198.51.100.9", 300)]);
    w.in_to(0, &Path::Four(RESOLVER4, UPLINK4).udp(NIC, (53, ends(&out).1), &said));
    w.out(0, &frame(0));
    w.dropped(1, &frame(1));
    w.dropped(0, &to_server(true, 0).udp(mac(0), (5000, 4433), b""));
    // What was told stays over an edit, and what was opened stays when it is not told any more.
    w.install(0, &Policy { names: vec!["a.example".into(), "files.example".into()], ..rules.clone() });
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5001, 4433), b"the rule is about another name now"));
    w.install(0, &rules);
    w.out(0, &frame(0));
    w.wait(100);
    w.out(0, &frame(0));
    w.wait(100);
    w.out(0, &frame(0));
    w.wait(110);
    w.install(0, &rules);
    w.out(0, &frame(0));
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5002, 4433), b""));
}

#[test]
fn a_long_program_comes_in_pieces() {
    let mut w = World::new(1);
    let one =
        |n: u16| Rule { destination_ports: port(n), protocols: Protocols::UDP, ..everything(Action::Accept) };
    w.install(0, &policy((1..=1000).map(one)));
    assert!(assemble(&policy((1..=1000).map(one))).unwrap().len() > 2 * RULES_PIECE);
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 1000), b""));
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5000, 1001), b""));
    let (hits, none) = w.hits(0);
    assert_eq!((hits.len(), hits[999], hits.iter().sum::<u64>(), none), (1000, 1, 1, 1));
}

#[test]
fn pieces_out_of_order_are_refused_and_change_nothing() {
    let mut w = World::new(2);
    w.install(0, &policy([]));
    w.at_dom0();
    let program = assemble(&accept_all()).unwrap();
    let total = u32::try_from(program.len()).unwrap();
    let (first, rest) = program.split_at(4);
    let refused = |w: &mut World, generation| {
        let told = w.told_of_rules();
        assert!(matches!(&told[..], [(0, g, Some(why))] if *g == generation && !why.is_empty()), "{told:?}");
    };
    // Nothing at the beginning; a gap; the same twice; too much; an empty one; a length that changes.
    w.send_piece(0, 10, (total, 4), rest);
    refused(&mut w, 10);
    w.send_piece(0, 11, (total, 0), first);
    w.send_piece(0, 11, (total, 5), &rest[1..]);
    refused(&mut w, 11);
    w.send_piece(0, 12, (total, 0), first);
    w.send_piece(0, 12, (total, 4), &rest[..4]);
    w.send_piece(0, 12, (total, 4), &rest[..4]);
    refused(&mut w, 12);
    w.send_piece(0, 13, (total, 0), &[&program[..], &[0]].concat());
    refused(&mut w, 13);
    w.send_piece(0, 14, (total, 0), &[]);
    refused(&mut w, 14);
    w.send_piece(0, 15, (total, 0), first);
    w.send_piece(0, 15, (total + 1, 4), rest);
    refused(&mut w, 15);
    w.send_piece(0, 16, (u32::MAX, 0), first);
    refused(&mut w, 16);
    w.send_piece(0, 17, (0, 0), &[]);
    refused(&mut w, 17);
    w.send_rules(0, 18, b"not a program");
    refused(&mut w, 18);
    w.send_rules(0, 19, &program[..program.len() - 1]);
    refused(&mut w, 19);
    // What follows a refused piece is not answered again.
    w.send_piece(0, 20, (1 << 20, 0), first);
    w.send_piece(0, 20, (1 << 20, 5), first);
    refused(&mut w, 20);
    let before = w.drops(DropReason::Message);
    w.send_piece(0, 20, (1 << 20, 9), first);
    assert_eq!((w.told_of_rules(), w.drops(DropReason::Message)), (vec![], before + 1));
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5000, 1), b""));
    // What begins anew: another client's rules, newer ones, the same once more, also after a refusal.
    w.send_piece(0, 20, (total, 0), first);
    w.send_piece(1, 20, (total, 0), first);
    w.send_piece(0, 21, (total, 0), first);
    w.send_piece(0, 21, (total, 0), first);
    w.send_piece(0, 21, (total, 4), rest);
    assert_eq!(w.told_of_rules(), [(0, 21, None)]);
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 1), b""));
}

#[test]
fn rules_belong_to_a_client() {
    let mut w = World::new(1);
    let program = assemble(&policy([])).unwrap();
    w.send_rules(5, 3, &program);
    assert!(matches!(&w.told_of_rules()[..], [(5, 3, Some(_))]));
    w.send_rules(200, 3, &program);
    assert!(matches!(&w.told_of_rules()[..], [(200, 3, Some(_))]));
    // Described again, it keeps its rules; as somebody else, it does not.
    let mut client = w.description(0);
    client.mtu = 1400;
    w.tell(&ToFirewall::Client { port: 2, client: client.clone() });
    w.at_client(0);
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 1), b""));
    client.name = "other".try_into().unwrap();
    w.tell(&ToFirewall::Client { port: 2, client });
    w.at_client(0);
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5000, 1), b""));
    // Pieces that came for the old one are not the new one's.
    let total = u32::try_from(program.len()).unwrap();
    w.send_piece(0, 4, (total, 0), &program[..4]);
    w.tell(&ToFirewall::ForgetClient { port: 2 });
    let client = w.description(0);
    w.tell(&ToFirewall::Client { port: 2, client });
    w.told_of_rules();
    w.send_piece(0, 4, (total, 4), &program[4..]);
    assert!(matches!(&w.told_of_rules()[..], [(0, 4, Some(_))]));
}

#[test]
fn a_new_dom0_begins_anew() {
    let mut w = World::new(1);
    let program = assemble(&accept_all()).unwrap();
    let total = u32::try_from(program.len()).unwrap();
    w.send_piece(0, 1, (total, 0), &program[..4]);
    let (theirs, ours) = link::host::pair(link::Geometry::DEFAULT, 2).unwrap();
    w.dom0 = theirs;
    w.fw.attach(0, abi::link_device::Role::Dom0, ours);
    w.install(0, &policy([]));
    w.dropped(0, &to_server(false, 0).udp(mac(0), (5000, 1), b""));
}

/// A packet that opens a connection.
#[derive(Clone, Debug)]
struct Opener {
    six: bool,
    remote: u8,
    protocol: u8,
    ports: (u16, u16),
}

impl Opener {
    fn frame(&self) -> Vec<u8> {
        let path = match self.remote() {
            std::net::IpAddr::V4(remote) => Path::Four(client4(0), remote),
            std::net::IpAddr::V6(remote) => Path::Six(client6(0), remote),
        };
        match self.protocol {
            6 => path.tcp(mac(0), self.ports, 2, (1, 0), 1000, b""),
            17 => path.udp(mac(0), self.ports, b"x"),
            _ => path.echo(mac(0), true, self.ports.0, b""),
        }
    }

    fn remote(&self) -> std::net::IpAddr {
        if self.six {
            v6(&format!("2001:db8::{:x}", self.remote)).into()
        } else {
            Ipv4Addr::new(198, 51, 100, self.remote).into()
        }
    }

    /// The packet from the network to the uplink's address.
    fn inward(&self) -> Vec<u8> {
        let path = match self.remote() {
            std::net::IpAddr::V4(remote) => Path::Four(remote, UPLINK4),
            std::net::IpAddr::V6(remote) => Path::Six(remote, uplink6()),
        };
        match self.protocol {
            6 => path.tcp(NIC, self.ports, 2, (1, 0), 1000, b""),
            _ => path.udp(NIC, self.ports, b"x"),
        }
    }

    /// The packet from the first client to the second.
    fn across(&self) -> Vec<u8> {
        let path =
            if self.six { Path::Six(client6(0), client6(1)) } else { Path::Four(client4(0), client4(1)) };
        match self.protocol {
            6 => path.tcp(mac(0), self.ports, 2, (1, 0), 1000, b""),
            17 => path.udp(mac(0), self.ports, b"x"),
            _ => path.echo(mac(0), true, self.ports.0, b""),
        }
    }

    /// What the rules of the first or the second client are asked about that.
    fn question_across(&self, direction: Direction) -> Question<'static> {
        let other = usize::from(direction == Direction::Outward);
        let remote = if self.six { client6(other).into() } else { client4(other).into() };
        Question { direction, peer: Peer::Domain(Some(0)), remote, ..self.question() }
    }

    fn question(&self) -> Question<'static> {
        let (source, destination) = self.ports;
        Question {
            direction: Direction::Outward,
            peer: Peer::Net,
            remote: self.remote(),
            names: &[],
            transport: match (self.protocol, self.six) {
                (6, _) => question::Transport::Tcp { source, destination },
                (17, _) => question::Transport::Udp { source, destination },
                (_, false) => question::Transport::Icmp { kind: 8 },
                (_, true) => question::Transport::Icmpv6 { kind: 128 },
            },
        }
    }
}

fn openers() -> impl Strategy<Value = Opener> {
    (any::<bool>(), 1..6u8, prop::sample::select(vec![6, 17, 1]), (1..6u16, 1..6u16))
        .prop_map(|(six, remote, protocol, ports)| Opener { six, remote, protocol, ports })
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        (1..6u8, 29..=32u8).prop_map(|(host, len)| {
            Target::V4(ipnet::Ipv4Net::new(Ipv4Addr::new(198, 51, 100, host), len).unwrap().trunc())
        }),
        (1..6u8, 125..=128u8).prop_map(|(host, len)| {
            Target::V6(ipnet::Ipv6Net::new(v6(&format!("2001:db8::{host:x}")), len).unwrap().trunc())
        }),
        Just(Target::AnyV4),
        Just(Target::AnyV6),
        Just(Target::Dns),
    ]
}

/// Rules about what comes from the network.
fn forwarding() -> impl Strategy<Value = Rule> {
    let to = prop::option::of(1..100u16).prop_map(|to_port| Action::Forward { to_port });
    let actions = prop_oneof![4 => to, 1 => Just(Action::Drop), 1 => Just(Action::Reject)];
    let numbers = (1..6u16, 0..3u16).prop_map(|(first, more)| Ports { first, last: first + more });
    (actions, prop::collection::vec(targets(), 0..2), 1..16u8, numbers, ports()).prop_map(
        |(action, targets, protocols, destination_ports, source_ports)| Rule {
            direction: Direction::Inward,
            targets,
            protocols: Protocols::from_bits(protocols).unwrap(),
            destination_ports,
            source_ports,
            ..everything(action)
        },
    )
}

/// Rules about one other domain, among others.
fn across(direction: Direction) -> impl Strategy<Value = Vec<Rule>> {
    let about = move |rule: Rule| Rule { direction, targets: vec![Target::Domain(0)], ..rule };
    prop::collection::vec(prop_oneof![4 => rules().prop_map(about), 1 => rules()], 0..6)
}

fn ports() -> impl Strategy<Value = Ports> {
    prop_oneof![
        Just(Ports::ALL),
        (1..6u16, 0..3u16).prop_map(|(first, more)| Ports { first, last: first + more })
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    let actions = prop::sample::select(vec![Action::Accept, Action::Drop, Action::Reject]);
    let directions = prop::sample::select(vec![Direction::Outward, Direction::Outward, Direction::Inward]);
    let kinds = prop::option::of(prop::sample::select(vec![8u8, 128, 0]));
    (directions, actions, prop::collection::vec(targets(), 0..3), 1..16u8, ports(), ports(), kinds).prop_map(
        |(direction, action, targets, protocols, destination_ports, source_ports, icmp_type)| Rule {
            direction,
            targets,
            protocols: Protocols::from_bits(protocols).unwrap(),
            destination_ports,
            source_ports,
            icmp_type,
            ..everything(action)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What becomes of the first packet of a connection is what the program says.
    #[test]
    fn the_engine_does_what_the_program_says(
        rules in prop::collection::vec(rules(), 0..8),
        openers in prop::collection::vec(openers(), 1..20),
    ) {
        let policy = policy(rules);
        let program = Program::load(&assemble(&policy).unwrap()).unwrap();
        let mut w = World::with_flows(1, 256);
        for opener in openers {
            w.install(0, &policy);
            let expected = program.judge(&opener.question(), &mut Open);
            match expected.action {
                Action::Accept => drop(w.out(0, &opener.frame())),
                Action::Reject => w.rejected(0, &opener.frame()),
                _ => w.dropped(0, &opener.frame()),
            }
            let (hits, none) = w.hits(0);
            let counted = hits.iter().position(|hits| *hits == 1);
            prop_assert_eq!(counted, expected.rule.map(usize::from));
            prop_assert_eq!(none, u64::from(expected.rule.is_none()));
            let core = &w.fw.core();
            prop_assert!(core.v4.flows.len() + core.v6.flows.len() <= 1 || expected.action == Action::Accept);
            w.tell(&ToFirewall::ForgetClient { port: 2 });
            let client = w.description(0);
            w.tell(&ToFirewall::Client { port: 2, client });
            w.at_client(0);
        }
    }

    /// The same for what the network opens.
    #[test]
    fn the_engine_forwards_what_the_program_says(
        rules in prop::collection::vec(forwarding(), 0..6),
        openers in prop::collection::vec(openers(), 1..20),
    ) {
        let policy = policy(rules);
        let program = Program::load(&assemble(&policy).unwrap()).unwrap();
        for opener in openers.into_iter().filter(|opener| opener.protocol != 1) {
            let mut w = World::with_flows(1, 64);
            w.install(0, &policy);
            let question = Question { direction: Direction::Inward, ..opener.question() };
            let judgement = program.judge(&question, &mut Open);
            w.net_sends(&opener.inward());
            let (came, told) = (w.at_client(0), w.at_net());
            match judgement.action {
                Action::Forward { to_port } => {
                    prop_assert_eq!((came.len(), told.len()), (1, 0));
                    prop_assert_eq!(ends(&came[0].1).3, to_port.unwrap_or(opener.ports.1));
                }
                // Nobody is told about a port that is not forwarded to anybody.
                Action::Reject => prop_assert!(came.is_empty() && told.len() <= 1),
                _ => prop_assert!(came.is_empty() && told.is_empty()),
            }
        }
    }

    /// The same between clients: both programs have to accept.
    #[test]
    fn the_engine_connects_whom_both_programs_say(
        a in across(Direction::Outward),
        b in across(Direction::Inward),
        openers in prop::collection::vec(openers(), 1..20),
    ) {
        let about = |client, rules: Vec<Rule>| Policy { domains: vec![name(client).as_str().into()], ..policy(rules) };
        let policies = [about(1, a), about(0, b)];
        let [a, b] = [0, 1].map(|n| Program::load(&assemble(&policies[n]).unwrap()).unwrap());
        for opener in openers {
            let mut w = World::with_flows(2, 64);
            for (n, policy) in policies.iter().enumerate() {
                w.install(n, policy);
            }
            let out = a.judge(&opener.question_across(Direction::Outward), &mut Open).action;
            let inward = b.judge(&opener.question_across(Direction::Inward), &mut Open).action;
            w.client_sends(0, &opener.across());
            let passed = w.at_client(1).len() == 1;
            let told = w.at_client(0).len() == 1;
            prop_assert_eq!(passed, out == Action::Accept && inward == Action::Accept);
            let rejects = out == Action::Reject || (out == Action::Accept && inward == Action::Reject);
            prop_assert_eq!(told, rejects);
        }
    }
}
