//! Our own programs, built by cargo.

use crate::cpio::Archive;
use crate::progress::{Task, note};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Target of programs without a C library of the system: with it named, their flags do not reach build scripts or other
/// programs.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The driver domains.
pub(crate) const IMAGES: [&str; 2] = ["netvm", "firewallvm"];

/// Largest driver domain image in bytes (SPEC.md).
pub(crate) const IMAGE_LIMIT: u64 = 512 * 1024;

/// Largest image of torvm's kernel in bytes.
const TORVM_LIMIT: u64 = 1024 * 1024;

/// Largest sum of torvm's kernel and bundle in bytes (SPEC.md).
const TORVM_BUNDLED_LIMIT: u64 = 10 * 1024 * 1024;

/// Names a gateway program that is there already.
const GATEWAY_VARIABLE: &str = "BULKHEAD_GATEWAY";

/// Names a program that verifies consensuses and is there already.
const RELAYS_VARIABLE: &str = "BULKHEAD_RELAYS";

/// Configuration of the gateway program unless dom0 sends another.
pub(crate) const GATEWAY_CONFIGURATION: &str = include_str!("../../torvm/gateway/gateway.toml");

/// Builds a driver domain's image and returns its path.
///
/// # Errors
/// When it does not compile, or is larger than [`IMAGE_LIMIT`].
pub(crate) fn image(name: &str) -> Result<PathBuf> {
    limited(name, IMAGE_LIMIT)
}

/// Builds torvm's kernel and returns its path.
///
/// # Errors
/// When it does not compile, or is larger than 1 MiB.
pub(crate) fn torvm() -> Result<PathBuf> {
    limited("torvm", TORVM_LIMIT)
}

fn limited(name: &str, limit: u64) -> Result<PathBuf> {
    let path = unikernel(name, name)?;
    let size = size(&path)?;
    if size > limit {
        bail!("image {name} has {size} bytes; at most {limit} are allowed");
    }
    Ok(path)
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("no {}", path.display()))?.len())
}

/// The program that a variable names, if it names one.
fn given(variable: &str) -> Option<Result<PathBuf>> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    Some(path.canonicalize().with_context(|| format!("{variable}: no file {}", path.display())))
}

/// The gateway program that torvm's layer runs: built in its own workspace, or what `BULKHEAD_GATEWAY` names.
///
/// # Errors
/// When it does not compile, or the named file does not exist.
pub(crate) fn gateway() -> Result<PathBuf> {
    given(GATEWAY_VARIABLE)
        .unwrap_or_else(|| beside_arti("gateway", "gateway program with arti (some minutes the first time)"))
}

/// dom0's program that verifies the consensus of a Tor network, or what `BULKHEAD_RELAYS` names.
///
/// # Errors
/// As [`gateway`].
pub(crate) fn relays() -> Result<PathBuf> {
    given(RELAYS_VARIABLE).unwrap_or_else(|| beside_arti("bulkhead-relays", "bulkhead-relays"))
}

/// Builds a program of the workspace that has arti's crates, without dependence on a C library.
fn beside_arti(program: &str, what: &str) -> Result<PathBuf> {
    let directory = workspace::target().join("gateway");
    let mut cargo = cargo();
    cargo.current_dir(workspace::root().join("torvm/gateway"));
    cargo.args([
        "build",
        "--profile",
        "image",
        "--locked",
        "-p",
        program,
        "--bin",
        program,
        "--target",
        STATIC_TARGET,
    ]);
    cargo.arg("--target-dir").arg(&directory).env("RUSTFLAGS", "-C target-feature=+crt-static");
    follow(cargo, what)?;
    Ok(directory.join(STATIC_TARGET).join("image").join(program))
}

/// Writes what torvm's layer boots with, beside its kernel: the gateway program and its first files.
///
/// # Errors
/// When a file cannot be read or written, or kernel and bundle with a program of ours are larger than SPEC.md allows.
pub(crate) fn bundle(kernel: &Path, gateway: &Path, configuration: &str, to: &Path) -> Result<()> {
    let program = fs::read(gateway).with_context(|| format!("cannot read {}", gateway.display()))?;
    let mut archive = Archive::default();
    archive.file("gateway", &program);
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/false\n");
    archive.file("etc/group", b"root:x:0:\n");
    archive.file("etc/gateway.toml", configuration.as_bytes());
    fs::write(to, archive.finish()).with_context(|| format!("cannot write {}", to.display()))?;
    let sum = size(kernel)? + size(to)?;
    if sum > TORVM_BUNDLED_LIMIT {
        let why =
            format!("torvm's kernel and bundle have {sum} bytes; at most {TORVM_BUNDLED_LIMIT} are allowed");
        // A program that somebody else built may be one that was quick to build.
        if std::env::var_os(GATEWAY_VARIABLE).is_none() {
            bail!(why);
        }
        note(&why);
    }
    Ok(())
}

/// Builds the unikernel of the tests and returns its path.
///
/// # Errors
/// When it does not compile.
pub(crate) fn probe() -> Result<PathBuf> {
    unikernel("probes", "probe")
}

fn unikernel(package: &str, program: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--profile", "image", "--features", "image", "-p", package, "--bin", program]);
    follow(cargo, &format!("image {program}"))?;
    Ok(workspace::target().join("image").join(program))
}

/// Builds bulkhead-vmm where tests look for it.
///
/// # Errors
/// When it does not compile.
pub(crate) fn vmm_for_tests() -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "-p", "hypervisor", "--bins"]);
    follow(cargo, "bulkhead-vmm")
}

/// Builds what runs in dom0 and returns the paths: bulkhead, bulkheadd, bulkhead-vmm.
///
/// # Errors
/// When it does not compile.
pub(crate) fn dom0() -> Result<[PathBuf; 3]> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "-p", "dom0", "-p", "hypervisor", "--bins"]);
    follow(cargo, "bulkhead, bulkheadd, bulkhead-vmm")?;
    Ok(["bulkhead", "bulkheadd", "bulkhead-vmm"].map(|name| workspace::target().join("release").join(name)))
}

/// Builds the agent without dependence on the AppVM's C library.
///
/// # Errors
/// When it does not compile.
pub(crate) fn agent() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "-p", "bulkhead-agent", "--target", STATIC_TARGET]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols");
    follow(cargo, "bulkhead-agent")?;
    Ok(workspace::target().join(STATIC_TARGET).join("release").join("bulkhead-agent"))
}

/// Cargo in the workspace, without the variables that this very run of cargo has set.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs cargo under a spinner that shows its latest line.
///
/// # Errors
/// When cargo fails: with everything that it said.
pub(crate) fn follow(mut cargo: Command, what: &str) -> Result<()> {
    let task = Task::start(what);
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            task.detail(line.trim());
            said.push(line);
        }
    }
    if !child.wait()?.success() {
        bail!("{what} did not build:\n{}", said.join("\n"));
    }
    task.done();
    Ok(())
}
