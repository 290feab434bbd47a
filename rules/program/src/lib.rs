//! The compiled rules of one domain.
//!
//! Here: what rules are ([`policy`]), what is asked of them ([`question`]), their bytes ([`assemble`](assemble())),
//! and a [`Program`] that was verified and answers. Not here: text, state, clocks. dom0 assembles and verifies,
//! firewallvm verifies again and evaluates.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::allow_attributes,
        clippy::cast_possible_truncation,
        reason = "a test that fails should say where"
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod assemble;
mod disassemble;
mod eval;
mod format;
mod index;
pub mod listing;
mod memory;
pub mod policy;
mod program;
pub mod question;
mod verify;

pub use assemble::{TooLarge, assemble};
pub use disassemble::disassemble;
pub use listing::Listing;
pub use program::{Program, Refusal};

#[cfg(test)]
mod tests;
