//! Frames that the guest sends: judged, then put on the wire.

use super::header::{self, LEN, Malformed, Offloads};
use super::wire::{Room, Wire};
use super::{BUDGET, Burst, Counters};
use crate::virtio::chain::Chain;
use crate::virtio::queue::{QueueFault, VirtQueue};

/// The direction's state.
pub(super) struct FromGuest {
    chain: Chain,
    /// Private copy of the frame at hand.
    frame: Vec<u8>,
    pub(super) offloads: Offloads,
    mtu: u16,
}

impl FromGuest {
    pub(super) fn new(mtu: u16) -> Self {
        Self {
            chain: Chain::with_room(),
            frame: vec![0; link::MAX_PAYLOAD],
            offloads: Offloads::default(),
            mtu,
        }
    }

    /// Moves frames from the queue to the wire, at most a burst. A frame without room stays in the queue.
    pub(super) fn run<W: Wire>(
        &mut self,
        queue: &mut VirtQueue,
        wire: &mut W,
        counters: &Counters,
    ) -> Result<Burst, QueueFault> {
        for _ in 0..BUDGET {
            if !queue.pop(&mut self.chain)? {
                return Ok(Burst::Drained);
            }
            if !self.chain.writable().is_empty() {
                return Err(QueueFault::Direction);
            }
            let len = self.chain.readable().len().checked_sub(LEN).ok_or(QueueFault::TooShort)?;
            match wire.room(len.min(self.frame.len())) {
                Room::Later => {
                    queue.unpop(1);
                    return Ok(Burst::NoRoom(len));
                }
                Room::Down => counters.no_peer.bump(),
                Room::Yes => self.forward(queue, wire, len, counters)?,
            }
            queue.push(self.chain.head(), 0)?;
        }
        Ok(Burst::More)
    }

    fn forward<W: Wire>(
        &mut self,
        queue: &VirtQueue,
        wire: &mut W,
        len: usize,
        counters: &Counters,
    ) -> Result<(), QueueFault> {
        let mut bytes = [0; LEN];
        self.chain.read(queue.memory(), 0, &mut bytes)?;
        let Some(frame) = self.frame.get_mut(..len) else {
            counters.bad_length.bump();
            return Ok(());
        };
        self.chain.read(queue.memory(), LEN, frame)?;
        match header::decode(&bytes, frame, self.offloads, self.mtu) {
            Err(Malformed::Length) => counters.bad_length.bump(),
            Err(Malformed::Header) => counters.bad_header.bump(),
            Ok(meta) if wire.send(&meta, frame).is_ok() => {
                counters.frames_from_guest.bump();
                counters.bytes_from_guest.add(len as u64);
            }
            Ok(_) => counters.refused.bump(),
        }
        Ok(())
    }
}
