//! Formatting and lints.

use super::tally::{Tally, counted};
use crate::binaries;
use anyhow::Result;
use std::process::Command;

/// Checks formatting, and runs clippy with warnings as errors: on the workspace, and on each program that is
/// compiled only for bare metal.
///
/// # Errors
/// When cargo cannot be started.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    let deny = ["--quiet", "--", "-D", "warnings"];
    step(&mut tally, "formatting", &["fmt", "--all", "--check"])?;
    step(&mut tally, "clippy", &[&["clippy", "--workspace", "--all-targets"], &deny[..]].concat())?;
    let probes = [("probes", "probe")];
    for (package, program) in binaries::IMAGES.map(|name| (name, name)).iter().chain(&probes) {
        let image = ["clippy", "--profile", "image", "--features", "image", "-p", package, "--bin", program];
        step(&mut tally, &format!("clippy of image {program}"), &[&image, &deny[..]].concat())?;
    }
    Ok(tally)
}

fn step(tally: &mut Tally, what: &str, args: &[&str]) -> Result<()> {
    clean(tally, what, binaries::cargo().args(args))
}

/// Runs a check that says nothing when all is well.
///
/// # Errors
/// When it cannot be started.
pub(super) fn clean(tally: &mut Tally, what: &str, cargo: &mut Command) -> Result<()> {
    let outcome = counted(cargo, what)?;
    let passed = outcome.failed == 0;
    if passed {
        crate::progress::note(&format!("{what}: clean"));
    }
    tally.step(what, passed);
    Ok(())
}
