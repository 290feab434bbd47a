//! The program itself, with something on its standard input.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code, or the signal that ended it.
    pub(crate) ended: Result<i32, i32>,
    /// What it answered.
    pub(crate) answer: String,
    /// What it said besides.
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(crate) said: String,
}

/// The program: the one that `BULKHEAD_RELAYS` names, or cargo's own.
pub(crate) fn relays() -> PathBuf {
    std::env::var_os("BULKHEAD_RELAYS")
        .map_or_else(|| env!("CARGO_BIN_EXE_bulkhead-relays").into(), PathBuf::from)
}

/// Runs one.
pub(crate) fn run(program: &Path, words: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // It may refuse before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Ran {
        ended: output.status.code().ok_or(output.status.signal().unwrap_or(0)),
        answer: String::from_utf8(output.stdout).unwrap(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
