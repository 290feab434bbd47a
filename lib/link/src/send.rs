//! The sending half of an end: where the next record goes and how much room the peer has given back.

use crate::{
    Geometry, Meta, PeerFault, SendError,
    layout::{RECORD_ALIGN, Word, record_len},
    record::{self, Header, WRAP},
    shared::{ReadOnly, Writable},
};

/// Private state of the sending half. Nothing here is ever read back from shared memory.
#[derive(Debug)]
pub(crate) struct Sender {
    len: usize,
    max_payload: usize,
    /// End of what is staged.
    staged: u64,
    /// Up to here the ring is known to be free and contiguous.
    limit: u64,
    /// End of what the peer was shown.
    published: u64,
    /// What the peer has given back, as far as it was looked at.
    consumed: u64,
    /// Set when a record found no room: the consumed index that is worth waking for.
    awaited: Option<u64>,
    /// The peer was at fault: there is no room, for ever.
    closed: bool,
}

/// A record that is to be staged; made by [`Sender::draft`] alone, so that its length and metadata are in order.
#[derive(Debug)]
pub(crate) struct Draft<'p> {
    header: Header,
    payload: usize,
    parts: &'p [&'p [u8]],
}

impl Sender {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let len = geometry.data_len as usize;
        Self {
            len,
            max_payload: geometry.max_payload(),
            staged: 0,
            limit: len as u64,
            published: 0,
            consumed: 0,
            awaited: None,
            closed: false,
        }
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.limit = self.staged;
    }

    /// Stages one record, or says `false` when there is no room now.
    ///
    /// # Errors
    /// The fault when the peer's index is impossible.
    #[inline]
    pub(crate) fn stage(
        &mut self,
        tx: &mut Writable,
        rx: &ReadOnly,
        draft: &Draft<'_>,
    ) -> Result<bool, PeerFault> {
        let need = record_len(draft.payload);
        if need as u64 > self.limit - self.staged && !self.make_room(tx, rx, need)? {
            return Ok(false);
        }
        tx.write_record(self.offset(), draft.header, draft.parts);
        self.staged += need as u64;
        Ok(true)
    }

    /// Stages a plain frame if it is short enough and there is room at hand; else nothing is done, and
    /// [`Self::stage`] finds out why.
    #[inline(always)]
    pub(crate) fn stage_plain(&mut self, tx: &mut Writable, frame: &[u8]) -> bool {
        let need = record_len(frame.len()) as u64;
        if frame.len() > self.max_payload || need > self.limit - self.staged {
            return false;
        }
        tx.write_plain(self.offset(), frame);
        self.staged += need;
        true
    }

    /// Whether a record that takes `need` bytes would find room; if not, notes what to wait for.
    ///
    /// # Errors
    /// The fault when the peer's index is impossible.
    pub(crate) fn has_room(&mut self, rx: &ReadOnly, need: usize) -> Result<bool, PeerFault> {
        if self.closed {
            return Ok(false);
        }
        let skipped = if need > self.to_end() { self.to_end() } else { 0 };
        let need = (need + skipped) as u64;
        if need > self.free() {
            self.refresh(rx)?;
        }
        if need <= self.free() {
            return Ok(true);
        }
        // Room for this record, or half the ring if that is more: one wake-up then pays for many records.
        let enough = self.consumed + (need - self.free());
        let half = self.staged.saturating_sub(self.len as u64 / 2);
        // Never beyond what is staged: when the peer has taken that, there is nothing left to wait for.
        self.awaited = Some(enough.max(half).min(self.staged));
        Ok(false)
    }

    /// Moves to where a record that takes `need` bytes fits, if there is such a place.
    #[cold]
    fn make_room(&mut self, tx: &mut Writable, rx: &ReadOnly, need: usize) -> Result<bool, PeerFault> {
        if !self.has_room(rx, need)? {
            return Ok(false);
        }
        if need > self.to_end() {
            tx.write_record(self.offset(), WRAP, &[]);
            self.staged += self.to_end() as u64;
        }
        self.awaited = None;
        self.limit = self.staged + self.free().min(self.to_end() as u64);
        Ok(true)
    }

    /// Checks whether such a record may ever be sent.
    ///
    /// # Errors
    /// [`SendError::TooLong`] or [`SendError::BadMeta`].
    #[inline]
    pub(crate) fn draft<'p>(&self, meta: &Meta, parts: &'p [&'p [u8]]) -> Result<Draft<'p>, SendError> {
        let payload = parts.iter().map(|part| part.len()).sum();
        if payload > self.max_payload {
            return Err(SendError::TooLong);
        }
        if !meta.fits(payload) {
            return Err(SendError::BadMeta);
        }
        Ok(Draft { header: record::encode(meta, payload), payload, parts })
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
    ///
    /// # Errors
    /// The fault when the peer's index is impossible.
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
            && consumed.is_multiple_of(RECORD_ALIGN as u64);
        if !possible {
            return Err(PeerFault::Consumed);
        }
        self.consumed = consumed;
        Ok(())
    }

    /// Bytes of the ring that are free, as far as known. In range: `consumed` never passes `staged`, nor
    /// `staged` what is free.
    fn free(&self) -> u64 {
        self.len as u64 - (self.staged - self.consumed)
    }

    /// Bytes from the next record to the end of the ring; never 0.
    fn to_end(&self) -> usize {
        self.len - self.offset()
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked by a length that is a usize")]
    fn offset(&self) -> usize {
        self.staged as usize & (self.len - 1)
    }
}
