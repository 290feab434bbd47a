//! A card with nothing to it, for tests and tools that run netvm without a machine: it has no offloads and no filter,
//! its link is up, its frames come from a [`Wire`] and go to it.

use crate::nic::{Nic, NicGone, Offload, Offloads, RxChecksum, TxError};
use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::{cell::RefCell, fmt};
use packet::ethernet::{HEADER_LEN, Mac};

/// Shortest and longest frame, without CRC, that goes over Ethernet.
const FRAME: core::ops::RangeInclusive<usize> = HEADER_LEN..=HEADER_LEN + 1500;

/// Where the frames of a [`Card`] come from and go to.
pub trait Wire {
    /// Hands the next frame to `sink`; `false` when there is none.
    fn take(&mut self, sink: impl FnOnce(&[u8])) -> bool;

    /// Puts a frame on the wire.
    fn put(&mut self, frame: &[u8]);

    /// Whether no frame waits; a wire that wakes its owner by other means need not look.
    fn is_quiet(&self) -> bool {
        true
    }
}

/// A card on a wire.
#[derive(Clone, Debug)]
pub struct Card<W> {
    /// Its address.
    pub mac: Mac,
    /// Its wire.
    pub wire: W,
}

impl<W: Wire> Nic for Card<W> {
    fn mac(&self) -> Mac {
        self.mac
    }

    fn link_up(&self) -> bool {
        true
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn receive(&mut self, budget: usize, mut sink: impl FnMut(&[u8], RxChecksum)) -> usize {
        (0..budget).take_while(|_| self.wire.take(|frame| sink(frame, RxChecksum::Unknown))).count()
    }

    /// # Panics
    /// When it is asked for what it does not offer, or for a frame that Ethernet does not carry: netvm must know.
    fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), TxError> {
        assert!(offload == Offload::None, "the card offers no {offload:?}");
        assert!(FRAME.contains(&frame.len()), "a frame of {} bytes", frame.len());
        self.wire.put(frame);
        Ok(())
    }

    fn flush(&mut self) {}

    fn service(&mut self) -> Result<(), NicGone> {
        Ok(())
    }

    fn set_groups(&mut self, _: &[Mac]) {}

    fn arm(&mut self) -> bool {
        self.wire.is_quiet()
    }
}

/// A wire whose other end is held by who made it; clones are the same wire.
#[derive(Clone, Default)]
pub struct Cable(Rc<RefCell<Ends>>);

#[derive(Default)]
struct Ends {
    to_card: VecDeque<Vec<u8>>,
    from_card: VecDeque<Vec<u8>>,
}

impl Cable {
    /// Sends a frame to the card.
    pub fn send(&self, frame: Vec<u8>) {
        self.0.borrow_mut().to_card.push_back(frame);
    }

    /// The next frame that came from the card.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.0.borrow_mut().from_card.pop_front()
    }
}

impl Wire for Cable {
    fn take(&mut self, sink: impl FnOnce(&[u8])) -> bool {
        // Before the sink may use the cable itself.
        let next = self.0.borrow_mut().to_card.pop_front();
        next.map(|frame| sink(&frame)).is_some()
    }

    fn put(&mut self, frame: &[u8]) {
        self.0.borrow_mut().from_card.push_back(frame.to_vec());
    }

    fn is_quiet(&self) -> bool {
        self.0.borrow().to_card.is_empty()
    }
}

impl fmt::Debug for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.0.borrow();
        write!(f, "Cable({} to the card, {} from it)", ends.to_card.len(), ends.from_card.len())
    }
}
