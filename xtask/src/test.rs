//! `cargo xtask test`: everything that CI runs, part by part.

mod fuzz;
mod gateway;
mod inside;
mod instructions;
mod lint;
mod programs;
mod stubborn;
mod tally;
mod tor;

use crate::{binaries, host, progress};
use anyhow::Result;
use std::process::ExitCode;
pub(crate) use tally::Tally;

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Formatting and clippy, of libraries and of each image.
    Lint,
    /// Unit, property, host and QEMU tests, documentation examples.
    Unit,
    /// Models of the link's wake-up protocol.
    Loom,
    /// Lints and tests of what is made of arti's crates: the gateway program, and what verifies the consensus for dom0.
    Gateway,
    /// Driver domain images, with their size.
    Images,
    /// Tests that need KVM and a card behind an IOMMU, in the lab.
    Lab,
    /// The whole system in labs of its own: the chain, and what dom0 refuses.
    Chain,
    /// The leak suite of torvm, under stock QEMU in a private Tor network; BULKHEAD_LEAKS=long for the long one.
    Tor,
    /// The two demos in the lab: the chain, and the Tor gateway.
    Demo,
    /// Public suites: captures through the firewall, and the firewall as a process between tap devices.
    Suites,
    /// Some seconds of each fuzz target.
    Fuzz,
    /// Instruction counts against their limits.
    Instructions,
}

const ALL: [Part; 12] = [
    Part::Lint,
    Part::Images,
    Part::Unit,
    Part::Loom,
    Part::Gateway,
    Part::Suites,
    Part::Instructions,
    Part::Fuzz,
    Part::Lab,
    Part::Chain,
    Part::Tor,
    Part::Demo,
];

/// Options of the tests.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Runs these parts only, in the order given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
}

/// Runs every part, whatever the others say; the last line counts.
///
/// # Errors
/// When a program that is needed cannot be had.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    host::prepare()?;
    let parts = if args.only.is_empty() { &ALL[..] } else { &args.only };
    let mut tally = Tally::default();
    for part in parts {
        progress::heading(&format!("{part:?}"));
        match run_part(*part) {
            Ok(more) => tally.add(more),
            Err(error) => {
                progress::error(&error);
                tally.fail(&format!("{part:?}: {error:#}"));
            }
        }
    }
    tally.report();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_part(part: Part) -> Result<Tally> {
    match part {
        Part::Lint => lint::run(),
        Part::Unit => programs::on_this_machine(),
        Part::Loom => loom(),
        Part::Gateway => gateway::run(),
        Part::Images => Ok(images()),
        Part::Lab => inside::run(),
        Part::Chain => programs::around_the_lab(),
        Part::Tor => tor::run(),
        Part::Demo => demo(),
        Part::Suites => suites(),
        Part::Fuzz => fuzz::run(),
        Part::Instructions => instructions::run(),
    }
}

fn images() -> Tally {
    let mut tally = Tally::default();
    for name in binaries::IMAGES {
        let built = binaries::image(name).and_then(|path| Ok(std::fs::metadata(path)?.len()));
        match &built {
            Ok(size) => {
                progress::note(&format!("image {name}: {size} bytes of at most {}", binaries::IMAGE_LIMIT))
            }
            Err(error) => progress::error(error),
        }
        tally.step(&format!("image {name}"), built.is_ok());
    }
    tally
}

/// A directory of its own: the flag would otherwise make cargo build everything anew twice per run.
fn loom() -> Result<Tally> {
    let mut cargo = binaries::cargo();
    cargo.env("RUSTFLAGS", "--cfg loom").args(["test", "--release", "-p", "link", "--lib", "loom"]);
    cargo.arg("--target-dir").arg(crate::workspace::target().join("loom"));
    tally::counted(&mut cargo, "loom")
}

/// The scenarios with tcpdump's captures, then what needs tap devices.
fn suites() -> Result<Tally> {
    let mut tally = Tally::default();
    match crate::suites::captures() {
        Ok(captures) => {
            let mut cargo = binaries::cargo();
            cargo.args(["test", "--quiet", "-p", "tests", "--test", "suites", "--", "corpus"]);
            tally.add(tally::counted(cargo.env("BULKHEAD_PCAPS", captures), "captures")?);
        }
        Err(why) => tally.skip(&format!("tcpdump's captures: {}", first_line(&why))),
    }
    tally.add(crate::suites::part()?);
    Ok(tally)
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// The demos, by this very program: it decides on its own whether KVM is usable.
fn demo() -> Result<Tally> {
    let mut tally = Tally::default();
    let program = std::env::current_exe()?;
    let (accel, _) = host::accel();
    for (name, words) in
        [("demo", &["demo", "--no-shell"][..]), ("demo --tor", &["demo", "--tor", "--no-shell"])]
    {
        tally.add(stubborn::stubborn(name, accel, || {
            let mut shown = Tally::default();
            let status = std::process::Command::new(&program).args(words).status()?;
            shown.step(name, status.success());
            Ok(shown)
        })?);
    }
    Ok(tally)
}
