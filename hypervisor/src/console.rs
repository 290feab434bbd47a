//! The console's far end: a reader that stalls costs bytes, never time.
//!
//! Output goes through a bounded buffer to a thread that may block; what does not fit is dropped and
//! counted. Input is read by another thread and waits until the guest has taken what came before.

use crate::pci::bus::lock;
use crate::stats::Stats;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes held for a slow reader.
const CAPACITY: usize = 256 * 1024;
/// How long the end of the machine waits for a slow reader.
const DRAIN: Duration = Duration::from_millis(500);

/// How long input waits for room in the guest, at first and at most.
const SHORT_PAUSE: Duration = Duration::from_millis(2);
const LONG_PAUSE: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Pending {
    bytes: VecDeque<u8>,
    writing: bool,
    failed: bool,
}

/// The writing half; cloned handles share one buffer.
#[derive(Clone)]
pub struct Output {
    shared: Arc<(Mutex<Pending>, Condvar)>,
    stats: Arc<Stats>,
}

impl Output {
    /// Starts the thread that writes to `file`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(file: File, stats: Arc<Stats>) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(Pending::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("console-out".into()).spawn(move || drain(&theirs, file))?;
        Ok(Self { shared, stats })
    }

    /// Waits until everything is written, the reader stalls or half a second has passed.
    pub fn finish(&self) {
        let (pending, changed) = &*self.shared;
        let busy = |p: &mut Pending| !p.failed && (p.writing || !p.bytes.is_empty());
        let _ = changed.wait_timeout_while(lock(pending), DRAIN, busy);
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (pending, changed) = &*self.shared;
        let mut pending = lock(pending);
        let room = CAPACITY.saturating_sub(pending.bytes.len());
        let taken = if pending.failed { 0 } else { room.min(bytes.len()) };
        pending.bytes.extend(&bytes[..taken]);
        let dropped = (bytes.len() - taken) as u64;
        self.stats.console_dropped.fetch_add(dropped, Ordering::Relaxed);
        changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(shared: &(Mutex<Pending>, Condvar), mut file: File) {
    let (pending, changed) = shared;
    loop {
        let idle = |p: &mut Pending| p.bytes.is_empty();
        let mut held = changed.wait_while(lock(pending), idle).unwrap_or_else(PoisonError::into_inner);
        let chunk: Vec<u8> = held.bytes.drain(..).collect();
        held.writing = true;
        drop(held);
        let written = write_all(&mut file, &chunk);
        let mut held = lock(pending);
        held.writing = false;
        held.failed = written.is_err();
        changed.notify_all();
        if held.failed {
            return;
        }
    }
}

/// Like `Write::write_all`, also for a descriptor that somebody made non-blocking.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Starts the thread that reads `file` until its end; `deliver` takes a prefix and says how long it was,
/// 0 when the guest has no room now. A regular file is a log, nothing to type from: it is not read.
///
/// # Errors
/// When no thread can be started.
pub fn start_input(mut file: File, deliver: impl Fn(&[u8]) -> usize + Send + 'static) -> io::Result<()> {
    if file.metadata().is_ok_and(|about| about.is_file()) {
        return Ok(());
    }
    let read = move || {
        let mut buffer = [0; 256];
        loop {
            let got = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => n,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Err(_) => return,
            };
            let (mut rest, mut pause) = (&buffer[..got], SHORT_PAUSE);
            while !rest.is_empty() {
                let taken = deliver(rest).min(rest.len());
                if taken == 0 {
                    thread::sleep(pause);
                    pause = LONG_PAUSE.min(pause * 2); // this guest may never read
                } else {
                    pause = SHORT_PAUSE;
                }
                rest = &rest[taken..];
            }
        }
    };
    thread::Builder::new().name("console-in".into()).spawn(read).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_stalled_reader_costs_bytes_and_no_time() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let stats = Arc::new(Stats::default());
        let mut output = Output::start(File::from(write), Arc::clone(&stats)).unwrap();
        let started = Instant::now();
        for _ in 0..1000 {
            output.write_all(&[b'x'; 1024]).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(stats.console_dropped.load(Ordering::Relaxed) > 0);
        drop(read);
    }

    #[test]
    fn everything_arrives_in_order_when_somebody_reads() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let stats = Arc::new(Stats::default());
        let mut output = Output::start(File::from(write), stats).unwrap();
        output.write_all(b"hello ").unwrap();
        output.write_all(b"world").unwrap();
        output.finish();
        let mut seen = [0; 11];
        File::from(read).read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hello world");
    }
}
