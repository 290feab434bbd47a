//! The user's terminal, lent to a shell inside the lab machine.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// While it lives, keys go to the machine as they are typed and its output appears.
pub(crate) struct Lent {
    before: Option<Termios>,
    over: Arc<AtomicBool>,
}

impl Lent {
    /// Lends the terminal to the other end of `stream`.
    ///
    /// # Errors
    /// When the stream cannot be cloned.
    pub(crate) fn to(stream: &UnixStream) -> std::io::Result<Self> {
        let before = tcgetattr(stdin()).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        let over = Arc::new(AtomicBool::new(false));
        let (keys, screen) = (stream.try_clone()?, stream.try_clone()?);
        let ended = Arc::clone(&over);
        thread::spawn(move || send_keys(keys, &ended));
        thread::spawn(move || show(screen));
        Ok(Self { before, over })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }
}

fn send_keys(mut to: UnixStream, over: &AtomicBool) {
    let mut buffer = [0; 1024];
    let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !over.load(Ordering::Relaxed) {
        let input = stdin();
        let mut waiting = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut waiting, Some(&tick)) {
            Ok(0) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match stdin().lock().read(&mut buffer) {
            Ok(length @ 1..) if to.write_all(&buffer[..length]).is_ok() => {}
            _ => return,
        }
    }
}

fn show(mut from: UnixStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let shown = stdout().write_all(&buffer[..length]).and_then(|()| stdout().flush());
        if shown.is_err() {
            return;
        }
    }
}

/// Arguments for `stty` inside, so that full-screen programs fit.
pub(crate) fn size() -> String {
    match tcgetwinsize(stdin()) {
        Ok(size) if size.ws_row > 0 => format!("rows {} cols {}\n", size.ws_row, size.ws_col),
        _ => "sane\n".to_owned(),
    }
}
