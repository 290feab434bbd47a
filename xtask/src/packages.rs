//! Files out of Debian packages, without installing anything.

use crate::{cache, host};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for another apt that brings its lists up to date.
const LISTS: Duration = Duration::from_secs(900);

/// Runs a program to its end and returns what it wrote.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: the message carries its last words.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .env("PATH", host::path())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let mut last: Vec<_> = text.lines().rev().take(6).collect();
        last.reverse();
        bail!("{name}: {}\n{}", output.status, last.join("\n"));
    }
    Ok(output)
}

/// Directory with the unpacked content of `package`: as it is in the cache, else the newest that apt knows.
/// A newer one is taken once the cache is removed; runs do not depend on the state of apt's lists.
///
/// # Errors
/// When apt does not know the package, or the download fails, also after apt's lists were brought up to date
/// (which takes root).
pub(crate) fn unpacked(package: &str) -> Result<PathBuf> {
    if let Ok(cached) = entry(&cache::dir()?, &format!("{package}_")) {
        return Ok(cached);
    }
    or_with_new_lists(|| unpacked_as_listed(package))
}

/// What `ask` gives, asked again with new lists when it fails: a fresh machine may have none, or old ones.
fn or_with_new_lists<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    ask().or_else(|error| {
        if !rustix::process::geteuid().is_root() {
            return Err(error);
        }
        update_lists()?;
        ask()
    })
}

/// apt-get, which waits for another that is at work (a fresh machine often updates itself), and asks a mirror again.
pub(crate) fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "DPkg::Lock::Timeout=900", "-o", "Acquire::Retries=5"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Brings apt's lists of packages up to date.
///
/// # Errors
/// Without root, and what apt says.
pub(crate) fn update_lists() -> Result<()> {
    let begun = Instant::now();
    loop {
        match output(apt_get().arg("update")) {
            // Unlike that of dpkg, the lock of the lists is not waited for by apt itself.
            Err(error) if format!("{error:#}").contains("lock") && begun.elapsed() < LISTS => {
                std::thread::sleep(Duration::from_secs(5));
            }
            done => return done.map(drop),
        }
    }
}

fn unpacked_as_listed(package: &str) -> Result<PathBuf> {
    let version = candidate(package)?;
    let file_version = version.replace(':', "%3a");
    let name = format!("{package}_{file_version}");
    cache::artifact(&name, &format!("Debian package {package} {version}"), |tree| {
        let downloads = tempfile::tempdir()?;
        let wanted = format!("{package}={version}");
        // apt otherwise warns that its sandbox user cannot write into the directory.
        let download = ["-o", "APT::Sandbox::User=root", "download"];
        output(apt_get().args(download).arg(&wanted).current_dir(downloads.path()))?;
        let deb = fs::read_dir(downloads.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download {wanted} left no .deb"))?;
        output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(tree))?;
        Ok(())
    })
}

/// The version of `package` that would be installed.
fn candidate(package: &str) -> Result<String> {
    let shown = output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let text = String::from_utf8_lossy(&shown.stdout);
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    match version {
        Some(version) if version != "(none)" => Ok(version.to_owned()),
        _ => bail!("apt does not know the package {package}: is this Debian, and was `apt-get update` run?"),
    }
}

/// The first dependency of a meta-package whose name starts with `prefix`.
///
/// # Errors
/// When there is none, also after apt's lists were brought up to date (which takes root).
pub(crate) fn dependency(package: &str, prefix: &str) -> Result<String> {
    or_with_new_lists(|| listed_dependency(package, prefix))
}

fn listed_dependency(package: &str, prefix: &str) -> Result<String> {
    let shown = output(Command::new("apt-cache").args(["depends", package]).env("LC_ALL", "C"))?;
    let text = String::from_utf8_lossy(&shown.stdout);
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("package {package} depends on nothing named {prefix}*"))
}

/// `dir`'s only entry whose name starts with `prefix`.
///
/// # Errors
/// When there is none.
pub(crate) fn entry(dir: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("no {prefix}* in {}", dir.display()))
}
