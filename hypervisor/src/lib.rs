//! One process, one domain: the virtual machine monitor.
//!
//! Here: everything between a machine's description and its running processors. Not here: packets and
//! policy. Called by `main.rs`; tests and fuzzers use the pure parts.

pub mod acpi;
pub mod check;
pub mod confine;
pub mod console;
pub mod control;
pub mod cpuid;
pub mod devices;
pub mod exits;
pub mod fd;
pub mod ioevents;
pub mod irq;
pub mod kvm;
pub mod link_device;
pub mod link_end;
pub mod load;
pub mod machine;
pub mod memory;
pub mod memslots;
pub mod pci;
pub mod power;
pub mod registers;
pub mod serial;
pub mod stats;
pub mod vcpu;
pub mod vfio;
pub mod virtio;
