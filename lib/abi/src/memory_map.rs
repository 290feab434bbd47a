//! Guest-physical address map of our virtual machines.

/// RAM below this address; a larger machine continues at [`HIGH_RAM`].
pub const LOW_RAM_END: u64 = 0xC000_0000;
/// 32-bit window from which PCI BARs are assigned.
pub const MMIO32_BASE: u64 = 0xC000_0000;
/// Length of the 32-bit BAR window.
pub const MMIO32_LEN: u64 = 0x2000_0000;
/// ECAM window: one bus, 1 MiB.
pub const ECAM_BASE: u64 = 0xE000_0000;
/// Length of the ECAM window.
pub const ECAM_LEN: u64 = 0x10_0000;
/// Memory that outlives a machine (`BootInfo::state_base`) is shown here.
pub const STATE_BASE: u64 = 0xF000_0000;
/// Largest length of that memory.
pub const STATE_MAX: u64 = 0x800_0000;
/// I/O APIC registers.
pub const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// Local APIC registers.
pub const LAPIC_BASE: u64 = 0xFEE0_0000;
/// RAM beyond [`LOW_RAM_END`] continues here.
pub const HIGH_RAM: u64 = 0x1_0000_0000;
/// I/O ports from which PCI BARs are assigned.
pub const PIO_BASE: u16 = 0xC000;
/// Length of the I/O port window.
pub const PIO_LEN: u16 = 0x4000;
/// First serial port (16550).
pub const COM1: u16 = 0x3F8;
/// A guest writes [`EXIT_PANIC`] here to say that it panicked; anything else is its exit code.
pub const EXIT_PORT: u16 = 0x604;
/// Value written to [`EXIT_PORT`] by a panic handler, after the message went to the console.
pub const EXIT_PANIC: u32 = 0xDEAD;
