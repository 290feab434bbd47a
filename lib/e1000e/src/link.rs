//! Link state, as STATUS shows it (§10.2.2.2).

use crate::regs::{self, Regs, status};
use hal::mmio::Mmio;

/// State of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No carrier, or negotiation under way.
    Down,
    /// Frames can flow.
    Up {
        /// 10, 100 or 1000.
        mbps: u16,
        /// Whether both directions flow at once.
        duplex: Duplex,
    },
}

/// Duplex of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplex {
    /// One direction at a time.
    Half,
    /// Both directions at once.
    Full,
}

/// What STATUS says about the link and the transmitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkReport {
    pub(crate) state: LinkState,
    /// The transmitter is paused (XOFF): not a hang.
    pub(crate) paused: bool,
}

/// Reads the link state.
pub(crate) fn report<M: Mmio>(regs: &Regs<M>) -> LinkReport {
    let bits = regs.read(regs::STATUS);
    LinkReport { state: decode(bits), paused: bits & status::TXOFF != 0 }
}

fn decode(bits: u32) -> LinkState {
    if bits & status::LU == 0 || bits == u32::MAX {
        return LinkState::Down;
    }
    let mbps = match bits >> status::SPEED_SHIFT & status::SPEED_MASK {
        0b00 => 10,
        0b01 => 100,
        _ => 1000,
    };
    let duplex = if bits & status::FD != 0 { Duplex::Full } else { Duplex::Half };
    LinkState::Up { mbps, duplex }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_bits_decode() {
        assert_eq!(decode(0x0008_0083), LinkState::Up { mbps: 1000, duplex: Duplex::Full });
        assert_eq!(decode(0x0008_0042), LinkState::Up { mbps: 100, duplex: Duplex::Half });
        assert_eq!(decode(0x0008_0081), LinkState::Down);
        assert_eq!(decode(u32::MAX), LinkState::Down, "an absent card has no link");
    }
}
