//! A short run of each fuzz target. What a long run finds becomes an ordinary test.

use super::tally::{Tally, counted};
use crate::{binaries, workspace};
use anyhow::Result;
use std::fs;
use std::process::{Command, Stdio};

/// Seconds for each target.
const SECONDS: u32 = 15;

/// What cargo-fuzz would pass, for a stable compiler (no sanitizer): coverage that libFuzzer reads.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the targets and runs each on a corpus that stays in `fuzz/corpus`.
///
/// # Errors
/// When a program cannot be started.
pub(super) fn run() -> Result<Tally> {
    let mut tally = Tally::default();
    let compiler = Command::new("c++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !compiler.is_ok_and(|status| status.success()) {
        tally.skip("fuzz targets: libFuzzer needs a C++ compiler (sudo apt-get install g++)");
        return Ok(tally);
    }
    let fuzz = workspace::root().join("fuzz");
    let mut build = binaries::cargo();
    build.args(["build", "--release", "--target", TARGET, "--manifest-path"]).arg(fuzz.join("Cargo.toml"));
    build.arg("--target-dir").arg(fuzz.join("target")).env("RUSTFLAGS", FLAGS);
    binaries::follow(build, "fuzz targets")?;
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let file = entry?.path();
        let Some(name) = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        let corpus = fuzz.join("corpus").join(&name);
        fs::create_dir_all(&corpus)?;
        let program = fuzz.join("target").join(TARGET).join("release").join(&name);
        let mut command = Command::new(program);
        command.current_dir(&fuzz).arg(corpus).arg(format!("-max_total_time={SECONDS}"));
        let outcome = counted(command.arg("-verbosity=0").arg("-print_final_stats=1"), &name)?;
        tally.step(&format!("fuzz {name}"), outcome.failed == 0);
    }
    Ok(tally)
}
