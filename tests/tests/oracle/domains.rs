//! From one domain to another: the sender's rules are asked, then the receiver's.

use crate::oracle::{
    cases::{Body, Case, Client, Shape, Spec},
    compare::{Bench, place},
    engine::{self, Engine},
    outcome::{Outcome, Tag, outcome},
    policies,
    reference::Reference,
    rounds::{draw, runner},
};
use proptest::{prelude::*, sample::select};
use rules_compiler::nft::export::export;
use rules_program::{
    policy::{Direction, Policy, Protocols, Rule, Target},
    question::Peer,
};
use std::collections::BTreeMap;

const ROUNDS: u64 = 16;

/// A rule about domains, or about networks that their addresses happen to be in.
fn about_domains(mut rule: Rule) -> Rule {
    let net = "10.137.200.0/24".parse().unwrap();
    rule.targets = match (rule.targets.len(), rule.log) {
        (0, _) => vec![Target::Domain(0)],
        (1, true) => vec![Target::V4(net), Target::Domain(1)],
        (1, false) => vec![],
        (2, _) => vec![Target::Domain(1), Target::Domain(0)],
        _ => vec![Target::V4(net), Target::AnyV6, Target::Domain(0)],
    };
    // Most of what is asked would else be dropped for its ports.
    if rule.line == 0 && rule.targets.len() < 3 {
        rule.protocols = Protocols::ALL;
    }
    rule.icmp_type = None;
    rule
}

fn to_us(rule: Rule) -> Rule {
    Rule { direction: Direction::Inward, ..about_domains(rule) }
}

/// Both domains' rules. To each the other one is domain 0.
fn policies(seed: u64) -> (Policy, Policy) {
    let mut runner = runner(seed);
    let (mut outward, mut inward) = (
        draw(&mut runner, &policies::policy_of(about_domains)),
        draw(&mut runner, &policies::policy_of(to_us)),
    );
    outward.domains = vec!["peer".to_owned(), "nobody".to_owned()];
    inward.domains = vec!["work".to_owned(), "nobody".to_owned()];
    (outward, inward)
}

fn packets(seed: u64) -> Vec<Spec> {
    let ports = || select(&[1u16, 53, 80, 443, 1023, 1024, 8000, 65_535][..]);
    let body = prop_oneof![
        3 => (ports(), ports()).prop_map(|(s, d)| Body::Udp(s, d)),
        3 => (ports(), ports()).prop_map(|(s, d)| Body::Tcp(s, d, 2)),
        1 => Just(Body::Icmp(0, 0)),
    ];
    let remote = select(vec![Client::PEER.v4.into(), Client::PEER.v6.into()]);
    let spec = (remote, body).prop_map(|(remote, body)| Spec { remote, body, hops: 64, shape: Shape::Whole });
    let mut runner = runner(seed);
    let mut connections = std::collections::HashSet::new();
    let mut all: Vec<_> = (0..120).map(|_| draw(&mut runner, &spec)).collect();
    all.retain(|spec| spec.connection().is_none_or(|one| connections.insert(one)));
    all
}

/// Linux with both domains' tables, the rules of both, and the engine with both domains agree.
pub(crate) fn agree() {
    let mut bench = Bench::new();
    let mut seen = BTreeMap::<Outcome, u32>::new();
    for seed in 0..ROUNDS {
        let (outward, inward) = policies(seed);
        let (name, client) = bench.client();
        load(&bench, (&name, &client), (&outward, &inward));
        let mut engine = Engine::new();
        engine.add(engine::CLIENT, "work", &client, &outward);
        engine.add(engine::PEER, "peer", &Client::PEER, &inward);
        let (mut sender, mut receiver) = (Reference::new(&outward), Reference::new(&inward));
        for (n, spec) in (1..).zip(packets(seed)) {
            let Some(case) = spec.build(Tag(n), &client) else { continue };
            let linux = through_linux(&bench, &case);
            let out = engine.send_frames(engine::CLIENT, &case.frames);
            let ours = outcome(case.tag, &out.peer, &out.client);
            let rules = said(&mut sender, &mut receiver, (&case, &client));
            assert!(out.net.iter().all(|frame| !case.tag.is_in(frame)), "it went to the network");
            let why = || format!("seed {seed} {:?}\n{:?}\n{:?}", case.spec, outward.rules, inward.rules);
            assert_eq!((linux, ours), (rules, rules), "Linux, ours; the rules: {}", why());
            *seen.entry(rules).or_default() += 1;
        }
        bench.router.tell(&format!("delete table inet bulkhead-{name}\ndelete table inet bulkhead-peer\n"));
    }
    let enough = [Outcome::Passes, Outcome::Rejected, Outcome::Dropped];
    assert!(enough.iter().all(|outcome| seen.get(outcome).is_some_and(|count| *count > 50)), "{seen:?}");
    eprintln!("between domains: {seen:?}");
}

/// The receiver's table first: of two chains at the same place Linux asks the younger one first.
fn load(bench: &Bench, (name, client): (&str, &Client), (outward, inward): (&Policy, &Policy)) {
    bench.router.load(&export(inward, &place("peer", &Client::PEER)).to_json().unwrap());
    bench.router.load(&export(outward, &place(name, client)).to_json().unwrap());
    bench.router.admit(client.v4, client.v6, None);
    let peer = Client::PEER;
    bench.router.tell(&format!(
        "add element inet bulkhead-{name} domain4.peer {{ {} }}\n\
         add element inet bulkhead-{name} domain6.peer {{ {} }}\n\
         add element inet bulkhead-peer domain4.work {{ {} }}\n\
         add element inet bulkhead-peer domain6.work {{ {} }}\n",
        peer.v4, peer.v6, client.v4, client.v6
    ));
}

fn through_linux(bench: &Bench, case: &Case) -> Outcome {
    bench.router.peer.drain();
    bench.router.client.drain();
    case.frames.iter().for_each(|frame| bench.router.client.send(frame));
    outcome(case.tag, &bench.router.peer.drain(), &bench.router.client.drain())
}

fn said(sender: &mut Reference, receiver: &mut Reference, (case, client): (&Case, &Client)) -> Outcome {
    let transport = case.transport.expect("an ordinary packet");
    let other = Peer::Domain(Some(0));
    match sender.ask(Direction::Outward, other, case.spec.remote, transport) {
        Outcome::Passes => {
            let source = if case.spec.remote.is_ipv4() { client.v4.into() } else { client.v6.into() };
            receiver.ask(Direction::Inward, other, source, transport)
        }
        refused => refused,
    }
}
