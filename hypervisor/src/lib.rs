//! One process, one domain: the virtual machine monitor.
//!
//! Here: everything between a machine's description and its running processors. Not here: packets and
//! policy. Called by `main.rs`; tests and fuzzers use the pure parts.

pub mod devices;
pub mod fd;
pub mod ioevents;
pub mod irq;
pub mod link_end;
pub mod memslots;
pub mod pci;
pub mod virtio;
