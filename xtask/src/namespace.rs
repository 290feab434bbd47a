//! Network namespaces without a name: each lives as long as the process that holds it.

use crate::host;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the holder runs: it outlives signals to the whole group, and ends when its standard input does.
const HOLDER: &str =
    r#"trap "" INT TERM HUP; echo ready; cat >/dev/null; sleep 0.2; [ -z "$1" ] || rm -rf -- "$1""#;

/// A process that ends with this value.
pub(crate) struct Ending(pub(crate) Child);

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace, held by a process. Without root it stands in a user namespace of its own.
pub(crate) struct Namespace(Ending);

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Errors
    /// When this machine does not let us.
    pub(crate) fn new() -> Result<Self> {
        Self::held("")
    }

    /// Makes a namespace whose holder removes `directory` should this program be killed.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub(crate) fn removing(directory: &Path) -> Result<Self> {
        Self::held(directory)
    }

    fn held(directory: impl AsRef<OsStr>) -> Result<Self> {
        let mut holder = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            holder.args(["--user", "--map-root-user"]);
        }
        holder.args(["--net", "sh", "-c", HOLDER, "sh"]).arg(directory);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("PATH", host::path());
        let mut holder = Ending(holder.spawn().context("cannot run unshare")?);
        if first_line(&mut holder)? != "ready" {
            let said = holder.0.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
            bail!("this machine lets us make no network namespace: {}", said.trim());
        }
        Ok(Self(holder))
    }

    /// The process that holds it.
    pub(crate) fn pid(&self) -> String {
        self.0.0.id().to_string()
    }

    /// Words before a command that put it into the namespace.
    pub(crate) fn entry(&self) -> Vec<String> {
        // Whoever made the namespace is its root already.
        let own_users: &[&str] =
            if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--preserve-credentials"] };
        let words = ["nsenter"].iter().chain(own_users).chain(&["--net", "--target"]);
        words.map(|word| (*word).to_owned()).chain([self.pid(), "--".to_owned()]).collect()
    }

    /// A command in the namespace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let entry = self.entry();
        let mut command = Command::new("nsenter");
        command.args(entry.iter().skip(1)).arg(program).env("PATH", host::path());
        command
    }

    /// A command in the namespace that is killed when the thread that starts it ends.
    pub(crate) fn dying_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Runs lines of shell in the namespace; all must succeed.
    ///
    /// # Errors
    /// What the first that failed said.
    pub(crate) fn shell(&self, lines: &str) -> Result<()> {
        let mut shell = self.command("sh");
        crate::packages::output(shell.args(["-e", "-c", lines])).map(drop)
    }
}

/// Starts a program that says "ready", and ends when its standard input does.
///
/// # Errors
/// When it does not start, or says something else.
pub(crate) fn start_ready(mut command: Command, name: &str) -> Result<Ending> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = Ending(child.with_context(|| format!("cannot run {name}"))?);
    if first_line(&mut child)? != "ready" {
        bail!("{name} did not get ready");
    }
    Ok(child)
}

/// The first line that a process writes; somebody reads the others as long as it lives.
fn first_line(child: &mut Ending) -> Result<String> {
    let mut line = String::new();
    if let Some(out) = child.0.stdout.take() {
        let mut out = BufReader::new(out);
        out.read_line(&mut line)?;
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    }
    Ok(line.trim().to_owned())
}
