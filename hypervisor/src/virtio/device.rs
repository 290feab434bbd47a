//! What the transport needs to know about a device, whatever it does.

use super::config_space::ConfigSpace;
use super::queue::VirtQueue;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// `VIRTIO_F_RING_INDIRECT_DESC`.
pub const F_INDIRECT_DESC: u64 = 1 << 28;
/// `VIRTIO_F_RING_EVENT_IDX`.
pub const F_EVENT_IDX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1`.
pub const F_VERSION_1: u64 = 1 << 32;
/// What every device offers.
pub const F_COMMON: u64 = F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1;

/// Device types (virtio 1.2, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Network card.
    Net = 1,
    /// Block device.
    Block = 2,
    /// Entropy source.
    Entropy = 4,
    /// Socket device.
    Vsock = 19,
}

impl Kind {
    /// Number of the type.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }
}

/// How a device reaches its driver.
pub trait Interrupt: Send + Sync {
    /// Requests of queue `index` were given back.
    fn queue(&self, index: u16);
    /// The configuration changed.
    fn config(&self);
    /// The driver broke a rule: the device has stopped and must be reset.
    fn needs_reset(&self);
}

/// From `DRIVER_OK` to reset: what a device works with.
pub struct Session {
    /// Queues in order; `None` where the driver did not enable one.
    pub queues: Vec<Option<VirtQueue>>,
    /// Negotiated features.
    pub features: u64,
    /// Way to the driver.
    pub interrupt: Arc<dyn Interrupt>,
}

impl Session {
    /// Whether the driver accepted a feature bit.
    #[must_use]
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature == feature
    }
}

/// Starts and stops a device's worker.
pub trait Control: Send + Sync {
    /// Begins a session.
    fn start(&self, session: Session);
    /// Ends the session; when it returns, the worker touches guest memory no more.
    fn stop(&self);
}

/// One virtio device as the transport sees it.
pub struct Device {
    /// Type.
    pub kind: Kind,
    /// Features offered beyond [`F_COMMON`].
    pub features: u64,
    /// Largest size of each queue; powers of two.
    pub queue_sizes: Vec<u16>,
    /// Device-specific configuration.
    pub config: Arc<ConfigSpace>,
    /// One per queue: written when the driver notifies.
    pub notify: Vec<Arc<EventFd>>,
    /// The worker.
    pub control: Arc<dyn Control>,
}
