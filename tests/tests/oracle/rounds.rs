//! Rounds of random rules and packets: some from fixed seeds, so that what was found once is found again, and some from
//! new ones.

use crate::oracle::{
    cases::{Client, Spec},
    compare::{Bench, Judged, report},
    corners,
    known::{self, KNOWN},
    outcome::{Outcome, Tag},
    policies::{self, Limits},
    reference::Reference,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use rules_program::policy::{Action, Policy};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Rounds with the same seeds every time.
const FIXED: u64 = 64;
/// Rounds with seeds of their own.
const RANDOM: u64 = 16;
/// Packets in a round.
const PACKETS: u32 = 300;
/// A seed to be tried instead of new ones.
const SEED: &str = "BULKHEAD_ORACLE_SEED";

/// A source of rules and packets that gives the same ones for the same seed.
pub(crate) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

pub(crate) fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// The rules and packets of a seed. Each packet is of a connection of its own; where rules have limits, none is odd,
/// for an odd one may cost one side a token and the other none.
fn round(seed: u64) -> (Policy, Vec<(Tag, Spec)>) {
    let mut runner = runner(seed);
    let limits = if seed % 4 == 3 { Limits::Some } else { Limits::None };
    let policy = match seed {
        0 => Policy { rules: vec![policies::accept_all()], ..Policy::default() },
        _ => draw(&mut runner, &policies::policy(limits)),
    };
    let (plain, odd) = (corners::plain(), corners::odd());
    let mut connections = HashSet::new();
    let mut packets = Vec::new();
    for n in 0..PACKETS {
        let is_plain = limits == Limits::Some || n % 2 == 0;
        let spec: Spec = if is_plain { draw(&mut runner, &plain) } else { draw(&mut runner, &odd) };
        let fresh = spec.connection().is_none_or(|one| connections.insert(one));
        if fresh && (limits == Limits::None || spec.odd().is_empty()) {
            packets.push((Tag(n + 1), spec));
        }
    }
    (policy, packets)
}

/// Linux, the rules and the engine agree, but for the differences that are known; each of those occurs.
pub(crate) fn agree() {
    let begun = Instant::now();
    let mut bench = Bench::new();
    let mut tally = Tally::default();
    for seed in 0..FIXED {
        tally.round(&mut bench, seed);
    }
    let unseen: Vec<_> =
        (0..KNOWN.len()).filter(|n| !tally.explained.contains(n)).map(|n| KNOWN[n].odd).collect();
    assert!(unseen.is_empty(), "differences that did not occur by themselves: {unseen:?}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let first = u64::try_from(now).unwrap();
    let chosen = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
    let seeds = chosen.map_or(first..first + RANDOM, |seed| seed..seed + 1);
    for seed in seeds {
        tally.round(&mut bench, seed);
    }
    tally.is_enough();
    eprintln!("{tally:?} in {:.1?}", begun.elapsed());
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    packets: usize,
    /// Packets about which the rules alone were asked as well.
    ordinary: BTreeMap<Outcome, usize>,
    all: BTreeMap<Outcome, usize>,
    /// Packets about which we differ from Linux as we mean to.
    differences: usize,
    /// The known differences that alone explained a packet with one oddity.
    explained: BTreeSet<usize>,
}

impl Tally {
    fn round(&mut self, bench: &mut Bench, seed: u64) {
        let (policy, packets) = round(seed);
        let judged = bench.judge(&policy, &packets);
        for one in &judged {
            self.packets += 1;
            *self.all.entry(one.linux).or_default() += 1;
            if let Some(rules) = one.rules {
                *self.ordinary.entry(rules).or_default() += 1;
            }
            if one.linux != one.ours {
                self.differences += 1;
            }
            let odd = one.case.odd.iter().filter(|it| !it.is_harmless()).count();
            if let ([entry], 1) = (&known::explain(&one.case, one.linux, one.ours)[..], odd) {
                self.explained.insert(*entry);
            }
        }
        let Some(wrong) = judged.iter().position(Judged::is_wrong) else { return };
        let count = judged.iter().filter(|one| one.is_wrong()).count();
        let tag = judged[wrong].case.tag;
        let until: Vec<_> = packets.into_iter().take_while(|(other, _)| other.0 <= tag.0).collect();
        let fewest = bench.fewest(&policy, &until);
        panic!("{SEED}={seed}: {count} packets; the first one:\n{}", report(&judged[wrong], &fewest));
    }

    /// Agreement about nothing would be none.
    fn is_enough(&self) {
        for outcome in [Outcome::Passes, Outcome::Rejected, Outcome::Dropped] {
            let count = self.ordinary.get(&outcome).copied().unwrap_or(0);
            assert!(count > 1000, "only {count} ordinary packets {outcome:?}");
        }
    }
}

/// A rule that is other than it should be, in Linux's copy alone, is noticed.
pub(crate) fn notice() {
    let mut bench = Bench::new();
    let mut tried = 0;
    for seed in 1000..1040 {
        let (policy, packets) = round(seed);
        let deciding = deciding(&policy, &packets);
        for rule in deciding {
            let mut other = policy.clone();
            other.rules[rule].action = match policy.rules[rule].action {
                Action::Drop => Action::Reject,
                Action::Reject => Action::Accept,
                _ => Action::Drop,
            };
            let judged = bench.judge_with(&other, &policy, &packets);
            let wrong = judged.iter().filter(|one| one.is_wrong()).count();
            assert!(wrong > 0, "seed {seed}: nobody noticed that rule {rule} is another\n{:?}", policy.rules);
            tried += 1;
        }
        if tried >= 20 {
            return;
        }
    }
    panic!("only {tried} rules decided anything");
}

/// Rules without which some ordinary packet has another outcome.
fn deciding(policy: &Policy, packets: &[(Tag, Spec)]) -> Vec<usize> {
    let client = Client::number(0);
    let asked = packets.iter().filter_map(|(tag, spec)| spec.clone().build(*tag, &client)?.plain);
    let asked: Vec<_> = asked.collect();
    let outcomes = |policy: &Policy| {
        let mut reference = Reference::new(policy);
        asked.iter().map(|plain| reference.outcome(plain)).collect::<Vec<_>>()
    };
    let before = outcomes(policy);
    let decides = |rule: &usize| {
        let mut without = policy.clone();
        without.rules.remove(*rule);
        outcomes(&without) != before
    };
    (0..policy.rules.len()).filter(decides).take(2).collect()
}
