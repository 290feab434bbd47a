//! The agent's side of one session: start the command, carry its streams, report its end.
//!
//! Two threads: one carries frames to the command, one carries its output and waits for its end. When the
//! other side goes away, the command and everything of its session are hung up.

use crate::frame::{self, Exec, FromAgent, MAX_PAYLOAD, ToAgent};
use crate::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// How long output is waited for that the command's descendants still hold open after its end.
const LAST_WORDS: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Serves one session on a connected stream, to its end; `power_off` is what [`ToAgent::PowerOff`] does.
///
/// # Errors
/// When the stream breaks or the other side does not keep to the protocol.
pub fn serve(stream: OwnedFd, power_off: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let mut from = File::from(stream.try_clone()?);
    let mut to = File::from(stream);
    let exec = match frame::read(&mut from)? {
        Some(ToAgent::Exec(exec)) => exec,
        Some(ToAgent::PowerOff) => return power_off(),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let mut running = match start(&exec) {
        Ok(running) => running,
        Err(e) => {
            let program = exec.argv.first().map(|p| String::from_utf8_lossy(p).into_owned());
            let why = format!("{}: {e}", program.unwrap_or_default());
            return frame::write(&mut to, &FromAgent::Refused(why));
        }
    };
    frame::write(&mut to, &FromAgent::Started)?;
    let group = Pid::from_child(&running.child);
    let input = running.input.take();
    let ended = pidfd_open(group, PidfdFlags::empty())?;
    let session = Arc::new(Mutex::new(Some(group)));
    let theirs = Arc::clone(&session);
    std::thread::spawn(move || {
        // Whether it ends in order or not: without its user a command does not go on.
        let _ = carry_in(&mut from, input);
        hang_up(&theirs);
    });
    let result = carry_out(&mut running, &ended, &mut to);
    if result.is_err() {
        hang_up(&session);
    }
    // Once it is waited for, its number may be another process's.
    session.lock().unwrap_or_else(PoisonError::into_inner).take();
    let status = running.child.wait()?;
    result.and_then(|()| frame::write(&mut to, &last_message(status)))
}

fn hang_up(session: &Mutex<Option<Pid>>) {
    if let Some(group) = *session.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = kill_process_group(group, Signal::HUP);
    }
}

fn last_message(status: ExitStatus) -> FromAgent {
    let byte = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => FromAgent::Exited(byte(code)),
        (None, signal) => FromAgent::Signalled(byte(signal.unwrap_or(0))),
    }
}

struct Running {
    child: Child,
    input: Option<Input>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

enum Input {
    Pipe(File),
    Terminal(File),
}

fn start(exec: &Exec) -> io::Result<Running> {
    let mut argv = exec.argv.iter().map(|a| OsStr::from_bytes(a));
    let mut command = Command::new(argv.next().ok_or(io::ErrorKind::InvalidInput)?);
    command.args(argv);
    for variable in &exec.env {
        let (name, value) = split(variable).ok_or(io::ErrorKind::InvalidInput)?;
        command.env(name, value);
    }
    if let Some(size) = exec.terminal {
        let ours = terminal::attach(&mut command, size)?;
        let child = command.spawn()?;
        let input = Some(Input::Terminal(ours.try_clone()?.into()));
        return Ok(Running { child, input, stdout: Some(ours), stderr: None });
    }
    terminal::detach(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let input = child.stdin.take().map(|pipe| Input::Pipe(OwnedFd::from(pipe).into()));
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    Ok(Running { child, input, stdout, stderr })
}

fn split(variable: &[u8]) -> Option<(&OsStr, &OsStr)> {
    let at = variable.iter().position(|b| *b == b'=').filter(|at| *at > 0)?;
    let (name, value) = variable.split_at_checked(at)?;
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
}

/// Carries frames to the command until the other side is gone.
fn carry_in(from: &mut File, mut input: Option<Input>) -> io::Result<()> {
    while let Some(message) = frame::read(from)? {
        match (message, &mut input) {
            (ToAgent::Stdin(bytes), Some(Input::Pipe(file) | Input::Terminal(file))) => {
                // A command that no longer reads loses what is sent to it.
                if file.write_all(&bytes).is_err() {
                    input = None;
                }
            }
            (ToAgent::StdinEnd, Some(Input::Terminal(file))) => {
                // ^D, as if typed.
                let _ = file.write_all(&[4]);
            }
            (ToAgent::StdinEnd, _) => input = None,
            (ToAgent::Resize(size), Some(Input::Terminal(file))) => terminal::resize(&*file, size),
            (ToAgent::Stdin(_) | ToAgent::Resize(_), _) => {}
            (ToAgent::Exec(_) | ToAgent::PowerOff, _) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

/// Carries output until the command has ended and its output is exhausted.
fn carry_out(running: &mut Running, ended: &OwnedFd, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; MAX_PAYLOAD];
    let mut over = false;
    while running.stdout.is_some() || running.stderr.is_some() || !over {
        let sources = [running.stdout.as_ref(), running.stderr.as_ref(), Some(ended).filter(|_| !over)];
        let ready = ready(sources, if over { Some(&LAST_WORDS) } else { None })?;
        if over && ready == [false; 3] {
            return Ok(());
        }
        let [stdout, stderr, exited] = ready;
        over |= exited;
        if stdout && let Some(bytes) = some(&mut running.stdout, &mut buffer) {
            frame::write(to, &FromAgent::Stdout(bytes))?;
        }
        if stderr && let Some(bytes) = some(&mut running.stderr, &mut buffer) {
            frame::write(to, &FromAgent::Stderr(bytes))?;
        }
    }
    Ok(())
}

/// Waits for any of the sources; which of them have something.
fn ready(sources: [Option<&OwnedFd>; 3], timeout: Option<&Timespec>) -> io::Result<[bool; 3]> {
    let mut fds: Vec<PollFd<'_>> =
        sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut polled = fds.iter();
    Ok(sources.map(|source| source.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty())))
}

/// Reads from a source; at its end the source is closed.
fn some(source: &mut Option<OwnedFd>, buffer: &mut [u8]) -> Option<Vec<u8>> {
    let mut file = File::from(source.take()?);
    match file.read(buffer) {
        // A terminal whose last user is gone says EIO.
        Ok(0) | Err(_) => None,
        Ok(n) => {
            *source = Some(file.into());
            buffer.get(..n).map(<[u8]>::to_vec)
        }
    }
}

#[cfg(test)]
mod tests;
