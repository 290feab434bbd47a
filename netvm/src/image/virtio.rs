//! A virtio network device as a [`Nic`]. It has no offloads: netvm does what they would.

use netvm::nic::{Nic, NicGone, Offload, Offloads, RxChecksum, TxError};
use rt::virtio_net::{FRAME_MAX, NotSent, VirtioNet};

/// The device, and room for the frame that is looked at.
pub(crate) struct VirtioCard {
    device: VirtioNet,
    frame: [u8; FRAME_MAX],
    faulty: bool,
}

impl VirtioCard {
    /// Takes the device over.
    pub(crate) fn new(device: VirtioNet) -> Self {
        Self { device, frame: [0; FRAME_MAX], faulty: false }
    }
}

impl Nic for VirtioCard {
    fn mac(&self) -> [u8; 6] {
        self.device.mac()
    }

    /// The driver does not negotiate link state: the cable counts as connected.
    fn link_up(&self) -> bool {
        !self.faulty
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn receive(&mut self, budget: usize, mut sink: impl FnMut(&[u8], RxChecksum)) -> usize {
        let mut seen = 0;
        while seen < budget {
            match self.device.receive(&mut self.frame) {
                Ok(Some(len)) => sink(self.frame.get(..len).unwrap_or(&[]), RxChecksum::Unknown),
                Ok(None) => break,
                Err(_) => {
                    self.faulty = true;
                    break;
                }
            }
            seen += 1;
        }
        seen
    }

    fn send(&mut self, frame: &[u8], _: Offload) -> Result<(), TxError> {
        self.device.send(&[frame]).map_err(|why| match why {
            NotSent::Full => TxError::Full,
            NotSent::TooLong => TxError::Refused,
            NotSent::Fault => {
                self.faulty = true;
                TxError::Refused
            }
        })
    }

    /// Every frame is handed over at once.
    fn flush(&mut self) {}

    fn service(&mut self) -> Result<(), NicGone> {
        if self.faulty { Err(NicGone) } else { Ok(()) }
    }

    /// Without a control queue the device passes every group.
    fn set_groups(&mut self, _: &[[u8; 6]]) {}

    /// A look that found no frame has asked for the interrupt of the next.
    fn arm(&mut self) -> bool {
        true
    }
}
