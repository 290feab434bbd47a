//! Unikernel runtime: everything between an image's `main` and the machine.
//!
//! Here: boot, memory protection, interrupts, time, PCI, DMA memory, console, entropy, the run loop, and the
//! two kinds of network device that a domain may be given. Not here: any packet, any policy. Called by the
//! `main.rs` of each domain, and by nothing else.
//!
//! `unsafe` appears only in `boot`, `paging`, `interrupts` (and its children), `heap`, `pci`, `mmio`, `dma`,
//! `doorbell`, `virtio`, and in what `entry!` expands to.
#![no_std]
#![expect(dead_code, reason = "the timer and PCI parts, not written yet, use them")]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod boot;
mod console;
mod entry;
pub mod heap;
pub mod interrupts;
mod machine;
mod memory_functions;
pub mod mmio;
pub mod paging;
pub mod panic;
pub mod ram;

pub use interrupts::Interrupt;
pub use machine::Machine;
pub use mmio::Registers;
pub use panic::{exit, stop};

#[doc(hidden)]
pub mod __private {
    pub use critical_section;
}
