//! `bulkhead console`: the user's terminal on a domain's serial port.

use super::tty::Raw;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, read};
use std::io::Write;

/// Ctrl-], which leaves the console.
const ESCAPE: u8 = 0x1d;

/// Carries bytes both ways until the user leaves or the domain ends. When standard input is no terminal and
/// ends, output goes on.
pub(super) fn console(stream: &OwnedFd) -> anyhow::Result<()> {
    super::show::note("[console: Ctrl-] leaves]");
    let raw = Raw::enter();
    let mut out = std::io::stdout().lock();
    let stdin = rustix::stdio::stdin();
    let mut typing = true;
    let mut buffer = vec![0; 4096];
    let left = loop {
        let mut fds = vec![PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
        if typing {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            match read(stream, &mut buffer) {
                Ok(n @ 1..) => out.write_all(buffer.get(..n).unwrap_or_default())?,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(_) | Err(_) => break "the domain ended",
            }
            out.flush()?;
        }
        if ready.get(1) == Some(&true) {
            let n = read(stdin, &mut buffer)?;
            let typed = buffer.get(..n).unwrap_or_default();
            let before = typed.split(|b| *b == ESCAPE).next().unwrap_or_default();
            if send(stream, before).is_err() {
                break "the domain ended";
            }
            if before.len() < typed.len() {
                break "left";
            }
            typing = n > 0;
        }
    };
    drop(raw);
    let _ = write!(anstream::stderr(), "\n[console: {left}]\n");
    Ok(())
}

/// Sends all of `bytes`; the stream may have been made non-blocking at the other end.
fn send(stream: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
