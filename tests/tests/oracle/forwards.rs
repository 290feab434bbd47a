//! From the network to a port of the uplink that is forwarded.

use crate::oracle::{
    cases::{Body, Shape, Spec},
    compare::{Bench, place},
    engine::{self, Engine},
    outcome::{Outcome, Tag, outcome},
    policies::{self, NETS},
    reference::Reference,
    rounds::{draw, runner},
};
use proptest::{prelude::*, sample::select};
use rules_compiler::nft::export::export;
use rules_program::{
    policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target},
    question::Peer,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const ROUNDS: u64 = 32;
const PORTS: [u16; 6] = [22, 80, 443, 8000, 8001, 8002];

/// The rule inward, half of the time a forward of a few ports.
fn inward(rule: Rule) -> Rule {
    let port = PORTS[usize::from(rule.destination_ports.last) % PORTS.len()];
    let targets = rule
        .targets
        .into_iter()
        .filter(|target| !matches!(target, Target::Domain(_) | Target::Dns | Target::Name(_)));
    let mut rule = Rule {
        direction: Direction::Inward,
        targets: targets.collect(),
        protocols: Protocols::TCP.and(Protocols::UDP),
        icmp_type: None,
        ..rule
    };
    if rule.log {
        rule.targets.truncate(rule.targets.len() / 3);
        rule.destination_ports = Ports { first: port, last: if port == 8000 { 8002 } else { port } };
        rule.action = Action::Forward { to_port: (port != 8000).then_some(port + 1) };
    }
    rule
}

/// The outside end of packets is their source, the inside end the uplink's address.
fn packets(seed: u64) -> Vec<Spec> {
    let far =
        NETS.iter().filter_map(|net| net.parse::<ipnet::IpNet>().ok()).filter(|net| net.prefix_len() > 8);
    let far: Vec<IpAddr> =
        far.map(|net| net.network()).filter(|far| *far != IpAddr::from([10, 139, 1, 0])).collect();
    let body = (1024..60_000u16, select(&PORTS[..]), any::<bool>());
    let body = body.prop_map(|(s, d, tcp)| if tcp { Body::Tcp(s, d, 2) } else { Body::Udp(s, d) });
    let spec = (select(far), body).prop_map(|(source, body)| Spec {
        remote: if source.is_ipv4() { uplink4().into() } else { uplink6().into() },
        body,
        hops: 64,
        shape: Shape::Spoofed(source),
    });
    let mut runner = runner(seed);
    (0..120).map(|_| draw(&mut runner, &spec)).collect()
}

fn uplink4() -> Ipv4Addr {
    "192.168.7.20".parse().unwrap()
}

fn uplink6() -> Ipv6Addr {
    "2001:db8:7::20".parse().unwrap()
}

/// Linux, the rules and the engine let the same packets in, to the same port. Who is not let in is told so by Linux only
/// if a forward would have had it otherwise; it is never told by Linux and not by us.
pub(crate) fn agree() {
    let mut bench = Bench::new();
    let mut seen = BTreeMap::<[Outcome; 3], u32>::new();
    for seed in 0..ROUNDS {
        let policy: Policy = draw(&mut runner(seed), &policies::policy_of(inward));
        let (name, client) = bench.client();
        bench.router.load(&export(&policy, &place(&name, &client)).to_json().unwrap());
        let mut engine = Engine::new();
        engine.add(engine::CLIENT, "work", &client, &policy);
        let mut reference = Reference::new(&policy);
        for (n, spec) in (1..).zip(packets(seed)) {
            let Shape::Spoofed(source) = spec.shape else { continue };
            let Some(case) = spec.build(Tag(n), &client) else { continue };
            bench.router.uplink.drain();
            bench.router.client.drain();
            case.frames.iter().for_each(|frame| bench.router.uplink.send(frame));
            let at_client = bench.router.client.drain();
            let linux = outcome(case.tag, &at_client, &bench.router.uplink.drain());
            let out = engine.send_frames(engine::UPLINK, &case.frames);
            let ours = outcome(case.tag, &out.client, &out.net);
            let transport = case.transport.expect("an ordinary packet");
            let rules = reference.forwards(Direction::Inward, Peer::Net, (source, transport));
            let why = || format!("seed {seed} {:?}\n{:?}", case.spec, policy.rules);
            let [a, b, c] = [linux, ours, rules].map(|outcome| outcome == Outcome::Passes);
            assert!(a == b && b == c, "Linux {linux:?}, ours {ours:?}, the rules {rules:?}: {}", why());
            assert!(linux != Outcome::Rejected || ours == Outcome::Rejected, "{}", why());
            let ports = |frames: &[Vec<u8>]| {
                frames.iter().find(|frame| case.tag.is_in(frame)).map(|frame| inside_port(frame))
            };
            assert_eq!(ports(&at_client), ports(&out.client), "{}", why());
            *seen.entry([linux, ours, rules]).or_default() += 1;
        }
        bench.router.tell(&format!("delete table inet bulkhead-{name}\n"));
    }
    let passed = seen.get(&[Outcome::Passes; 3]).copied().unwrap_or(0);
    assert!(passed > 100 && seen.len() > 1, "{seen:?}");
    eprintln!("forwards (Linux, ours, the rules): {seen:?}");
}

/// The destination port of a frame without options or extension headers.
fn inside_port(frame: &[u8]) -> u16 {
    let at = if frame[14] >> 4 == 4 { 36 } else { 56 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}
