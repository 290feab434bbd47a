//! What a device is given to do its work, and the machine's collection of devices.

use crate::ioevents::IoEventBackend;
use crate::irq::IrqRouter;
use crate::memslots::MemorySlots;
use kvm_ioctls::VmFd;
use std::sync::Arc;
use vm_memory::GuestMemoryMmap;

/// Handles on the machine, cheap to clone. A device keeps what it needs.
///
/// A device that works outside guest accesses runs threads of its own: it makes them when the guest enables
/// it, wakes them by eventfd, and ends and joins them in `PciDevice::shut_down`.
#[derive(Clone)]
pub struct DeviceContext {
    /// The virtual machine, for what has no wrapper below.
    pub vm: Arc<VmFd>,
    /// Guest RAM. Content changes at any moment; links and BARs are not in it.
    pub memory: GuestMemoryMmap,
    /// Interrupts.
    pub irq: Arc<IrqRouter>,
    /// Memory inside BARs.
    pub slots: Arc<MemorySlots>,
}

impl DeviceContext {
    /// The machine as `ioevents::Doorbells` wants it.
    #[must_use]
    pub fn doorbells(&self) -> Arc<dyn IoEventBackend> {
        Arc::<VmFd>::clone(&self.vm)
    }
}
