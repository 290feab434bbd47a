//! Runs `bulkhead-relays`: one process for each question, with a deadline. For threads that may wait.
//!
//! Whatever the process does, this comes back in time with an answer, a refusal or a reason why there is neither. The
//! request lies in memory that the process reads like a file, so that nobody waits for it to read.

use super::Set;
use super::answer::{Answer, MAX_ANSWER, NoAnswer};
use super::documents::Pair;
use crate::spawn::child::die_with_parent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Exit code of the helper when it refuses.
const REFUSED: i32 = 3;
/// Bytes of what it says besides that are kept.
const SAID: u64 = 300;

/// How to run the helper.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// How long it may take.
    pub patience: Duration,
}

/// Why there are no relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The documents are not believed, for this reason.
    Refused(String),
    /// The helper gave no answer.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "not believed: {why}"),
            Self::Broken(why) => write!(f, "bulkhead-relays {why}"),
        }
    }
}

impl Helper {
    /// Verifies documents against authorities (in hexadecimal; none: the public network's) at a time in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn verify(&self, pair: &Pair, authorities: &[String], now: u64) -> Result<Set, Failure> {
        let mut head = format!("bulkhead-relays 1\nnow {now}\n");
        for authority in authorities {
            head += &format!("authority {authority}\n");
        }
        let (certificates, consensus) = (pair.certificates.len(), pair.consensus.len());
        head += &format!("certificates {certificates}\nconsensus {consensus}\n\n");
        match self.ask(&[], &[head.as_bytes(), &pair.certificates, &pair.consensus])? {
            Answer::Verified(set) => Ok(set),
            _ => Err(Failure::Broken("answered something else".to_owned())),
        }
    }

    /// Where clients of the public network begin.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn bootstrap(&self) -> Result<BTreeSet<SocketAddr>, Failure> {
        match self.ask(&["--bootstrap"], &[])? {
            Answer::Bootstrap(relays) => Ok(relays),
            _ => Err(Failure::Broken("answered something else".to_owned())),
        }
    }

    fn ask(&self, words: &[&str], request: &[&[u8]]) -> Result<Answer, Failure> {
        let (ended, text, said) = self.run(words, request).map_err(Failure::Broken)?;
        match (ended.code(), Answer::of(&text)) {
            (Some(0), Ok(answer @ (Answer::Verified(_) | Answer::Bootstrap(_)))) => Ok(answer),
            (Some(REFUSED), Ok(Answer::Refused(why))) => Err(Failure::Refused(why)),
            (Some(_), Err(NoAnswer)) if !said.is_empty() => Err(Failure::Broken(format!("said {said:?}"))),
            _ => {
                let how = ended.signal().map(|signal| format!("was ended by signal {signal}"));
                Err(Failure::Broken(how.unwrap_or_else(|| format!("gave no answer ({ended})"))))
            }
        }
    }

    /// Runs it: how it ended, what it answered, what it said besides.
    fn run(&self, words: &[&str], request: &[&[u8]]) -> Result<(ExitStatus, String, String), String> {
        let prepared = memory(request).and_then(|stdin| Ok((stdin, io::pipe()?, io::pipe()?)));
        let (stdin, answer, said) = prepared.map_err(|e| format!("cannot be prepared: {e}"))?;
        let mut command = Command::new(&self.program);
        command.args(words).stdin(stdin).stdout(answer.1).stderr(said.1).env_clear().current_dir("/");
        die_with_parent(&mut command);
        let child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
        // The pipes' other ends are the child's alone now.
        drop(command);
        let mut running = Running { child, deadline: Instant::now() + self.patience };
        let text = running.read(answer.0)?;
        let ended = running.wait()?;
        let mut words = Vec::new();
        // It is gone: what is in the pipe is all there will be.
        let _ = nonblocking(&said.0).and_then(|()| said.0.take(SAID).read_to_end(&mut words));
        let text = String::from_utf8(text).map_err(|_| "answered no text".to_owned())?;
        Ok((ended, text, crate::vmm::clean(&String::from_utf8_lossy(&words))))
    }
}

/// A file in memory with this content, to be read from its start.
fn memory(content: &[&[u8]]) -> io::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("bulkhead-relays", MemfdFlags::CLOEXEC)?);
    for bytes in content {
        file.write_all(bytes)?;
    }
    file.rewind()?;
    Ok(file.into())
}

fn nonblocking(pipe: &io::PipeReader) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(pipe)?;
    Ok(rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// A process that is killed when it is not waited for.
struct Running {
    child: Child,
    deadline: Instant,
}

impl Running {
    /// Reads to the end, as much as an answer may be and as long as there is time.
    fn read(&self, mut from: io::PipeReader) -> Result<Vec<u8>, String> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            self.wait_for(&from)?;
            match from.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(len) => bytes.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("cannot be read: {e}")),
            }
            if bytes.len() > MAX_ANSWER {
                return Err("answered too much".to_owned());
            }
        }
    }

    fn wait_for(&self, pipe: &io::PipeReader) -> Result<(), String> {
        loop {
            let left = self.left()?;
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(format!("cannot be waited for: {e}")),
            }
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, String> {
        loop {
            match self.child.try_wait() {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => std::thread::sleep(self.left()?.min(Duration::from_millis(2))),
                Err(e) => return Err(format!("cannot be waited for: {e}")),
            }
        }
    }

    fn left(&self) -> Result<Duration, String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("did not answer in time".to_owned()) } else { Ok(left) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing happens to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests;
