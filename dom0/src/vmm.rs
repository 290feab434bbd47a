//! The handle of a running VMM process.
//!
//! A thread per process turns what arrives on its control socket into calls of `report`, and its death into
//! exactly one last call. Requests are never waited for here: a VMM that does not read its socket is an error.

use crate::console::{Console, printable};
use crate::spawn::Spawned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use vmm_api::message::{Ended, Event, Request};
use vmm_api::wire::{self, WireError};

/// How long a process that closed its socket may take to exit.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// Bytes of a text from a VMM that are kept.
const MAX_TEXT: usize = 1000;

/// What a VMM process says.
#[derive(Debug)]
pub enum Said {
    /// An event; descriptors that came with it are closed unseen.
    Event(Event),
    /// It is gone; the last thing said.
    Gone {
        /// The reason that it gave, if it gave one.
        ended: Option<Ended>,
        /// The reason in words.
        why: String,
    },
}

/// A running process.
#[derive(Debug)]
pub struct Vmm {
    control: Arc<OwnedFd>,
    process: Arc<OwnedFd>,
    /// Its serial console.
    pub console: Console,
}

impl Vmm {
    /// Takes over a process that was just started. `report` returns `false` when nobody listens any more.
    ///
    /// # Errors
    /// What the kernel says; the process is dead then.
    pub fn watch<F>(spawned: Spawned, log: &Path, report: F) -> io::Result<Self>
    where
        F: Fn(Said) -> bool + Send + 'static,
    {
        let Spawned { mut child, control, serial, said } = spawned;
        let parts = (|| {
            let process =
                Arc::new(pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty())?);
            Ok((process, Console::start(serial, said, log)?))
        })();
        let (process, console) = match parts {
            Ok(parts) => parts,
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(e);
            }
        };
        let control = Arc::new(control);
        let vmm =
            Self { control: Arc::clone(&control), process: Arc::clone(&process), console: console.clone() };
        let watcher = Watcher { child, control, process, console };
        std::thread::Builder::new().name("vmm".into()).spawn(move || watcher.run(report))?;
        Ok(vmm)
    }

    /// Sends a request; its answer comes as an event.
    ///
    /// # Errors
    /// When the process is gone or does not read its socket.
    pub fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        wire::send(&*self.control, request, fds)
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&*self.process, Signal::KILL);
    }
}

impl Drop for Vmm {
    /// A process that nobody supervises must not run.
    fn drop(&mut self) {
        self.kill();
    }
}

struct Watcher {
    child: Child,
    control: Arc<OwnedFd>,
    process: Arc<OwnedFd>,
    console: Console,
}

impl Watcher {
    fn run(mut self, report: impl Fn(Said) -> bool) {
        let mut ended = None;
        let fault = self.listen(&mut ended, &report);
        if fault.is_some() || !self.exits_within(LAST_MOMENT) {
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        let why = self.why(ended.as_ref(), fault, status);
        report(Said::Gone { ended, why });
    }

    /// Passes events on until the process closes its socket; returns its fault if it committed one.
    fn listen(&self, ended: &mut Option<Ended>, report: &impl Fn(Said) -> bool) -> Option<String> {
        loop {
            self.wait();
            match wire::recv::<Event>(&*self.control) {
                Ok((Event::Ended(reason), _)) => *ended = Some(bounded(reason)),
                Ok((event, _)) => {
                    if !report(Said::Event(event)) {
                        return Some("the daemon is stopping".to_owned());
                    }
                }
                Err(WireError::Io(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)) => {
                    if self.exits_within(Duration::ZERO) {
                        return None;
                    }
                }
                Err(WireError::Closed | WireError::Io(_)) => return None,
                Err(e) => return Some(format!("its VMM broke the protocol: {e}")),
            }
        }
    }

    fn wait(&self) {
        let mut fds = [
            PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.process.as_fd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
    }

    fn exits_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.process.as_fd(), PollFlags::IN)];
        let timeout = Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
    }

    fn why(&self, ended: Option<&Ended>, fault: Option<String>, status: io::Result<ExitStatus>) -> String {
        if let Some(fault) = fault {
            return fault;
        }
        match ended {
            Some(Ended::PoweredOff) => "the guest powered off".to_owned(),
            Some(Ended::Rebooted) => "the guest rebooted".to_owned(),
            Some(Ended::Panicked) => "the guest panicked".to_owned(),
            Some(Ended::TripleFault) => "the guest's processor shut down (triple fault)".to_owned(),
            Some(Ended::Exited(code)) => format!("the guest ended by itself with code {code}"),
            Some(Ended::HostError(text)) => text.clone(),
            Some(Ended::Killed) => "it was ended on request".to_owned(),
            None => self.unannounced(status),
        }
    }

    fn unannounced(&self, status: io::Result<ExitStatus>) -> String {
        let how = match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("its VMM exited with status {code}"),
                (None, Some(signal)) => format!("its VMM was killed by signal {signal}"),
                (None, None) => "its VMM ended".to_owned(),
            },
            Err(e) => format!("its VMM is gone ({e})"),
        };
        match self.console.last_words() {
            said if said.is_empty() => how,
            said => format!("{how}: {said}"),
        }
    }
}

/// A reason whose text is short and harmless to print.
fn bounded(reason: Ended) -> Ended {
    match reason {
        Ended::HostError(text) => Ended::HostError(clean(&text)),
        other => other,
    }
}

/// Text from a VMM, bounded and fit to be printed.
#[must_use]
pub fn clean(text: &str) -> String {
    printable(&text.chars().take(MAX_TEXT).collect::<String>())
}
