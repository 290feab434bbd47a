//! A socket that listens.

use super::table::Slot;
use alloc::collections::VecDeque;

/// Connections that may wait for the program at most, whatever it says.
const BACKLOG_MAX: u32 = 128;

/// A listener.
pub(super) struct Listener {
    /// Where clients reach it.
    pub(super) port: u16,
    /// Connections that wait at most.
    backlog: usize,
    /// Connections whose handshake goes on.
    pub(super) opening: usize,
    /// Established connections that the program has not taken yet.
    pub(super) waiting: VecDeque<Slot>,
    /// Counts what came.
    pub(super) edges: u32,
}

impl Listener {
    pub(super) fn new(port: u16, backlog: u32) -> Self {
        let mut listener = Self { port, backlog: 0, opening: 0, waiting: VecDeque::new(), edges: 0 };
        listener.set_backlog(backlog);
        listener
    }

    /// Chooses how many may wait; as on Linux one more than was asked for.
    pub(super) fn set_backlog(&mut self, backlog: u32) {
        self.backlog = usize::try_from(backlog.min(BACKLOG_MAX)).unwrap_or(0) + 1;
    }

    /// Whether another connection may come.
    pub(super) fn has_room(&self) -> bool {
        self.opening + self.waiting.len() < self.backlog
    }
}
