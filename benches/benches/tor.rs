//! The Tor gateway beside C tor, in one private Tor network and one run: throughput, time to the first byte, and what a
//! cell costs. Method and numbers: `README.md`.
//!
//! Run by `cargo bench -p bulkhead-benches --bench tor`. The program starts itself twice more: in the namespace of the
//! network, and as the client of a measurement in a namespace of its own.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

#[path = "../support/tor/client.rs"]
mod client;
#[path = "../support/tor/instructions.rs"]
mod instructions;
#[path = "../support/tor/linux.rs"]
mod linux;
#[path = "../support/tor/place.rs"]
mod place;
#[path = "../support/tor/table.rs"]
mod table;

/// What goes wrong ends the bench, with its words.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["inside", xtask, what @ ..] => inside(&PathBuf::from(xtask), what),
        ["client", host, request, count] => client::run(host, request, count),
        [what @ .., "--bench"] => outside(what),
        // `cargo test` builds benches and starts them.
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds what is measured, and starts the private network with this program in it.
fn outside(what: &[&str]) -> Outcome<()> {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !found("tor") {
        eprintln!("SKIPPED: tor: Debian's package tor is not installed");
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    place::succeed(Command::new(cargo).args(["build", "-q", "-p", "xtask"]).current_dir(place::workspace()))?;
    let xtask = place::target().join("debug/xtask");
    place::succeed(Command::new(&xtask).arg("torvm").stdout(std::process::Stdio::null()))?;
    let mut network = Command::new(&xtask);
    network.args(["tor-network", "--"]).arg(std::env::current_exe()?).arg("inside").arg(&xtask).args(what);
    place::succeed(&mut network)
}

/// Measures, beside the network: everything, or `instructions` alone.
fn inside(xtask: &std::path::Path, what: &[&str]) -> Outcome<()> {
    let place = place::Place::find(xtask)?;
    if what != ["instructions"] {
        let measured = linux::measure(&place)?;
        table::print(&measured);
        println!("torvm, seconds: {}", place::no_kvm());
    }
    match instructions::measure(&place, xtask) {
        Ok(counted) => table::print_instructions(&counted),
        Err(why) => println!("instructions: not counted: {why}"),
    }
    Ok(())
}
