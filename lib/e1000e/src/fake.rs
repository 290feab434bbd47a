//! A register-level 82574 for tests, stricter than the chip.
//!
//! It keeps the datasheet's rules and writes down every breach: unknown registers, reserved bits, ring
//! registers changed while the ring is enabled, tails beyond the ring, descriptors handed over with DD set,
//! rings that were not poisoned, MDIC without ownership, a reset with the receiver on. It moves data by DMA
//! through `hal::fake::FakeBus`, inserts checksums and segments TCP as the chip does. It can also lie.
#![expect(clippy::indexing_slicing, reason = "test support: a wrong index is a bug of the test")]

mod rings;
mod rules;
mod wire;

use crate::regs::{self, cause, ctrl, ctrl_ext, ivar, mdic, nvm, rctl, status, tctl};
use hal::fake::{FakeArena, FakeBus, FakeClock};
use hal::mmio::Mmio;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

/// Address in the fake's NVM.
pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const RESET_US: u64 = 100;
const NVM_LOAD_US: u64 = 5_000;
const MDIC_US: u64 = 64;
const EERD_US: u64 = 100;

/// The card; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Fake82574(Rc<RefCell<Model>>);

/// What the fake does wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The transmitter takes no descriptor.
    pub tx_hang: bool,
    /// No frame finds a descriptor.
    pub rx_hang: bool,
    /// The NVM was not loaded into RAL/RAH by the reset.
    pub blank_receive_address: bool,
    /// The PHY never answers.
    pub dead_phy: bool,
    /// The card was pulled: all reads give ones.
    pub absent: bool,
    /// One read in `lie_every` returns noise; 0 never lies.
    pub lie_every: u32,
}

#[derive(Debug)]
struct Model {
    regs: BTreeMap<u32, u32>,
    bus: FakeBus,
    clock: FakeClock,
    icr: u32,
    ims: u32,
    phy: [u16; 32],
    mdic_ready_us: u64,
    eerd_ready_us: u64,
    reset_us: u64,
    link: bool,
    context: Option<[u64; 2]>,
    frame: Vec<u8>,
    frame_options: u64,
    sent: Vec<Vec<u8>>,
    interrupts: [u32; 5],
    tail_writes: u32,
    faults: Faults,
    noise: u32,
    breaches: Vec<String>,
}

impl Mmio for Fake82574 {
    fn read32(&self, offset: u32) -> u32 {
        self.0.borrow_mut().read(offset)
    }

    fn write32(&self, offset: u32, value: u32) {
        self.0.borrow_mut().write(offset, value);
    }
}

impl Fake82574 {
    /// A card with its link up, left in a mess by an earlier owner: receiving, interrupts unmasked.
    #[must_use]
    pub fn new(arena: &FakeArena, clock: &FakeClock) -> Self {
        let mut model = Model {
            regs: BTreeMap::new(),
            bus: arena.bus(),
            clock: clock.clone(),
            icr: cause::LSC,
            ims: cause::ALL,
            phy: [0; 32],
            mdic_ready_us: 0,
            eerd_ready_us: 0,
            reset_us: 0,
            link: true,
            context: None,
            frame: Vec::new(),
            frame_options: 0,
            sent: Vec::new(),
            interrupts: [0; 5],
            tail_writes: 0,
            faults: Faults::default(),
            noise: 0x9E37_79B9,
            breaches: Vec::new(),
        };
        model.phy[..5].copy_from_slice(&[0x1140, 0x796D, 0x0141, 0x0CB1, 0x0DE1]);
        model.phy[9] = 0x0E00;
        for (reg, value) in [(regs::RCTL, rctl::EN), (regs::TCTL, tctl::EN), (regs::MTA, 7), (regs::VFTA, 9)]
        {
            model.regs.insert(reg, value);
        }
        Self(Rc::new(RefCell::new(model)))
    }

    /// A frame arrives on the cable; whether it reached memory.
    #[must_use]
    pub fn receive(&self, frame: &[u8]) -> bool {
        self.0.borrow_mut().receive(frame)
    }

    /// Writes any status word, and data, into the next receive descriptor, then moves on as if it were a frame.
    #[must_use]
    pub fn receive_raw(&self, status: u64, data: &[u8]) -> bool {
        self.0.borrow_mut().write_back(status, data)
    }

    /// Takes the frames that left on the cable.
    #[must_use]
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    /// Plugs or pulls the cable.
    pub fn set_link(&self, up: bool) {
        let mut model = self.0.borrow_mut();
        model.link = up;
        model.raise(cause::LSC);
    }

    /// Chooses what goes wrong from now on; a transmitter that is no longer hung goes on.
    pub fn set_faults(&self, faults: Faults) {
        let mut model = self.0.borrow_mut();
        model.faults = faults;
        model.transmit();
    }

    /// Every rule the driver broke so far.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        self.0.borrow().breaches.clone()
    }

    /// Interrupts sent per MSI-X vector.
    #[must_use]
    pub fn interrupts(&self) -> [u32; 5] {
        self.0.borrow().interrupts
    }

    /// Writes to the two tail registers since the last call.
    #[must_use]
    pub fn take_tail_writes(&self) -> u32 {
        std::mem::take(&mut self.0.borrow_mut().tail_writes)
    }

    /// A register as stored, without side effects.
    #[must_use]
    pub fn peek(&self, reg: u32) -> u32 {
        self.0.borrow().get(reg)
    }
}

impl Model {
    fn get(&self, reg: u32) -> u32 {
        self.regs.get(&reg).copied().unwrap_or(0)
    }

    fn breach(&mut self, what: String) {
        // A hostile card has no rules to enforce.
        if self.faults.lie_every == 0 {
            self.breaches.push(what);
        }
    }

    fn read(&mut self, reg: u32) -> u32 {
        if self.faults.absent {
            return u32::MAX;
        }
        let now = self.now();
        let value = match reg {
            regs::STATUS => self.status(),
            regs::EECD if now < self.reset_us + NVM_LOAD_US => 0,
            regs::EECD => nvm::AUTO_RD,
            regs::EERD if now < self.eerd_ready_us => 0,
            regs::EERD => self.get(reg) | nvm::DONE,
            regs::MDIC if self.faults.dead_phy || now < self.mdic_ready_us => 0,
            regs::MDIC => self.get(reg) | mdic::READY,
            regs::ICR => self.read_icr(),
            regs::STATS_BASE..regs::STATS_END => self.regs.remove(&reg).unwrap_or(0),
            _ if rules::known(reg) => self.get(reg),
            _ => {
                self.breach(format!("read of unknown register {reg:#x}"));
                0
            }
        };
        self.lie().unwrap_or(value)
    }

    /// Noise in place of the truth, now and then.
    fn lie(&mut self) -> Option<u32> {
        if self.faults.lie_every == 0 {
            return None;
        }
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        (self.noise.is_multiple_of(self.faults.lie_every)).then_some(self.noise.rotate_left(9))
    }

    fn write(&mut self, reg: u32, value: u32) {
        if self.faults.absent {
            return;
        }
        self.check_write(reg, value);
        match reg {
            regs::CTRL if value & ctrl::RST != 0 => self.reset(),
            regs::ICR => self.icr &= !value,
            regs::IMS => {
                self.ims |= value;
                self.raise(0);
            }
            regs::IMC => self.ims &= !value,
            regs::MDIC => self.start_mdic(value),
            regs::EERD => self.start_eerd(value),
            regs::RDT0 | regs::TDT0 => {
                self.tail_writes += 1;
                self.regs.insert(reg, value);
                self.transmit();
            }
            _ => {
                self.regs.insert(reg, value);
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.peek_us()
    }

    fn status(&self) -> u32 {
        let master =
            if self.get(regs::CTRL) & ctrl::GIO_MASTER_DISABLE == 0 { status::GIO_MASTER_ENABLE } else { 0 };
        let up = self.link && self.get(regs::CTRL) & ctrl::SLU != 0;
        master | if up { status::LU | status::FD | 0b10 << status::SPEED_SHIFT } else { 0 }
    }

    /// What CTRL.RST does; tables in on-chip memory (MTA, VFTA) keep what they held.
    fn reset(&mut self) {
        self.regs.retain(|reg, _| (regs::MTA..regs::RAL_BASE).contains(reg) || *reg >= regs::VFTA);
        self.regs.insert(regs::TARC0, regs::tarc::ENABLE | 0xF << 27);
        self.regs.insert(regs::CTRL_EXT, ctrl_ext::RESERVED_23);
        self.regs.insert(regs::CTRL, ctrl::RESERVED_29);
        if !self.faults.blank_receive_address {
            let [a, b, c, d, e, f] = MAC;
            self.regs.insert(regs::ral(0), u32::from_le_bytes([a, b, c, d]));
            self.regs.insert(regs::rah(0), u32::from_le_bytes([e, f, 0, 0]) | regs::RAH_AV);
        }
        (self.icr, self.ims) = (cause::LSC, 0);
        (self.context, self.frame) = (None, Vec::new());
        self.reset_us = self.now();
    }

    fn start_mdic(&mut self, command: u32) {
        let reg = (command >> mdic::REG_SHIFT & 31) as usize;
        let mut answer = command & !mdic::DATA;
        if command >> mdic::PHY_SHIFT & 31 != 1 {
            answer |= mdic::ERROR;
        } else if command & mdic::OP_READ != 0 {
            answer |= u32::from(self.phy[reg]);
        } else {
            self.phy[reg] = u16::try_from(command & mdic::DATA).unwrap_or(0);
        }
        self.regs.insert(regs::MDIC, answer);
        self.mdic_ready_us = self.now() + MDIC_US;
    }

    fn start_eerd(&mut self, command: u32) {
        let word = (command >> nvm::ADDR_SHIFT & 0x3FFF) as usize;
        let data = MAC.chunks(2).nth(word).map_or(0xFFFF, |pair| u16::from_le_bytes([pair[0], pair[1]]));
        self.regs.insert(regs::EERD, u32::from(data) << nvm::DATA_SHIFT | command & 0xFFFC);
        self.eerd_ready_us = self.now() + EERD_US;
    }

    fn read_icr(&mut self) -> u32 {
        if self.get(regs::CTRL_EXT) & ctrl_ext::IAME != 0 {
            self.ims &= !self.get(regs::IAM);
        }
        std::mem::take(&mut self.icr)
    }

    /// Notes causes and sends what is unmasked: by vector with MSI-X, else as vector 0.
    fn raise(&mut self, causes: u32) {
        self.icr |= causes;
        let routes = self.get(regs::IVAR);
        if routes == 0 {
            self.interrupts[0] += u32::from(self.icr & self.ims != 0);
            return;
        }
        if self.icr & cause::LSC != 0 {
            self.icr |= cause::OTHER;
        }
        for (bit, shift) in [
            (cause::RXQ0, ivar::RXQ0_SHIFT),
            (cause::TXQ0, ivar::TXQ0_SHIFT),
            (cause::OTHER, ivar::OTHER_SHIFT),
        ] {
            let route = routes >> shift;
            if self.icr & self.ims & bit == 0 || route & ivar::VALID == 0 {
                continue;
            }
            if let Some(count) = self.interrupts.get_mut((route & 7) as usize) {
                *count += 1;
            }
            let cleared = self.get(regs::EIAC) & bit;
            self.icr &= !cleared;
            if self.get(regs::CTRL_EXT) & ctrl_ext::EIAME != 0 {
                self.ims &= !cleared;
            }
        }
    }
}
