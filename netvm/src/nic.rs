//! What netvm asks of a network card. Implemented for the e1000e driver here, for virtio-net by `main`.

mod e1000e;

pub use e1000e::E1000e;

use packet::ethernet::Mac;

/// A card that can be polled.
pub trait Nic {
    /// The card's own address.
    fn mac(&self) -> Mac;

    /// Largest IP packet on its segment.
    fn mtu(&self) -> u16 {
        1500
    }

    /// Whether the cable is connected, as of the last [`Self::service`].
    fn link_up(&self) -> bool;

    /// What the card does to frames on their way out.
    fn offloads(&self) -> Offloads;

    /// Hands up to `budget` received frames to `sink`, each without CRC and in private memory. Returns how many
    /// were looked at; less than `budget` means that nothing waits.
    fn receive(&mut self, budget: usize, sink: impl FnMut(&[u8], RxChecksum)) -> usize;

    /// Queues one frame, without CRC. It may stay at the card until [`Self::flush`].
    ///
    /// # Errors
    /// [`TxError`]; then nothing was queued.
    fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), TxError>;

    /// Ends a burst: the card sends what was queued, and buffers of what it has sent are free again.
    fn flush(&mut self);

    /// Slow path, once a second and after a wake-up for no frame: link state, watchdogs.
    ///
    /// # Errors
    /// [`NicGone`] when the card is beyond help.
    fn service(&mut self) -> Result<(), NicGone>;

    /// Chooses the multicast groups to receive; a card without a filter receives all.
    fn set_groups(&mut self, groups: &[Mac]);

    /// Asks for an interrupt and looks once more; `true` when the domain may sleep.
    fn arm(&mut self) -> bool;
}

/// What a card can do with a frame on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// [`Offload::Checksum`].
    pub checksum: bool,
    /// [`Offload::Segment`].
    pub tcp_segmentation: bool,
}

/// What the card shall do with this frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Send it as it is.
    #[default]
    None,
    /// Complete the transport checksum.
    Checksum {
        /// First byte that is summed, from the start of the frame.
        start: u16,
        /// Where the checksum is, from `start`.
        offset: u16,
    },
    /// Cut a TCP packet into segments.
    Segment {
        /// Payload bytes in each.
        size: u16,
    },
}

/// The card's opinion of a received frame's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// It has none.
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

/// A frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// No room; the next sleep ends when there is.
    Full,
    /// The card does not take such a frame.
    Refused,
}

/// The card is gone or hung for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicGone;

impl core::fmt::Display for NicGone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the network card is gone or hung for good")
    }
}

impl core::error::Error for NicGone {}
