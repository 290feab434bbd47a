//! One process, one domain: the virtual machine monitor.
pub mod virtio;
