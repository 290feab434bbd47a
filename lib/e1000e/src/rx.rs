//! The receive ring (§7.1): extended descriptors, one 2048-byte buffer each, a frame never spans two.
//!
//! The device may write anything into this memory at any moment. So: the position is kept here and never
//! read from the device, a descriptor's status is loaded once as one 64-bit word and believed only with DD
//! set, its length is bounded by the buffer, and the frame is copied out before anyone looks at it.

use crate::desc::{POISON, RxWriteBack, SIZE};
use crate::error::SetupError;
use crate::interrupt::Moderation;
use crate::regs::{self, Regs, dctl, rctl, rfctl, rxcsum};
use crate::stats::RxCounters;
use hal::dma::{Dma, DmaRegion, fence};
use hal::mmio::Mmio;

/// Descriptors in the ring.
pub const RX_RING: usize = 512;
/// Bytes of one buffer, which the card is told as RCTL.BSIZE.
pub const RX_BUFFER: usize = 2048;
/// Shortest thing that is still an Ethernet frame: its header.
const MIN_FRAME: usize = 14;
const ALIGN: usize = 4096;

/// What the card claims about a frame. A hint: check what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxHints {
    /// The card's opinion of the checksums.
    pub checksum: RxChecksum,
}

/// The card's opinion of a frame's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// It did not look.
    Unknown,
    /// The IPv4 header checksum is right; nothing is said about the payload.
    IpGood,
    /// The TCP or UDP checksum is right, and so is the IPv4 one if there is one.
    Good,
    /// One of them is wrong.
    Bad,
}

/// The receiving half of the data path.
#[derive(Debug)]
pub struct Receiver<'a, M, R> {
    pub(crate) regs: &'a Regs<M>,
    pub(crate) ring: &'a mut RxRing<R>,
}

impl<M: Mmio, R: DmaRegion> Receiver<'_, M, R> {
    /// Hands up to `budget` received frames to `sink`, each as a private copy of 14 to [`RX_BUFFER`] bytes
    /// without CRC, then returns their buffers to the card with one register write.
    ///
    /// Returns how many descriptors were looked at: 0 means that nothing waits, `budget` that more may.
    pub fn poll(&mut self, budget: usize, sink: &mut impl FnMut(&[u8], RxHints)) -> usize {
        self.ring.poll(self.regs, budget, sink)
    }
}

/// The ring; lives as long as the card is driven.
#[derive(Debug)]
pub(crate) struct RxRing<R> {
    ring: R,
    buffers: R,
    /// The descriptor that the card fills next.
    next: usize,
    /// Descriptors consumed since the tail register was last written.
    consumed: usize,
    /// In the middle of a frame that spans descriptors: drop up to its end.
    discarding: bool,
    pub(crate) moderation: Moderation,
    pub(crate) counters: RxCounters,
    /// Private copy of the frame being looked at.
    frame: [u8; RX_BUFFER],
}

impl<R: DmaRegion> RxRing<R> {
    /// Takes the ring's memory from the arena.
    pub(crate) fn new(dma: &mut impl Dma<Region = R>) -> Result<Self, SetupError> {
        let ring = dma.alloc(RX_RING * SIZE, ALIGN).ok_or(SetupError::NoDmaMemory)?;
        let buffers = dma.alloc(RX_RING * RX_BUFFER, ALIGN).ok_or(SetupError::NoDmaMemory)?;
        Ok(Self {
            ring,
            buffers,
            next: 0,
            consumed: 0,
            discarding: false,
            moderation: Moderation::new(),
            counters: RxCounters::default(),
            frame: [0; RX_BUFFER],
        })
    }

    /// Receive initialisation (§4.6.5); the receiver is off and the chip freshly reset.
    pub(crate) fn start<M: Mmio>(&mut self, regs: &Regs<M>) {
        (self.next, self.consumed, self.discarding) = (0, 0, false);
        // Nothing in the ring is usable until it is handed over.
        for index in 0..RX_RING {
            self.ring.write_u64(index * SIZE, POISON);
            self.ring.write_u64(index * SIZE + 8, POISON);
        }
        fence();
        // Step 1: ring address and length; an empty ring (head = tail).
        let [low, high] = halves(self.ring.bus_addr());
        regs.write(regs::RDBAL0, low);
        regs.write(regs::RDBAH0, high);
        regs.write(regs::RDLEN0, u32::try_from(RX_RING * SIZE).unwrap_or(0));
        regs.write(regs::RDH0, 0);
        regs.write(regs::RDT0, 0);
        // Step 2: fetch 32 descriptors ahead, write each one back at once.
        let thresholds = 32 << dctl::PTHRESH_SHIFT | 4 << dctl::HTHRESH_SHIFT | 1 << dctl::WTHRESH_SHIFT;
        regs.write(regs::RXDCTL0, dctl::GRAN | thresholds);
        // Step 3: extended descriptors (§7.1.4), NFS and iSCSI parsing off, checksum checking on (§7.1.10).
        let extended = rfctl::EXTEN | rfctl::ISCSI_DIS | rfctl::NFSW_DIS | rfctl::NFSR_DIS;
        regs.modify(regs::RFCTL, extended, 0);
        regs.write(regs::RXCSUM, rxcsum::IPOFL | rxcsum::TUOFL);
        // Step 4: 2048-byte buffers, broadcast accepted, CRC stripped. Long frames (LPE), bad frames (SBP),
        // promiscuous modes, packet split (DTYP) and VLAN filter (VFE) stay off.
        regs.write(regs::RCTL, rctl::BAM | rctl::SECRC);
    }

    /// Turns the receiver on and hands all descriptors but one to the card: a full ring must not look
    /// empty (§7.1.8).
    pub(crate) fn enable<M: Mmio>(&mut self, regs: &Regs<M>) {
        regs.modify(regs::RCTL, rctl::EN, 0);
        (0..RX_RING).for_each(|index| self.provide(index));
        self.publish(regs);
    }

    /// Looks at up to `budget` descriptors and hands good frames to `sink`; how many it looked at.
    pub(crate) fn poll<M: Mmio>(
        &mut self,
        regs: &Regs<M>,
        budget: usize,
        sink: &mut impl FnMut(&[u8], RxHints),
    ) -> usize {
        let mut seen = 0;
        while seen < budget.min(RX_RING) {
            let word = RxWriteBack(self.ring.read_u64(self.next * SIZE + 8));
            if !word.done() {
                break;
            }
            fence();
            self.consume(word, sink);
            self.provide(self.next);
            self.next = (self.next + 1) % RX_RING;
            seen += 1;
        }
        self.consumed += seen;
        if self.consumed > 0 {
            self.publish(regs);
        }
        seen
    }

    /// Whether a filled descriptor waits.
    pub(crate) fn ready(&self) -> bool {
        RxWriteBack(self.ring.read_u64(self.next * SIZE + 8)).done()
    }

    /// Judges one written-back descriptor.
    fn consume(&mut self, word: RxWriteBack, sink: &mut impl FnMut(&[u8], RxHints)) {
        let whole = word.end_of_packet() && !self.discarding;
        self.discarding = !word.end_of_packet();
        if !whole {
            // Counted once per frame, at its end; a frame fits one buffer unless the card misbehaves.
            self.counters.fragmented += u64::from(word.end_of_packet());
            return;
        }
        let len = word.claimed_len();
        if word.damaged() {
            self.counters.damaged += 1;
            return;
        }
        let Some(frame) = self.frame.get_mut(..len).filter(|frame| !frame.is_empty()) else {
            self.counters.bad_length += 1;
            return;
        };
        if frame.len() < MIN_FRAME {
            self.counters.runt += 1;
            return;
        }
        if !self.buffers.read(self.next * RX_BUFFER, frame) {
            self.counters.bad_length += 1;
            return;
        }
        self.counters.frames += 1;
        self.counters.bytes += len as u64;
        self.moderation.count(len);
        sink(frame, hints(word));
    }

    /// Makes a descriptor ready for the card: its buffer's address, and no DD.
    fn provide(&self, index: usize) {
        self.ring.write_u64(index * SIZE, self.buffers.bus_addr() + (index * RX_BUFFER) as u64);
        self.ring.write_u64(index * SIZE + 8, 0);
    }

    /// Hands over everything up to the descriptor before the next one to be read, with one tail write.
    fn publish<M: Mmio>(&mut self, regs: &Regs<M>) {
        self.consumed = 0;
        fence();
        let tail = (self.next + RX_RING - 1) % RX_RING;
        regs.write(regs::RDT0, u32::try_from(tail).unwrap_or(0));
    }
}

fn hints(word: RxWriteBack) -> RxHints {
    let checksum = if word.checksum_error() {
        RxChecksum::Bad
    } else if word.checksum_good() {
        RxChecksum::Good
    } else if word.ip_checksum_good() {
        RxChecksum::IpGood
    } else {
        RxChecksum::Unknown
    };
    RxHints { checksum }
}

/// Low and high half of a bus address.
pub(crate) fn halves(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
