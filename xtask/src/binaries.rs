//! Our own programs, built by cargo.

use crate::progress::Task;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Target of the agent: with it named, flags for the agent do not reach build scripts or other programs.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The driver domains.
pub(crate) const IMAGES: [&str; 2] = ["netvm", "firewallvm"];

/// Largest driver domain image in bytes (SPEC.md).
pub(crate) const IMAGE_LIMIT: u64 = 512 * 1024;

/// Builds a driver domain's image and returns its path.
///
/// # Errors
/// When it does not compile, or is larger than [`IMAGE_LIMIT`].
pub(crate) fn image(name: &str) -> Result<PathBuf> {
    let path = unikernel(name, name)?;
    let size = fs::metadata(&path).with_context(|| format!("no {}", path.display()))?.len();
    if size > IMAGE_LIMIT {
        bail!("image {name} has {size} bytes; at most {IMAGE_LIMIT} are allowed");
    }
    Ok(path)
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
    cargo.args(["build", "--release", "-p", "bulkhead-agent", "--target", AGENT_TARGET]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols");
    follow(cargo, "bulkhead-agent")?;
    Ok(workspace::target().join(AGENT_TARGET).join("release").join("bulkhead-agent"))
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
