//! Runs one script in networks of its own.

use super::Programs;
use super::groups::Script;
use super::network::{FAR4, FAR6, Network};
use crate::packages;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// For a script; the slowest takes a minute and a half.
const LIMIT: Duration = Duration::from_secs(150);

/// What came of a script.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was not run.
    Skipped(String),
    /// It ended.
    Ended {
        /// Whether with status 0: as its author expects.
        passed: bool,
        /// The last thing that it said.
        last: String,
    },
}

impl Outcome {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Skipped(why) => format!("skipped: {why}"),
            Self::Ended { passed: true, last } => format!("as its author expects ({last})"),
            Self::Ended { passed: false, last } => last.clone(),
        }
    }
}

/// Runs it.
pub(crate) fn run(programs: &Programs, script: &Script) -> Outcome {
    let text = fs::read_to_string(&script.path).unwrap_or_default();
    if text.contains("python2") || text.lines().any(|line| line.trim_start().starts_with("print \"")) {
        return Outcome::Skipped("written for Python 2; newer checkouts have it for Python 3".to_owned());
    }
    attempt(programs, script).unwrap_or_else(|error| Outcome::Skipped(format!("{error:#}")))
}

fn attempt(programs: &Programs, script: &Script) -> Result<Outcome> {
    let mut network = Network::new(programs, script.group.quiet)?;
    if !script.group.quiet {
        // As the suites' makefiles do: afterwards every machine knows its neighbours.
        for far in [FAR4, FAR6] {
            packages::output(network.in_client(&programs.reflector).args(["ask", far]))?;
        }
    }
    let work = tempfile::tempdir()?;
    fs::write(work.path().join("addr.py"), script.addresses())?;
    // Debian's interpreter, for which Debian's scapy is installed.
    let mut python = network.in_client(Path::new("/usr/bin/python3"));
    python.current_dir(work.path()).env("PYTHONPATH", work.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg("-u").arg(&script.path).args(script.arguments());
    let python = python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().context("cannot run python3")?;
    let status = wait(&mut child)?;
    let said = child.stdout.take().map(read).unwrap_or_default();
    let complaint = child.stderr.take().map(read).unwrap_or_default();
    if !network.stands() {
        bail!("the firewall ended");
    }
    let is_word = |line: &&str| line.chars().any(char::is_alphanumeric) && !line.starts_with("Sent ");
    let lines = [said.lines().rfind(is_word), complaint.lines().rfind(is_word)];
    let last = lines.into_iter().flatten().next().unwrap_or("nothing");
    let last = last.trim_matches(|c: char| c == '.' || c.is_whitespace()).replace('|', "\\|");
    Ok(Outcome::Ended { passed: status.success(), last })
}

/// A script leaves processes behind that hold its output: what is there is read, not its end.
fn read(mut stream: impl std::io::Read) -> String {
    let mut bytes = vec![0; 65_536];
    let len = stream.by_ref().read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("not done after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
