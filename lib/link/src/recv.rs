//! The receiving half of an end: copies records out of the peer's region and believes nothing unchecked.

use crate::{
    Geometry, Meta, PeerFault,
    layout::{IDENTITY, RECORD_ALIGN, Word, record_len},
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
    /// Up to here what was published is contiguous: `produced`, or the end of the ring if that comes first.
    limit: u64,
    /// The peer was at fault: there is nothing more to receive.
    closed: bool,
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
            limit: 0,
            closed: false,
            oversized: 0,
        }
    }

    /// Takes nothing more from the peer.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.limit = self.cursor;
    }

    /// Whether the peer's region has carried our epoch.
    pub(crate) fn seen(&self) -> bool {
        self.seen
    }

    /// Where the next record will be; the data threshold to arm.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether there is a record that was not received yet.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    #[inline]
    pub(crate) fn ready(&mut self, rx: &ReadOnly) -> Result<bool, PeerFault> {
        // The index has not moved: the rule for a link at rest.
        if self.cursor == self.produced && self.seen && rx.load(Word::Produced) == self.cursor {
            return Ok(false);
        }
        Ok(self.cursor != self.limit || self.refresh(rx)?)
    }

    /// Looks for new records: one load of the peer's index per burst.
    ///
    /// # Errors
    /// A fault when the index is impossible or the region is of another kind.
    #[cold]
    pub(crate) fn refresh(&mut self, rx: &ReadOnly) -> Result<bool, PeerFault> {
        if self.closed || !(self.seen || self.greet(rx)?) {
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
        self.set_limit();
        Ok(self.cursor != produced)
    }

    fn set_limit(&mut self) {
        self.limit = self.produced.min(self.cursor + self.to_end() as u64);
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

    /// Copies the next record out if it is a plain frame that is known to be there and fits; else nothing is done, and
    /// [`Self::next`] finds out why.
    #[inline(always)]
    pub(crate) fn next_plain(&mut self, rx: &ReadOnly, buffer: &mut [u8]) -> Option<usize> {
        if self.cursor == self.limit {
            return None;
        }
        let offset = self.offset();
        let len = record::plain_len(rx.read_header(offset))?;
        let whole = record_len(len) as u64;
        let out = buffer.get_mut(..len)?;
        if whole > self.limit - self.cursor {
            return None;
        }
        self.cursor += whole;
        rx.read_payload(offset, out);
        Some(len)
    }

    /// Copies the next record out, if one was published.
    ///
    /// # Errors
    /// A fault when the record's header is malformed or leads out of what was published.
    #[inline(never)]
    pub(crate) fn next(
        &mut self,
        rx: &ReadOnly,
        buffer: &mut [u8],
    ) -> Result<Option<(Meta, usize)>, PeerFault> {
        // Bounded: every turn takes at least one record of those, a ring's worth at most, that are published.
        loop {
            if self.cursor == self.limit && !self.refresh(rx)? {
                return Ok(None);
            }
            let offset = self.offset();
            match record::decode(rx.read_header(offset))? {
                Record::Wrap => self.wrap()?,
                Record::Data { meta, len } => {
                    let whole = record_len(len) as u64;
                    if whole > self.limit - self.cursor {
                        return Err(PeerFault::Overrun);
                    }
                    self.cursor += whole;
                    if let Some(out) = buffer.get_mut(..len) {
                        rx.read_payload(offset, out);
                        return Ok(Some((meta, len)));
                    }
                    self.oversized += 1;
                }
            }
        }
    }

    /// Goes on at offset 0.
    #[cold]
    fn wrap(&mut self) -> Result<(), PeerFault> {
        // A sender wraps only in front of a record: the wrap never starts at 0 and never ends the burst.
        if self.to_end() == self.len || self.to_end() as u64 >= self.produced - self.cursor {
            return Err(PeerFault::Wrap);
        }
        self.cursor += self.to_end() as u64;
        self.set_limit();
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

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked by a length that is a usize")]
    fn offset(&self) -> usize {
        self.cursor as usize & (self.len - 1)
    }

    /// Bytes from the next record to the end of the ring; never 0.
    fn to_end(&self) -> usize {
        self.len - self.offset()
    }
}
