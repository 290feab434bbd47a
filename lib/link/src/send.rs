//! The sending half of an end: where the next record goes and how much room the peer has given back.

use crate::{
    Geometry, Meta, PeerFault, SendError,
    layout::{RECORD_HEADER, Word, record_len},
    record::{self, WRAP},
    shared::{ReadOnly, Writable},
};

/// Private state of the sending half. Nothing here is ever read back from shared memory.
#[derive(Debug)]
pub(crate) struct Sender {
    len: usize,
    max_payload: usize,
    /// End of what is staged.
    staged: u64,
    /// End of what the peer was shown.
    published: u64,
    /// What the peer has given back, as far as it was looked at.
    consumed: u64,
    /// Set when a record found no room: the consumed index that is worth waking for.
    awaited: Option<u64>,
}

impl Sender {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            len: geometry.data_len as usize,
            max_payload: geometry.max_payload(),
            staged: 0,
            published: 0,
            consumed: 0,
            awaited: None,
        }
    }

    /// Bytes that a record with `payload` bytes takes from here, and how many of them the wrap record takes.
    #[inline]
    fn need(&self, payload: usize) -> (usize, usize) {
        let record = record_len(payload);
        let to_end = self.len - self.offset(self.staged);
        if record <= to_end { (record, 0) } else { (record + to_end, to_end) }
    }

    /// Room as far as known.
    #[inline]
    fn room(&self) -> usize {
        // In range: `consumed` only ever takes values from `staged - len` to `staged`.
        self.len - self.span(self.consumed, self.staged)
    }

    /// Makes sure that a payload of `payload` bytes finds room; notes what to wait for when it does not.
    ///
    /// # Errors
    /// `Ok(false)` when there is no room; a fault when the peer's index is impossible.
    #[inline]
    pub(crate) fn reserve(&mut self, rx: &ReadOnly, payload: usize) -> Result<bool, PeerFault> {
        let (need, _) = self.need(payload);
        if need <= self.room() {
            return Ok(true);
        }
        self.reserve_slow(rx, need)
    }

    #[cold]
    fn reserve_slow(&mut self, rx: &ReadOnly, need: usize) -> Result<bool, PeerFault> {
        self.refresh(rx)?;
        if need <= self.room() {
            return Ok(true);
        }
        // Room for this record, or half the ring if that is more: one wake-up then pays for many records.
        let enough = self.consumed + (need - self.room()) as u64;
        let half = self.staged.saturating_sub(self.len as u64 / 2);
        self.awaited = Some(enough.max(half));
        Ok(false)
    }

    /// Whether a payload of this length may ever be sent.
    #[inline]
    pub(crate) fn check(&self, meta: &Meta, payload: usize) -> Result<u32, SendError> {
        if payload > self.max_payload {
            return Err(SendError::TooLong);
        }
        if !meta.fits(payload) {
            return Err(SendError::BadMeta);
        }
        u32::try_from(payload).map_err(|_| SendError::TooLong)
    }

    /// Writes one record for which [`Self::reserve`] found room. The peer sees it after [`Self::publish`].
    #[inline]
    pub(crate) fn stage(
        &mut self,
        tx: &mut Writable,
        header: record::Header,
        payload: usize,
        parts: &[&[u8]],
    ) {
        let (need, skipped) = self.need(payload);
        if skipped != 0 {
            tx.write_header(self.offset(self.staged), WRAP);
        }
        let start = if skipped == 0 { self.offset(self.staged) } else { 0 };
        tx.write_header(start, header);
        let mut at = start + RECORD_HEADER;
        for part in parts {
            tx.write(at, part);
            at += part.len();
        }
        self.staged += need as u64;
        self.awaited = None;
    }

    /// Shows the peer everything staged; returns the indices before and after, `None` if nothing was new.
    #[inline]
    pub(crate) fn publish(&mut self, tx: &Writable) -> Option<(u64, u64)> {
        if self.staged == self.published {
            return None;
        }
        let old = self.published;
        self.published = self.staged;
        tx.store(Word::Produced, self.published);
        Some((old, self.published))
    }

    /// The threshold to arm before sleeping, when some record found no room.
    pub(crate) fn space_threshold(&self) -> Option<u64> {
        self.awaited.map(|index| index.wrapping_sub(1))
    }

    /// Looks again after arming: whether the awaited room is there. It is then awaited no more.
    pub(crate) fn room_came(&mut self, rx: &ReadOnly) -> Result<bool, PeerFault> {
        let Some(awaited) = self.awaited else { return Ok(false) };
        self.refresh(rx)?;
        let came = self.consumed >= awaited;
        if came {
            self.awaited = None;
        }
        Ok(came)
    }

    /// Loads the peer's consumed index once, and takes it over if it is possible.
    fn refresh(&mut self, rx: &ReadOnly) -> Result<(), PeerFault> {
        let consumed = rx.load(Word::Consumed);
        let possible = consumed >= self.consumed
            && consumed <= self.published
            && consumed.is_multiple_of(crate::layout::RECORD_ALIGN as u64);
        if !possible {
            return Err(PeerFault::Consumed);
        }
        self.consumed = consumed;
        Ok(())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked by a length that is a usize")]
    fn offset(&self, index: u64) -> usize {
        index as usize & (self.len - 1)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "two own indices are at most one ring apart")]
    fn span(&self, from: u64, to: u64) -> usize {
        (to - from) as usize
    }
}
