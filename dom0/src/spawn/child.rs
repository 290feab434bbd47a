//! A child that does not outlive the thread which started it. `unsafe` is allowed in this file alone.
//!
//! Without this a machine would go on, unsupervised and holding its network card, when the daemon is killed.
#![expect(unsafe_code, reason = "a hook between fork and exec")]

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the kernel kill the process of `command` when the thread that starts it ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec two system calls are made and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}
