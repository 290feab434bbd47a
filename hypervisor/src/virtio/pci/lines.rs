//! How a device's worker reaches its driver: message interrupts, the ISR byte, and the status register.
//!
//! Shared between the transport (which the guest's processors drive) and the worker; atomics only.

use crate::virtio::device::Interrupt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use vmm_sys_util::eventfd::EventFd;

/// `VIRTIO_MSI_NO_VECTOR`.
pub const NO_VECTOR: u16 = 0xFFFF;
/// Status bit: the device has stopped and must be reset.
pub const STATUS_NEEDS_RESET: u8 = 64;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// Interrupt state of one function.
pub struct Lines {
    events: Vec<EventFd>,
    queue_vectors: Vec<AtomicU16>,
    config_vector: AtomicU16,
    msix: AtomicBool,
    isr: AtomicU8,
    status: AtomicU8,
}

impl Lines {
    /// Describes a function with one eventfd per MSI-X vector.
    #[must_use]
    pub fn new(events: Vec<EventFd>, queues: usize) -> Self {
        Self {
            events,
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            config_vector: AtomicU16::new(NO_VECTOR),
            msix: AtomicBool::new(false),
            isr: AtomicU8::new(0),
            status: AtomicU8::new(0),
        }
    }

    /// Vector as the device accepts it: a number that does not exist becomes [`NO_VECTOR`].
    fn accepted(&self, vector: u16) -> u16 {
        if usize::from(vector) < self.events.len() { vector } else { NO_VECTOR }
    }

    /// Chooses the vector of a queue.
    pub fn set_queue_vector(&self, queue: usize, vector: u16) {
        if let Some(to) = self.queue_vectors.get(queue) {
            to.store(self.accepted(vector), Ordering::SeqCst);
        }
    }

    /// Vector of a queue.
    #[must_use]
    pub fn queue_vector(&self, queue: usize) -> u16 {
        self.queue_vectors.get(queue).map_or(NO_VECTOR, |vector| vector.load(Ordering::SeqCst))
    }

    /// Chooses the vector of configuration changes.
    pub fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.accepted(vector), Ordering::SeqCst);
    }

    /// Vector of configuration changes.
    #[must_use]
    pub fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::SeqCst)
    }

    /// Takes note of whether the guest enabled MSI-X.
    pub fn set_msix(&self, enabled: bool) {
        self.msix.store(enabled, Ordering::SeqCst);
    }

    /// Device status.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status.load(Ordering::SeqCst)
    }

    /// Sets status bits; only [`Lines::reset`] clears them.
    pub fn add_status(&self, bits: u8) {
        self.status.fetch_or(bits, Ordering::SeqCst);
    }

    /// Reads and clears the ISR byte.
    #[must_use]
    pub fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::SeqCst)
    }

    /// Back to the state after power-on; the worker must have been stopped.
    pub fn reset(&self) {
        for vector in self.queue_vectors.iter().chain([&self.config_vector]) {
            vector.store(NO_VECTOR, Ordering::SeqCst);
        }
        self.isr.store(0, Ordering::SeqCst);
        self.status.store(0, Ordering::SeqCst);
    }

    /// Without MSI-X there is no line: a driver that polls finds the cause in the ISR byte.
    fn raise(&self, vector: u16, cause: u8) {
        if !self.msix.load(Ordering::SeqCst) {
            self.isr.fetch_or(cause, Ordering::SeqCst);
        } else if let Some(event) = self.events.get(usize::from(vector)) {
            // Full means that the interrupt is pending anyway.
            let _ = event.write(1);
        }
    }
}

impl Interrupt for Lines {
    fn queue(&self, index: u16) {
        self.raise(self.queue_vector(index.into()), ISR_QUEUE);
    }

    fn config(&self) {
        self.raise(self.config_vector(), ISR_CONFIG);
    }

    fn needs_reset(&self) {
        self.add_status(STATUS_NEEDS_RESET);
        self.config();
    }
}
