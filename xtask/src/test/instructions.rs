//! Counts instructions under callgrind, and holds them to `benches/limits.toml`. Never a time.

use super::tally::Tally;
use crate::{binaries, host, packages, progress, workspace};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The example that is counted; of it the function that does nothing else.
const EXAMPLE: &str = "firewall_instructions";
const COUNTED: &str = "*support::serve";

#[derive(Deserialize)]
struct Limits {
    firewall_instructions: BTreeMap<String, u64>,
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
    let mut cargo = binaries::cargo();
    cargo.args(["build", "--quiet", "--profile", "bench", "-p", "bulkhead-benches", "--example", EXAMPLE]);
    packages::output(&mut cargo)?;
    let program = workspace::target().join("release/examples").join(EXAMPLE);
    for (what, limit) in &limits.firewall_instructions {
        let count = count(&program, what)?;
        progress::note(&format!("{what}: {count} instructions a packet of at most {limit}"));
        tally.step(&format!("{what}: {count} instructions a packet, at most {limit}"), count <= *limit);
    }
    Ok(tally)
}

/// Instructions per packet.
fn count(program: &Path, what: &str) -> Result<u64> {
    let file = tempfile::NamedTempFile::new()?;
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", file.path().display()))
        .arg(program)
        .arg(what)
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
