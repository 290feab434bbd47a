//! The workspace of what is made of arti's crates: lints, unit tests, and dom0's side together with the real program.

use super::lint::clean;
use super::tally::{Tally, counted};
use crate::binaries::{self, cargo_of_gateway};
use anyhow::Result;

/// Checks formatting and lints of that workspace, and runs its tests.
///
/// # Errors
/// When cargo cannot be started.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    clean(&mut tally, "formatting", cargo_of_gateway().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    clean(&mut tally, "clippy", cargo_of_gateway().args(clippy))?;
    // What is installed is what is tested: its jail must fit what the compiler and the C library make of it.
    let relays = binaries::relays()?;
    let mut tests = cargo_of_gateway();
    tests.args(["test", "--locked", "--workspace", "--quiet"]).env("BULKHEAD_RELAYS", relays);
    tally.add(counted(&mut tests, "gateway and bulkhead-relays")?);
    Ok(tally)
}
