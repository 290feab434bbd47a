//! A counter that can be waited for (eventfd(2)).

use crate::errno::Errno;
use crate::ready::Ready;
use crate::sockets::Readiness;

/// The counter.
#[derive(Debug)]
pub struct EventFd {
    count: u64,
    semaphore: bool,
    incoming: u32,
    outgoing: u32,
}

impl EventFd {
    /// A counter that begins at `count`; a semaphore is counted down by one with each reading.
    #[must_use]
    pub fn new(count: u64, semaphore: bool) -> Self {
        Self { count, semaphore, incoming: 0, outgoing: 0 }
    }

    /// Takes what was counted.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] when that is nothing.
    pub fn read(&mut self) -> Result<u64, Errno> {
        let taken = if self.semaphore { self.count.min(1) } else { self.count };
        if taken == 0 {
            return Err(Errno::AGAIN);
        }
        self.count -= taken;
        self.outgoing = self.outgoing.wrapping_add(1);
        Ok(taken)
    }

    /// Counts. Each call is a new edge, whether anything was read or not.
    ///
    /// # Errors
    /// [`Errno::INVAL`] for the largest number, [`Errno::AGAIN`] when it is too much.
    pub fn write(&mut self, value: u64) -> Result<(), Errno> {
        if value == u64::MAX {
            return Err(Errno::INVAL);
        }
        let sum = self.count.checked_add(value).filter(|sum| *sum < u64::MAX).ok_or(Errno::AGAIN)?;
        self.count = sum;
        self.incoming = self.incoming.wrapping_add(1);
        Ok(())
    }

    /// What it is ready for.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let readable = if self.count > 0 { Readiness::IN } else { 0 };
        let writable = if self.count < u64::MAX - 1 { Readiness::OUT } else { 0 };
        Ready { bits: readable | writable, incoming: self.incoming, outgoing: self.outgoing }
    }
}
