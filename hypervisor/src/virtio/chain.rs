//! A descriptor chain, copied out of guest memory once and checked before anything uses it.
//!
//! Here: the private copy and bounded access to the memory it names. Called by every device.

use super::queue::{GuestRam, QueueFault};
use vm_memory::{Bytes, GuestAddress};

/// Descriptors at most in one chain; enough for every size this VMM announces.
pub const MAX_SEGMENTS: usize = 256;

/// One contiguous piece of guest memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: GuestAddress,
    len: usize,
}

/// A list of pieces that is read or written as one run of bytes.
#[derive(Debug, Default)]
pub struct Segments {
    list: Vec<Segment>,
    len: usize,
}

impl Segments {
    /// Length of the run in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the run has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn clear(&mut self) {
        self.list.clear();
        self.len = 0;
    }

    fn push(&mut self, address: GuestAddress, len: usize) {
        self.list.push(Segment { address, len });
        self.len += len;
    }

    /// Calls `each` with every piece of `[offset, offset + len)` and the piece's place in that range.
    fn walk(
        &self,
        offset: usize,
        len: usize,
        mut each: impl FnMut(GuestAddress, std::ops::Range<usize>) -> Result<(), QueueFault>,
    ) -> Result<(), QueueFault> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len).ok_or(QueueFault::TooShort)?;
        let mut start = 0;
        for segment in &self.list {
            let (from, to) = (offset.max(start), end.min(start + segment.len));
            if from < to {
                let inside = (from - start) as u64;
                let address = segment.address.0.checked_add(inside).ok_or(QueueFault::Address)?;
                each(GuestAddress(address), from - offset..to - offset)?;
            }
            start += segment.len;
            if start >= end {
                break;
            }
        }
        Ok(())
    }
}

/// One request of the driver: bytes to read, then bytes to write.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    readable: Segments,
    writable: Segments,
}

impl Chain {
    /// Makes an empty chain with room for any chain, so that filling it never allocates.
    #[must_use]
    pub fn with_room() -> Self {
        let mut chain = Self::default();
        chain.readable.list.reserve_exact(MAX_SEGMENTS);
        chain.writable.list.reserve_exact(MAX_SEGMENTS);
        chain
    }

    /// Index to give back in the used ring.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the driver offers for reading.
    #[must_use]
    pub fn readable(&self) -> &Segments {
        &self.readable
    }

    /// What the driver offers for writing.
    #[must_use]
    pub fn writable(&self) -> &Segments {
        &self.writable
    }

    /// Copies bytes from the readable part.
    ///
    /// # Errors
    /// [`QueueFault::TooShort`] beyond the part, [`QueueFault::Address`] when the memory is not RAM.
    pub fn read(&self, memory: &GuestRam, offset: usize, into: &mut [u8]) -> Result<(), QueueFault> {
        self.readable.walk(offset, into.len(), |address, range| {
            memory.read_slice(&mut into[range], address).map_err(|_| QueueFault::Address)
        })
    }

    /// Copies bytes into the writable part.
    ///
    /// # Errors
    /// As [`Chain::read`].
    pub fn write(&self, memory: &GuestRam, offset: usize, from: &[u8]) -> Result<(), QueueFault> {
        self.writable.walk(offset, from.len(), |address, range| {
            memory.write_slice(&from[range], address).map_err(|_| QueueFault::Address)
        })
    }

    pub(super) fn restart(&mut self, head: u16) {
        self.head = head;
        self.readable.clear();
        self.writable.clear();
    }

    pub(super) fn add(
        &mut self,
        address: GuestAddress,
        len: u32,
        write_only: WriteOnly,
    ) -> Result<(), QueueFault> {
        if self.readable.list.len() + self.writable.list.len() >= MAX_SEGMENTS {
            return Err(QueueFault::TooManySegments);
        }
        let len = len as usize;
        match write_only {
            WriteOnly::Yes => self.writable.push(address, len),
            // virtio 1.2, 2.7.4.2: readable descriptors come before writable ones.
            WriteOnly::No if !self.writable.list.is_empty() => return Err(QueueFault::Direction),
            WriteOnly::No => self.readable.push(address, len),
        }
        Ok(())
    }
}

/// Direction of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOnly {
    /// `VIRTQ_DESC_F_WRITE` is set.
    Yes,
    /// It is not.
    No,
}
