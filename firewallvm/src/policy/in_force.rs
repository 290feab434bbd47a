//! The rules of one client, and how often each of them decided.

use alloc::vec::Vec;
use rules_program::{
    Program,
    question::{Judgement, Open, Question},
};

/// A program in force.
#[derive(Debug)]
pub struct InForce {
    program: Program,
    generation: u32,
    hits: Vec<u64>,
    no_rule: u64,
}

impl InForce {
    /// Puts a program in force; `None` when there is no memory for its counters.
    #[must_use]
    pub fn new(program: Program, generation: u32) -> Option<Self> {
        let mut hits = Vec::new();
        hits.try_reserve_exact(program.len()).ok()?;
        hits.resize(program.len(), 0);
        Some(Self { program, generation, hits, no_rule: 0 })
    }

    /// Which set of rules this is, as dom0 named it.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The program.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// How often each rule decided.
    #[must_use]
    pub fn hits(&self) -> &[u64] {
        &self.hits
    }

    /// How often none did.
    #[must_use]
    pub const fn no_rule(&self) -> u64 {
        self.no_rule
    }

    /// Judges the first packet of a connection and counts the decision.
    pub fn judge(&mut self, question: &Question<'_>) -> Judgement {
        let judgement = self.program.judge(question, &mut Open);
        match judgement.rule.and_then(|rule| self.hits.get_mut(usize::from(rule))) {
            Some(hits) => *hits += 1,
            None => self.no_rule += 1,
        }
        judgement
    }
}
