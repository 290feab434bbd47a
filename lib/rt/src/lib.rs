//! Unikernel runtime: everything between an image's `main` and the machine.
//!
//! Here: boot, memory protection, interrupts, time, PCI, DMA memory, console, entropy, the run loop, and the
//! two kinds of network device that a domain may be given. Not here: any packet, any policy. Called by the
//! `main.rs` of each domain, and by nothing else.
//!
//! `unsafe` appears only in `boot`, `paging`, `interrupts` (and its children), `heap`, `pci`, `mmio`, `dma`,
//! `doorbell`, `tasks`, `virtio`, `virtio_blk`, `virtio_net`, `user` (context, entry, frames, processor), and in what `entry!`
//! expands to.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod boot;
mod console;
pub mod dma;
mod doorbell;
pub mod entropy;
mod entry;
pub mod heap;
pub mod interrupts;
pub mod link_device;
mod machine;
mod memory_functions;
pub mod mmio;
pub mod paging;
pub mod panic;
pub mod pci;
pub mod ram;
mod run;
mod tasks;
mod timer;
pub mod user;
mod virtio;
pub mod virtio_blk;
pub mod virtio_net;
pub mod wall_clock;

pub use dma::{DmaArena, Region};
pub use doorbell::PortBell;
pub use interrupts::Interrupt;
pub use link_device::{LinkDevice, PortChange, PortState, Role};
pub use machine::Machine;
pub use mmio::Registers;
pub use panic::{exit, stop};
pub use run::{Step, run};
pub use timer::Clock;
#[doc(hidden)]
pub use timer::queue::TimeDriver;
pub use virtio_blk::VirtioBlk;
pub use virtio_net::VirtioNet;

#[doc(hidden)]
pub mod __private {
    pub use {critical_section, embassy_time_driver};
}
