//! The pieces of one program, and why rules are not taken; one program at a time.

use alloc::vec::Vec;
use control::pieces::{self, Misfit};

/// Longest program in bytes.
pub const MAX_LEN: u32 = 3 << 20;
/// There is no memory for the rules.
pub const NO_MEMORY: Refused = Refused::Answer("not enough memory");
/// Nobody is on the port.
pub const NO_CLIENT: Refused = Refused::Answer("no client on this port");

/// Why rules were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// dom0 is told this.
    Answer(&'static str),
    /// Dom0 has been told already: a later piece of what was refused.
    Known,
}

impl From<Misfit> for Refused {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::OutOfOrder => Self::Answer("a piece is missing, came twice or is empty"),
            Misfit::TooLong => Self::Answer("longer than a program may be"),
            Misfit::NoMemory => NO_MEMORY,
        }
    }
}

/// Which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Port of the link device that their client is on.
    pub port: u8,
    /// Which of this client's.
    pub generation: u32,
}

/// A piece of a program.
pub type Piece<'b> = pieces::Piece<'b, Set>;

/// The program in the making.
#[derive(Debug, Default)]
pub struct Assembly {
    program: pieces::Assembly<Set>,
    /// What was refused last.
    refused: Option<Set>,
}

impl Assembly {
    /// Takes a piece; gives the program with the last one.
    ///
    /// # Errors
    /// [`Refused`]: what came so far is forgotten.
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, Refused> {
        if piece.offset != 0 && self.refused == Some(piece.of) {
            return Err(Refused::Known);
        }
        let added = self.program.add(piece, MAX_LEN);
        self.refused = added.is_err().then_some(piece.of);
        Ok(added?)
    }

    /// Forgets what has come for a port.
    pub fn forget(&mut self, port: u8) {
        if self.program.of().is_some_and(|of| of.port == port) {
            *self = Self::default();
        }
    }
}
