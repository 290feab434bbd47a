//! `cargo xtask suites`: public suites for packet filters, against firewallvm and netvm as a process on tap devices.

mod captures;
mod expected;
mod groups;
mod network;
mod run;
mod table;

pub(crate) use captures::captures;

use crate::test::Tally;
use crate::{binaries, host, progress, workspace};
use anyhow::{Context, Result, bail};
use groups::Script;
use network::Network;
use run::Outcome;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

/// Where checkouts of suites are, for the tests of CI.
const VARIABLE: &str = "BULKHEAD_SUITES";

/// Options of the suites.
#[derive(clap::Args)]
pub(crate) struct SuitesArgs {
    /// Directory with checkouts: of openbsd/src, or of its author's repositories (frag-regress, frag6-regress, …)
    #[arg(long, value_name = "DIR", env = VARIABLE)]
    from: Option<PathBuf>,
    /// Runs scripts with this in their name only
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Scripts at the same time, each with networks of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    lanes: usize,
    /// Writes the results into docs/conformance.md
    #[arg(long)]
    table: bool,
}

/// The programs between and behind the networks.
struct Programs {
    firewall: PathBuf,
    reflector: PathBuf,
}

/// Runs the suites that are to be had; the last line counts.
///
/// # Errors
/// When nothing can be run at all: says why.
pub(crate) fn run(args: &SuitesArgs) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let programs = programs()?;
    tally.add(smoke(&programs));
    match &args.from {
        Some(from) => {
            let results = scripts(&programs, from, args)?;
            results.iter().for_each(|(script, outcome)| count(&mut tally, script, outcome));
            if args.table {
                table::write(&results)?;
            }
        }
        None => tally.skip(NO_CHECKOUT),
    }
    tally.report();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const NO_CHECKOUT: &str = "OpenBSD's scripts: clone https://github.com/openbsd/src and name it with --from or in \
                           BULKHEAD_SUITES (no package registry has them)";

/// What CI runs: packets through the process, and the scripts if somebody put a checkout there.
///
/// # Errors
/// When a program does not compile.
pub(crate) fn part() -> Result<Tally> {
    let mut tally = Tally::default();
    let programs = programs()?;
    tally.add(smoke(&programs));
    let Some(from) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        tally.skip(NO_CHECKOUT);
        return Ok(tally);
    };
    let args = SuitesArgs { from: None, only: None, lanes: 4, table: false };
    let results = scripts(&programs, &from, &args)?;
    results.iter().for_each(|(script, outcome)| count(&mut tally, script, outcome));
    Ok(tally)
}

fn programs() -> Result<Programs> {
    let mut cargo = binaries::cargo();
    cargo.args(["build", "-p", "tests", "--examples"]);
    binaries::follow(cargo, "the firewall as a process")?;
    let place = |name: &str| workspace::target().join("debug/examples").join(name);
    Ok(Programs { firewall: place("firewall_on_taps"), reflector: place("reflector") })
}

/// A client asks the far host through the firewall, in both families.
fn smoke(programs: &Programs) -> Tally {
    let mut tally = Tally::default();
    if let Err(why) = network::possible() {
        tally.skip(&format!("the firewall between tap devices: {why:#}"));
        return tally;
    }
    for far in [network::FAR4, network::FAR6] {
        let asked = Network::new(programs, false).and_then(|network| {
            let mut ask = network.in_client(&programs.reflector);
            crate::packages::output(ask.args(["ask", far])).map(drop)
        });
        if let Err(error) = &asked {
            progress::error(error);
        }
        tally.step(&format!("echo through the firewall on taps, {far}"), asked.is_ok());
    }
    tally
}

fn scripts(programs: &Programs, from: &Path, args: &SuitesArgs) -> Result<Vec<(Script, Outcome)>> {
    network::possible()?;
    host::install(&[("scapy", "python3-scapy"), ("tcpdump", "tcpdump")])?;
    let mut scripts = groups::find(from).with_context(|| format!("cannot read {}", from.display()))?;
    scripts.retain(|script| args.only.as_ref().is_none_or(|only| script.title().contains(only)));
    if scripts.is_empty() {
        bail!("{} holds no script of a known suite (regress/sys/netinet/frag, …)", from.display());
    }
    progress::note(&format!("{} scripts, {} at a time", scripts.len(), args.lanes));
    // The slow ones first, so that nothing waits for them at the end; those in a hurry alone.
    scripts.sort_by_key(|script| (!script.is_slow(), script.title()));
    let (hurried, others) = scripts.into_iter().partition(Script::is_in_a_hurry);
    let mut done = in_lanes(programs, others, args.lanes);
    done.extend(in_lanes(programs, hurried, 1));
    done.sort_by_key(|(script, _)| script.title());
    Ok(done)
}

/// Runs scripts, so many at a time.
fn in_lanes(programs: &Programs, scripts: Vec<Script>, lanes: usize) -> Vec<(Script, Outcome)> {
    let waiting = Mutex::new(scripts.into_iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..lanes.max(1) {
            scope.spawn(|| {
                while let Some(script) = waiting.lock().ok().and_then(|mut waiting| waiting.next()) {
                    let outcome = run::run(programs, &script);
                    progress::note(&format!("{}: {}", script.title(), outcome.shown()));
                    if let Ok(mut done) = done.lock() {
                        done.push((script, outcome));
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}

/// An unexpected result fails, also one that is better than expected: the table would lie.
fn count(tally: &mut Tally, script: &Script, outcome: &Outcome) {
    match outcome {
        Outcome::Skipped(why) => tally.skip(&format!("{}: {why}", script.title())),
        Outcome::Ended { passed, .. } => {
            let expected = expected::deviation(script).is_none();
            tally.step(&format!("{}: {}", script.title(), outcome.shown()), *passed == expected);
        }
    }
}
