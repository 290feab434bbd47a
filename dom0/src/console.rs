//! A domain's serial console: into its log, and to and from whoever is attached.
//!
//! One thread per VMM process. It also takes what the VMM itself prints, and keeps its last lines so that a
//! failed start can be explained. Logs are bounded: at [`LOG_LIMIT`] the file becomes `NAME.log.1`.

use crate::name::Name;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a log file, after which a new one is begun.
pub const LOG_LIMIT: u64 = 4 * 1024 * 1024;
/// Lines of the VMM's own output that are kept.
const TAIL_LINES: usize = 6;
/// Bytes of such a line that are kept.
const TAIL_WIDTH: usize = 400;
/// Attached at most at once.
const MAX_ATTACHED: usize = 8;
/// How long the output of a process that is gone is waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Path of a domain's log.
#[must_use]
pub fn log_path(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.log"))
}

/// Handle of a console thread.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Mutex<Shared>>,
    silent: Arc<Condvar>,
    wake: Arc<OwnedFd>,
}

#[derive(Debug, Default)]
struct Shared {
    arriving: Vec<OwnedFd>,
    tail: VecDeque<String>,
    /// The VMM's own output is at its end.
    silent: bool,
    ended: bool,
}

impl Console {
    /// Starts the thread over the guest's serial port and the VMM's own output; it ends with both.
    ///
    /// # Errors
    /// When the log cannot be opened, or what the kernel says.
    pub fn start(serial: OwnedFd, said: OwnedFd, log: &Path) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let console = Self { shared: Arc::default(), silent: Arc::default(), wake };
        for fd in [&serial, &said] {
            nonblocking(fd)?;
        }
        let pump = Pump {
            serial: Some(serial),
            said: Some(said),
            line: Vec::new(),
            log: Log::open(log)?,
            attached: Vec::new(),
            console: console.clone(),
        };
        std::thread::Builder::new().name("console".into()).spawn(move || pump.run())?;
        Ok(console)
    }

    /// Attaches a stream: it gets what the guest prints, and what it sends is typed into the guest.
    ///
    /// # Errors
    /// When too many are attached or the domain has ended.
    pub fn attach(&self, stream: OwnedFd) -> io::Result<()> {
        nonblocking(&stream)?;
        let mut shared = self.lock();
        if shared.ended || shared.arriving.len() >= MAX_ATTACHED {
            return Err(io::ErrorKind::NotConnected.into());
        }
        shared.arriving.push(stream);
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        Ok(())
    }

    /// The last lines of a VMM that is gone: what it printed shortly before may still be on its way.
    #[must_use]
    pub fn last_words(&self) -> String {
        let waited = self.silent.wait_timeout_while(self.lock(), LAST_WORDS, |shared| !shared.silent);
        drop(waited);
        self.tail()
    }

    /// The last lines that the VMM itself printed, fit to be shown.
    #[must_use]
    pub fn tail(&self) -> String {
        self.lock().tail.iter().cloned().collect::<Vec<_>>().join("; ")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// Replaces what could move a terminal's cursor, turn text round or hide it.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, those that change the direction of text, those without width, and ends of lines.
const fn misleads(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

struct Pump {
    serial: Option<OwnedFd>,
    said: Option<OwnedFd>,
    /// An unfinished line of the VMM's own output.
    line: Vec<u8>,
    log: Log,
    attached: Vec<OwnedFd>,
    console: Console,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = vec![0u8; 16 * 1024];
        while self.serial.is_some() || self.said.is_some() {
            self.wait();
            let _ = rustix::io::read(&*self.console.wake, &mut [0u8; 8]);
            let arriving = std::mem::take(&mut self.console.lock().arriving);
            let room = MAX_ATTACHED.saturating_sub(self.attached.len());
            self.attached.extend(arriving.into_iter().take(room));
            self.take_from_guest(&mut buffer);
            self.take_from_vmm(&mut buffer);
            self.give_to_guest(&mut buffer);
        }
        self.console.lock().ended = true;
    }

    fn wait(&self) {
        let sources = [&self.serial, &self.said].into_iter().flatten().chain(&self.attached);
        let mut fds: Vec<PollFd<'_>> =
            sources.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(self.console.wake.as_fd(), PollFlags::IN));
        let _ = poll(&mut fds, None);
    }

    fn take_from_guest(&mut self, buffer: &mut [u8]) {
        let Some(serial) = &self.serial else { return };
        match some(serial, buffer) {
            Got::Nothing => {}
            Got::End => self.serial = None,
            Got::Bytes(bytes) => {
                self.log.write(bytes);
                // Somebody who reads too slowly misses bytes; somebody who is gone is noticed below, after
                // what he typed last.
                for to in &self.attached {
                    let _ = rustix::io::write(to, bytes);
                }
            }
        }
    }

    fn take_from_vmm(&mut self, buffer: &mut [u8]) {
        let Some(said) = &self.said else { return };
        let mut ends = false;
        let bytes = match some(said, buffer) {
            Got::Nothing => return,
            Got::End => {
                (self.said, ends) = (None, true);
                &b"\n"[..]
            }
            Got::Bytes(bytes) => bytes,
        };
        for &byte in bytes {
            if byte != b'\n' && self.line.len() < TAIL_WIDTH {
                self.line.push(byte);
            } else if !self.line.is_empty() {
                let line = printable(String::from_utf8_lossy(&self.line).trim_end());
                self.line.clear();
                self.log.write(format!("[bulkhead-vmm] {line}\r\n").as_bytes());
                let mut shared = self.console.lock();
                shared.tail.push_back(line);
                if shared.tail.len() > TAIL_LINES {
                    shared.tail.pop_front();
                }
            }
        }
        if ends {
            self.console.lock().silent = true;
            self.console.silent.notify_all();
        }
    }

    fn give_to_guest(&mut self, buffer: &mut [u8]) {
        let Some(serial) = &self.serial else { return };
        self.attached.retain(|from| match some(from, buffer) {
            Got::Nothing => true,
            Got::End => false,
            Got::Bytes(bytes) => {
                // A guest that does not read its serial port loses what is typed, as on a real one.
                let _ = rustix::io::write(serial, bytes);
                true
            }
        });
    }
}

enum Got<'b> {
    Nothing,
    End,
    Bytes(&'b [u8]),
}

fn some<'b>(from: &OwnedFd, buffer: &'b mut [u8]) -> Got<'b> {
    match rustix::io::read(from, &mut *buffer) {
        Ok(0) => Got::End,
        Ok(n) => Got::Bytes(buffer.get(..n).unwrap_or_default()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Got::Nothing,
        Err(_) => Got::End,
    }
}

/// An append-only log of bounded size.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    /// Opens a log, which need not exist.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length })
    }

    /// Writes, and begins a new file when this one is long enough. A full disk loses lines, not domains.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
        if self.length >= LOG_LIMIT {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            if std::fs::rename(&self.path, old).is_ok()
                && let Ok(file) = append(&self.path)
            {
                (self.file, self.length) = (file, 0);
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::time::Instant;

    fn stream() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn until(mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(10), "not within ten seconds");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn nothing_misleading_is_shown() {
        assert_eq!(
            printable("a\x1b[2J\u{9b}b\u{202e}c\r\u{2066}d\u{200b}e"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}d\u{fffd}e"
        );
        let plain = "grüße, \u{6a9}\u{200c}\u{645}";
        assert_eq!(printable(plain), plain);
    }

    #[test]
    fn guest_reaches_log_and_viewer_and_viewer_reaches_guest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("work.log");
        let ((guest, serial), (vmm, said), (viewer, end)) = (stream(), stream(), stream());
        let console = Console::start(serial, said, &path).unwrap();
        console.attach(end).unwrap();
        rustix::io::write(&viewer, b"ls\n").unwrap();
        let mut typed = [0; 8];
        assert_eq!(rustix::io::read(&guest, &mut typed).unwrap(), 3);
        rustix::io::write(&guest, b"login: ").unwrap();
        let mut seen = [0; 16];
        assert_eq!(rustix::io::read(&viewer, &mut seen).unwrap(), 7);
        rustix::io::write(&vmm, b"cannot \x1b[2Jopen\nkernel\n").unwrap();
        until(|| console.tail() == "cannot \u{fffd}[2Jopen; kernel");
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(log.contains("login: ") && log.contains("[bulkhead-vmm] kernel"), "{log}");
        drop((guest, vmm));
        until(|| console.attach(stream().0).is_err());
        assert_eq!(rustix::io::read(&viewer, &mut seen).unwrap(), 0, "the viewer sees the end");
    }

    #[test]
    fn log_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut log = Log::open(&path).unwrap();
        for _ in 0..3 * LOG_LIMIT / 65_536 {
            log.write(&[b'x'; 65_536]);
        }
        let length = |p: &Path| std::fs::metadata(p).unwrap().len();
        assert!(length(&path) < LOG_LIMIT);
        assert!(length(&directory.path().join("x.log.1")) <= LOG_LIMIT + 65_536);
    }
}
