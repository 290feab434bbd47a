//! bulkhead-vmm: check, map, load, attach, drop privileges, run.

use anyhow::Result;
use clap::Parser;
use hypervisor::check::{self, Source};
use hypervisor::confine::confine;
use hypervisor::machine::Mapped;
use std::process::ExitCode;
use vmm_api::message::Ended;

/// Runs one virtual machine.
#[derive(Parser)]
#[command(name = "bulkhead-vmm", version)]
struct Arguments {
    /// Description of the machine (JSON): a file, or fd:N for an inherited descriptor.
    #[arg(long, value_name = "FILE|fd:N", value_parser = source)]
    config: Source,
    /// Control connection: one end of a SOCK_SEQPACKET pair. Without it the machine runs by itself.
    #[arg(long, value_name = "fd:N", value_parser = descriptor)]
    control: Option<i32>,
}

fn source(text: &str) -> Result<Source, String> {
    if text.starts_with("fd:") { descriptor(text).map(Source::Fd) } else { Ok(Source::Path(text.into())) }
}

fn descriptor(text: &str) -> Result<i32, String> {
    let number = text.strip_prefix("fd:").and_then(|n| n.parse().ok());
    number.ok_or_else(|| format!("{text:?} is not fd:N"))
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let arguments = Arguments::parse();
    let code = match run(&arguments) {
        Ok(ended) => report(&ended),
        Err(error) => {
            eprintln!("bulkhead-vmm: {error:#}");
            2
        }
    };
    // Threads that wait for input are left behind; the process must not wait for them.
    std::process::exit(code)
}

fn run(arguments: &Arguments) -> Result<Ended> {
    let mut plan = check::check(&arguments.config, arguments.control)?;
    let machine = Mapped::map(&mut plan)?;
    machine.load(&mut plan)?;
    let machine = machine.attach(plan)?;
    confine()?;
    machine.run()
}

/// Says why the machine ended; 0 when the guest wanted it so.
fn report(ended: &Ended) -> i32 {
    eprintln!("bulkhead-vmm: ended: {ended:?}");
    match ended {
        Ended::PoweredOff | Ended::Rebooted | Ended::Killed | Ended::Exited(0) => 0,
        _ => 1,
    }
}
