//! The receiving half of an end: copies records out of the peer's region and believes nothing unchecked.

use crate::{
    Geometry, Meta, PeerFault,
    layout::{IDENTITY, RECORD_ALIGN, RECORD_HEADER, Word, record_len},
    record::{self, Record},
    shared::{ReadOnly, Writable},
};

/// Private state of the receiving half.
#[derive(Debug)]
pub(crate) struct Receiver {
    len: usize,
    epoch: u64,
    /// Whether the peer's region carried our epoch; until then it says nothing.
    seen: bool,
    /// Next record.
    cursor: u64,
    /// What the peer was told that we consumed.
    released: u64,
    /// End of what the peer has published, as far as it was looked at; at most one ring after `cursor`.
    produced: u64,
    /// Records skipped for want of buffer.
    pub(crate) oversized: u64,
}

impl Receiver {
    pub(crate) fn new(geometry: Geometry, epoch: u64) -> Self {
        Self {
            len: geometry.data_len as usize,
            epoch,
            seen: false,
            cursor: 0,
            released: 0,
            produced: 0,
            oversized: 0,
        }
    }

    /// Whether the peer's region has carried our epoch.
    pub(crate) fn seen(&self) -> bool {
        self.seen
    }

    /// Where the next record will be; the data threshold to arm.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Looks for new records: one load of the peer's index per burst.
    ///
    /// # Errors
    /// A fault when the index is impossible or the region is of another kind.
    #[cold]
    pub(crate) fn refresh(&mut self, rx: &ReadOnly) -> Result<bool, PeerFault> {
        if !self.seen && !self.greet(rx)? {
            return Ok(false);
        }
        let produced = rx.load(Word::Produced);
        let possible = produced >= self.produced
            && produced - self.cursor <= self.len as u64
            && produced.is_multiple_of(RECORD_ALIGN as u64);
        if !possible {
            return Err(PeerFault::Produced);
        }
        self.produced = produced;
        Ok(self.cursor != produced)
    }

    /// Looks whether the peer has come up with our epoch.
    pub(crate) fn greet(&mut self, rx: &ReadOnly) -> Result<bool, PeerFault> {
        if rx.load(Word::Epoch) == self.epoch {
            if rx.load(Word::Identity) != IDENTITY {
                return Err(PeerFault::Identity);
            }
            self.seen = true;
        }
        Ok(self.seen)
    }

    /// Copies the next record out, if one was published.
    ///
    /// # Errors
    /// A fault when the record's header is malformed or leads out of what was published.
    #[inline]
    pub(crate) fn next(
        &mut self,
        rx: &ReadOnly,
        buffer: &mut [u8],
    ) -> Result<Option<(Meta, usize)>, PeerFault> {
        // Bounded: every turn takes at least one record of at most a ring's worth that are published.
        loop {
            if self.cursor == self.produced && !self.refresh(rx)? {
                return Ok(None);
            }
            let offset = self.offset();
            let to_end = self.len - offset;
            let available = self.available().min(to_end);
            match record::decode(rx.read_header(offset))? {
                Record::Wrap => self.wrap(to_end)?,
                Record::Data { meta, len } => {
                    if record_len(len) > available {
                        return Err(PeerFault::Overrun);
                    }
                    self.cursor += record_len(len) as u64;
                    if let Some(out) = buffer.get_mut(..len) {
                        rx.read(offset + RECORD_HEADER, out);
                        return Ok(Some((meta, len)));
                    }
                    self.oversized += 1;
                }
            }
        }
    }

    /// Goes on at offset 0.
    #[cold]
    fn wrap(&mut self, to_end: usize) -> Result<(), PeerFault> {
        // A sender wraps only in front of a record: the wrap never starts at 0 and never ends the burst.
        if to_end == self.len || to_end >= self.available() {
            return Err(PeerFault::Wrap);
        }
        self.cursor += to_end as u64;
        Ok(())
    }

    /// Tells the peer what was consumed; returns the indices before and after, `None` if nothing was.
    #[inline]
    pub(crate) fn release(&mut self, tx: &Writable) -> Option<(u64, u64)> {
        if self.cursor == self.released {
            return None;
        }
        let old = self.released;
        self.released = self.cursor;
        tx.store(Word::Consumed, self.released);
        Some((old, self.released))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked by a length that is a usize")]
    fn offset(&self) -> usize {
        self.cursor as usize & (self.len - 1)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most one ring, see `refresh`")]
    fn available(&self) -> usize {
        (self.produced - self.cursor) as usize
    }
}
