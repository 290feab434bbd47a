//! `bulkhead run`: a command in an AppVM, with our streams and its exit status.
//!
//! The stream leads through the VMM to the agent in the guest; all that comes out of it is the guest's word.

use super::tty::{self, Filter, Raw};
use crate::name::Name;
use crate::problem::Problem;
use bulkhead_agent::frame::{self, Exec, FromAgent, ToAgent};
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// The command gets a terminal.
#[derive(Clone, Copy)]
pub(super) struct Terminal;

/// Variables of ours that the command gets as well.
const PASSED_ON: [&str; 4] = ["TERM", "LANG", "LC_ALL", "COLORTERM"];

/// Runs the command to its end.
pub(super) fn run(
    stream: OwnedFd,
    domain: &Name,
    command: &[OsString],
    terminal: Option<Terminal>,
) -> anyhow::Result<ExitCode> {
    let env = PASSED_ON.iter().filter_map(|name| {
        let mut variable = OsString::from(format!("{name}="));
        variable.push(std::env::var_os(name)?);
        Some(variable.into_vec())
    });
    let exec = Exec {
        argv: command.iter().map(|a| a.clone().into_vec()).collect(),
        env: env.collect(),
        terminal: terminal.map(|_| tty::size()),
    };
    let mut from = File::from(stream.try_clone()?);
    let to = Arc::new(Mutex::new(File::from(stream)));
    send(&to, &ToAgent::Exec(exec)).map_err(|e| unreachable(domain, &e))?;
    match frame::read::<FromAgent>(&mut from) {
        Ok(Some(FromAgent::Started)) => {}
        Ok(Some(FromAgent::Refused(why))) => {
            let remedy = "check the command; it is looked up in the domain, not on this machine";
            return Err(Problem::new(domain.to_string(), crate::vmm::clean(&why), remedy).into());
        }
        Ok(Some(_)) => return Err(unreachable(domain, &io::ErrorKind::InvalidData.into())),
        Ok(None) => return Err(unreachable(domain, &io::ErrorKind::ConnectionRefused.into())),
        Err(e) => return Err(unreachable(domain, &e)),
    }
    let raw = terminal.map(|_| Raw::enter());
    if terminal.is_some() {
        follow_size(Arc::clone(&to))?;
    }
    std::thread::spawn(move || carry_in(&to));
    let status = carry_out(&mut from, terminal);
    drop(raw);
    status.map(ExitCode::from).map_err(|e| unreachable(domain, &e))
}

fn unreachable(domain: &Name, error: &io::Error) -> anyhow::Error {
    let remedy =
        "start bulkhead-agent in the domain (it listens on vsock port 1024), or wait until it has booted";
    Problem::new(domain.to_string(), format!("its agent does not answer: {error}"), remedy).into()
}

fn send(to: &Mutex<File>, message: &ToAgent) -> io::Result<()> {
    frame::write(&mut *to.lock().unwrap_or_else(PoisonError::into_inner), message)
}

fn carry_in(to: &Mutex<File>) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match io::stdin().lock().read(&mut buffer)? {
            0 => return send(to, &ToAgent::StdinEnd),
            n => send(to, &ToAgent::Stdin(buffer.get(..n).unwrap_or_default().to_vec()))?,
        }
    }
}

fn follow_size(to: Arc<Mutex<File>>) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGWINCH])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if send(&to, &ToAgent::Resize(tty::size())).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Prints what the command prints until it ends; its exit status, 128 + n for a signal.
fn carry_out(from: &mut File, terminal: Option<Terminal>) -> io::Result<u8> {
    let guard = |is_tty: bool| (terminal.is_none() && is_tty).then(Filter::default);
    let mut out_filter = guard(tty::is_terminal(io::stdout()));
    let mut err_filter = guard(tty::is_terminal(io::stderr()));
    let print = |to: &mut dyn Write, filter: &mut Option<Filter>, bytes: Vec<u8>| {
        let bytes = filter.as_mut().map_or_else(|| bytes.clone(), |f| f.clean(&bytes));
        to.write_all(&bytes)?;
        to.flush()
    };
    loop {
        match frame::read::<FromAgent>(from)? {
            Some(FromAgent::Stdout(bytes)) => print(&mut io::stdout().lock(), &mut out_filter, bytes)?,
            Some(FromAgent::Stderr(bytes)) => print(&mut io::stderr().lock(), &mut err_filter, bytes)?,
            Some(FromAgent::Exited(code)) => return Ok(code),
            Some(FromAgent::Signalled(signal)) => return Ok(128u8.saturating_add(signal)),
            Some(FromAgent::Started | FromAgent::Refused(_)) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
