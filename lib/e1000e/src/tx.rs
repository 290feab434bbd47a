//! The transmit ring (§7.2): every frame is copied into the arena, so nothing of the caller's is lent out.
//!
//! Each descriptor owns one buffer. A frame takes an optional context descriptor and as many data
//! descriptors as it needs; its last one asks for a write-back, and only that one is looked at again. The
//! head register is never read.

mod segment;

use crate::desc::{POISON, SIZE, TxContext, TxContextKind, TxData};
use crate::error::{SetupError, TxError};
use crate::regs::{self, Regs, dctl, tctl};
use crate::rx::halves;
use crate::stats::TxCounters;
use hal::clock::Clock;
use hal::dma::{Dma, DmaRegion, fence};
use hal::mmio::Mmio;
use segment::Segmented;

/// Descriptors in the ring.
pub const TX_RING: usize = 256;
/// Bytes of one buffer.
pub const TX_BUFFER: usize = 2048;
/// Longest frame that is sent as it is: header, one VLAN tag, 1500 bytes.
pub const MAX_FRAME: usize = 1518;
/// Longest frame that is handed over for segmentation: header, one VLAN tag, a full-size IP packet.
pub const MAX_SEGMENTED: usize = 65_535 + 18;
/// Shortest frame that is accepted: an Ethernet header.
const MIN_FRAME: usize = 14;
/// Shortest frame on the wire without its checksum; shorter ones are padded with zeros here.
const MIN_WIRE: usize = 60;
/// Shortest frame that the card pads (TCTL.PSP, §10.2.6). A frame whose checksum the card inserts is left to
/// it: padding that is handed over is, to some cards (QEMU's), part of the packet whose length they sum up.
const MIN_PADDED_BY_CARD: usize = 17;
const ALIGN: usize = 4096;
/// A frame that is still queued after this long, with the link up and not paused, is a hang.
const HANG_US: u64 = 2_000_000;

/// What the card shall do to a frame on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxOffload {
    /// Nothing.
    #[default]
    None,
    /// Insert a ones' complement checksum over everything from `start` to the end, at `start + offset`,
    /// where the frame holds the sum of the pseudo-header.
    Checksum {
        /// Where the checksum starts, from the start of the frame.
        start: u16,
        /// Where it is stored, from `start`.
        offset: u16,
    },
    /// Cut a TCP packet (IPv4 or IPv6, no extension headers) into segments of at most `mss` payload
    /// bytes. Headers are found in the frame; their checksum fields need not be prepared.
    Segment {
        /// Payload bytes per segment.
        mss: u16,
    },
}

/// The sending half of the data path.
#[derive(Debug)]
pub struct Transmitter<'a, M, R, C> {
    pub(crate) regs: &'a Regs<M>,
    pub(crate) clock: &'a C,
    pub(crate) ring: &'a mut TxRing<R>,
}

impl<M: Mmio, R: DmaRegion, C: Clock> Transmitter<'_, M, R, C> {
    /// Queues one frame, given as consecutive pieces, without CRC. It leaves with the next [`Self::kick`].
    ///
    /// # Errors
    /// [`TxError`]; then nothing was queued. After [`TxError::Full`], `reclaim` and try again, or sleep:
    /// `Nic::arm` then asks for an interrupt when there is room.
    pub fn send(&mut self, parts: &[&[u8]], offload: TxOffload) -> Result<(), TxError> {
        self.ring.send(parts, offload)
    }

    /// Tells the card about everything queued, with one register write; with nothing queued, none.
    pub fn kick(&mut self) {
        self.ring.kick(self.regs);
    }

    /// Takes back the buffers of frames that the card has sent; how many frames.
    pub fn reclaim(&mut self) -> usize {
        self.ring.reclaim(self.clock.now_us())
    }
}

/// The ring; lives as long as the card is driven.
#[derive(Debug)]
pub(crate) struct TxRing<R> {
    ring: R,
    buffers: R,
    /// Next descriptor to fill.
    next: usize,
    /// Oldest descriptor in use; `next` when none is.
    oldest: usize,
    /// Last descriptor of the frame that starts at an index.
    last_of: [u16; TX_RING],
    /// Frames in the ring.
    queued: u64,
    /// Filled since the tail register was last written.
    unpublished: bool,
    /// The context that the card holds.
    context: Option<[u64; 2]>,
    /// A send found no room since the last reclaim that made some.
    pub(crate) blocked: bool,
    /// When the ring last made progress, or was last empty.
    progress_us: u64,
    pub(crate) counters: TxCounters,
}

/// A frame as descriptors will see it: new headers, then the caller's bytes without theirs, then padding.
struct Payload<'a> {
    head: &'a [u8],
    parts: &'a [&'a [u8]],
    skip: usize,
    len: usize,
}

impl<R: DmaRegion> TxRing<R> {
    /// Takes the ring's memory from the arena.
    pub(crate) fn new(dma: &mut impl Dma<Region = R>) -> Result<Self, SetupError> {
        Ok(Self {
            ring: dma.alloc(TX_RING * SIZE, ALIGN).ok_or(SetupError::NoDmaMemory)?,
            buffers: dma.alloc(TX_RING * TX_BUFFER, ALIGN).ok_or(SetupError::NoDmaMemory)?,
            next: 0,
            oldest: 0,
            last_of: [0; TX_RING],
            queued: 0,
            unpublished: false,
            context: None,
            blocked: false,
            progress_us: 0,
            counters: TxCounters::default(),
        })
    }

    /// Transmit initialisation (§4.6.6); the transmitter is off and the chip freshly reset. Frames that
    /// were queued are gone, and counted.
    pub(crate) fn start<M: Mmio>(&mut self, regs: &Regs<M>, now_us: u64) {
        self.counters.lost += core::mem::take(&mut self.queued);
        (self.next, self.oldest, self.unpublished, self.blocked) = (0, 0, false, false);
        (self.context, self.progress_us) = (None, now_us);
        for index in 0..TX_RING {
            self.ring.write_u64(index * SIZE, POISON);
            self.ring.write_u64(index * SIZE + 8, POISON);
        }
        fence();
        // Step 1: ring address and length; an empty ring (head = tail).
        let [low, high] = halves(self.ring.bus_addr());
        regs.write(regs::TDBAL0, low);
        regs.write(regs::TDBAH0, high);
        regs.write(regs::TDLEN0, u32::try_from(TX_RING * SIZE).unwrap_or(0));
        regs.write(regs::TDH0, 0);
        regs.write(regs::TDT0, 0);
        // Step 2: fetch up to 31 descriptors ahead, write each one back at once (both queues alike, as the
        // specification update asks, though the second is unused).
        let thresholds = 31 << dctl::PTHRESH_SHIFT | 1 << dctl::HTHRESH_SHIFT | 1 << dctl::WTHRESH_SHIFT;
        regs.write(regs::TXDCTL0, dctl::GRAN | dctl::COUNT_DESC | thresholds);
        regs.write(regs::TXDCTL1, dctl::GRAN | dctl::COUNT_DESC | thresholds);
        // Step 3: inter-packet gap for copper (IPGT 8, IPGR1 8, IPGR2 6; §10.2.6, TIPG).
        regs.write(regs::TIPG, 8 | 8 << 10 | 6 << 20);
        // Step 4: pad short packets, 16 tries, collision distance of full duplex, retransmit late
        // collisions; still off.
        let collisions = 15 << tctl::CT_SHIFT | 63 << tctl::COLD_SHIFT | tctl::RTLC;
        regs.write(regs::TCTL, tctl::PSP | collisions);
    }

    /// Turns the transmitter on.
    pub(crate) fn enable<M: Mmio>(&self, regs: &Regs<M>) {
        regs.modify(regs::TCTL, tctl::EN, 0);
    }

    /// Queues one frame, given as consecutive pieces. Nothing is sent before [`TxRing::kick`].
    pub(crate) fn send(&mut self, parts: &[&[u8]], offload: TxOffload) -> Result<(), TxError> {
        let total = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()));
        let total = total.filter(|total| *total >= MIN_FRAME).ok_or(TxError::Length)?;
        match offload {
            TxOffload::None => self.send_plain(parts, total, None),
            TxOffload::Checksum { start, offset } => {
                let context = checksum_context(start, offset, total)?;
                self.send_plain(parts, total, Some(context))
            }
            TxOffload::Segment { mss } => self.send_segmented(parts, total, mss),
        }?;
        self.queued += 1;
        self.counters.frames += 1;
        self.counters.bytes += total as u64;
        Ok(())
    }

    fn send_plain(
        &mut self,
        parts: &[&[u8]],
        total: usize,
        context: Option<TxContext>,
    ) -> Result<(), TxError> {
        if total > MAX_FRAME {
            return Err(TxError::Length);
        }
        let shortest = if context.is_some() { MIN_PADDED_BY_CARD } else { MIN_WIRE };
        let payload = Payload { head: &[], parts, skip: 0, len: total.max(shortest) };
        let options = |data: TxData| if context.is_some() { data.with_checksum() } else { data };
        self.queue(&payload, context.map(TxContext::words), options)
    }

    fn send_segmented(&mut self, parts: &[&[u8]], total: usize, mss: u16) -> Result<(), TxError> {
        if total > MAX_SEGMENTED {
            return Err(TxError::Length);
        }
        let segmented = Segmented::new(parts, total, mss)?;
        let head = segmented.headers();
        let payload = Payload { head, parts, skip: head.len(), len: total };
        let ipv4 = segmented.ipv4();
        self.queue(&payload, Some(segmented.context().words()), |data| data.with_segmentation(ipv4))
    }

    /// Writes context and data descriptors, or nothing at all if they do not fit.
    fn queue(
        &mut self,
        payload: &Payload<'_>,
        context: Option<[u64; 2]>,
        options: impl Fn(TxData) -> TxData,
    ) -> Result<(), TxError> {
        // The card keeps the last context: an identical one need not be repeated (§7.2).
        let context = context.filter(|words| self.context != Some(*words));
        let data = payload.len.div_ceil(TX_BUFFER);
        if data + usize::from(context.is_some()) > self.room() {
            self.blocked = true;
            return Err(TxError::Full);
        }
        let first = self.next;
        if let Some(words) = context {
            self.put(words);
            self.context = Some(words);
        }
        self.copy(payload);
        for piece in 0..data {
            let len = (payload.len - piece * TX_BUFFER).min(TX_BUFFER);
            let word = options(TxData::new(len));
            let word = if piece + 1 == data { word.last() } else { word };
            let address = self.buffers.bus_addr() + (self.next * TX_BUFFER) as u64;
            self.put([address, word.0]);
        }
        let last = (self.next + TX_RING - 1) % TX_RING;
        if let Some(slot) = self.last_of.get_mut(first) {
            *slot = u16::try_from(last).unwrap_or(0);
        }
        self.unpublished = true;
        Ok(())
    }

    /// Descriptors that can be filled; one stays free so that a full ring does not look empty.
    fn room(&self) -> usize {
        TX_RING - 1 - (self.next + TX_RING - self.oldest) % TX_RING
    }

    fn put(&mut self, [low, high]: [u64; 2]) {
        self.ring.write_u64(self.next * SIZE, low);
        self.ring.write_u64(self.next * SIZE + 8, high);
        self.next = (self.next + 1) % TX_RING;
    }

    /// Copies a frame into the buffers from `next` on, zeros after its end.
    fn copy(&self, payload: &Payload<'_>) {
        const ZEROS: [u8; MIN_WIRE] = [0; MIN_WIRE];
        let mut cursor = Cursor { buffers: &self.buffers, slot: self.next, used: 0, left: payload.len };
        cursor.put(payload.head);
        let mut skip = payload.skip;
        for part in payload.parts {
            let (skipped, rest) = part.split_at(skip.min(part.len()));
            skip -= skipped.len();
            cursor.put(rest);
        }
        cursor.put(ZEROS.get(..cursor.left.min(MIN_WIRE)).unwrap_or(&[]));
    }

    /// Tells the card about everything queued, with one tail write; nothing to do costs nothing.
    pub(crate) fn kick<M: Mmio>(&mut self, regs: &Regs<M>) {
        if core::mem::take(&mut self.unpublished) {
            fence();
            self.counters.kicks += 1;
            regs.write(regs::TDT0, u32::try_from(self.next).unwrap_or(0));
        }
    }

    /// Takes back what the card has sent; how many frames.
    pub(crate) fn reclaim(&mut self, now_us: u64) -> usize {
        let mut frames = 0;
        while self.oldest != self.next && frames < TX_RING {
            let last = self.last_of.get(self.oldest).map_or(0, |last| usize::from(*last));
            if !TxData(self.ring.read_u64(last * SIZE + 8)).done() {
                break;
            }
            self.oldest = (last + 1) % TX_RING;
            self.queued = self.queued.saturating_sub(1);
            frames += 1;
        }
        if frames > 0 || self.oldest == self.next {
            self.progress_us = now_us;
        }
        if frames > 0 {
            self.blocked = false;
        }
        frames
    }

    /// Whether the oldest frame waits for too long. Call after `reclaim`.
    pub(crate) fn hung(&self, now_us: u64) -> bool {
        self.oldest != self.next && now_us.saturating_sub(self.progress_us) > HANG_US
    }

    /// Excuses a standstill: link down or transmitter paused.
    pub(crate) fn excuse(&mut self, now_us: u64) {
        self.progress_us = now_us;
    }
}

/// Writes bytes one after the other into consecutive buffers of the ring.
struct Cursor<'a, R> {
    buffers: &'a R,
    slot: usize,
    used: usize,
    left: usize,
}

impl<R: DmaRegion> Cursor<'_, R> {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.left > 0 {
            let fits = bytes.len().min(TX_BUFFER - self.used).min(self.left);
            let (now, later) = bytes.split_at(fits);
            let written = self.buffers.write(self.slot * TX_BUFFER + self.used, now);
            debug_assert!(written, "a slot is below TX_RING");
            bytes = later;
            self.left -= fits;
            self.used += fits;
            if self.used == TX_BUFFER {
                (self.slot, self.used) = ((self.slot + 1) % TX_RING, 0);
            }
        }
    }
}

/// A context for one checksum (§7.2, TUCSS and TUCSO count from the start of the frame; TUCSE = 0 is its end).
fn checksum_context(start: u16, offset: u16, total: usize) -> Result<TxContext, TxError> {
    let field = start.checked_add(offset).ok_or(TxError::Offload)?;
    if usize::from(start) < MIN_FRAME || usize::from(field) + 2 > total {
        return Err(TxError::Offload);
    }
    Ok(TxContext {
        ip_start: 0,
        ip_checksum: 0,
        ip_end: 0,
        l4_start: u8::try_from(start).map_err(|_| TxError::Offload)?,
        l4_checksum: u8::try_from(field).map_err(|_| TxError::Offload)?,
        kind: TxContextKind::Checksum,
    })
}
