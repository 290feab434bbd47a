//! What the rules say, without a packet path: the program's answer to the question that a packet puts.

use crate::oracle::{
    cases::{Plain, SERVERS},
    outcome::Outcome,
};
use rules_program::{
    Program,
    policy::{Action, Direction, Policy, Rule},
    question::{Gate, Peer, Question, Transport},
};
use std::{collections::HashMap, net::IpAddr};

/// A policy's program, and how often its limited rules matched.
pub(crate) struct Reference {
    program: Program,
    tally: Tally,
    /// Addresses with the number of a name that they have.
    pins: Vec<(IpAddr, u16)>,
}

/// Limits, where nothing is earned back and no connection ends.
struct Tally {
    limits: HashMap<u16, u32>,
    used: HashMap<u16, u32>,
}

impl Tally {
    fn of(policy: &Policy) -> Self {
        let most = |rule: &Rule| match (rule.rate.map(|rate| rate.burst), rule.connections) {
            (Some(burst), Some(connections)) => Some(burst.min(connections)),
            (burst, connections) => burst.or(connections),
        };
        let limits = (0..).zip(&policy.rules).filter_map(|(n, rule)| Some((n, most(rule)?))).collect();
        Self { limits, used: HashMap::new() }
    }
}

impl Gate for Tally {
    fn admits(&mut self, rule: u16) -> bool {
        let used = self.used.entry(rule).or_default();
        let admitted = self.limits.get(&rule).is_none_or(|most| *used < *most);
        *used += u32::from(admitted);
        admitted
    }
}

impl Reference {
    pub(crate) fn new(policy: &Policy) -> Self {
        let bytes = rules_program::assemble(policy).unwrap();
        Self { program: Program::load(&bytes).unwrap(), tally: Tally::of(policy), pins: Vec::new() }
    }

    /// From now on this address is one of this name's.
    pub(crate) fn pin(&mut self, address: IpAddr, name: u16) {
        self.pins.push((address, name));
    }

    /// What becomes of an ordinary first packet to the network.
    pub(crate) fn outcome(&mut self, plain: &Plain) -> Outcome {
        let peer = if SERVERS.iter().any(|server| plain.remote == *server) { Peer::Dns } else { Peer::Net };
        self.ask(Direction::Outward, peer, plain.remote, plain.transport)
    }

    /// What becomes of a first packet.
    pub(crate) fn ask(
        &mut self,
        direction: Direction,
        peer: Peer,
        remote: IpAddr,
        transport: Transport,
    ) -> Outcome {
        match self.judge(direction, peer, (remote, transport)) {
            Action::Accept => Outcome::Passes,
            Action::Reject => Outcome::Rejected,
            Action::Drop | Action::Forward { .. } => Outcome::Dropped,
        }
    }

    /// The same of one from the network: accepting is not enough, it must be forwarded.
    pub(crate) fn forwards(
        &mut self,
        direction: Direction,
        peer: Peer,
        asked: (IpAddr, Transport),
    ) -> Outcome {
        match self.judge(direction, peer, asked) {
            Action::Forward { .. } => Outcome::Passes,
            Action::Reject => Outcome::Rejected,
            Action::Drop | Action::Accept => Outcome::Dropped,
        }
    }

    fn judge(
        &mut self,
        direction: Direction,
        peer: Peer,
        (remote, transport): (IpAddr, Transport),
    ) -> Action {
        let names = self.pins.iter().filter(|(pinned, _)| *pinned == remote).map(|(_, name)| *name);
        let names: Vec<_> = names.collect();
        let question = Question { direction, peer, remote, names: &names, transport };
        self.program.judge(&question, &mut self.tally).action
    }
}
