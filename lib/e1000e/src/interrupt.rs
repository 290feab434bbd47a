//! Interrupts (§7.4): three MSI-X vectors, or one MSI or INTx, and how often they may fire.
//!
//! The driver polls; an interrupt only ends a sleep. Causes clear and mask themselves when the interrupt is
//! sent, `arm` unmasks them again before the next sleep.

use crate::regs::{self, Regs, cause, ctrl_ext, eitr, ivar, rfctl};
use hal::mmio::Mmio;

/// How the card signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// Vectors [`VECTOR_RX`], [`VECTOR_TX`] and [`VECTOR_OTHER`] of the MSI-X table.
    MsiX,
    /// One message.
    Msi,
    /// A level-triggered pin: it stays asserted until `Nic::acknowledge`.
    IntX,
}

/// MSI-X table entry of the receive queue.
pub const VECTOR_RX: u8 = 0;
/// MSI-X table entry of the transmit queue.
pub const VECTOR_TX: u8 = 1;
/// MSI-X table entry of everything else: link changes.
pub const VECTOR_OTHER: u8 = 2;

/// Whether the transmit queue should end a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxWake {
    /// Someone waits for room.
    Wanted,
    /// Finished frames can be collected later.
    Unwanted,
}

/// Routes causes to vectors; everything stays masked until [`arm`].
pub(crate) fn configure<M: Mmio>(regs: &Regs<M>, mode: InterruptMode) {
    regs.write(regs::IMC, cause::ALL);
    // Absolute and packet timers off (RDTR, RADV, TIDV, TADV): the throttle registers alone moderate (§7.4.4).
    for timer in [regs::RDTR, regs::RADV, regs::TIDV, regs::TADV] {
        regs.write(timer, 0);
    }
    if mode == InterruptMode::MsiX {
        // §7.4.2. RFCTL.ACK_DIS goes with MSI-X: an ACK cause would be lost with vectors.
        regs.modify(regs::RFCTL, rfctl::ACK_DIS, 0);
        let route = |vector: u8, shift: u32| (u32::from(vector) | ivar::VALID) << shift;
        let routes = route(VECTOR_RX, ivar::RXQ0_SHIFT)
            | route(VECTOR_TX, ivar::TXQ0_SHIFT)
            | route(VECTOR_OTHER, ivar::OTHER_SHIFT)
            | ivar::TX_EVERY_WB;
        regs.write(regs::IVAR, routes);
        // Sent causes clear themselves (EIAC) and mask themselves (EIAME); writing IMS also clears the
        // pending bit of the vector (PBA_CLR).
        regs.write(regs::EIAC, cause::MSIX);
        regs.write(regs::IAM, !cause::MSIX | cause::OTHER);
        regs.modify(regs::CTRL_EXT, ctrl_ext::PBA_CLR | ctrl_ext::EIAME, ctrl_ext::IAME);
        regs.write(eitr(VECTOR_OTHER), Class::Bulk.interval());
        regs.write(eitr(VECTOR_TX), Class::Bulk.interval());
    } else {
        // §7.4.1: reading ICR clears it, and with IAME masks what IAM names.
        regs.write(regs::IVAR, 0);
        regs.write(regs::EIAC, 0);
        regs.write(regs::IAM, cause::ALL);
        regs.modify(regs::CTRL_EXT, ctrl_ext::IAME, ctrl_ext::EIAME | ctrl_ext::PBA_CLR);
    }
}

/// Unmasks what shall end the coming sleep. A cause that is already pending fires at once.
pub(crate) fn arm<M: Mmio>(regs: &Regs<M>, mode: InterruptMode, tx: TxWake) {
    let (receive, transmit, other) = match mode {
        InterruptMode::MsiX => (cause::RXQ0, cause::TXQ0, cause::OTHER | cause::LSC),
        InterruptMode::Msi | InterruptMode::IntX => {
            (cause::RXT0 | cause::RXDMT0 | cause::RXO, cause::TXDW, cause::LSC)
        }
    };
    let transmit = if tx == TxWake::Wanted { transmit } else { 0 };
    regs.write(regs::IMS, receive | transmit | other);
}

/// Writes the receive throttle.
pub(crate) fn set_interval<M: Mmio>(regs: &Regs<M>, mode: InterruptMode, class: Class) {
    let register = if mode == InterruptMode::MsiX { eitr(VECTOR_RX) } else { regs::ITR };
    regs.write(register, class.interval());
}

/// Traffic classes of the dynamic moderation, each with its interrupt rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Few, small frames: latency counts. 70 000 per second.
    Lowest,
    /// Mixed traffic. 20 000 per second.
    Low,
    /// Full-size frames in quantity: throughput counts. 4 000 per second.
    Bulk,
}

impl Class {
    /// EITR and ITR count 256 ns steps (§10.2.4.2).
    const fn interval(self) -> u32 {
        let per_second = match self {
            Self::Lowest => 70_000,
            Self::Low => 20_000,
            Self::Bulk => 4_000,
        };
        1_000_000_000 / (per_second * 256)
    }
}

/// Chooses the class from what arrived between two sleeps.
#[derive(Debug)]
pub(crate) struct Moderation {
    class: Class,
    frames: u32,
    bytes: u32,
}

impl Moderation {
    pub(crate) const fn new() -> Self {
        Self { class: Class::Low, frames: 0, bytes: 0 }
    }

    /// The class in force.
    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// Counts one received frame.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Ends a window; the new class if it differs from the one in force.
    pub(crate) fn settle(&mut self) -> Option<Class> {
        let (frames, bytes) = (self.frames, self.bytes);
        (self.frames, self.bytes) = (0, 0);
        let average = bytes.checked_div(frames)?;
        // Steps between neighbours only, so that one odd window does not swing the rate.
        let next = match self.class {
            Class::Lowest if bytes > 10_000 => Class::Low,
            Class::Low if bytes > 25_000 && average > 1_000 => Class::Bulk,
            Class::Low if frames <= 2 && bytes < 512 => Class::Lowest,
            Class::Bulk if bytes < 6_000 => Class::Low,
            class => class,
        };
        (next != self.class).then(|| {
            self.class = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(moderation: &mut Moderation, frames: usize, bytes: usize) -> Option<Class> {
        (0..frames).for_each(|_| moderation.count(bytes));
        moderation.settle()
    }

    #[test]
    fn moderation_follows_the_traffic() {
        let mut moderation = Moderation::new();
        assert_eq!(window(&mut moderation, 0, 0), None, "an empty window says nothing");
        assert_eq!(window(&mut moderation, 1, 60), Some(Class::Lowest));
        assert_eq!(window(&mut moderation, 1, 60), None);
        assert_eq!(window(&mut moderation, 32, 1514), Some(Class::Low));
        assert_eq!(window(&mut moderation, 32, 1514), Some(Class::Bulk));
        assert_eq!(window(&mut moderation, 64, 60), Some(Class::Low));
        assert_eq!(window(&mut moderation, usize::from(u16::MAX), usize::MAX), Some(Class::Bulk));
    }

    #[test]
    fn intervals_are_256_ns_steps() {
        assert_eq!([Class::Lowest, Class::Low, Class::Bulk].map(Class::interval), [55, 195, 976]);
    }
}
