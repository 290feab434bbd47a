//! A virtio network device as a port, for machines that are not ours. It has no offloads.

use link::{Csum, Kind, Meta};
use rt::VirtioNet;
use rt::virtio_net::NotSent;
use torvm::frames::{Frames, PortFault};

/// A frame as it came off the cable: its checksum is nobody's word.
const FRAME: Meta = Meta { kind: Kind::Frame, csum: Csum::None, gso: None };

/// The device.
pub(crate) struct Nic {
    device: VirtioNet,
    /// The last look found nothing, so the next frame interrupts.
    drained: bool,
}

impl Nic {
    pub(crate) fn new(device: VirtioNet) -> Self {
        Self { device, drained: false }
    }
}

impl Frames for Nic {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        let received =
            self.device.receive(buffer).map_err(|_| PortFault("the virtio device broke the protocol"))?;
        self.drained = received.is_none();
        Ok(received.map(|len| (FRAME, len)))
    }

    fn send(&mut self, _: &Meta, frame: &[u8]) -> bool {
        // What is too long, or meets a device that is broken, is lost.
        self.device.send(&[frame]) != Err(NotSent::Full)
    }

    fn has_room(&mut self, _: usize) -> bool {
        self.device.has_room()
    }

    /// Every frame is handed over at once.
    fn flush(&mut self) {}

    /// No offloads were agreed on.
    fn finishes_checksums(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        self.drained
    }
}
