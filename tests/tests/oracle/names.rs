//! Rules with host names: the engine learns addresses as a client does, by asking; Linux has them put into its sets.

use crate::oracle::{
    cases::{Client, Spec},
    compare::{Bench, place},
    corners,
    engine::{self, Engine},
    outcome::{Outcome, Tag, outcome},
    policies::{self, NAMES},
    reference::Reference,
    rounds::{draw, runner},
    wire::{Ends, UDP, V4},
};
use proptest::{prelude::*, sample::select};
use rules_compiler::nft::export::export;
use rules_program::policy::{Policy, Rule, Target};
use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

const ROUNDS: u64 = 12;
/// Which address is told for which name: one address has both, one name has several.
const TOLD: [(usize, &str); 4] = [(0, "9.9.9.9"), (0, "2a00::1"), (1, "9.9.9.9"), (1, "8.8.8.8")];
/// The resolver, and where the engine asks it from.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 20);

/// A rule about names, most of the time.
fn by_name(rule: Rule) -> Rule {
    let targets = match rule.targets.len() {
        0 | 1 => vec![Target::Name(u16::from(rule.log))],
        2 => vec![Target::Name(0), Target::V4("198.51.100.0/24".parse().unwrap()), Target::Name(1)],
        _ => rule.targets,
    };
    Rule { targets, ..rule }
}

fn policy(seed: u64) -> Policy {
    let mut policy = draw(&mut runner(seed), &policies::policy_of(by_name));
    policy.names = NAMES.map(str::to_owned).to_vec();
    policy.rules.insert(0, Rule { targets: vec![Target::Dns], ..policies::accept_all() });
    policy
}

/// Ordinary packets, most of them to addresses that have names.
fn packets(seed: u64) -> Vec<Spec> {
    let told = TOLD.map(|(_, address)| address.parse::<IpAddr>().unwrap());
    let spec = (corners::plain(), select(told.to_vec()), any::<bool>());
    let spec = spec.prop_map(|(spec, told, named)| if named { Spec { remote: told, ..spec } } else { spec });
    let mut runner = runner(seed);
    let mut connections = HashSet::new();
    let mut all: Vec<_> = (0..120).map(|_| draw(&mut runner, &spec)).collect();
    all.retain(|spec| spec.odd().is_empty() && spec.connection().is_none_or(|one| connections.insert(one)));
    all
}

/// Linux, the rules and the engine agree about who is whose address.
pub(crate) fn agree() {
    let mut bench = Bench::new();
    let mut seen = BTreeMap::<(bool, Outcome), u32>::new();
    for seed in 0..ROUNDS {
        let policy = policy(seed);
        let (name, client) = bench.client();
        bench.router.load(&export(&policy, &place(&name, &client)).to_json().unwrap());
        bench.router.admit(client.v4, client.v6, None);
        let mut engine = Engine::new();
        engine.add(engine::CLIENT, "work", &client, &policy);
        let mut reference = Reference::new(&policy);
        for (number, address) in TOLD {
            let address: IpAddr = address.parse().unwrap();
            let set = format!(
                "inet bulkhead-{name} name{}.{}",
                if address.is_ipv4() { 4 } else { 6 },
                NAMES[number]
            );
            bench.router.tell(&format!("add element {set} {{ {address} }}\n"));
            ask(&mut engine, &client, (NAMES[number], address));
            reference.pin(address, u16::try_from(number).unwrap());
        }
        for (n, spec) in (1..).zip(packets(seed)) {
            let Some(case) = spec.build(Tag(n), &client) else { continue };
            let linux = bench.through_linux(&case);
            let out = engine.send_frames(engine::CLIENT, &case.frames);
            let ours = outcome(case.tag, &out.net, &out.client);
            let plain = case.plain.expect("an ordinary packet");
            let rules = reference.outcome(&plain);
            let why = || format!("seed {seed} {:?}\n{:?}", case.spec, policy.rules);
            assert_eq!((linux, ours), (rules, rules), "Linux, ours; the rules: {}", why());
            let has_name = TOLD.iter().any(|(_, told)| plain.remote == told.parse::<IpAddr>().unwrap());
            *seen.entry((has_name, rules)).or_default() += 1;
        }
        bench.router.tell(&format!("delete table inet bulkhead-{name}\n"));
    }
    let wanted = [Outcome::Passes, Outcome::Rejected, Outcome::Dropped].map(|outcome| (true, outcome));
    assert!(wanted.iter().all(|one| seen.get(one).is_some_and(|count| *count > 50)), "{seen:?}");
    eprintln!("names (has one, outcome): {seen:?}");
}

/// Asks for a name's address as a client does, and answers as its resolver.
fn ask(engine: &mut Engine, client: &Client, (name, address): (&str, IpAddr)) {
    let question = question(name, address);
    let query = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question].concat();
    let to_server = Ends { source: client.v4.into(), destination: [10, 139, 1, 1].into() };
    let out = engine.send_frames(engine::CLIENT, &[frame(to_server, &to_server.udp((5353, 53), &query))]);
    let [asked] = &out.net[..] else { panic!("the question did not go out: {:?}", out.net) };
    let port = u16::from_be_bytes([asked[34], asked[35]]);
    let mut answer = [&[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], &question].concat();
    let (kind, data) = match address {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    answer.extend([0xC0, 12, 0, kind, 0, 1, 0, 0, 0x0E, 0x10, 0, u8::try_from(data.len()).unwrap()]);
    answer.extend(data);
    let back = Ends { source: RESOLVER.into(), destination: UPLINK.into() };
    let out = engine.send_frames(engine::UPLINK, &[frame(back, &back.udp((53, port), &answer))]);
    assert_eq!(out.client.len(), 1, "the answer did not reach the client");
}

fn question(name: &str, address: IpAddr) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0, 0, if address.is_ipv4() { 1 } else { 28 }, 0, 1]).collect()
}

fn frame(ends: Ends, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ends.source, ends.destination) else {
        panic!("IPv4")
    };
    let ip = V4 {
        source,
        destination,
        ttl: 64,
        protocol: UDP,
        identification: 1,
        fragment: 0,
        options: vec![],
        ihl_off: 0,
        length_off: 0,
        checksum_off: 0,
    };
    ip.frame(payload)
}
