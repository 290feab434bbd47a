//! A socket that listens.

use super::table::Slot;
use alloc::collections::VecDeque;

/// Connections of one client that may wait for the program at most, whatever it says.
const BACKLOG_MAX: u32 = 32;

/// A listener.
pub(super) struct Listener {
    /// Where clients reach it.
    pub(super) port: u16,
    /// Connections of one client that may wait or be in their handshake.
    pub(super) backlog: usize,
    /// Established connections that the program has not taken yet.
    pub(super) waiting: VecDeque<Slot>,
    /// Counts what came.
    pub(super) edges: u32,
}

impl Listener {
    pub(super) fn new(port: u16, backlog: u32) -> Self {
        let mut listener = Self { port, backlog: 0, waiting: VecDeque::new(), edges: 0 };
        listener.set_backlog(backlog);
        listener
    }

    /// Chooses how many may wait, of each client: none takes another's place. As on Linux one more than was asked for.
    pub(super) fn set_backlog(&mut self, backlog: u32) {
        self.backlog = usize::try_from(backlog.min(BACKLOG_MAX)).unwrap_or(0) + 1;
    }
}
