//! A virtqueue whose driver is not trusted.
//!
//! Here: the only way devices take requests and give them back, over the `virtio-queue` crate. What that
//! crate ends silently (a torn chain, a runaway index) is a [`QueueFault`] here, so no device can spin on
//! it. Not here: meaning of requests.

use super::chain::{Chain, WriteOnly};
use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Memory of the guest.
pub type GuestRam = GuestMemoryMmap;

/// What a driver did wrong with a queue; the device stops and asks to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// More requests announced than the queue has room for.
    #[error("available index runs ahead of the queue")]
    AvailableIndex,
    /// A chain that loops, leaves its table, or ends in the middle.
    #[error("torn or looping descriptor chain")]
    TornChain,
    /// More descriptors than any announced limit allows.
    #[error("too many descriptors in a chain")]
    TooManySegments,
    /// A readable descriptor after a writable one, or the wrong kind for the queue.
    #[error("descriptor in the wrong direction")]
    Direction,
    /// Shorter than the device's smallest request.
    #[error("chain too short for a request")]
    TooShort,
    /// An address that is not RAM.
    #[error("address outside of memory")]
    Address,
}

/// A configured, running queue.
#[derive(Debug)]
pub struct VirtQueue {
    queue: Queue,
    memory: Arc<GuestRam>,
    /// Used index when the driver was last considered for an interrupt.
    considered: Wrapping<u16>,
}

impl VirtQueue {
    /// Takes over a queue that the transport has configured; the driver cannot change it any more.
    #[must_use]
    pub fn new(queue: Queue, memory: Arc<GuestRam>) -> Option<Self> {
        queue.is_valid(memory.as_ref()).then_some(Self { queue, memory, considered: Wrapping(0) })
    }

    /// Memory that the chains point into.
    #[must_use]
    pub fn memory(&self) -> &Arc<GuestRam> {
        &self.memory
    }

    /// Number of entries: requests at most in the device's hands.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next request into `chain`; false when there is none.
    ///
    /// # Errors
    /// Whatever is wrong with the ring or the chain; the queue must not be used again.
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, QueueFault> {
        if !self.pending()? {
            return Ok(false);
        }
        let memory: &GuestRam = &self.memory;
        let mut iter = self.queue.iter(memory).map_err(|_| QueueFault::AvailableIndex)?;
        // There was a request a moment ago: either the index went back or the entry cannot be read.
        let mut descriptors = iter.next().ok_or(QueueFault::AvailableIndex)?;
        chain.restart(descriptors.head_index());
        // An empty chain is torn as well: the head could not be read.
        let mut torn = true;
        for descriptor in descriptors.by_ref() {
            let direction = if descriptor.is_write_only() { WriteOnly::Yes } else { WriteOnly::No };
            chain.add(descriptor.addr(), descriptor.len(), direction)?;
            torn = descriptor.has_next();
        }
        if torn { Err(QueueFault::TornChain) } else { Ok(true) }
    }

    /// Puts the last `count` popped requests back, to be popped again later.
    pub fn unpop(&mut self, count: u16) {
        self.queue.set_next_avail((Wrapping(self.queue.next_avail()) - Wrapping(count)).0);
    }

    /// Gives a request back with the number of bytes written to it.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the used ring cannot be written.
    pub fn push(&mut self, head: u16, written: usize) -> Result<(), QueueFault> {
        self.push_all(&[(head, written)])
    }

    /// Gives several requests back at once: the driver sees all of them or none (a received frame that
    /// lies in several buffers).
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the used ring cannot be written.
    pub fn push_all(&mut self, requests: &[(u16, usize)]) -> Result<(), QueueFault> {
        let Some(((head, written), before)) = requests.split_last() else { return Ok(()) };
        let mut next = Wrapping(self.queue.next_used());
        for (head, written) in before {
            let slot = u64::from(next.0 % self.queue.size());
            // virtio 1.2, 2.7.8: flags and index, then elements of index and length.
            let element = u64::from(used_len(*written)) << 32 | u64::from(*head);
            let place = self.queue.used_ring().checked_add(4 + 8 * slot).ok_or(QueueFault::Address)?;
            let bytes = element.to_le_bytes();
            self.memory.write_slice(&bytes, GuestAddress(place)).map_err(|_| QueueFault::Address)?;
            next += 1;
        }
        self.queue.set_next_used(next.0);
        // The last one publishes the index, and with it those before.
        let added = self.queue.add_used(self.memory.as_ref(), *head, used_len(*written));
        added.map_err(|_| QueueFault::Address)
    }

    /// Whether requests wait.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the available ring cannot be read.
    pub fn pending(&self) -> Result<bool, QueueFault> {
        let index = self.queue.avail_idx(self.memory.as_ref(), Ordering::Acquire);
        Ok(index.map_err(|_| QueueFault::Address)?.0 != self.queue.next_avail())
    }

    /// Asks the driver not to notify for now.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the used ring cannot be written.
    pub fn mute(&mut self) -> Result<(), QueueFault> {
        self.queue.disable_notification(self.memory.as_ref()).map_err(|_| QueueFault::Address)
    }

    /// Asks the driver to notify, then looks again: true when requests came in between.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the rings cannot be reached.
    pub fn listen(&mut self) -> Result<bool, QueueFault> {
        self.queue.enable_notification(self.memory.as_ref()).map_err(|_| QueueFault::Address)
    }

    /// Asks the driver to notify beyond the request numbered `seen`, then looks again: true when more than those
    /// came. For a device that put requests back because they were too few.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the rings cannot be reached.
    pub fn listen_beyond(&mut self, seen: u16) -> Result<bool, QueueFault> {
        let next = self.queue.next_avail();
        self.queue.set_next_avail(seen);
        let more = self.listen();
        self.queue.set_next_avail(next);
        more
    }

    /// Number of the request that [`VirtQueue::pop`] takes next.
    #[must_use]
    pub fn next(&self) -> u16 {
        self.queue.next_avail()
    }

    /// Used index up to which [`VirtQueue::wants_interrupt`] has been asked.
    #[must_use]
    pub fn considered(&self) -> u16 {
        self.considered.0
    }

    /// Whether the driver wants an interrupt for what was pushed since the last call.
    ///
    /// # Errors
    /// [`QueueFault::Address`] when the available ring cannot be read.
    pub fn wants_interrupt(&mut self) -> Result<bool, QueueFault> {
        let new = Wrapping(self.queue.next_used());
        let old = std::mem::replace(&mut self.considered, new);
        if new == old {
            return Ok(false);
        }
        // The used index is out before the driver's wish is read.
        fence(Ordering::SeqCst);
        if self.queue.event_idx_enabled() {
            let event = Wrapping(self.available_word(4 + 2 * u64::from(self.queue.size()))?);
            return Ok(new - event - Wrapping(1) < new - old);
        }
        Ok(u32::from(self.available_word(0)?) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    fn available_word(&self, offset: u64) -> Result<u16, QueueFault> {
        let place = self.queue.avail_ring().checked_add(offset).ok_or(QueueFault::Address)?;
        let word = self.memory.load(GuestAddress(place), Ordering::Relaxed);
        word.map(u16::from_le).map_err(|_| QueueFault::Address)
    }
}

/// Length as the used ring holds it.
fn used_len(written: usize) -> u32 {
    u32::try_from(written).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
