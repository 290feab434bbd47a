//! The rules in force: one verified program per client, and the pieces of the next one.
//!
//! This is the only place that is asked whether a new flow may be. A client without a program has no flows: until
//! dom0 has installed its rules, nothing of it passes.

pub mod assembly;
mod in_force;

use crate::flows::PORTS;
use alloc::boxed::Box;
use assembly::{Assembly, Piece, Refused};
pub use in_force::InForce;
use rules_program::{
    Program,
    question::{Judgement, Question},
};

/// The programs of all clients.
#[derive(Debug, Default)]
pub struct Policy {
    clients: [Option<Box<InForce>>; PORTS],
    assembly: Assembly,
}

impl Policy {
    /// Judges the first packet of a connection by the rules of the client on `link`, and counts the decision.
    pub fn judge(&mut self, link: u8, question: &Question<'_>) -> Judgement {
        match self.of_mut(link) {
            Some(rules) => rules.judge(question),
            None => Judgement::NO_RULE,
        }
    }

    /// The rules of the client on `link`, once it has any.
    #[must_use]
    pub fn of(&self, link: u8) -> Option<&InForce> {
        self.clients.get(usize::from(link)).and_then(Option::as_deref)
    }

    fn of_mut(&mut self, link: u8) -> Option<&mut InForce> {
        self.clients.get_mut(usize::from(link)).and_then(Option::as_deref_mut)
    }

    /// Takes a piece of a client's next program; `true` when that was the last one and the program is in force.
    ///
    /// # Errors
    /// [`Refused`]: the rules in force stay.
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<bool, Refused> {
        let Some(bytes) = self.assembly.add(piece)? else { return Ok(false) };
        let program = Program::load(&bytes).map_err(|refusal| Refused::Answer(refusal.as_str()))?;
        drop(bytes);
        let rules = InForce::new(program, piece.generation).ok_or(assembly::NO_MEMORY)?;
        let place = self.clients.get_mut(usize::from(piece.port)).ok_or(assembly::NO_CLIENT)?;
        *place = Some(Box::new(rules));
        Ok(true)
    }

    /// Forgets the rules of the client on `link`, and what has come of the next ones.
    pub fn forget(&mut self, link: u8) {
        if let Some(place) = self.clients.get_mut(usize::from(link)) {
            *place = None;
        }
        self.assembly.forget(link);
    }
}
