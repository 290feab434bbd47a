//! A program in force: verified bytes, made ready to answer.

use crate::{
    format,
    index::{Index, build},
    memory::{collect, exact, push},
    policy::{Action, Ports, Protocols, Rate},
    question::Judgement,
    verify::Verified,
};
use alloc::{boxed::Box, string::String, vec::Vec};

/// Why bytes are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a program, or of a version that this build does not know.
    Version,
    /// A part is missing, too long or points outside.
    Malformed,
    /// No memory for it.
    OutOfMemory,
}

impl Refusal {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "not a rule program of a version that is known here",
            Self::Malformed => "a damaged rule program",
            Self::OutOfMemory => "no memory for the rule program",
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Refusal {}

/// Verified rules with their index; [`judge`](Self::judge) stands in `eval.rs`.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) decisions: Box<[Decision]>,
    pub(crate) limits: Box<[Limits]>,
    pub(crate) index: Index,
    forwards: Box<[Forward]>,
    names: Box<[String]>,
    domains: Box<[String]>,
}

/// What a rule decides, in the bits of the format: a byte, so that those of all rules stay in the nearest cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision(u8);

/// A rule that forwards.
#[derive(Clone, Copy, Debug)]
struct Forward {
    rule: u16,
    protocols: Protocols,
    ports: Ports,
    to_port: Option<u16>,
}

/// The limits of a rule that has some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rule: u16,
    rate: Option<Rate>,
    connections: Option<u32>,
}

impl Program {
    /// Verifies a program's bytes and builds the index over its rules. Whatever the bytes are, this does not panic,
    /// and time and memory are bounded by their number.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn load(bytes: &[u8]) -> Result<Self, Refusal> {
        let verified = Verified::of(bytes)?;
        let decisions = verified.rules.iter().map(|[what, ..]| Decision(*what));
        Ok(Self {
            decisions: collect(decisions, verified.rules.len())?,
            limits: limits(&verified)?,
            forwards: forwards(&verified)?,
            index: build(&verified)?,
            names: strings(verified.names(), verified.string_counts().0)?,
            domains: strings(verified.domains(), verified.string_counts().1)?,
        })
    }

    /// The answer of a rule.
    #[inline]
    pub(crate) fn judgement(&self, rule: u16, decision: Decision) -> Judgement {
        let (action, log) = format::action(decision.0);
        let action = action.unwrap_or_else(|| self.forward(rule));
        Judgement { action, rule: Some(rule), log }
    }

    #[cold]
    fn forward(&self, rule: u16) -> Action {
        let found = self.forwards.binary_search_by_key(&rule, |forward| forward.rule);
        let forward = found.ok().and_then(|place| self.forwards.get(place));
        forward.map_or(Action::Drop, |forward| Action::Forward { to_port: forward.to_port })
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether there is none: everything is dropped.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// Host names that the rules refer to; a name's place is its number.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Domains that the rules refer to; a domain's place is its number.
    pub fn domains(&self) -> impl ExactSizeIterator<Item = &str> {
        self.domains.iter().map(String::as_str)
    }

    /// The rules with a rate or connection limit: number and limits.
    pub fn limited(&self) -> impl Iterator<Item = (u16, Option<Rate>, Option<u32>)> {
        self.limits.iter().map(|limits| (limits.rule, limits.rate, limits.connections))
    }

    /// The rules that forward ports: number, transport protocols, ports of the uplink's address.
    pub fn forwards(&self) -> impl Iterator<Item = (u16, Protocols, Ports)> {
        self.forwards.iter().map(|forward| (forward.rule, forward.protocols, forward.ports))
    }

    /// Memory that it takes in bytes, names and domains aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.decisions)
            + size_of_val(&*self.limits)
            + size_of_val(&*self.forwards)
            + self.index.memory()
    }
}

fn limits(verified: &Verified<'_>) -> Result<Box<[Limits]>, Refusal> {
    let mut limits = Vec::new();
    let mut records = verified.limits().iter();
    for (number, rule) in (0..).zip(verified.rules()).filter(|(_, rule)| rule.is_limited()) {
        let found = records.next().and_then(|record| format::limit(&rule, record));
        let (rate, connections) = found.ok_or(Refusal::Malformed)?;
        push(&mut limits, Limits { rule: number, rate, connections })?;
    }
    exact(limits)
}

fn forwards(verified: &Verified<'_>) -> Result<Box<[Forward]>, Refusal> {
    let mut forwards = Vec::new();
    for (number, rule) in (0..).zip(verified.rules()) {
        if let Action::Forward { to_port } = rule.action {
            let (protocols, ports) = (rule.protocols, rule.destination_ports);
            push(&mut forwards, Forward { rule: number, protocols, ports, to_port })?;
        }
    }
    exact(forwards)
}

fn strings<'b>(from: impl Iterator<Item = &'b str>, count: usize) -> Result<Box<[String]>, Refusal> {
    let mut strings = Vec::new();
    strings.try_reserve_exact(count).map_err(|_| Refusal::OutOfMemory)?;
    for string in from {
        let mut copy = String::new();
        copy.try_reserve_exact(string.len()).map_err(|_| Refusal::OutOfMemory)?;
        copy.push_str(string);
        push(&mut strings, copy)?;
    }
    exact(strings)
}
