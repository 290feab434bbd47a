//! The workspace's test programs: built once, run here or in the lab.

use super::stubborn::stubborn;
use super::tally::{Tally, counted};
use crate::machine::Accel;
use crate::{binaries, packages, workspace};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;

/// A test program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Package and target, for people.
    pub(super) name: String,
    /// The file.
    pub(super) executable: PathBuf,
    /// Directory of its package, where it expects to be started.
    directory: PathBuf,
    /// Where it runs.
    pub(super) place: Place,
}

/// Where a test program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine.
    Here,
    /// In the lab: it needs KVM or a card.
    InLab,
    /// On this machine, with labs of its own: it needs dom0, and what is outside.
    AroundLab,
    /// On this machine, in the namespace of a private Tor network.
    InTorNetwork,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command
    }
}

/// A line of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds every test program of the workspace.
///
/// # Errors
/// When something does not compile.
pub(super) fn build() -> Result<Vec<Program>> {
    let task = crate::progress::Task::start("test programs");
    let mut cargo = binaries::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let built = packages::output(&mut cargo)?;
    task.done();
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    Ok(messages.lines().filter_map(|line| program(serde_json::from_str(line).ok()?)).collect())
}

fn program(message: Message) -> Option<Program> {
    let (target, executable) = (message.target?, message.executable?);
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let directory = message.manifest_path?.parent()?.to_owned();
    let package = directory.strip_prefix(workspace::root()).ok()?.to_string_lossy().into_owned();
    let integration = target.kind.iter().any(|kind| kind == "test");
    Some(Program {
        place: if integration { place(&package, &target.name) } else { Place::Here },
        name: format!("{package}: {}", target.name),
        executable,
        directory,
    })
}

/// In the lab: all of the monitor's integration tests; of the whole system's, those whose name says so.
fn place(package: &str, target: &str) -> Place {
    match (package, target) {
        ("hypervisor", _) | ("tests", "unikernel_link") => Place::InLab,
        ("tests", "chain" | "refusals") => Place::AroundLab,
        ("tests", "tor_leaks" | "tor_chain") => Place::InTorNetwork,
        ("tests", name) if name.starts_with("lab_") => Place::InLab,
        _ => Place::Here,
    }
}

/// Runs what needs no lab, and the documentation's examples.
///
/// # Errors
/// When something does not compile or cannot be started.
pub(super) fn on_this_machine() -> Result<Tally> {
    let mut tally = Tally::default();
    for program in build()?.iter().filter(|program| program.place == Place::Here) {
        crate::progress::note(&program.name);
        tally.add(counted(program.command().arg("--quiet"), &program.name)?);
    }
    let mut docs = binaries::cargo();
    docs.args(["test", "--workspace", "--doc", "--quiet"]);
    tally.add(counted(&mut docs, "documentation")?);
    Ok(tally)
}

/// Runs what starts labs of its own, with what their dom0 needs.
///
/// # Errors
/// When something does not compile or cannot be started.
pub(super) fn around_the_lab() -> Result<Tally> {
    let mut tally = Tally::default();
    let programs = build()?;
    let (directory, rootfs) = crate::demo::staged()?;
    for program in programs.iter().filter(|program| program.place == Place::AroundLab) {
        crate::progress::note(&program.name);
        // These labs are always emulated.
        tally.add(stubborn(&program.name, Accel::Tcg, || {
            let mut command = program.command();
            command.env("BULKHEAD_STAGE", &directory).env("BULKHEAD_ROOTFS", &rootfs);
            command.env("BULKHEAD_XTASK", std::env::current_exe()?);
            counted(command.args(["--nocapture", "--test-threads=1"]), &program.name)
        })?);
    }
    Ok(tally)
}

/// The programs for a private Tor network.
///
/// # Errors
/// When something does not compile.
pub(super) fn for_tor() -> Result<Vec<Program>> {
    Ok(build()?.into_iter().filter(|program| program.place == Place::InTorNetwork).collect())
}

/// The programs for the lab, as paths below the workspace.
///
/// # Errors
/// When something does not compile, or cargo builds outside of the workspace, where the lab does not see it.
pub(super) fn for_lab() -> Result<Vec<(String, PathBuf)>> {
    let inside = |program: Program| {
        let path = program.executable.strip_prefix(workspace::root());
        let path = path.context("the lab shares the workspace; unset CARGO_TARGET_DIR")?.to_owned();
        Ok((program.name, path))
    };
    build()?.into_iter().filter(|program| program.place == Place::InLab).map(inside).collect()
}
