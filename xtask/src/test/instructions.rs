//! Counts instructions under callgrind, and holds them to `benches/limits.toml`. Never a time.

use super::tally::Tally;
use crate::{binaries, host, packages, progress, workspace};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// An example that is counted.
struct Example {
    name: &'static str,
    /// Of it the functions that do nothing else.
    counted: &'static str,
    /// What it prints the number of.
    unit: &'static str,
}

const FIREWALL: Example =
    Example { name: "firewall_instructions", counted: "*support::serve", unit: "a packet" };
const TORVM: Example =
    Example { name: "torvm_instructions", counted: "torvm_instructions::serve_*", unit: "a KiB" };

#[derive(Deserialize)]
struct Limits {
    firewall_instructions: BTreeMap<String, u64>,
    torvm_instructions: BTreeMap<String, u64>,
}

/// Counts everything that has a limit.
///
/// # Errors
/// When the limits cannot be read or the example does not build.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    if let Err(why) = host::install(&[("valgrind", "valgrind")]) {
        tally.skip(&format!("instruction counts: they need valgrind: {why:#}"));
        return Ok(tally);
    }
    let limits = workspace::root().join("benches/limits.toml");
    let limits: Limits =
        toml::from_str(&fs::read_to_string(&limits)?).with_context(|| limits.display().to_string())?;
    hold(&mut tally, &FIREWALL, &limits.firewall_instructions)?;
    hold(&mut tally, &TORVM, &limits.torvm_instructions)?;
    Ok(tally)
}

/// Counts an example with each of its arguments.
fn hold(tally: &mut Tally, example: &Example, limits: &BTreeMap<String, u64>) -> Result<()> {
    let Example { name, unit, .. } = example;
    let mut cargo = binaries::cargo();
    cargo.args(["build", "--quiet", "--profile", "bench", "-p", "bulkhead-benches", "--example", name]);
    packages::output(&mut cargo)?;
    let program = workspace::target().join("release/examples").join(name);
    for (what, limit) in limits {
        let count = count(&program, example.counted, what)?;
        progress::note(&format!("{what}: {count} instructions {unit} of at most {limit}"));
        tally.step(&format!("{what}: {count} instructions {unit}, at most {limit}"), count <= *limit);
    }
    Ok(())
}

/// Instructions per what the program prints the number of.
fn count(program: &Path, counted: &str, what: &str) -> Result<u64> {
    let file = tempfile::NamedTempFile::new()?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={counted}"))
        .arg(format!("--callgrind-out-file={}", file.path().display()))
        .arg(program)
        .args(what.split(' '))
        // No `rep movsb`, of which callgrind counts every byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=100000000")
        .stderr(Stdio::null())
        .output()?;
    let packets: u64 = String::from_utf8_lossy(&done.stdout).trim().parse().unwrap_or(0);
    let text = fs::read_to_string(file.path())?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<u64>().ok());
    match total {
        Some(total) if total > 0 && packets > 0 => Ok(total / packets),
        _ => bail!("{what}: nothing was counted; {}", done.status),
    }
}
