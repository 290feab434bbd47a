//! Modern virtio devices over PCI.
//!
//! Here: strict virtqueues, one worker thread per device, the PCI transport, and one folder per device.
//! Not here: KVM and the PCI bus (`crate::pci`, `crate::irq`). The driver in the guest is hostile: whatever
//! it writes is copied once, checked, and answered by an error, a counted drop or `DEVICE_NEEDS_RESET`.

pub mod attach;
pub mod blk;
pub mod chain;
pub mod config_space;
pub mod counters;
pub mod device;
pub mod net;
pub mod pci;
pub mod queue;
pub mod rng;
pub mod vsock;
pub mod worker;

#[cfg(test)]
mod testing;
