//! The leak suite: torvm alone, under stock QEMU, in the namespace of a private Tor network. Everything on its uplink
//! is judged, whatever happens on its clients' side and whatever happens to its program.
//!
//! The short version runs with `cargo xtask test`; `BULKHEAD_LEAKS=long` makes it kill more often and set more clocks.

mod tor_leaks {
    pub(crate) mod appvm;
    pub(crate) mod bundle;
    pub(crate) mod clock;
    pub(crate) mod crashes;
    pub(crate) mod cuts;
    pub(crate) mod debugger;
    pub(crate) mod dice;
    pub(crate) mod disk_log;
    pub(crate) mod guards;
    pub(crate) mod kernel;
    pub(crate) mod leaky;
    pub(crate) mod load;
    pub(crate) mod machine;
    pub(crate) mod names;
    pub(crate) mod namespace;
    pub(crate) mod network;
    pub(crate) mod online;
    pub(crate) mod questions;
    pub(crate) mod strays;
    pub(crate) mod survivors;
    pub(crate) mod v6;
    pub(crate) mod world;
}

use tests::promises::Promises;
use tor_leaks::network::Network;
use tor_leaks::world::World;
use tor_leaks::{clock, crashes, leaky, names, online, strays, v6};

/// What is promised, and what fails when it is not kept.
type Step = (&'static str, fn(&mut World));

const STEPS: &[Step] = &[
    ("a gateway that forwards is caught", leaky::forwarding_is_caught),
    ("boot and bootstrap: relays alone are spoken to, whatever an AppVM sends", online::bootstrap),
    ("pages come from an exit", online::pages),
    ("IPv6: pages come from an exit, and nothing else does", v6::pages),
    ("steady state under every load", online::load),
    ("addresses and names come from an exit", names::answers),
    ("every type of question, and questions that are none", names::questions),
    ("segments that belong to nothing go nowhere", strays::segments),
    ("FIN and RST after Tor has stopped", strays::after_tor_has_stopped),
    ("the program is killed at random moments, and torvm: the same guards", crashes::program),
    ("the program dies in the middle of its calls, and torvm: the same guards", crashes::calls),
    ("power cuts in the middle of what is stored: the same guards", crashes::cuts),
    ("a program that cannot start", crashes::no_program),
    ("wrong clocks", clock::wrong),
];

#[test]
fn torvm_leaks_nothing() {
    let Some(network) = Network::find() else { return };
    let mut world = World::new(network);
    let only = std::env::var("BULKHEAD_LEAKS_STEP").ok();
    let mut promises = Promises::default();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only)))
    {
        if !promises.check(name, || step(&mut world)) {
            world.give_up();
        }
    }
    promises.all_kept();
}
