//! The rules for register writes.

use super::{Model, RESET_US};
use crate::desc::{POISON, SIZE};
use crate::regs::{self, cause, ctrl, rctl, rfctl, tctl};
use std::format;

/// Bits of RCTL that exist.
const RCTL_BITS: u32 = 0x7EDF_BFFE;
/// Bits of TCTL that exist.
const TCTL_BITS: u32 = 0x7FFF_FFFA;

/// Registers that this generation has and drivers may touch.
pub(super) fn known(reg: u32) -> bool {
    use regs::{
        CTRL, CTRL_EXT, EECD, EERD, EIAC, EXTCNF_CTRL, FCAH, FCAL, FCT, FCTTV, GCR, GCR2, IAM, ICR, IMC, IMS,
        ITR, IVAR, MDIC, MRQC, MTA, RADV, RAL_BASE, RCTL, RDBAH0, RDBAL0, RDH0, RDLEN0, RDT0, RDTR, RFCTL,
        RXCSUM, RXDCTL0, STATUS, TADV, TARC0, TCTL, TDBAH0, TDBAL0, TDH0, TDLEN0, TDT0, TIDV, TIPG, TXDCTL0,
        TXDCTL1, VFTA,
    };
    let table = (MTA..MTA + 512).contains(&reg)
        || (RAL_BASE..RAL_BASE + 128).contains(&reg)
        || (VFTA..VFTA + 512).contains(&reg)
        || (regs::eitr(0)..=regs::eitr(4)).contains(&reg);
    reg.is_multiple_of(4)
        && (table
            || [
                CTRL,
                CTRL_EXT,
                EECD,
                EERD,
                EIAC,
                EXTCNF_CTRL,
                FCAH,
                FCAL,
                FCT,
                FCTTV,
                GCR,
                GCR2,
                IAM,
                ICR,
                IMC,
                IMS,
                ITR,
                IVAR,
                MDIC,
                MRQC,
                RADV,
                RCTL,
                RDBAH0,
                RDBAL0,
                RDH0,
                RDLEN0,
                RDT0,
                RDTR,
                RFCTL,
                RXCSUM,
                RXDCTL0,
                STATUS,
                TADV,
                TARC0,
                TCTL,
                TDBAH0,
                TDBAL0,
                TDH0,
                TDLEN0,
                TDT0,
                TIDV,
                TIPG,
                TXDCTL0,
                TXDCTL1,
            ]
            .contains(&reg))
}

impl Model {
    /// Writes down what is wrong with a write, before it happens.
    pub(super) fn check_write(&mut self, reg: u32, value: u32) {
        if !known(reg) {
            self.breach(format!("write of {value:#x} to unknown register {reg:#x}"));
        }
        if self.reset_us != 0 && self.now() < self.reset_us + RESET_US {
            self.breach(format!("write to {reg:#x} during the reset"));
        }
        match reg {
            regs::CTRL if value & ctrl::RST != 0 => self.check_reset(),
            regs::STATUS | regs::EECD => self.breach(format!("write to read-only {reg:#x}")),
            regs::MDIC => self.check_mdic(),
            regs::EERD if self.now() < self.eerd_ready_us => self.breach("EERD written while busy".into()),
            regs::IMS if self.get(regs::IVAR) == 0 && value & cause::MSIX != 0 => {
                self.breach("MSI-X cause unmasked without a route".into());
            }
            regs::RCTL => self.check_rctl(value),
            regs::TCTL => self.check_tctl(value),
            regs::RDT0 => self.check_rdt(value),
            regs::TDT0 => self.check_tdt(value),
            regs::RDBAL0 | regs::RDBAH0 | regs::RDLEN0 | regs::RDH0 if self.receiving() => {
                self.breach(format!("receive ring register {reg:#x} written while enabled"));
            }
            regs::TDBAL0 | regs::TDBAH0 | regs::TDLEN0 | regs::TDH0 if self.sending() => {
                self.breach(format!("transmit ring register {reg:#x} written while enabled"));
            }
            regs::RFCTL if self.receiving() && (self.get(reg) ^ value) & rfctl::EXTEN != 0 => {
                self.breach("descriptor format changed while receiving".into());
            }
            _ => {}
        }
        let aligned = match reg {
            regs::RDBAL0 | regs::TDBAL0 => value.is_multiple_of(16),
            regs::RDLEN0 | regs::TDLEN0 => value.is_multiple_of(128) && value <= 0xF_FF80,
            _ => true,
        };
        if !aligned {
            self.breach(format!("{value:#x} is misaligned for {reg:#x}"));
        }
    }

    pub(super) fn receiving(&self) -> bool {
        self.get(regs::RCTL) & rctl::EN != 0
    }

    pub(super) fn sending(&self) -> bool {
        self.get(regs::TCTL) & tctl::EN != 0
    }

    fn check_reset(&mut self) {
        if self.get(regs::CTRL) & ctrl::GIO_MASTER_DISABLE == 0 {
            self.breach("reset without disabling bus mastering first".into());
        }
        if self.receiving() || self.sending() {
            self.breach("reset while receiving or transmitting".into());
        }
        if self.ims != 0 {
            self.breach("reset with interrupts unmasked".into());
        }
    }

    fn check_mdic(&mut self) {
        if self.get(regs::EXTCNF_CTRL) & regs::MDIO_SW_OWNERSHIP == 0 {
            self.breach("MDIC used without owning the bus".into());
        }
        if self.now() < self.mdic_ready_us {
            self.breach("MDIC written while busy".into());
        }
    }

    fn check_rctl(&mut self, value: u32) {
        if value & !RCTL_BITS != 0 {
            self.breach(format!("reserved RCTL bits in {value:#x}"));
        }
        if value & rctl::EN != 0 && !self.receiving() {
            self.check_enable("receive", regs::RDBAL0, regs::RDLEN0);
            if self.get(regs::RDH0) != 0 || self.get(regs::RDT0) != 0 {
                self.breach("receiver enabled with a ring that is not empty".into());
            }
        }
    }

    fn check_tctl(&mut self, value: u32) {
        if value & !TCTL_BITS != 0 {
            self.breach(format!("reserved TCTL bits in {value:#x}"));
        }
        if value & tctl::EN != 0 && !self.sending() {
            self.check_enable("transmit", regs::TDBAL0, regs::TDLEN0);
            if self.get(regs::TARC0) & regs::tarc::ENABLE == 0 {
                self.breach("transmitter enabled with its queue disabled".into());
            }
        }
    }

    /// A ring must exist and be poisoned throughout before it is enabled.
    fn check_enable(&mut self, name: &str, base: u32, len: u32) {
        if self.get(len) == 0 {
            self.breach(format!("{name} ring enabled without a length"));
        }
        for index in 0..self.get(len) as usize / SIZE {
            if self.descriptor(base, index) != Some([POISON; 2]) {
                self.breach(format!("{name} descriptor {index} is not poisoned"));
                return;
            }
        }
    }

    fn check_rdt(&mut self, tail: u32) {
        let count = self.get(regs::RDLEN0) / 16;
        if tail == 0 && !self.receiving() {
            return;
        }
        if !self.receiving() {
            self.breach("receive tail moved before the receiver was enabled".into());
        }
        if tail >= count {
            return self.breach(format!("receive tail {tail} beyond {count} descriptors"));
        }
        let (head, old) = (self.get(regs::RDH0), self.get(regs::RDT0));
        let owned = (old + count - head) % count;
        if (tail + count - head) % count < owned {
            self.breach(format!("receive tail {tail} takes descriptors back (head {head}, tail {old})"));
        }
        for index in (0..count).map(|step| (old + step) % count).take_while(|index| *index != tail) {
            match self.descriptor(regs::RDBAL0, index as usize) {
                Some([buffer, 0]) if self.bus.read(buffer, &mut [0; crate::rx::RX_BUFFER]) => {}
                other => self.breach(format!("receive descriptor {index} handed over as {other:x?}")),
            }
        }
    }

    fn check_tdt(&mut self, tail: u32) {
        let count = self.get(regs::TDLEN0) / 16;
        if tail == 0 && !self.sending() {
            return;
        }
        if !self.sending() {
            self.breach("transmit tail moved before the transmitter was enabled".into());
        }
        if tail >= count {
            return self.breach(format!("transmit tail {tail} beyond {count} descriptors"));
        }
        let (head, old) = (self.get(regs::TDH0), self.get(regs::TDT0));
        if (tail + count - head) % count < (old + count - head) % count {
            self.breach(format!("transmit tail {tail} overtakes head {head} (tail {old})"));
        }
    }
}
