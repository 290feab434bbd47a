//! The common configuration structure (virtio 1.2, section 4.1.4.3) as a state machine.
//!
//! Here: negotiation, queue set-up, start and reset. A queue's geometry can be written until the queue is
//! enabled and never after, whatever the driver writes; only a reset opens it again. Not here: PCI.

use super::lines::Lines;
use crate::virtio::device::{Device, F_COMMON, F_EVENT_IDX, F_VERSION_1, Interrupt, Session};
use crate::virtio::queue::{GuestRam, VirtQueue};
use std::sync::Arc;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

/// Bytes of the structure, the two fields of 1.2 included.
pub const LEN: usize = 0x3C;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const FAILED: u8 = 128;

const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DEVICE_FEATURE: usize = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0C;
const CONFIG_VECTOR: u64 = 0x10;
const NUM_QUEUES: usize = 0x12;
const STATUS: u64 = 0x14;
const GENERATION: usize = 0x15;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1A;
const QUEUE_ENABLE: u64 = 0x1C;
const QUEUE_NOTIFY_OFF: usize = 0x1E;
const QUEUE_ADDRESSES: u64 = 0x20;
const QUEUE_ADDRESSES_END: u64 = 0x38;

/// What the driver wrote about a queue.
#[derive(Clone, Copy, Debug)]
struct Setup {
    max: u16,
    size: u16,
    enabled: bool,
    /// Descriptor table, available ring, used ring.
    addresses: [u64; 3],
}

impl Setup {
    fn new(max: u16) -> Self {
        Self { max, size: max, enabled: false, addresses: [0; 3] }
    }

    /// Builds the queue; `None` when an address or the size is impossible.
    fn build(&self, features: u64, memory: &Arc<GuestRam>) -> Option<VirtQueue> {
        let mut queue = Queue::new(self.max).ok()?;
        queue.try_set_size(self.size).ok()?;
        let [table, available, used] = self.addresses.map(GuestAddress);
        queue.try_set_desc_table_address(table).ok()?;
        queue.try_set_avail_ring_address(available).ok()?;
        queue.try_set_used_ring_address(used).ok()?;
        queue.set_event_idx(features & F_EVENT_IDX != 0);
        queue.set_ready(true);
        VirtQueue::new(queue, memory.clone())
    }
}

/// Registers and state of one device.
pub struct Common {
    device: Device,
    memory: Arc<GuestRam>,
    lines: Arc<Lines>,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    setups: Vec<Setup>,
}

impl Common {
    /// Takes over a device in the state after power-on.
    #[must_use]
    pub fn new(device: Device, memory: Arc<GuestRam>, lines: Arc<Lines>) -> Self {
        let setups = device.queue_sizes.iter().map(|max| Setup::new(*max)).collect();
        Self {
            device,
            memory,
            lines,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            setups,
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn offered(&self) -> u64 {
        self.device.features | F_COMMON
    }

    /// Serves a read; beyond the structure there are zeroes.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let image = self.image();
        let from = usize::try_from(offset).ok().and_then(|offset| image.get(offset..)).unwrap_or(&[]);
        let len = from.len().min(data.len());
        data.fill(0);
        data[..len].copy_from_slice(&from[..len]);
    }

    fn image(&self) -> [u8; LEN] {
        let mut image = [0; LEN];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x00, &self.device_feature_select.to_le_bytes());
        put(DEVICE_FEATURE, &half(self.offered(), self.device_feature_select).to_le_bytes());
        put(0x08, &self.driver_feature_select.to_le_bytes());
        put(0x0C, &half(self.driver_features, self.driver_feature_select).to_le_bytes());
        put(0x10, &self.lines.config_vector().to_le_bytes());
        put(NUM_QUEUES, &u16::try_from(self.setups.len()).unwrap_or(0).to_le_bytes());
        put(0x14, &[self.lines.status()]);
        put(GENERATION, &[self.device.config.generation()]);
        put(0x16, &self.queue_select.to_le_bytes());
        let index = usize::from(self.queue_select);
        if let Some(setup) = self.setups.get(index) {
            put(0x18, &setup.size.to_le_bytes());
            put(0x1A, &self.lines.queue_vector(index).to_le_bytes());
            put(0x1C, &u16::from(setup.enabled).to_le_bytes());
            put(QUEUE_NOTIFY_OFF, &self.queue_select.to_le_bytes());
            for (number, address) in setup.addresses.iter().enumerate() {
                put(0x20 + 8 * number, &address.to_le_bytes());
            }
        }
        image
    }

    /// Serves a write; one that the state or the width does not allow changes nothing.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        match (offset, data) {
            (_, [a, b, c, d]) => self.write32(offset, u32::from_le_bytes([*a, *b, *c, *d])),
            (_, [a, b]) => self.write16(offset, u16::from_le_bytes([*a, *b])),
            (STATUS, [status]) => self.set_status(*status),
            (QUEUE_ADDRESSES..QUEUE_ADDRESSES_END, [a, b, c, d, e, f, g, h]) if offset.is_multiple_of(8) => {
                self.set_address_half(offset, u32::from_le_bytes([*a, *b, *c, *d]));
                self.set_address_half(offset + 4, u32::from_le_bytes([*e, *f, *g, *h]));
            }
            _ => {}
        }
    }

    fn write32(&mut self, offset: u64, value: u32) {
        match offset {
            DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            DRIVER_FEATURE => self.set_features(value),
            QUEUE_ADDRESSES..QUEUE_ADDRESSES_END if offset.is_multiple_of(4) => {
                self.set_address_half(offset, value);
            }
            _ => {}
        }
    }

    fn write16(&mut self, offset: u64, value: u16) {
        let index = usize::from(self.queue_select);
        match offset {
            CONFIG_VECTOR if !self.is_running() => self.lines.set_config_vector(value),
            QUEUE_SELECT => self.queue_select = value,
            QUEUE_SIZE => {
                if let Some(setup) = self.open_setup()
                    && value.is_power_of_two()
                    && value <= setup.max
                {
                    setup.size = value;
                }
            }
            QUEUE_VECTOR if self.open_setup().is_some() => self.lines.set_queue_vector(index, value),
            QUEUE_ENABLE if value == 1 => {
                if let Some(setup) = self.open_setup() {
                    setup.enabled = true;
                }
            }
            _ => {}
        }
    }

    /// The selected queue, as long as it may be changed: not enabled, device not started.
    fn open_setup(&mut self) -> Option<&mut Setup> {
        if self.is_running() {
            return None;
        }
        self.setups.get_mut(usize::from(self.queue_select)).filter(|setup| !setup.enabled)
    }

    fn set_address_half(&mut self, offset: u64, value: u32) {
        let at = offset - QUEUE_ADDRESSES;
        let Some(setup) = self.open_setup() else { return };
        let Some(address) = usize::try_from(at / 8).ok().and_then(|i| setup.addresses.get_mut(i)) else {
            return;
        };
        let shift = 8 * (at % 8);
        *address = *address & !(0xFFFF_FFFF << shift) | u64::from(value) << shift;
    }

    fn set_features(&mut self, value: u32) {
        if self.lines.status() & FEATURES_OK != 0 || self.driver_feature_select > 1 {
            return;
        }
        let shift = 32 * self.driver_feature_select;
        self.driver_features = self.driver_features & !(0xFFFF_FFFF << shift) | u64::from(value) << shift;
    }

    fn is_running(&self) -> bool {
        self.lines.status() & DRIVER_OK != 0
    }

    fn set_status(&mut self, status: u8) {
        if status == 0 {
            return self.reset();
        }
        self.lines.add_status(status & (ACKNOWLEDGE | DRIVER | FAILED));
        let acceptable = self.driver_features & !self.offered() == 0;
        if status & FEATURES_OK != 0 && acceptable && self.driver_features & F_VERSION_1 != 0 {
            self.lines.add_status(FEATURES_OK);
        }
        let agreed = self.lines.status() & FEATURES_OK != 0;
        if status & DRIVER_OK != 0 && agreed && !self.is_running() {
            self.lines.add_status(DRIVER_OK);
            self.start();
        }
    }

    fn start(&self) {
        let build = |setup: &Setup| match setup.enabled {
            true => setup.build(self.driver_features, &self.memory).map(Some).ok_or(()),
            false => Ok(None),
        };
        let Ok(queues) = self.setups.iter().map(build).collect() else {
            tracing::warn!(kind = ?self.device.kind, "queue outside of memory: device needs reset");
            return self.lines.needs_reset();
        };
        let interrupt: Arc<dyn Interrupt> = self.lines.clone();
        self.device.control.start(Session { queues, features: self.driver_features, interrupt });
    }

    /// Stops the worker and forgets everything that the driver wrote.
    pub fn reset(&mut self) {
        self.device.control.stop();
        self.lines.reset();
        self.driver_features = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.queue_select = 0;
        for setup in &mut self.setups {
            *setup = Setup::new(setup.max);
        }
    }
}

/// One half of the features, or zero for a half that does not exist.
fn half(features: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = features.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}
