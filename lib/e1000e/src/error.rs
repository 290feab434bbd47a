//! What can go wrong, in two kinds that never mix: set-up, and one frame.

use core::fmt;

/// The card cannot be brought up (or brought back after a hang). The domain that owns it should stop and say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// No table row for this PCI device id.
    UnknownChip(u16),
    /// The chip has no such interrupt mode.
    InterruptMode,
    /// All registers read as ones: no card behind the BAR, or memory decoding is off.
    Absent,
    /// The NVM was not loaded in time after a reset (EECD.AUTO_RD).
    NvmTimeout,
    /// Neither the receive address registers nor the NVM hold a usable station address.
    BadMac,
    /// The PHY did not answer on the management bus, or is not one that this driver knows.
    Phy,
    /// The DMA arena is too small for rings and buffers.
    NoDmaMemory,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownChip(id) => write!(f, "no driver for PCI device 8086:{id:04x}"),
            Self::InterruptMode => f.write_str("the card lacks the requested interrupt mode"),
            Self::Absent => f.write_str("the card does not answer (registers read as all ones)"),
            Self::NvmTimeout => f.write_str("the card did not load its NVM after a reset"),
            Self::BadMac => f.write_str("the card has no usable MAC address"),
            Self::Phy => f.write_str("the card's PHY does not answer"),
            Self::NoDmaMemory => f.write_str("the DMA arena is too small for the card's rings"),
        }
    }
}

impl core::error::Error for SetupError {}

/// A frame was not queued. Nothing was written to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// No room at the moment; try again after `reclaim`, or sleep: the next `arm` asks for a wake-up.
    Full,
    /// Shorter than an Ethernet header, or longer than the link (or segmentation) allows.
    Length,
    /// The offload request does not fit the headers of the frame.
    Offload,
}

impl fmt::Display for TxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "transmit ring full",
            Self::Length => "frame length out of range",
            Self::Offload => "offload request does not match the frame",
        })
    }
}

impl core::error::Error for TxError {}
