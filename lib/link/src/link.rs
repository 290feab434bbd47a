//! One end of a link: the two halves, the doorbell, and the fault that ends it.

use crate::{
    Armed, BadGeometry, Counters, Doorbell, Geometry, Meta, PeerFault, SendError,
    layout::{ABSENT, IDENTITY, Word, record_len},
    recv::Receiver,
    send::Sender,
    shared::{ReadOnly, Writable, fence},
    wakeup::{NEVER, passes},
};

/// One end of a link.
///
/// A burst is: any number of [`recv`](Self::recv), then [`release`](Self::release); any number of
/// [`send`](Self::send), then [`publish`](Self::publish). Before sleeping, [`arm`](Self::arm).
#[derive(Debug)]
pub struct Link<D> {
    tx: Writable,
    rx: ReadOnly,
    sender: Sender,
    receiver: Receiver,
    doorbell: D,
    fault: Option<PeerFault>,
    counters: Counters,
}

impl<D: Doorbell> Link<D> {
    /// Initialises the region that this end writes, `epoch` last; the peer may come up before or after.
    ///
    /// `epoch` is the generation that both ends were told, never all ones; regions of another one are ignored. Regions must be
    /// fresh (all zero) for every epoch.
    ///
    /// # Errors
    /// [`BadGeometry`] when the ring's size is unusable or a region is shorter than it.
    pub fn new(
        geometry: Geometry,
        tx: Writable,
        rx: ReadOnly,
        epoch: u64,
        doorbell: D,
    ) -> Result<Self, BadGeometry> {
        let geometry = geometry.checked()?;
        if tx.len() < geometry.region_len() || rx.len() < geometry.region_len() {
            return Err(BadGeometry);
        }
        tx.store(Word::Identity, IDENTITY);
        tx.store(Word::Produced, 0);
        tx.store(Word::Consumed, 0);
        tx.store(Word::DataEvent, 0);
        tx.store(Word::SpaceEvent, NEVER);
        tx.store(Word::Epoch, epoch);
        Ok(Self {
            tx,
            rx,
            sender: Sender::new(geometry),
            receiver: Receiver::new(geometry, epoch),
            doorbell,
            fault: None,
            counters: Counters::default(),
        })
    }

    /// Stages one record whose payload is `parts` one after the other. The peer sees it after [`Self::publish`].
    ///
    /// # Errors
    /// [`SendError::Full`] when there is no room now, [`SendError::TooLong`] when there never will be,
    /// [`SendError::BadMeta`] when `meta` points outside the payload.
    #[inline]
    pub fn send(&mut self, meta: &Meta, parts: &[&[u8]]) -> Result<(), SendError> {
        let draft = self.sender.draft(meta, parts)?;
        match self.sender.stage(&mut self.tx, &self.rx, &draft) {
            Ok(true) => {
                self.counters.sent += 1;
                Ok(())
            }
            Ok(false) => {
                self.counters.full += 1;
                Err(SendError::Full)
            }
            Err(fault) => {
                self.fail(fault);
                Err(SendError::Full)
            }
        }
    }

    /// Stages a frame without metadata, as [`Self::send`] does with [`Meta::default`] and one part.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub fn send_plain(&mut self, frame: &[u8]) -> Result<(), SendError> {
        if self.sender.stage_plain(&mut self.tx, frame) {
            self.counters.sent += 1;
            return Ok(());
        }
        self.send(&Meta::default(), &[frame])
    }

    /// Whether there is something to [`Self::recv`]: a record, or the fault that ended the link.
    #[inline]
    pub fn ready(&mut self) -> bool {
        match self.receiver.ready(&self.rx) {
            Ok(ready) => ready || self.fault.is_some(),
            Err(fault) => {
                self.fail(fault);
                true
            }
        }
    }

    /// Shows the peer every record staged so far, and rings if it asked for that. End of a burst.
    #[inline]
    pub fn publish(&mut self) {
        if let Some((old, new)) = self.sender.publish(&self.tx) {
            self.notify(Word::DataEvent, old, new);
        }
    }

    /// Copies the next record into `buffer` and returns its length, if it is a frame without metadata that is known to
    /// be there and fits. `None` says nothing: ask [`Self::recv`]. This is the first thing to try while a burst lasts.
    #[inline(always)]
    pub fn recv_plain(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let len = self.receiver.next_plain(&self.rx, buffer)?;
        self.counters.received += 1;
        Some(len)
    }

    /// Copies the next record into `buffer` and returns its metadata and length; `None` when there is none.
    ///
    /// A record longer than `buffer` is skipped and counted; [`crate::MAX_PAYLOAD`] bytes take any record.
    ///
    /// # Errors
    /// The peer's fault, now and at every later call: give the link up until there is a new epoch.
    #[inline]
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PeerFault> {
        match self.receiver.next(&self.rx, buffer) {
            Ok(Some(record)) => {
                self.counters.received += 1;
                Ok(Some(record))
            }
            Ok(None) => self.fault.map_or(Ok(None), Err),
            Err(fault) => {
                self.fail(fault);
                self.fault.map_or(Ok(None), Err)
            }
        }
    }

    /// Gives the room of every record received so far back to the peer, and rings if it waits for room.
    #[inline]
    pub fn release(&mut self) {
        if let Some((old, new)) = self.receiver.release(&self.tx) {
            self.notify(Word::SpaceEvent, old, new);
        }
    }

    /// Ends the burst ([`publish`](Self::publish), [`release`](Self::release)), asks for the doorbell and looks
    /// once more. [`Armed::Sleep`] means that the doorbell will ring at the next record, and, if a `send` found
    /// the link full, when room has come free.
    pub fn arm(&mut self) -> Armed {
        self.publish();
        self.release();
        if self.fault.is_some() {
            return Armed::Pending;
        }
        self.tx.store(Word::DataEvent, self.receiver.cursor());
        if let Some(threshold) = self.sender.space_threshold() {
            self.tx.store(Word::SpaceEvent, threshold);
        }
        fence();
        let pending =
            self.receiver.refresh(&self.rx).and_then(|data| Ok(self.sender.room_came(&self.rx)? || data));
        match pending {
            Ok(false) => Armed::Sleep,
            Ok(true) => Armed::Pending,
            Err(fault) => {
                self.fail(fault);
                if self.fault.is_some() { Armed::Pending } else { Armed::Sleep }
            }
        }
    }

    /// Whether a record with `payload` bytes would find room now; if not, [`Self::arm`] waits for it. More than
    /// [`Geometry::max_payload`] asks for room for several records, of which an empty ring may have too little.
    pub fn has_room(&mut self, payload: usize) -> bool {
        match self.sender.has_room(&self.rx, record_len(payload)) {
            Ok(room) => room,
            Err(fault) => {
                self.fail(fault);
                false
            }
        }
    }

    /// Whether the peer has come up with this link's epoch, as far as [`Self::recv`] or [`Self::arm`] looked.
    pub fn peer_seen(&self) -> bool {
        self.receiver.seen()
    }

    /// The fault that ended this link, if any.
    pub fn fault(&self) -> Option<PeerFault> {
        self.fault
    }

    /// Totals since this end was made.
    pub fn counters(&self) -> Counters {
        Counters { oversized: self.receiver.oversized, ..self.counters }
    }

    #[inline]
    fn notify(&mut self, threshold: Word, old: u64, new: u64) {
        fence();
        if passes(self.rx.load(threshold), old, new) {
            self.counters.rings += 1;
            self.doorbell.ring();
        } else {
            self.counters.rings_suppressed += 1;
        }
    }

    /// Ends the link. A region that reads as all ones is not the peer's doing: the peer is gone, its window is no
    /// longer there, and whoever took it away says so elsewhere. A peer that plays dead like this is just that.
    #[cold]
    fn fail(&mut self, fault: PeerFault) {
        self.sender.close();
        self.receiver.close();
        if self.fault.is_none() && self.rx.load(Word::Epoch) != ABSENT {
            self.fault = Some(fault);
            self.counters.faults += 1;
        }
    }
}
