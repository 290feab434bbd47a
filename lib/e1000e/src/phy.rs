//! The PHY, through the management data interface (MDIC), and its autonegotiation (§4.6.3; registers of
//! IEEE 802.3 clauses 22 and 40).

use crate::chip::Chip;
use crate::error::SetupError;
use crate::regs::{self, Regs, mdic};
use crate::reset::{release_mdio, take_mdio};
use hal::clock::Clock;
use hal::mmio::Mmio;

/// One MDIO frame takes 64 µs; the chip may be busy with its own polling.
const MDIC_US: u32 = 2_000;

// IEEE 802.3 clause 22 registers.
const CONTROL: u8 = 0;
const STATUS: u8 = 1;
const ID1: u8 = 2;
const ADVERTISE: u8 = 4;
const CONTROL_1000: u8 = 9;

const CONTROL_RESTART_AN: u16 = 1 << 9;
const CONTROL_ISOLATE: u16 = 1 << 10;
const CONTROL_POWER_DOWN: u16 = 1 << 11;
const CONTROL_AN_ENABLE: u16 = 1 << 12;
const STATUS_LINK: u16 = 1 << 2;
/// 10 and 100 Mbit/s, half and full duplex, IEEE 802.3 selector; no pause (see `reset.rs`).
const ADVERTISE_ALL: u16 = 0x01E1;
const ADVERTISE_MASK: u16 = 0x0FFF;
/// 1000BASE-T full duplex; half duplex exists on paper only.
const ADVERTISE_1000_FULL: u16 = 1 << 9;
const ADVERTISE_1000_MASK: u16 = 0x0300;
/// First identifier word of the PHYs that this family carries (Marvell's OUI).
const KNOWN_ID1: u16 = 0x0141;

/// The PHY of one card, while the management bus is ours.
struct Phy<'a, M, C> {
    regs: &'a Regs<M>,
    clock: &'a C,
    address: u32,
}

/// Makes sure that the PHY negotiates what we want; restarts negotiation only if it has to.
///
/// # Errors
/// [`SetupError::Phy`] when the PHY does not answer or is not of a known make.
pub(crate) fn negotiate<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C, chip: &Chip) -> Result<(), SetupError> {
    let owned = take_mdio(regs, clock);
    let result = Phy { regs, clock, address: u32::from(chip.phy_address) }.negotiate();
    if owned {
        release_mdio(regs);
    }
    result.ok_or(SetupError::Phy)
}

impl<M: Mmio, C: Clock> Phy<'_, M, C> {
    fn negotiate(&self) -> Option<()> {
        if self.read(ID1)? != KNOWN_ID1 {
            return None;
        }
        // Skipped: PHY soft reset and copper control. The NVM configured automatic crossover already, and a
        // reset would drop the link.
        let mut changed = self.update(ADVERTISE, ADVERTISE_ALL, ADVERTISE_MASK)?;
        changed |= self.update(CONTROL_1000, ADVERTISE_1000_FULL, ADVERTISE_1000_MASK)?;
        let control = self.read(CONTROL)?;
        let healthy =
            control & (CONTROL_POWER_DOWN | CONTROL_ISOLATE | CONTROL_AN_ENABLE) == CONTROL_AN_ENABLE;
        // Link status latches low (IEEE 802.3 22.2.4.2.13): the second read is the present.
        self.read(STATUS)?;
        let linked = self.read(STATUS)? & STATUS_LINK != 0;
        if changed || !healthy || !linked {
            self.write(CONTROL, CONTROL_AN_ENABLE | CONTROL_RESTART_AN)?;
        }
        Some(())
    }

    /// Sets the bits of `mask` to `want`; whether that changed anything.
    fn update(&self, reg: u8, want: u16, mask: u16) -> Option<bool> {
        let old = self.read(reg)?;
        let new = (old & !mask) | want;
        if new != old {
            self.write(reg, new)?;
        }
        Some(new != old)
    }

    fn read(&self, reg: u8) -> Option<u16> {
        let answer = self.transact(mdic::OP_READ | u32::from(reg) << mdic::REG_SHIFT)?;
        u16::try_from(answer & mdic::DATA).ok()
    }

    fn write(&self, reg: u8, value: u16) -> Option<()> {
        self.transact(mdic::OP_WRITE | u32::from(reg) << mdic::REG_SHIFT | u32::from(value)).map(drop)
    }

    /// One MDIO frame (MDIC, §10.2.2.7): write the command, wait for READY, refuse ERROR.
    fn transact(&self, command: u32) -> Option<u32> {
        self.regs.write(regs::MDIC, command | self.address << mdic::PHY_SHIFT);
        let ready = (regs::MDIC, mdic::READY, mdic::READY);
        if !self.regs.wait(self.clock, ready, MDIC_US) {
            return None;
        }
        let answer = self.regs.read(regs::MDIC);
        (answer & mdic::ERROR == 0).then_some(answer)
    }
}
