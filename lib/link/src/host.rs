//! For programs with an operating system: a doorbell that is an event descriptor, and links within a process.
//! Mapping memory is the caller's business.

use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{BadGeometry, Doorbell, Geometry, Link, shared};

/// Rings by writing to an eventfd.
#[derive(Debug)]
pub struct EventBell(File);

impl EventBell {
    /// Takes over an eventfd, which should be non-blocking: a full counter is as good as a ring.
    #[must_use]
    pub fn new(eventfd: OwnedFd) -> Self {
        Self(File::from(eventfd))
    }
}

impl Doorbell for EventBell {
    fn ring(&self) {
        // An eventfd that cannot be written is full (the peer will wake anyway) or was closed (it is gone).
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }
}

/// Counts rings; for tests and benches, or to be polled.
#[derive(Clone, Debug, Default)]
pub struct CountBell(Arc<AtomicU64>);

impl CountBell {
    /// Rings so far.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Doorbell for CountBell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Both ends of a fresh link within this process, with the doorbells they ring.
///
/// # Errors
/// [`BadGeometry`] when the ring's size is unusable.
pub fn pair(geometry: Geometry, epoch: u64) -> Result<(Link<CountBell>, Link<CountBell>), BadGeometry> {
    let geometry = geometry.checked()?;
    let (tx_a, rx_b) = shared::in_process(geometry.region_len())?;
    let (tx_b, rx_a) = shared::in_process(geometry.region_len())?;
    let a = Link::new(geometry, tx_a, rx_a, epoch, CountBell::default())?;
    let b = Link::new(geometry, tx_b, rx_b, epoch, CountBell::default())?;
    Ok((a, b))
}

/// A peer that follows no rule: it writes what it likes where it likes in its region. For tests and fuzzing.
#[derive(Debug)]
pub struct Scribbler(shared::Writable);

impl Scribbler {
    /// Copies `bytes` to `offset` of the peer's region; nothing happens beyond its end.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.0.scribble(offset, bytes);
    }
}

/// One end of a fresh link whose other end is a [`Scribbler`].
///
/// # Errors
/// [`BadGeometry`] when the ring's size is unusable.
pub fn scribbled(geometry: Geometry, epoch: u64) -> Result<(Link<CountBell>, Scribbler), BadGeometry> {
    let geometry = geometry.checked()?;
    let (tx, _) = shared::in_process(geometry.region_len())?;
    let (peer, rx) = shared::in_process(geometry.region_len())?;
    Ok((Link::new(geometry, tx, rx, epoch, CountBell::default())?, Scribbler(peer)))
}
