//! From an unknown state to a quiet, freshly reset chip, then the general configuration (§4.6.2).
//!
//! Rings and filters are not touched here: `device.rs` calls `rx.rs`, `tx.rs`, `filter.rs` afterwards.

use crate::chip::{Chip, Family};
use crate::error::SetupError;
use crate::regs::{self, Regs, cause, ctrl, ctrl_ext, dctl, nvm, status, tarc, tctl};
use hal::clock::Clock;
use hal::mmio::Mmio;

/// How long outstanding PCIe requests may take to drain; other drivers of this chip wait as long.
const MASTER_DISABLE_US: u32 = 80_000;
/// Lets receptions and transmissions in flight end before the reset.
const QUIESCE_US: u32 = 10_000;
/// NVM auto-read after a reset.
const NVM_READ_US: u32 = 100_000;
/// The PHY is configured from the NVM only after EECD.AUTO_RD; the chip offers no bit to wait for.
const PHY_CONFIG_US: u32 = 25_000;
/// How long firmware may hold the management bus.
const MDIO_OWNERSHIP_US: u32 = 10_000;

/// Resets the MAC (§4.2.1.4, CTRL.RST); the PHY and the PCI configuration survive.
///
/// # Errors
/// [`SetupError::Absent`] when the card does not answer, [`SetupError::NvmTimeout`] when it does not recover.
pub(crate) fn global_reset<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C) -> Result<(), SetupError> {
    if !regs.present() {
        return Err(SetupError::Absent);
    }
    // Step 1: stop new PCIe requests and let pending ones end (CTRL.GIO_MASTER_DISABLE). A chip that does not
    // confirm is reset all the same: the IOMMU keeps its requests inside the arena.
    regs.modify(regs::CTRL, ctrl::GIO_MASTER_DISABLE, 0);
    let _drained = regs.wait(clock, (regs::STATUS, status::GIO_MASTER_ENABLE, 0), MASTER_DISABLE_US);
    // Step 2: no interrupts (§4.6.1), no reception, no transmission.
    regs.write(regs::IMC, cause::ALL);
    regs.write(regs::RCTL, 0);
    regs.write(regs::TCTL, tctl::PSP);
    regs.flush();
    clock.delay_us(QUIESCE_US);
    // Step 3: own the management bus, so that firmware is not in the middle of a PHY access. Not fatal: the
    // reset releases it, and Linux goes on as well.
    let _owned = take_mdio(regs, clock);
    // Step 4: reset. CTRL.PHY_RST is left out on purpose: the PHY keeps its link, so a restarted netvm is
    // online without the one to three seconds of autonegotiation.
    regs.modify(regs::CTRL, ctrl::RST, 0);
    clock.delay_us(1_000);
    release_mdio(regs);
    // Step 5: the chip reloads its NVM by itself.
    if !regs.wait(clock, (regs::EECD, nvm::AUTO_RD, nvm::AUTO_RD), NVM_READ_US) {
        return Err(if regs.present() { SetupError::NvmTimeout } else { SetupError::Absent });
    }
    clock.delay_us(PHY_CONFIG_US);
    // Step 6: the reset may have raised causes; mask and discard them (§4.6.1).
    regs.write(regs::IMC, cause::ALL);
    let _ = regs.read(regs::ICR);
    Ok(())
}

/// General configuration after a reset (§4.6.2). Every bit that matters is written, whether or not the
/// reset should have set it.
pub(crate) fn configure<M: Mmio>(regs: &Regs<M>, chip: &Chip) {
    match chip.family {
        Family::E82574 => configure_82574(regs),
    }
    // Link (§4.6.3): the PHY negotiates, the MAC follows. Frames keep their VLAN tags (VME = 0). Pause frames
    // are neither sent nor obeyed: a neighbour on the cable must not be able to stop us, nor we the cable.
    let off = ctrl::FRCSPD
        | ctrl::FRCDPLX
        | ctrl::RFCE
        | ctrl::TFCE
        | ctrl::VME
        | ctrl::GIO_MASTER_DISABLE
        | ctrl::RST;
    regs.modify(regs::CTRL, ctrl::SLU, off);
    // The standard pause address and type, so that such frames are recognised and end in the MAC.
    regs.write(regs::FCAL, 0x00C2_8001);
    regs.write(regs::FCAH, 0x0000_0100);
    regs.write(regs::FCT, 0x8808);
    regs.write(regs::FCTTV, 0);
    // No VLAN filter (RCTL.VFE = 0), but an unused table is cleared rather than left as found.
    for index in 0..regs::VFTA_LEN {
        regs.write(regs::VFTA + 4 * index, 0);
    }
    // One receive queue: no RSS (§7.1.11).
    regs.write(regs::MRQC, 0);
    // Skipped: PBA. The default split (20 KB receive, 20 KB transmit) suits 1500-byte frames.
    // Skipped: WUC and WUFC. Wake-up belongs to suspend, which nothing here does.
    // Skipped: LEDs (LEDCTL). The NVM's choice stands.
    // Skipped: ASPM. L0s and L1 should be off (specification update), but that is the host's PCI
    // configuration: the VMM shows a function without link registers, so it cannot be done from here.
    // Tells manageability firmware that a driver is in charge.
    regs.modify(regs::CTRL_EXT, ctrl_ext::DRV_LOAD, 0);
}

/// Bits that the 82574 specification update asks drivers to set.
fn configure_82574<M: Mmio>(regs: &Regs<M>) {
    regs.modify(regs::TXDCTL0, dctl::COUNT_DESC, 0);
    regs.modify(regs::TXDCTL1, dctl::COUNT_DESC, 0);
    regs.modify(regs::TARC0, tarc::ERRATUM_26 | tarc::ENABLE, tarc::ERRATUM_MASK);
    regs.modify(regs::CTRL, 0, ctrl::RESERVED_29);
    regs.modify(regs::CTRL_EXT, ctrl_ext::RESERVED_22, ctrl_ext::RESERVED_23);
    regs.modify(regs::GCR, regs::GCR_ERRATUM, 0);
    regs.modify(regs::GCR2, regs::GCR2_ERRATUM, 0);
}

/// Asks firmware for the management bus; whether it was granted in time.
pub(crate) fn take_mdio<M: Mmio, C: Clock>(regs: &Regs<M>, clock: &C) -> bool {
    const STEP_US: u32 = 1_000;
    for _ in 0..MDIO_OWNERSHIP_US / STEP_US {
        regs.modify(regs::EXTCNF_CTRL, regs::MDIO_SW_OWNERSHIP, 0);
        if regs.read(regs::EXTCNF_CTRL) & regs::MDIO_SW_OWNERSHIP != 0 {
            return true;
        }
        clock.delay_us(STEP_US);
    }
    false
}

/// Gives the management bus back.
pub(crate) fn release_mdio<M: Mmio>(regs: &Regs<M>) {
    regs.modify(regs::EXTCNF_CTRL, 0, regs::MDIO_SW_OWNERSHIP);
}
