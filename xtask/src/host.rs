//! What this machine offers: hardware virtualisation that works, and the programs that are needed.

use crate::machine::Accel;
use crate::packages;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Programs of this tool's children, each with the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("dpkg-deb", "dpkg"),
    ("apt-get", "apt"),
];

/// Added to the search path of children: not every user has these directories in `PATH`.
const EXTRA_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Installs the programs that are missing.
///
/// # Errors
/// Without root: names the command that installs what is missing. With root: what apt says.
pub(crate) fn prepare() -> Result<()> {
    install(PROGRAMS)
}

/// Installs those of the programs that are missing, each given with the Debian package that has it.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn install(programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = missing(programs);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("Debian packages are missing; install them with\n  sudo apt-get install {list}");
    }
    let task = crate::progress::Task::start(&format!("Debian packages {list}"));
    let mut install = packages::apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    if packages::output(&mut install).is_err() {
        // The usual reason: lists that are old or absent.
        packages::update_lists()?;
        packages::output(&mut install)?;
    }
    task.done();
    Ok(())
}

/// Packages of the programs that are not to be found, each once.
fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let path = path();
    let found = |program: &str| path.split(':').any(|dir| Path::new(dir).join(program).is_file());
    let mut packages: Vec<_> =
        programs.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// `PATH` with the administrators' directories.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{EXTRA_PATH}")
}

/// How the lab machine's processors can run here, and why.
pub(crate) fn accel() -> (Accel, String) {
    match kvm() {
        Ok(()) => (Accel::Kvm, "this machine's KVM runs guests and allows nesting".to_owned()),
        Err(why) => (Accel::Tcg, format!("{why:#}")),
    }
}

/// Whether KVM works here, for guests that use KVM themselves.
fn kvm() -> Result<()> {
    let module = virtualisation(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
        .context("the processor shows neither vmx nor svm, so KVM cannot run here")?;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .context("/dev/kvm cannot be opened (module not loaded, or not allowed for this user)")?;
    let nested = fs::read_to_string(format!("/sys/module/{module}/parameters/nested")).unwrap_or_default();
    if !matches!(nested.trim(), "1" | "Y") {
        bail!("KVM is there, but {module} was loaded without nested=1, which the lab's dom0 needs");
    }
    tiny_guest().context("KVM is there, but a guest of one instruction does not run in it")
}

/// The KVM module for this processor.
fn virtualisation(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    let has = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
    if has("svm") {
        Some("kvm_amd")
    } else if has("vmx") {
        Some("kvm_intel")
    } else {
        None
    }
}

/// Firmware whose first instructions write 16 to QEMU's debug-exit port: QEMU then ends with status 33.
fn tiny_guest() -> Result<()> {
    const DEBUG_EXIT: i32 = 33;
    let mut firmware = vec![0xf4; 0x1_0000];
    // mov al, 16; out 0xf4, al; hlt
    firmware[0xfff0..0xfff5].copy_from_slice(&[0xb0, 0x10, 0xe6, 0xf4, 0xf4]);
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), firmware)?;
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-M", "pc", "-accel", "kvm", "-m", "16M", "-display", "none", "-nodefaults", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run qemu-system-x86_64")?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        match qemu.try_wait()? {
            Some(status) if status.code() == Some(DEBUG_EXIT) => return Ok(()),
            Some(status) => bail!("QEMU ended with {status}"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    qemu.kill()?;
    qemu.wait()?;
    bail!("it was still not done after 10 s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_whole_words() {
        assert_eq!(virtualisation("processor: 0\nflags\t\t: fpu svm sse\n"), Some("kvm_amd"));
        assert_eq!(virtualisation("flags\t\t: fpu vmx sse\n"), Some("kvm_intel"));
        assert_eq!(virtualisation("flags\t\t: fpu svm_lock vmxfoo\n"), None);
        assert_eq!(virtualisation(""), None);
    }
}
