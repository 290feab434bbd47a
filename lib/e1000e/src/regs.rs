//! Register names and bits of the 82574 family, named as the datasheet names them.
//!
//! Section numbers (§) are those of the Intel 82574 GbE Controller Family Datasheet, revision 3.4. Bits said to
//! be asked for by the specification update are those that the vendor's own drivers set for this chip.
//! Registers stand in chapter 10.2, in its order: general (§10.2.2), PCIe (§10.2.3), interrupts (§10.2.4),
//! receive (§10.2.5), transmit (§10.2.6), statistics (§10.2.7). Reads and writes go through [`Regs`] only.

use hal::clock::Clock;
use hal::mmio::Mmio;

// General registers (§10.2.2).
pub(crate) const CTRL: u32 = 0x0000;
pub(crate) const STATUS: u32 = 0x0008;
pub(crate) const EECD: u32 = 0x0010;
pub(crate) const EERD: u32 = 0x0014;
pub(crate) const CTRL_EXT: u32 = 0x0018;
pub(crate) const MDIC: u32 = 0x0020;
pub(crate) const FCAL: u32 = 0x0028;
pub(crate) const FCAH: u32 = 0x002C;
pub(crate) const FCT: u32 = 0x0030;
pub(crate) const FCTTV: u32 = 0x0170;
pub(crate) const EXTCNF_CTRL: u32 = 0x0F00;

/// CTRL (§10.2.2.1).
pub(crate) mod ctrl {
    pub(crate) const GIO_MASTER_DISABLE: u32 = 1 << 2;
    pub(crate) const SLU: u32 = 1 << 6;
    pub(crate) const FRCSPD: u32 = 1 << 11;
    pub(crate) const FRCDPLX: u32 = 1 << 12;
    pub(crate) const RST: u32 = 1 << 26;
    pub(crate) const RFCE: u32 = 1 << 27;
    pub(crate) const TFCE: u32 = 1 << 28;
    /// Reserved; drivers clear it on the 82573/82574 generation.
    pub(crate) const RESERVED_29: u32 = 1 << 29;
    pub(crate) const VME: u32 = 1 << 30;
}

/// STATUS (§10.2.2.2).
pub(crate) mod status {
    pub(crate) const FD: u32 = 1 << 0;
    pub(crate) const LU: u32 = 1 << 1;
    pub(crate) const TXOFF: u32 = 1 << 4;
    pub(crate) const SPEED_SHIFT: u32 = 6;
    pub(crate) const SPEED_MASK: u32 = 0b11;
    pub(crate) const GIO_MASTER_ENABLE: u32 = 1 << 19;
}

/// EECD (§10.2.2.3) and EERD (§10.2.2.4).
pub(crate) mod nvm {
    pub(crate) const AUTO_RD: u32 = 1 << 9;
    pub(crate) const START: u32 = 1 << 0;
    pub(crate) const DONE: u32 = 1 << 1;
    pub(crate) const ADDR_SHIFT: u32 = 2;
    pub(crate) const DATA_SHIFT: u32 = 16;
}

/// CTRL_EXT (§10.2.2.5).
pub(crate) mod ctrl_ext {
    /// Reserved pair that must read 01b (bit 23 clear, bit 22 set) on the 82573/82574 generation.
    pub(crate) const RESERVED_22: u32 = 1 << 22;
    pub(crate) const RESERVED_23: u32 = 1 << 23;
    pub(crate) const EIAME: u32 = 1 << 24;
    pub(crate) const IAME: u32 = 1 << 27;
    pub(crate) const DRV_LOAD: u32 = 1 << 28;
    pub(crate) const PBA_CLR: u32 = 1 << 31;
}

/// MDIC (§10.2.2.7).
pub(crate) mod mdic {
    pub(crate) const DATA: u32 = 0xFFFF;
    pub(crate) const REG_SHIFT: u32 = 16;
    pub(crate) const PHY_SHIFT: u32 = 21;
    pub(crate) const OP_WRITE: u32 = 1 << 26;
    pub(crate) const OP_READ: u32 = 2 << 26;
    pub(crate) const READY: u32 = 1 << 28;
    pub(crate) const ERROR: u32 = 1 << 30;
}

/// EXTCNF_CTRL.
pub(crate) const MDIO_SW_OWNERSHIP: u32 = 1 << 5;

// PCIe registers (§10.2.3).
pub(crate) const GCR: u32 = 0x5B00;
pub(crate) const GCR2: u32 = 0x5B64;
/// Bits that the specification update asks drivers to set, against PCIe completion errata.
pub(crate) const GCR_ERRATUM: u32 = 1 << 22;
pub(crate) const GCR2_ERRATUM: u32 = 1 << 0;

// Interrupt registers (§10.2.4).
pub(crate) const ICR: u32 = 0x00C0;
pub(crate) const ITR: u32 = 0x00C4;
pub(crate) const IMS: u32 = 0x00D0;
pub(crate) const IMC: u32 = 0x00D8;
pub(crate) const EIAC: u32 = 0x00DC;
pub(crate) const IAM: u32 = 0x00E0;
pub(crate) const IVAR: u32 = 0x00E4;

/// EITR of one MSI-X vector (§10.2.4.3).
pub(crate) const fn eitr(vector: u8) -> u32 {
    0x00E8 + 4 * vector as u32
}

/// Interrupt causes: ICR, IMS, IMC, EIAC (§10.2.4).
pub(crate) mod cause {
    pub(crate) const TXDW: u32 = 1 << 0;
    pub(crate) const LSC: u32 = 1 << 2;
    pub(crate) const RXDMT0: u32 = 1 << 4;
    pub(crate) const RXO: u32 = 1 << 6;
    pub(crate) const RXT0: u32 = 1 << 7;
    pub(crate) const RXQ0: u32 = 1 << 20;
    pub(crate) const TXQ0: u32 = 1 << 22;
    pub(crate) const OTHER: u32 = 1 << 24;
    /// What EIAC can clear by itself: RxQ0, RxQ1, TxQ0, TxQ1, Other.
    pub(crate) const MSIX: u32 = 0x01F0_0000;
    pub(crate) const ALL: u32 = 0xFFFF_FFFF;
}

/// IVAR (§10.2.4.8): a vector number and a valid bit per cause.
pub(crate) mod ivar {
    pub(crate) const VALID: u32 = 1 << 3;
    pub(crate) const RXQ0_SHIFT: u32 = 0;
    pub(crate) const TXQ0_SHIFT: u32 = 8;
    pub(crate) const OTHER_SHIFT: u32 = 16;
    /// Raise the transmit cause on every descriptor write-back.
    pub(crate) const TX_EVERY_WB: u32 = 1 << 31;
}

// Receive registers (§10.2.5).
pub(crate) const RCTL: u32 = 0x0100;
pub(crate) const RDBAL0: u32 = 0x2800;
pub(crate) const RDBAH0: u32 = 0x2804;
pub(crate) const RDLEN0: u32 = 0x2808;
pub(crate) const RDH0: u32 = 0x2810;
pub(crate) const RDT0: u32 = 0x2818;
pub(crate) const RDTR: u32 = 0x2820;
pub(crate) const RXDCTL0: u32 = 0x2828;
pub(crate) const RADV: u32 = 0x282C;
pub(crate) const RXCSUM: u32 = 0x5000;
pub(crate) const RFCTL: u32 = 0x5008;
pub(crate) const MTA: u32 = 0x5200;
pub(crate) const VFTA: u32 = 0x5600;
pub(crate) const VFTA_LEN: u32 = 128;
pub(crate) const MRQC: u32 = 0x5818;

pub(crate) const RAL_BASE: u32 = 0x5400;

/// Low half of receive address `index`.
pub(crate) const fn ral(index: u32) -> u32 {
    RAL_BASE + 8 * index
}

/// High half of receive address `index`; bit 31 says that the entry is valid.
pub(crate) const fn rah(index: u32) -> u32 {
    RAL_BASE + 4 + 8 * index
}

/// RAH: address valid.
pub(crate) const RAH_AV: u32 = 1 << 31;

/// RCTL (§10.2.5.1). BSIZE = 00b with BSEX = 0 means 2048-byte buffers; RDMTS = 00b, DTYP = 00b, MO = 00b.
pub(crate) mod rctl {
    pub(crate) const EN: u32 = 1 << 1;
    pub(crate) const MPE: u32 = 1 << 4;
    pub(crate) const BAM: u32 = 1 << 15;
    pub(crate) const SECRC: u32 = 1 << 26;
}

/// RFCTL: extended descriptors, and no early interrupt for TCP acknowledgements (needed with MSI-X).
pub(crate) mod rfctl {
    pub(crate) const ISCSI_DIS: u32 = 1 << 0;
    pub(crate) const NFSW_DIS: u32 = 1 << 6;
    pub(crate) const NFSR_DIS: u32 = 1 << 7;
    pub(crate) const ACK_DIS: u32 = 1 << 12;
    pub(crate) const EXTEN: u32 = 1 << 15;
}

/// RXCSUM: IP and TCP/UDP checksum checking.
pub(crate) mod rxcsum {
    pub(crate) const IPOFL: u32 = 1 << 8;
    pub(crate) const TUOFL: u32 = 1 << 9;
}

// Transmit registers (§10.2.6).
pub(crate) const TCTL: u32 = 0x0400;
pub(crate) const TIPG: u32 = 0x0410;
pub(crate) const TDBAL0: u32 = 0x3800;
pub(crate) const TDBAH0: u32 = 0x3804;
pub(crate) const TDLEN0: u32 = 0x3808;
pub(crate) const TDH0: u32 = 0x3810;
pub(crate) const TDT0: u32 = 0x3818;
pub(crate) const TIDV: u32 = 0x3820;
pub(crate) const TXDCTL0: u32 = 0x3828;
pub(crate) const TADV: u32 = 0x382C;
pub(crate) const TARC0: u32 = 0x3840;
pub(crate) const TXDCTL1: u32 = 0x3928;

/// TCTL (§10.2.6.1).
pub(crate) mod tctl {
    pub(crate) const EN: u32 = 1 << 1;
    pub(crate) const PSP: u32 = 1 << 3;
    pub(crate) const CT_SHIFT: u32 = 4;
    pub(crate) const COLD_SHIFT: u32 = 12;
    pub(crate) const RTLC: u32 = 1 << 24;
}

/// RXDCTL and TXDCTL: prefetch, host and write-back thresholds in descriptors (GRAN = 1).
pub(crate) mod dctl {
    pub(crate) const PTHRESH_SHIFT: u32 = 0;
    pub(crate) const HTHRESH_SHIFT: u32 = 8;
    pub(crate) const WTHRESH_SHIFT: u32 = 16;
    /// TXDCTL: reserved, must be set.
    pub(crate) const COUNT_DESC: u32 = 1 << 22;
    pub(crate) const GRAN: u32 = 1 << 24;
}

/// TARC0: queue enable, and the bit that the 82574 specification update asks for.
pub(crate) mod tarc {
    pub(crate) const ENABLE: u32 = 1 << 10;
    pub(crate) const ERRATUM_MASK: u32 = 0xF << 27;
    pub(crate) const ERRATUM_26: u32 = 1 << 26;
}

/// First register of the clear-on-read statistics block (§10.2.7).
pub(crate) const STATS_BASE: u32 = 0x4000;
/// One past its last register.
pub(crate) const STATS_END: u32 = 0x4128;

/// The register block of one card: bit operations and bounded waits on top of [`Mmio`].
#[derive(Debug)]
pub(crate) struct Regs<M>(M);

impl<M: Mmio> Regs<M> {
    pub(crate) fn new(mmio: M) -> Self {
        Self(mmio)
    }

    pub(crate) fn read(&self, reg: u32) -> u32 {
        self.0.read32(reg)
    }

    pub(crate) fn write(&self, reg: u32, value: u32) {
        self.0.write32(reg, value);
    }

    /// Sets and clears bits of a register, leaving the others as they are.
    pub(crate) fn modify(&self, reg: u32, set: u32, clear: u32) {
        self.write(reg, (self.read(reg) & !clear) | set);
    }

    /// Makes sure that all writes so far reached the card: PCIe writes are posted, a read is not.
    pub(crate) fn flush(&self) {
        let _ = self.read(STATUS);
    }

    /// Polls until `reg & mask == want`, at most `timeout_us`; whether it came true.
    ///
    /// The number of looks is bounded as well as the time, so that a stopped clock cannot hang start-up.
    pub(crate) fn wait<C: Clock>(
        &self,
        clock: &C,
        (reg, mask, want): (u32, u32, u32),
        timeout_us: u32,
    ) -> bool {
        const STEP_US: u32 = 10;
        for _ in 0..=timeout_us / STEP_US {
            if self.read(reg) & mask == want {
                return true;
            }
            clock.delay_us(STEP_US);
        }
        false
    }

    /// Whether the card still answers: an absent or surprise-removed PCIe function reads as all ones.
    pub(crate) fn present(&self) -> bool {
        self.read(STATUS) != u32::MAX
    }
}
