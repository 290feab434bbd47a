//! Frames that the wire brings: fitted to what the guest takes, then put into its buffers.

use super::header::{self, LEN, Offloads};
use super::wire::Wire;
use super::{BUDGET, Burst, Counters};
use crate::virtio::chain::Chain;
use crate::virtio::queue::{QueueFault, VirtQueue};
use link::{Kind, Meta};

/// Buffers at most for one frame: the longest frame in the smallest buffers that make sense.
const MAX_BUFFERS: usize = 64;

/// Whether a frame may lie in several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    One,
    Several,
}

/// The direction's state.
pub(super) struct ToGuest {
    first: Chain,
    more: Chain,
    /// Header and frame at hand.
    packet: Vec<u8>,
    /// Metadata and length of the frame at hand, while it waits for buffers.
    waiting: Option<(Meta, usize)>,
    /// The first buffer that was missing for it.
    missing: u16,
    used: Vec<(u16, usize)>,
    pub(super) offloads: Offloads,
    pub(super) buffers: Buffers,
}

/// What became of a frame.
enum Delivery {
    Done,
    NoBuffers,
    DoesNotFit,
}

impl ToGuest {
    pub(super) fn new() -> Self {
        Self {
            first: Chain::with_room(),
            more: Chain::with_room(),
            packet: vec![0; LEN + link::MAX_PAYLOAD],
            waiting: None,
            missing: 0,
            used: Vec::with_capacity(MAX_BUFFERS),
            offloads: Offloads::default(),
            buffers: Buffers::One,
        }
    }

    /// Whether a frame waits for buffers, and which is the first that was missing.
    pub(super) fn waits_for(&self) -> Option<u16> {
        self.waiting.map(|_| self.missing)
    }

    pub(super) fn forget(&mut self) {
        self.waiting = None;
    }

    /// Moves frames from the wire to the queue, at most a burst.
    pub(super) fn run<W: Wire>(
        &mut self,
        queue: &mut VirtQueue,
        wire: &mut W,
        counters: &Counters,
    ) -> Result<Burst, QueueFault> {
        for _ in 0..BUDGET {
            let (meta, len) = match self.waiting.take() {
                Some(frame) => frame,
                None => match self.next(wire, counters) {
                    Next::Frame(meta, len) => (meta, len),
                    Next::Dropped => continue,
                    Next::Nothing => return Ok(Burst::Drained),
                },
            };
            match self.deliver(queue, &meta, len)? {
                Delivery::NoBuffers => {
                    self.waiting = Some((meta, len));
                    counters.no_buffers.bump();
                    return Ok(Burst::NoRoom(len));
                }
                Delivery::DoesNotFit => counters.bad_buffers.bump(),
                Delivery::Done => {
                    counters.frames_to_guest.bump();
                    counters.bytes_to_guest.add(len as u64);
                }
            }
        }
        Ok(Burst::More)
    }

    /// Takes and drops what the wire brings while there is no driver.
    pub(super) fn discard<W: Wire>(&mut self, wire: &mut W, counters: &Counters) -> Burst {
        for _ in 0..BUDGET {
            if wire.recv(&mut self.packet[LEN..]).is_none() {
                return Burst::Drained;
            }
            counters.no_driver.bump();
        }
        Burst::More
    }

    fn next<W: Wire>(&mut self, wire: &mut W, counters: &Counters) -> Next {
        let buffer = &mut self.packet[LEN..];
        let Some((meta, len)) = wire.recv(buffer) else { return Next::Nothing };
        if meta.kind != Kind::Frame || len < header::ETHERNET {
            counters.not_a_frame.bump();
            return Next::Dropped;
        }
        match header::adapt(meta, &mut buffer[..len], self.offloads) {
            Some(meta) => Next::Frame(meta, len),
            None => {
                counters.not_taken.bump();
                Next::Dropped
            }
        }
    }

    /// Writes header and frame; what was popped is pushed or put back, never lost.
    fn deliver(&mut self, queue: &mut VirtQueue, meta: &Meta, len: usize) -> Result<Delivery, QueueFault> {
        let total = LEN + len;
        if !queue.pop(&mut self.first)? {
            self.missing = queue.next();
            return Ok(Delivery::NoBuffers);
        }
        let room = writable(&self.first)?;
        if room < LEN {
            return Err(QueueFault::TooShort);
        }
        let mut done = room.min(total);
        self.first.write(queue.memory(), LEN, &self.packet[LEN..done])?;
        self.used.clear();
        self.used.push((self.first.head(), done));
        while done < total {
            // A queue that is all used up will not grow: waiting for more would be for ever.
            let most = MAX_BUFFERS.min(queue.size().into());
            let another = self.buffers == Buffers::Several && self.used.len() < most;
            if !another {
                queue.unpop(popped(&self.used));
                return Ok(Delivery::DoesNotFit);
            }
            if !queue.pop(&mut self.more)? {
                self.missing = queue.next();
                queue.unpop(popped(&self.used));
                return Ok(Delivery::NoBuffers);
            }
            let piece = writable(&self.more)?.min(total - done);
            self.more.write(queue.memory(), 0, &self.packet[done..done + piece])?;
            self.used.push((self.more.head(), piece));
            done += piece;
        }
        self.first.write(queue.memory(), 0, &header::encode(meta, popped(&self.used)))?;
        queue.push_all(&self.used)?;
        Ok(Delivery::Done)
    }
}

/// What the wire had.
enum Next {
    Frame(Meta, usize),
    Dropped,
    Nothing,
}

/// Room in a receive buffer; one that is not writable is the driver's fault.
fn writable(chain: &Chain) -> Result<usize, QueueFault> {
    let room = chain.writable().len();
    if room == 0 || !chain.readable().is_empty() { Err(QueueFault::Direction) } else { Ok(room) }
}

fn popped(used: &[(u16, usize)]) -> u16 {
    u16::try_from(used.len()).unwrap_or(u16::MAX)
}
