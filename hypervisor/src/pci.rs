//! The guest's PCI bus.
//!
//! Here: configuration space, MSI-X and BAR dispatch as pure state machines, without any I/O or system
//! call, so that they can be fuzzed. Not here: what a device does. Called by `exits` (guest accesses) and
//! `devices` (attaching).

pub mod bus;
pub mod config;
pub mod device;
pub mod msix;
pub mod windows;
