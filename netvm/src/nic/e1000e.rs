//! The e1000e driver as a [`Nic`].

use super::{Nic, NicGone, Offload, Offloads, RxChecksum, TxError};
use hal::{clock::Clock, dma::DmaRegion, mmio::Mmio};
use packet::ethernet::Mac;

/// A card driven by crate `e1000e-rs`.
#[derive(Debug)]
pub struct E1000e<M, R, C>(e1000e::Nic<M, R, C>);

impl<M: Mmio, R: DmaRegion, C: Clock> E1000e<M, R, C> {
    /// Takes over a card that was brought up.
    pub fn new(nic: e1000e::Nic<M, R, C>) -> Self {
        Self(nic)
    }

    /// The driver, for its counters.
    pub fn driver(&self) -> &e1000e::Nic<M, R, C> {
        &self.0
    }
}

impl<M: Mmio, R: DmaRegion, C: Clock> Nic for E1000e<M, R, C> {
    fn mac(&self) -> Mac {
        self.0.mac()
    }

    fn link_up(&self) -> bool {
        self.0.link() != e1000e::LinkState::Down
    }

    fn offloads(&self) -> Offloads {
        Offloads { checksum: true, tcp_segmentation: true }
    }

    fn receive(&mut self, budget: usize, mut sink: impl FnMut(&[u8], RxChecksum)) -> usize {
        let (mut receiver, _) = self.0.rings();
        receiver.poll(budget, &mut |frame, hints| {
            let checksum = match hints.checksum {
                e1000e::RxChecksum::Good => RxChecksum::Good,
                e1000e::RxChecksum::Bad => RxChecksum::Bad,
                e1000e::RxChecksum::Unknown | e1000e::RxChecksum::IpGood => RxChecksum::Unknown,
            };
            sink(frame, checksum);
        })
    }

    fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), TxError> {
        let offload = match offload {
            Offload::None => e1000e::TxOffload::None,
            Offload::Checksum { start, offset } => e1000e::TxOffload::Checksum { start, offset },
            Offload::Segment { size } => e1000e::TxOffload::Segment { mss: size },
        };
        let (_, mut transmitter) = self.0.rings();
        transmitter.send(&[frame], offload).map_err(|error| match error {
            e1000e::TxError::Full => TxError::Full,
            e1000e::TxError::Length | e1000e::TxError::Offload => TxError::Refused,
        })
    }

    fn flush(&mut self) {
        let (_, mut transmitter) = self.0.rings();
        transmitter.kick();
        transmitter.reclaim();
    }

    fn service(&mut self) -> Result<(), NicGone> {
        self.0.service().map(|_| ()).map_err(|_| NicGone)
    }

    fn set_groups(&mut self, groups: &[Mac]) {
        self.0.set_multicast(groups);
    }

    fn arm(&mut self) -> bool {
        self.0.arm() == e1000e::Armed::Sleep
    }
}
