//! Boots the probe image (`tests/probes`) under QEMU's own processor emulation, once per property.
//!
//! Skipped aloud where QEMU is not installed.

mod probes {
    mod loader;
    mod user;
    mod wakeups;
    use super::{Machine, Outcome, PANICKED, PATIENCE, boot, boot_with, image, qemu};
}

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// Under emulation on a busy machine a boot can take seconds.
const PATIENCE: Duration = Duration::from_secs(180);
/// What QEMU's debug-exit device makes of the exit code of a panic (0xDEAD).
const PANICKED: i32 = 0xDEAD << 1 & 0xFF | 1;

/// A machine that the image must run on, all without configuration by hand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Machine {
    /// No firmware tables, no PCI; exit codes by the debug-exit device.
    Micro,
    /// PCI by ECAM at a place that nobody tells but the command line; BARs unassigned; an entropy device.
    MicroPci,
    /// A PC: PCI by ports, BARs assigned by firmware; an entropy device.
    Q35,
}

struct Outcome {
    output: String,
    status: i32,
}

/// Builds the probe image once; `None`, aloud, where QEMU is missing, so that `probe` cannot be run.
fn image(probe: &str) -> Option<&'static PathBuf> {
    static IMAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = IMAGE
        .get_or_init(|| {
            if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
                return None;
            }
            let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent()?.to_owned();
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--quiet",
                    "--package",
                    "probes",
                    "--features",
                    "image",
                    "--profile",
                    "image",
                ])
                .arg("--target-dir")
                .arg(&target)
                .status()
                .expect("cargo starts");
            assert!(built.success(), "the probe image does not build");
            Some(target.join("image/probe"))
        })
        .as_ref();
    if built.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {QEMU} is not installed, probe {probe} was not run");
    }
    built
}

/// QEMU without a machine, its console at `serial`.
fn qemu(serial: &str) -> Command {
    let mut qemu = Command::new(QEMU);
    qemu.args(["-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot", "-serial", serial]);
    qemu
}

fn arguments(machine: Machine) -> Vec<&'static str> {
    let network = ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="];
    let entropy = ["-device", "virtio-rng-pci"];
    match machine {
        Machine::Micro => vec!["-M", "microvm,acpi=off", "-device", "isa-debug-exit,iobase=0x604,iosize=4"],
        Machine::MicroPci => [&["-M", "microvm,pcie=on"][..], &network, &entropy].concat(),
        Machine::Q35 => [&["-M", "q35"][..], &network, &entropy].concat(),
    }
}

/// Boots a probe on a machine with `memory` (as QEMU takes it); `None`, aloud, where QEMU is missing.
fn boot(machine: Machine, memory: &str, probe: &str) -> Option<Outcome> {
    boot_with(&[], machine, memory, probe)
}

/// [`boot`] with more arguments for QEMU.
fn boot_with(more: &[&str], machine: Machine, memory: &str, probe: &str) -> Option<Outcome> {
    let image = image(probe)?;
    let options = match machine {
        Machine::Micro => "entropy=insecure-test",
        Machine::MicroPci => "ecam=0xe0000000",
        Machine::Q35 => "",
    };
    let mut qemu = qemu("stdio")
        .args(arguments(machine))
        .args(more)
        .args(["-m", memory, "-append", &format!("probe={probe} {options}"), "-kernel"])
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = qemu.try_wait().expect("QEMU can be waited for") {
            break status.code().unwrap_or(-1);
        }
        if begin.elapsed() > PATIENCE {
            qemu.kill().expect("QEMU can be killed");
            qemu.wait().expect("QEMU can be waited for");
            break -1;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut output = String::new();
    qemu.stdout.take().expect("a pipe").read_to_string(&mut output).expect("text");
    println!("{machine:?} {probe}: status {status}\n{output}");
    Some(Outcome { output, status })
}

/// Boots a probe that must panic, saying `words`.
fn must_panic(probe: &str, words: &str) {
    let Some(outcome) = boot(Machine::Micro, "4M", probe) else { return };
    assert!(outcome.output.contains("PANIC: ") && outcome.output.contains(words), "{}", outcome.output);
    assert!(!outcome.output.contains("NOT STOPPED"));
    assert_eq!(outcome.status, PANICKED);
}

#[test]
fn boots_on_every_machine_and_ends() {
    for machine in [Machine::Micro, Machine::MicroPci, Machine::Q35] {
        let Some(outcome) = boot(machine, "16M", "hello") else { return };
        assert!(outcome.output.contains("hello, \"probe=hello"), "{}", outcome.output);
    }
}

#[test]
fn exit_code_reaches_the_monitor() {
    let Some(outcome) = boot(Machine::Micro, "4M", "exit") else { return };
    assert_eq!(outcome.status, 21 << 1 | 1);
}

#[test]
fn a_panic_is_reported() {
    must_panic("panic", "as asked");
}

#[test]
fn nothing_lies_at_address_zero() {
    must_panic("null-read", "access through a null pointer");
    must_panic("null-write", "access through a null pointer");
}

#[test]
fn code_and_constants_cannot_be_written() {
    must_panic("write-code", "write to read-only memory");
    must_panic("write-constant", "write to read-only memory");
}

#[test]
fn data_cannot_be_executed() {
    must_panic("run-data", "execution of data");
}

#[test]
fn a_stack_overflow_hits_the_guard() {
    must_panic("overflow", "stack overflow");
}

#[test]
fn a_division_by_zero_is_reported() {
    must_panic("divide", "division error");
}

#[test]
fn sleeps_without_a_tick_and_wakes_on_time() {
    let Some(outcome) = boot(Machine::Micro, "4M", "timer") else { return };
    assert!(!outcome.output.contains("WOKEN EARLY"), "{}", outcome.output);
    assert_eq!(outcome.output.matches("task slept").count(), 5, "{}", outcome.output);
    assert_eq!(outcome.status, 1, "{}", outcome.output);
}

#[test]
fn random_bytes_come_from_the_device_and_differ() {
    let mut seen = Vec::new();
    for machine in [Machine::MicroPci, Machine::Q35] {
        let Some(outcome) = boot(machine, "16M", "random") else { return };
        let line = outcome.output.lines().find(|line| line.contains("random ")).expect("a line");
        assert!(!outcome.output.contains("NOT random"), "{}", outcome.output);
        seen.extend(line.split_whitespace().rev().take(2).map(str::to_owned));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn without_entropy_it_stops() {
    let Some(image) = image("hello without entropy") else { return };
    let qemu = qemu("stdio")
        .args(arguments(Machine::Micro))
        .args(["-m", "4M", "-append", "probe=hello", "-kernel"])
        .arg(image)
        .output()
        .expect("QEMU starts");
    let output = String::from_utf8_lossy(&qemu.stdout);
    assert!(output.contains("STOP: no random numbers") && !output.contains("hello,"), "{output}");
}

#[test]
fn frames_come_with_interrupts() {
    for machine in [Machine::MicroPci, Machine::Q35] {
        let Some(outcome) = boot(machine, "16M", "network") else { return };
        assert!(outcome.output.contains("offered [10, 0, 2, 15]"), "{}", outcome.output);
        assert!(!outcome.output.contains("NO INTERRUPT"), "{}", outcome.output);
    }
}

#[test]
fn interrupts_change_nothing_that_they_interrupt() {
    let Some(outcome) = boot(Machine::Q35, "16M", "interrupts") else { return };
    let line = outcome.output.lines().find(|line| line.contains("interrupts in")).expect("the count");
    let count: u32 = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    assert!(count > 50, "{line}");
    assert!(!outcome.output.contains("CORRUPTED"), "{}", outcome.output);
}

#[test]
fn runs_in_two_mebibytes() {
    let Some(outcome) = boot(Machine::Micro, "2M", "hello") else { return };
    assert!(outcome.output.contains("hello, "), "{}", outcome.output);
}

/// Clock ticks (10 ms each) of processor time that process `id` has used.
fn processor_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process lives");
    let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
    after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum()
}

#[test]
fn an_idle_domain_uses_no_processor() {
    let Some(image) = image("idle") else { return };
    let mut qemu = qemu("null")
        .args(arguments(Machine::Micro))
        .args(["-m", "4M", "-append", "probe=idle entropy=insecure-test", "-kernel"])
        .arg(image)
        .spawn()
        .expect("QEMU starts");
    let begin = Instant::now();
    // A spinning domain uses about 500 alone on a processor; QEMU's own housekeeping about 1. On a busy machine the boot
    // may last into the second measurement, and longer.
    let used = loop {
        std::thread::sleep(Duration::from_secs(5));
        let before = processor_ticks(qemu.id());
        std::thread::sleep(Duration::from_secs(5));
        let used = processor_ticks(qemu.id()) - before;
        if used < 25 || begin.elapsed() > PATIENCE {
            break used;
        }
    };
    qemu.kill().expect("QEMU can be killed");
    qemu.wait().expect("QEMU can be waited for");
    println!("{used} of 500 ticks used while idle");
    assert!(used < 25, "{used} ticks in five seconds");
}
