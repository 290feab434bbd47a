//! `cargo xtask demo`: builds everything, boots the lab, and shows an AppVM fetching a page through
//! firewallvm, netvm and a network card that was taken from dom0; with `--tor`, through torvm and a Tor network, too.

mod screen;
mod stage;
mod tor;

use crate::job::{self, Job};
use crate::machine::{Accel, Disk, Machine};
use crate::page::{LONG, Page};
use crate::{capture, host, progress};
use anyhow::{Context, Result, bail};
use screen::{Screen, Seen};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Both demos' beginning: dom0 gives its network card away.
const BEGINNING: &str = include_str!("../guest/demo-begin.sh");
const SCRIPT: &str = include_str!("../guest/demo.sh");
/// Both demos' end: a shell, if somebody wants one.
const END: &str = include_str!("../guest/demo-end.sh");

/// How MAC addresses of QEMU's user network begin: 52:55 and an IPv4 address, 52:56 for IPv6.
const SLIRP: [[u8; 2]; 2] = [[0x52, 0x55], [0x52, 0x56]];

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Shows the Tor gateway instead: an AppVM behind torvm, in a private Tor network
    #[arg(long)]
    tor: bool,
    /// Ends after the demo instead of leaving you at a shell in dom0
    #[arg(long)]
    no_shell: bool,
    /// How the lab's processors run [default: KVM where it works, else emulated]
    #[arg(long, value_enum)]
    accel: Option<Accel>,
    /// Seconds until the machine is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
    /// Keeps the outer kernel's console in this file
    #[arg(long, value_name = "FILE")]
    console_log: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When something does not build, or any step of the demo fails.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    host::prepare()?;
    let accel = choose(args.accel);
    if args.tor {
        return tor::run(args, accel);
    }
    let staged = stage::build()?;
    let page = Page::serve()?;
    let run_dir = tempfile::Builder::new().prefix("bulkhead-demo.").tempdir()?;
    let machine = machine(&staged, accel, run_dir.path())?;
    let port = page.address.port();
    let variables = format!("PAGE=http://10.0.2.2:{port}/\nPORT={port}\nLONG={LONG}\n");
    let cable = staged.capture.clone();
    let script = Script { variables, steps: SCRIPT };
    let (status, seen) = play(args, &machine, &script, move || show_cable(&cable))?;
    verdict(status, &seen, &page)
}

/// The lab machine of a demo.
fn machine(staged: &stage::Staged, accel: Accel, run_dir: &Path) -> Result<Machine> {
    Ok(Machine {
        disks: vec![Disk { image: staged.rootfs.clone(), read_only: true }],
        capture: Some(staged.capture.clone()),
        ..Machine::usual(accel, staged.directory.clone(), run_dir.to_owned())?
    })
}

/// Runs a demo's script, between beginning and end, and returns its status and what it showed. `cable` is called when
/// the script wants the cable looked at.
fn play(
    args: &DemoArgs,
    machine: &Machine,
    script: &Script<'_>,
    cable: impl Fn() -> Result<()> + Send + 'static,
) -> Result<(u8, Seen)> {
    let shell = !args.no_shell && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let shell = if shell { "yes" } else { "" };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let screen = Screen::new(Arc::clone(&seen), cable);
    let job = Job {
        script: format!("{}SHELL_AFTER={shell}\n{BEGINNING}{}{END}", script.variables, script.steps),
        on_terminal: false,
        timeout: Some(Duration::from_secs(args.timeout)),
        err: Box::new(screen.errors()),
        out: Box::new(screen),
    };
    progress::heading("The lab machine");
    let status = job::run(machine, job);
    if let Some(to) = &args.console_log {
        let _ = std::fs::copy(machine.console_log(), to);
    }
    let mut seen =
        seen.lock().map_err(|_| anyhow::anyhow!("the output of the demo was not read to its end"))?;
    Ok((status?, std::mem::take(&mut *seen)))
}

/// What a demo does between beginning and end.
struct Script<'s> {
    /// Lines that set variables.
    variables: String,
    steps: &'s str,
}

/// Builds what the demo's dom0 finds under `/host`, and beside it a unikernel that panics on demand: that
/// directory, and the AppVMs' root file system.
///
/// # Errors
/// When something does not build.
pub(crate) fn staged() -> Result<(PathBuf, PathBuf)> {
    host::prepare()?;
    let staged = stage::build()?;
    std::fs::copy(crate::binaries::probe()?, staged.directory.join("lib/probe"))?;
    Ok((staged.directory, staged.rootfs))
}

/// As [`staged`], with a torvm and an AppVM behind it.
///
/// # Errors
/// As there.
pub(crate) fn staged_tor() -> Result<(PathBuf, PathBuf)> {
    let staged = stage::build_tor()?;
    Ok((staged.directory, staged.rootfs))
}

/// This machine's KVM or the emulated lab; says which and why.
fn choose(wanted: Option<Accel>) -> Accel {
    let (accel, why) = match wanted {
        Some(accel) => (accel, "as asked for".to_owned()),
        None => host::accel(),
    };
    let how = match accel {
        Accel::Kvm => "on this machine's KVM",
        Accel::Tcg => "emulated (slow, but the same kernels, VFIO and images)",
    };
    progress::note(&format!("The lab machine runs {how}: {why}"));
    accel
}

/// Whether the demo has shown what it promises.
fn verdict(status: u8, seen: &Seen, page: &Page) -> Result<ExitCode> {
    ended_well(status, seen)?;
    // Once at first, once more after the rule that was in the way is gone.
    if seen.shown.matches(page.content.trim()).count() < 2 {
        bail!("what AppVM work printed is not the page that was served");
    }
    progress::note("The page came from inside AppVM work, through firewallvm, netvm and the assigned card");
    progress::note("A rule cut an established transfer at once; without it AppVM work was online again");
    Ok(ExitCode::SUCCESS)
}

/// Whether a demo came to its end, and its cable was as it should be.
fn ended_well(status: u8, seen: &Seen) -> Result<()> {
    if let Some(failure) = &seen.failure {
        bail!("the demo failed: {failure}\n{}", seen.log_tail());
    }
    if status != 0 || !seen.ended {
        bail!("the demo's script ended early, with status {status}\n{}", seen.log_tail());
    }
    match &seen.cable {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => bail!("the cable: {error:#}"),
        None => bail!("the cable's capture was not looked at"),
    }
}

/// Prints who spoke on the cable, and complains about anyone but the card and the outer network.
fn show_cable(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let speakers = capture::speakers(&bytes)?;
    println!("  {:<19} {:<28} {:>7} {:>9}  who", "MAC address", "address", "frames", "bytes");
    for ((mac, address), sent) in &speakers {
        let who = match mac {
            mac if *mac == stage::NIC_MAC => "the assigned card",
            mac if outside(*mac) => "the outer network",
            _ => "?",
        };
        let address = address.map_or("-".to_owned(), |address| address.to_string());
        println!("  {:<19} {address:<28} {:>7} {:>9}  {who}", mac.to_string(), sent.frames, sent.bytes);
    }
    if !speakers.keys().any(|(mac, _)| *mac == stage::NIC_MAC) {
        bail!("the assigned card sent nothing");
    }
    let strangers = capture::strangers(&speakers, stage::NIC_MAC, outside);
    if !strangers.is_empty() {
        bail!("these must not be seen there: {}", strangers.join(", "));
    }
    println!("  nothing but the card's own address left the machine");
    Ok(())
}

fn outside(mac: capture::Mac) -> bool {
    SLIRP.iter().any(|prefix| mac.0.starts_with(prefix))
}
