//! Test programs that need KVM, or a card behind an IOMMU: each runs in a lab machine of its own.

use super::programs;
use super::stubborn::stubborn;
use super::tally::Tally;
use crate::job::{self, Job, Sink};
use crate::lab::quoted;
use crate::machine::Machine;
use crate::{appvm, binaries, host, packages, workspace};
use anyhow::{Result, bail};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Seconds for each program, against one that hangs; under nested emulation the slowest takes some minutes.
const EACH: u64 = 1200;

/// For a machine: its program and the boot.
const LIMIT: Duration = Duration::from_secs(EACH + 300);

/// Builds what they start, and runs one after another in the lab, with the workspace as `/host`.
///
/// # Errors
/// When something does not build, or the machine ends before the tests do.
pub(super) fn run() -> Result<Tally> {
    let files = appvm::build()?;
    binaries::vmm_for_tests()?;
    let probe = binaries::probe()?;
    let agent = binaries::agent()?;
    let programs = programs::for_lab()?;
    let share = workspace::target().join("lab-files");
    std::fs::create_dir_all(&share)?;
    let place = |name: &str, from: &Path| -> Result<()> {
        let to = share.join(name);
        let _ = std::fs::remove_file(&to);
        std::fs::copy(from, to)?;
        Ok(())
    };
    place("vmlinux", &files.kernel)?;
    place("initramfs", &files.initramfs)?;
    place("agent", &agent)?;
    place("busybox", &packages::unpacked("busybox-static")?.join("bin/busybox"))?;
    place("probe", &probe)?;
    let (accel, why) = host::accel();
    crate::progress::note(&format!("lab: {accel:?}: {why}"));
    let mut machine = Machine::usual(accel, workspace::root(), PathBuf::new())?;
    let mut tally = Tally::default();
    for (name, path) in &programs {
        match stubborn(name, accel, || attempt(&mut machine, name, path)) {
            Ok(more) => tally.add(more),
            // The machine ended: that says nothing of the programs after this one.
            Err(error) => {
                crate::progress::error(&error);
                tally.fail(&format!("{name}: {error:#}"));
            }
        }
    }
    Ok(tally)
}

/// Runs a program in a fresh machine; returns what it reported.
fn attempt(machine: &mut Machine, name: &str, path: &Path) -> Result<Tally> {
    let run_dir = tempfile::Builder::new().prefix("bulkhead-test.").tempdir()?;
    run_dir.path().clone_into(&mut machine.run_dir);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let counter = || -> Sink { Box::new(Counter { tally: Arc::clone(&tally), line: Vec::new() }) };
    let script = script(name, path);
    let job = Job { script, on_terminal: false, timeout: Some(LIMIT), out: counter(), err: counter() };
    let status = job::run(machine, job)?;
    let mut tally = match tally.lock() {
        Ok(mut tally) => std::mem::take(&mut *tally),
        Err(_) => bail!("the lab's output was not read to its end"),
    };
    if status != 0 && tally.failed == 0 {
        tally.fail(&format!("lab: {name} ended with status {status}"));
    }
    Ok(tally)
}

/// A program was told absolute paths of the workspace when it was compiled: these lead to `/host`.
fn script(name: &str, path: &Path) -> String {
    let root = workspace::root();
    let (root, above) = (root.to_string_lossy(), root.parent().unwrap_or(Path::new("/")).to_string_lossy());
    format!(
        "mkdir -p {above}\nln -s /host {root}\n\
         modprobe -q kvm-amd || modprobe -q kvm-intel\n\
         for module in vfio-pci vfio_iommu_type1 tun; do modprobe $module; done\n\
         files={root}/target/lab-files\n\
         export BULKHEAD_VMM={root}/target/debug/bulkhead-vmm BULKHEAD_PROBE=$files/probe\n\
         export BULKHEAD_KERNEL=$files/vmlinux BULKHEAD_INITRAMFS=$files/initramfs\n\
         export BULKHEAD_AGENT=$files/agent BULKHEAD_BUSYBOX=$files/busybox RUST_BACKTRACE=1\n\
         echo {title}\n\
         timeout -s KILL {EACH} {program} --include-ignored --test-threads=1\n",
        above = quoted(&above),
        root = quoted(&root),
        title = quoted(&format!("· {name}")),
        program = quoted(&format!("/host/{}", path.display())),
    )
}

/// Shows and counts lines.
struct Counter {
    tally: Arc<Mutex<Tally>>,
    line: Vec<u8>,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
            println!("{line}");
            if let Ok(mut tally) = self.tally.lock() {
                tally.line(&line);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
