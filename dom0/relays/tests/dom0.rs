//! From a consensus to the rules of a torvm: dom0's side and the real program together, up to a whole network.

#[path = "support/network.rs"]
mod network;
#[path = "support/program.rs"]
#[expect(dead_code, reason = "shared")]
mod program;

use dom0::rules::Rules;
use dom0::tor::relays::documents::Pair;
use dom0::tor::relays::helper::{Failure, Helper};
use dom0::tor::relays::{Relays, Set};
use dom0::tor::rules;
use network::{VALID_AFTER, authorities, certificates};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rules_program::Program;
use rules_program::policy::{Action, Direction};
use rules_program::question::{Open, Peer, Question, Transport};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

fn helper() -> Helper {
    Helper { program: program::relays(), patience: Duration::from_secs(60) }
}

fn ids() -> Vec<String> {
    authorities().iter().map(network::Authority::id).collect()
}

fn ours(relays: &[(Ipv4Addr, u16)]) -> Pair {
    Pair {
        certificates: certificates(authorities()).into_bytes(),
        consensus: network::consensus(authorities(), relays).into_bytes(),
    }
}

fn judge(program: &Program, direction: Direction, remote: Ipv4Addr, transport: Transport) -> Action {
    let question = Question { direction, peer: Peer::Net, remote: IpAddr::V4(remote), names: &[], transport };
    program.judge(&question, &mut Open).action
}

fn tcp(program: &Program, to: (Ipv4Addr, u16)) -> Action {
    judge(program, Direction::Outward, to.0, Transport::Tcp { source: 40_000, destination: to.1 })
}

#[test]
fn recorded_consensus_becomes_relays() {
    let certificates = include_bytes!("data/certificates").to_vec();
    let text = String::from_utf8(certificates.clone()).unwrap();
    let ids: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("fingerprint ")).map(str::to_owned).collect();
    let pair = Pair { certificates, consensus: include_bytes!("data/consensus").to_vec() };
    let set = helper().verify(&pair, &ids, 1_795_280_780).unwrap();
    let relays: BTreeSet<SocketAddr> =
        (5000..5007).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    assert_eq!(
        set,
        Set { valid_after: 1_795_280_720, fresh_until: 1_795_281_020, valid_until: 1_795_281_620, relays }
    );
}

#[test]
fn refusals_reach_dom0() {
    let refused = |pair: &Pair, ids: &[String], now| match helper().verify(pair, ids, now) {
        Err(Failure::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let pair = ours(&[([11, 0, 0, 1].into(), 443)]);
    assert_eq!(refused(&pair, &[], VALID_AFTER), "consensus-unknown-authorities");
    let early = refused(&pair, &ids(), VALID_AFTER - 2 * 86_400);
    assert_eq!(early, format!("consensus-future valid-after {VALID_AFTER}"));
    let large = Pair { consensus: vec![b'x'; 100 << 20], ..pair.clone() };
    assert_eq!(refused(&large, &ids(), VALID_AFTER), "request too-long");
    assert!(refused(&Pair::default(), &ids(), VALID_AFTER).starts_with("consensus-malformed"));
}

#[test]
fn public_network_has_entrances() {
    let entrances = helper().bootstrap().unwrap();
    assert!(entrances.len() > 100, "{}", entrances.len());
    // Arti's list is as plausible as a consensus has to be.
    let mut relays = Relays::new(Vec::new());
    let set = Set { valid_after: 0, fresh_until: 1, valid_until: 2, relays: entrances.clone() };
    relays.take_in(set, 0).unwrap();
    assert_eq!(relays.at(1), entrances);
}

/// A network as large as the public one and with as many different ports: every relay can be reached, nothing else.
#[test]
fn whole_network_becomes_rules() {
    let listed: Vec<(Ipv4Addr, u16)> = (0..9000u32)
        .map(|n| {
            let port = match n % 10 {
                0..4 => 9001,
                4..7 => 443,
                _ => u16::try_from(1024 + n * 7 % 60_000).unwrap(),
            };
            (Ipv4Addr::from_bits(0x0b00_0000 + n * 7919), port)
        })
        .collect();
    let pair = ours(&listed);
    let begun = Instant::now();
    let set = helper().verify(&pair, &ids(), VALID_AFTER).unwrap();
    let verified = begun.elapsed();
    let mut relays = Relays::new(ids());
    relays.take_in(set, VALID_AFTER).unwrap();
    let begun = Instant::now();
    let text = rules::text(&relays.at(VALID_AFTER));
    let rules = Rules::compile("tor", Some(&text), 0).unwrap();
    let compiled = begun.elapsed();
    let bytes = &rules.compiled.program;
    let program = Program::load(bytes).unwrap();
    println!(
        "{} relays: consensus of {} bytes verified in {verified:?}, {} rules of {} bytes made in {compiled:?}, {} bytes in \
         memory of firewallvm",
        listed.len(),
        pair.consensus.len(),
        program.len(),
        bytes.len(),
        program.memory()
    );
    for relay in &listed {
        assert_eq!(tcp(&program, *relay), Action::Accept, "{relay:?}");
        let (source, destination) = (40_000, relay.1);
        assert_eq!(
            judge(&program, Direction::Outward, relay.0, Transport::Udp { source, destination }),
            Action::Drop
        );
        assert_eq!(
            judge(&program, Direction::Inward, relay.0, Transport::Tcp { source: relay.1, destination: 1 }),
            Action::Drop
        );
    }
    let known: BTreeSet<_> = listed.iter().copied().collect();
    let elsewhere = (
        prop_oneof![any::<u32>().prop_map(Ipv4Addr::from_bits), (0..listed.len()).prop_map(|n| listed[n].0)],
        prop_oneof![any::<u16>(), Just(443), Just(9001), Just(53)],
    );
    let mut runner =
        TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&elsewhere, |to| {
        let expected = if known.contains(&to) { Action::Accept } else { Action::Drop };
        prop_assert_eq!(tcp(&program, to), expected);
        Ok(())
    });
    outcome.unwrap();
}
