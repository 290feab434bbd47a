//! The workspace of what is made of arti's crates: lints, unit tests, and dom0's side together with the real program.

use super::lint::clean;
use super::stubborn::stubborn;
use super::tally::{Tally, counted};
use crate::machine::Accel;
use crate::{binaries, workspace};
use anyhow::Result;
use std::process::Command;

/// Checks formatting and lints of that workspace, and runs its tests.
///
/// # Errors
/// When cargo cannot be started.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    clean(&mut tally, "formatting", cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    clean(&mut tally, "clippy", cargo().args(clippy))?;
    let tests = ["test", "--locked", "--workspace", "--quiet"];
    // The program meets C tor's network in it, whose circuits and guards are given up for lost on a busy machine.
    let what = "gateway and bulkhead-relays";
    tally.add(stubborn(what, Accel::Tcg, || counted(cargo().args(tests), what))?);
    Ok(tally)
}

/// Cargo in that workspace, its output beside that of the programs which are installed.
fn cargo() -> Command {
    let mut cargo = binaries::cargo();
    cargo.current_dir(workspace::root().join("torvm/gateway"));
    cargo.env("CARGO_TARGET_DIR", workspace::target().join("gateway"));
    cargo
}
