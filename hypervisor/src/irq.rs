//! Interrupts of devices: the KVM routing table, MSI vectors and level-triggered lines.
//!
//! A device signals by writing an eventfd; KVM injects without any thread of ours. While a vector is
//! masked its eventfd is not attached, so an event stays in the eventfd's counter and is delivered at
//! unmasking. The eventfd is deassigned *before* its route disappears: the opposite order has crashed hosts
//! with AMD processors.

mod function;

pub use function::MsixVectors;

use crate::pci::bus::lock;
use crate::pci::config::BadLayout;
use crate::pci::msix::BadVectorCount;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry,
};
use kvm_ioctls::VmFd;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Interrupt lines of the I/O APIC; message interrupts get numbers from here on.
pub const FIRST_MSI: u32 = 24;
/// Lines that the two PICs also have.
const PIC_LINES: u32 = 16;
/// Message routes at most; KVM's own limit is 4096 with the fixed routes.
const MAX_MSI: u32 = 2048;

/// Line of the I/O APIC that pin A of a PCI slot raises.
#[must_use]
pub const fn intx_line(slot: u32) -> u32 {
    16 + slot % 8
}

/// Why an interrupt could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IrqError {
    /// Every number is in use.
    #[error("all {MAX_MSI} message interrupts are in use")]
    Exhausted,
    /// KVM refused the routing table.
    #[error("KVM refused the interrupt routing table: {0}")]
    Routing(kvm_ioctls::Error),
    /// KVM refused to attach an eventfd.
    #[error("KVM refused to attach interrupt {gsi} to its eventfd: {error}")]
    Attach {
        /// Interrupt number.
        gsi: u32,
        /// What KVM says.
        error: kvm_ioctls::Error,
    },
    /// No eventfd to be had.
    #[error("cannot create an eventfd: {0}")]
    EventFd(#[from] std::io::Error),
    /// The device's description is wrong.
    #[error(transparent)]
    Vectors(#[from] BadVectorCount),
    /// The device's configuration space is full.
    #[error(transparent)]
    Layout(#[from] BadLayout),
}

/// The four things asked of KVM; a fake records their order in tests.
pub trait IrqBackend: Send + Sync {
    /// Replaces the whole routing table.
    ///
    /// # Errors
    /// What KVM says.
    fn set_routes(&self, entries: &[kvm_irq_routing_entry]) -> Result<(), kvm_ioctls::Error>;
    /// Injects `gsi` at every signal of `event`.
    ///
    /// # Errors
    /// What KVM says.
    fn attach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error>;
    /// Raises the line `gsi` at a signal of `event`, lowers it and signals `resample` at end of interrupt.
    ///
    /// # Errors
    /// What KVM says.
    fn attach_level(&self, event: &EventFd, resample: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error>;
    /// Undoes either attachment.
    ///
    /// # Errors
    /// What KVM says.
    fn detach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error>;
}

impl IrqBackend for VmFd {
    fn set_routes(&self, entries: &[kvm_irq_routing_entry]) -> Result<(), kvm_ioctls::Error> {
        let table =
            KvmIrqRouting::from_entries(entries).map_err(|_| kvm_ioctls::Error::new(libc_einval()))?;
        self.set_gsi_routing(&table)
    }
    fn attach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.register_irqfd(event, gsi)
    }
    fn attach_level(&self, event: &EventFd, resample: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.register_irqfd_with_resample(event, resample, gsi)
    }
    fn detach(&self, event: &EventFd, gsi: u32) -> Result<(), kvm_ioctls::Error> {
        self.unregister_irqfd(event, gsi)
    }
}

fn libc_einval() -> i32 {
    rustix::io::Errno::INVAL.raw_os_error()
}

#[derive(Default)]
struct Routes {
    /// Messages by interrupt number; a number without a message is allocated but has no route.
    messages: BTreeMap<u32, Option<(u64, u32)>>,
}

impl Routes {
    fn allocate(&mut self) -> Option<u32> {
        let free = (FIRST_MSI..FIRST_MSI + MAX_MSI).find(|gsi| !self.messages.contains_key(gsi))?;
        self.messages.insert(free, None);
        Some(free)
    }

    fn table(&self) -> Vec<kvm_irq_routing_entry> {
        let pins = (0..FIRST_MSI).map(|gsi| pin(gsi, KVM_IRQCHIP_IOAPIC, gsi));
        let pics = (0..PIC_LINES).map(|gsi| {
            let chip = if gsi < 8 { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
            pin(gsi, chip, gsi % 8)
        });
        let messages = self.messages.iter().filter_map(|(gsi, m)| m.map(|(a, d)| message(*gsi, a, d)));
        pics.chain(pins).chain(messages).collect()
    }
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip = kvm_bindings::kvm_irq_routing_irqchip { irqchip, pin };
    entry
}

fn message(gsi: u32, address: u64, data: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    entry.u.msi.address_lo = u32::from_le_bytes([a, b, c, d]);
    entry.u.msi.address_hi = u32::from_le_bytes([e, f, g, h]);
    entry.u.msi.data = data;
    entry
}

/// The machine's interrupt routing.
pub struct IrqRouter {
    backend: Arc<dyn IrqBackend>,
    routes: Mutex<Routes>,
}

impl IrqRouter {
    /// Takes over the routing of a machine whose in-kernel interrupt controllers exist.
    ///
    /// # Errors
    /// [`IrqError::Routing`] when KVM refuses the initial table.
    pub fn new(backend: Arc<dyn IrqBackend>) -> Result<Arc<Self>, IrqError> {
        let routes = Routes::default();
        backend.set_routes(&routes.table()).map_err(IrqError::Routing)?;
        Ok(Arc::new(Self { backend, routes: Mutex::new(routes) }))
    }

    /// Makes a masked vector with an eventfd of its own.
    ///
    /// # Errors
    /// [`IrqError::Exhausted`] or [`IrqError::EventFd`].
    pub fn vector(self: &Arc<Self>) -> Result<MsiVector, IrqError> {
        self.vector_with(EventFd::new(EFD_NONBLOCK)?)
    }

    /// Makes a masked vector that is signalled through an eventfd from elsewhere.
    ///
    /// # Errors
    /// [`IrqError::Exhausted`].
    pub fn vector_with(self: &Arc<Self>, event: EventFd) -> Result<MsiVector, IrqError> {
        let gsi = lock(&self.routes).allocate().ok_or(IrqError::Exhausted)?;
        Ok(MsiVector { router: Arc::clone(self), gsi, event, attached: false, open: None })
    }

    /// Attaches a level-triggered line of the I/O APIC, for a device with INTx only: `event` raises it, the
    /// guest's end of interrupt lowers it and signals `resample`.
    ///
    /// # Errors
    /// [`IrqError::Attach`].
    pub fn level_line(
        self: &Arc<Self>,
        gsi: u32,
        event: EventFd,
        resample: EventFd,
    ) -> Result<LevelLine, IrqError> {
        let attached = self.backend.attach_level(&event, &resample, gsi);
        attached.map_err(|error| IrqError::Attach { gsi, error })?;
        Ok(LevelLine { router: Arc::clone(self), gsi, event, resample })
    }

    /// Attaches an edge-triggered line (the serial port's): every signal of `event` is one interrupt.
    ///
    /// # Errors
    /// [`IrqError::Attach`].
    pub fn edge_line(&self, gsi: u32, event: &EventFd) -> Result<(), IrqError> {
        self.backend.attach(event, gsi).map_err(|error| IrqError::Attach { gsi, error })
    }

    fn route(&self, gsi: u32, message: Option<(u64, u32)>) -> Result<(), IrqError> {
        let mut routes = lock(&self.routes);
        if routes.messages.insert(gsi, message) == Some(message) {
            return Ok(());
        }
        self.backend.set_routes(&routes.table()).map_err(IrqError::Routing)
    }

    fn release(&self, gsi: u32) {
        let mut routes = lock(&self.routes);
        if routes.messages.remove(&gsi).flatten().is_some() {
            let _ = self.backend.set_routes(&routes.table());
        }
    }
}

/// One message interrupt of a device. Masked when made; detached when dropped.
pub struct MsiVector {
    router: Arc<IrqRouter>,
    gsi: u32,
    event: EventFd,
    attached: bool,
    open: Option<(u64, u32)>,
}

impl MsiVector {
    /// The eventfd that signals this vector.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Signals the vector; lost only when it is already pending 2^64 times.
    pub fn signal(&self) {
        let _ = self.event.write(1);
    }

    /// Delivers to `address` with `data` from now on, whatever is pending first.
    ///
    /// # Errors
    /// [`IrqError`] when KVM refuses; the vector is then masked.
    pub fn unmask(&mut self, address: u64, data: u32) -> Result<(), IrqError> {
        self.open = Some((address, data));
        self.router.route(self.gsi, self.open)?;
        self.attach()
    }

    fn attach(&mut self) -> Result<(), IrqError> {
        if self.attached {
            return Ok(());
        }
        let attached = self.router.backend.attach(&self.event, self.gsi);
        attached.map_err(|error| IrqError::Attach { gsi: self.gsi, error })?;
        self.attached = true;
        Ok(())
    }

    fn detach(&mut self) {
        if std::mem::take(&mut self.attached) {
            let _ = self.router.backend.detach(&self.event, self.gsi);
        }
    }

    /// Holds events back until the next [`MsiVector::unmask`]. The route stays: it is replaced then, and a
    /// guest that masks around every interrupt does not pay for two tables.
    pub fn mask(&mut self) {
        self.detach();
        self.open = None;
    }

    /// Replaces the eventfd (a link's peer was replaced). Events in the old one are dropped.
    ///
    /// # Errors
    /// [`IrqError::Attach`] when the vector was open and KVM refuses the new eventfd.
    pub fn rebind(&mut self, event: EventFd) -> Result<(), IrqError> {
        self.detach();
        self.event = event;
        if self.open.is_some() { self.attach() } else { Ok(()) }
    }

    /// Whether an event waits in the eventfd; meaningful while masked.
    #[must_use]
    pub fn pending(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let event = crate::fd::borrow(&self.event);
        let mut fds = [PollFd::new(&event, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for MsiVector {
    fn drop(&mut self) {
        self.detach();
        self.router.release(self.gsi);
    }
}

/// A level-triggered line; detached when dropped.
pub struct LevelLine {
    router: Arc<IrqRouter>,
    gsi: u32,
    event: EventFd,
    resample: EventFd,
}

impl LevelLine {
    /// Signalled to raise the line.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.event
    }
    /// Signalled by KVM at end of interrupt.
    #[must_use]
    pub fn resample(&self) -> &EventFd {
        &self.resample
    }
}

impl Drop for LevelLine {
    fn drop(&mut self) {
        let _ = self.router.backend.detach(&self.event, self.gsi);
    }
}

impl std::fmt::Debug for MsiVector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MsiVector").field("gsi", &self.gsi).field("fd", &self.event.as_raw_fd()).finish()
    }
}

#[cfg(test)]
mod tests;
