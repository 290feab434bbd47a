//! A pseudo-terminal for a command. `unsafe` is allowed here and in `vsock`.
#![expect(unsafe_code, reason = "a hook between fork and exec")]

use crate::frame::Size;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Gives `command` a terminal of its own as standard input, output and error; the other side of it.
pub(crate) fn attach(command: &mut Command, size: Size) -> io::Result<OwnedFd> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(ptsname(&ours, Vec::new())?, flags, Mode::empty())?;
    resize(&ours, size);
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    new_session(command, || rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
    Ok(ours)
}

/// Lets `command` be the first of a session of its own, so that all of it can be ended together.
pub(crate) fn detach(command: &mut Command) {
    new_session(command, || Ok(()));
}

fn new_session(command: &mut Command, then: fn() -> rustix::io::Result<()>) {
    // SAFETY: between fork and exec only system calls are made: setsid and at most one ioctl.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            Ok(then()?)
        });
    }
}

pub(crate) fn resize(terminal: impl AsFd, size: Size) {
    let winsize = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // A command without a window size is a command without colours at worst.
    let _ = tcsetwinsize(terminal, winsize);
}
