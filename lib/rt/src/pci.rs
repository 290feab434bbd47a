//! PCI: finding functions, their registers, their interrupts.
//!
//! Configuration space is untrusted input: lists are walked for a bounded number of steps and sizes checked
//! (the usual crate for this panics on a reserved BAR type and follows a looping capability list for ever).

pub mod bar;
mod capability;
mod config;
mod msix;

pub use bar::{Bar, Kind};
pub(crate) use capability::VENDOR_SPECIFIC;
pub use capability::{Capability, capabilities};
pub use config::{Address, Config};
pub use msix::{Message, Msix};

use crate::interrupts::Interrupt;
use crate::mmio::{Ports, Registers};
use crate::ram::Range;
use abi::memory_map::{MMIO32_BASE, MMIO32_LEN, PIO_BASE, PIO_LEN};
use bar::Window;
use core::cell::RefCell;
use critical_section::Mutex;
use hal::mmio::Mmio;
use heapless::Vec;

/// Functions at most.
pub const MAX_FUNCTIONS: usize = 32;

/// Register 4: command (low half).
const COMMAND: u16 = 0x04;
const COMMAND_IO: u32 = 1 << 0;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const COMMAND_NO_INTX: u32 = 1 << 10;
/// Upper half: status, of which writing ones would clear bits.
const COMMAND_MASK: u32 = 0xFFFF;

/// How configuration space is reached.
#[derive(Debug)]
enum Access {
    /// Memory-mapped, bus 0 alone.
    Ecam(Registers),
    /// I/O ports 0xCF8 and 0xCFC.
    Ports,
}

static ACCESS: Mutex<RefCell<Option<Access>>> = Mutex::new(RefCell::new(None));

/// The live configuration space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live;

impl Config for Live {
    fn read(&self, function: Address, register: u16) -> u32 {
        critical_section::with(|cs| match ACCESS.borrow_ref(cs).as_ref() {
            Some(Access::Ecam(block)) => block.read32(function.ecam(register)),
            Some(Access::Ports) if register < 0x100 => {
                Ports::PCI_CONFIG.write32(0, function.port(register));
                Ports::PCI_CONFIG.read32(4)
            }
            _ => u32::MAX,
        })
    }

    fn write(&self, function: Address, register: u16, value: u32) {
        critical_section::with(|cs| match ACCESS.borrow_ref(cs).as_ref() {
            Some(Access::Ecam(block)) => block.write32(function.ecam(register), value),
            Some(Access::Ports) if register < 0x100 => {
                Ports::PCI_CONFIG.write32(0, function.port(register));
                Ports::PCI_CONFIG.write32(4, value);
            }
            _ => {}
        });
    }
}

/// Finds all functions, gives addresses to those BARs that firmware left at zero, and turns decoding on.
/// `ecam` is where the configuration space of bus 0 is mapped; 0 when it is not.
pub(crate) fn start(ecam: u64) -> Vec<Function, MAX_FUNCTIONS> {
    let Some(access) = open(ecam) else { return Vec::new() };
    critical_section::with(|cs| ACCESS.borrow(cs).replace(Some(access)));
    let mut functions = Vec::new();
    config::scan(&Live, |address| {
        // A 33rd function is not used.
        let _ = functions.push(Function { address, bars: bar::read_all(&Live, address) });
    });
    assign(&mut functions);
    for function in &functions {
        function.command(COMMAND_MEMORY | COMMAND_IO | COMMAND_NO_INTX);
    }
    functions
}

fn open(ecam: u64) -> Option<Access> {
    if let Some(range) = Range::new(ecam, abi::memory_map::ECAM_LEN).filter(|_| ecam != 0) {
        // SAFETY: the monitor, or the operator by `ecam=`, says that configuration space is there.
        return unsafe { Registers::map(range) }.map(Access::Ecam);
    }
    let probe = 0x8000_0000;
    Ports::PCI_CONFIG.write32(0, probe);
    (Ports::PCI_CONFIG.read32(0) == probe).then_some(Access::Ports)
}

/// Places every memory and I/O BAR that has no address yet, beside those that have one.
fn assign(functions: &mut [Function]) {
    let mut memory = Window::new(MMIO32_BASE, MMIO32_LEN);
    let mut ports = Window::new(PIO_BASE.into(), PIO_LEN.into());
    for bar in functions.iter().flat_map(|f| f.bars.iter().flatten()) {
        memory.skip(bar);
        ports.skip(bar);
    }
    for function in functions {
        let address = function.address;
        for (slot, bar) in function.bars.iter_mut().enumerate() {
            let Some(found) = bar.as_mut().filter(|bar| bar.base == 0) else { continue };
            let window = if found.kind == Kind::Ports { &mut ports } else { &mut memory };
            match window.take(found.size) {
                Some(base) => {
                    found.base = base;
                    bar::write(&Live, address, slot, found);
                }
                None => *bar = None,
            }
        }
    }
}

/// One PCI function.
#[derive(Clone, Debug)]
pub struct Function {
    address: Address,
    bars: [Option<Bar>; 6],
}

impl Function {
    /// Where the function is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Vendor and device number.
    #[must_use]
    pub fn id(&self) -> (u16, u16) {
        config::halves(self.read(0))
    }

    /// Class, subclass and programming interface, as 0xCCSSPP.
    #[must_use]
    pub fn class(&self) -> u32 {
        self.read(8) >> 8
    }

    /// BAR `slot`; the second half of a 64-bit BAR counts as absent.
    #[must_use]
    pub fn bar(&self, slot: u8) -> Option<Bar> {
        self.bars.get(usize::from(slot)).copied().flatten()
    }

    /// Maps the registers behind memory BAR `slot`.
    #[must_use]
    pub fn registers(&self, slot: u8) -> Option<Registers> {
        let range = self.memory(slot)?;
        // SAFETY: a BAR's range was placed outside RAM, by firmware or by `assign`.
        unsafe { Registers::map(range) }
    }

    /// The range of memory BAR `slot`, unless it is so placed or so large that it cannot be registers.
    pub(crate) fn memory(&self, slot: u8) -> Option<Range> {
        let bar = self.bar(slot).filter(|bar| bar.kind != Kind::Ports && bar.base >= MMIO32_BASE)?;
        Range::new(bar.base, bar.size)
    }

    /// Reads configuration register `register` (a multiple of four).
    #[must_use]
    pub fn read(&self, register: u16) -> u32 {
        Live.read(self.address, register)
    }

    /// Writes configuration register `register`.
    pub fn write(&self, register: u16, value: u32) {
        Live.write(self.address, register, value);
    }

    /// The function's capabilities, at most 48.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability, 48> {
        capabilities(&Live, self.address)
    }

    /// Lets the device read and write memory, and send MSI-X messages.
    pub fn enable_bus_master(&self) {
        self.command(COMMAND_MASTER);
    }

    /// The function's MSI-X table, all vectors masked, ready for [`Msix::set`] and `Msix::enable`.
    /// `None` when the function has none, or one that lies outside its BARs.
    #[must_use]
    pub fn msix(&self) -> Option<Msix<Registers>> {
        Msix::find(&Live, self.address, |slot| self.registers(slot))
    }

    fn command(&self, bits: u32) {
        let old = self.read(COMMAND) & COMMAND_MASK;
        self.write(COMMAND, old | bits);
    }
}

impl Msix<Registers> {
    /// Sends table entry `index` to `interrupt`; `false` when the table has no such entry.
    #[must_use]
    pub fn connect(&mut self, index: u16, interrupt: &Interrupt) -> bool {
        self.set(index, crate::interrupts::message(interrupt))
    }

    /// Turns MSI-X on for the function.
    pub fn start(&self) {
        self.enable(&Live);
    }
}
