//! The machine as the `virtio-drivers` crate wants it, and modern virtio-pci with MSI-X.
//!
//! The crate's own PCI transport leaves MSI-X unset; [`Transport`] wraps it and writes the two vector fields
//! (virtio 1.2 §4.1.5.1.2). It also notifies with one register write instead of three accesses, each of which
//! is an exit to the monitor.

use crate::interrupts::Interrupt;
use crate::mmio::Registers;
use crate::paging;
use crate::pci::{self, Config, Function, Live};
use crate::ram::{Range, address};
use crate::{DmaArena, timer::Clock};
use alloc::boxed::Box;
use core::ptr::NonNull;
use hal::dma::{Dma, DmaRegion};
use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::{self, DeviceStatus, DeviceType, InterruptStatus};
use virtio_drivers::{BufferDirection, PhysAddr};

/// PCI vendor of virtio devices.
const VENDOR: u16 = 0x1AF4;
/// Modern device numbers are this plus the device type.
const MODERN: u16 = 0x1040;
/// Device type of a network device.
pub(crate) const TYPE_NETWORK: u16 = 1;
/// Device type of a disk.
pub(crate) const TYPE_BLOCK: u16 = 2;
/// Device type of an entropy source.
pub(crate) const TYPE_ENTROPY: u16 = 4;

/// Capability types (virtio 1.2 §4.1.4).
const CAP_COMMON: u32 = 1;
const CAP_NOTIFY: u32 = 2;

/// Fields of the common configuration (virtio 1.2 §4.1.4.3).
const CONFIG_VECTOR: u32 = 16;
const QUEUE_SELECT: u32 = 22;
const QUEUE_VECTOR: u32 = 26;
const QUEUE_NOTIFY: u32 = 30;
const NO_VECTOR: u16 = 0xFFFF;
/// Queues per device that we use at most.
const QUEUES: usize = 2;

/// Memory for queues and buffers.
#[derive(Debug)]
pub(crate) struct Memory;

// SAFETY: queue memory comes zeroed from the arena and is never given back, so it stays this driver's alone;
// all memory is mapped one to one, so a buffer's address is what the device uses.
unsafe impl virtio_drivers::Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match DmaArena::new().alloc(pages * 4096, 4096) {
            Some(region) => (region.bus_addr(), region.pointer()),
            // Address 0 means that there is none.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, size: usize) -> NonNull<u8> {
        // A block that cannot be mapped faults at the first access, which ends the domain with a message.
        let mapped = Range::new(at, size as u64).is_some_and(|range| paging::map_registers(range).is_ok());
        if !mapped {
            log::error!("virtio registers at {at:#x} cannot be mapped");
        }
        NonNull::new(core::ptr::with_exposed_provenance_mut(address(at))).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as u64
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// Configuration space as the crate reaches it.
#[derive(Clone, Copy, Debug)]
struct Access;

/// Our name for the crate's function.
const fn site(at: DeviceFunction) -> pci::Address {
    pci::Address { bus: at.bus, device: at.device, function: at.function }
}

impl ConfigurationAccess for Access {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        Live.read(site(function), register.into())
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        Live.write(site(function), register.into(), data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// Whether `function` is a virtio device of type `kind` with modern registers.
pub(crate) fn is(function: &Function, kind: u16) -> bool {
    let (vendor, device) = function.id();
    // Transitional devices have numbers of their own: 0x1000 network, 0x1001 disk, 0x1005 entropy.
    let transitional = match kind {
        TYPE_NETWORK => 0x1000,
        TYPE_BLOCK => 0x1001,
        TYPE_ENTROPY => 0x1005,
        _ => 0,
    };
    vendor == VENDOR && (device == MODERN + kind || device == transitional)
}

/// A register block that a capability of `function` describes, and the word behind its description.
fn block(function: &Function, kind: u32) -> Option<(Registers, u32)> {
    let vendor_specific = function.capabilities();
    let at = vendor_specific
        .iter()
        .filter(|c| c.id == pci::VENDOR_SPECIFIC)
        .map(|c| c.offset)
        .find(|&at| function.read(at) >> 24 == kind)?;
    let slot = (function.read(at + 4) & 0xFF) as u8;
    let registers = function.registers(slot)?.part(function.read(at + 8), function.read(at + 12))?;
    Some((registers, function.read(at + 16)))
}

/// Modern virtio-pci whose queues interrupt by MSI-X.
pub(crate) struct Transport {
    inner: PciTransport,
    common: Registers,
    notify: Registers,
    notify_stride: u32,
    notify_at: [Option<u32>; QUEUES],
    has_vector: bool,
}

impl core::fmt::Debug for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Transport").field("common", &self.common).finish_non_exhaustive()
    }
}

impl Transport {
    /// Takes `function` over; with an interrupt, all its queues send that one.
    pub(crate) fn open(function: &Function, interrupt: Option<&Interrupt>) -> Option<Self> {
        let (common, _) = block(function, CAP_COMMON)?;
        let (notify, notify_stride) = block(function, CAP_NOTIFY)?;
        function.enable_bus_master();
        let has_vector = match (interrupt, function.msix()) {
            (Some(interrupt), Some(mut msix)) => {
                let connected = msix.connect(0, interrupt);
                msix.start();
                connected
            }
            (Some(_), None) => return None,
            (None, _) => false,
        };
        let pci::Address { bus, device, function: number } = function.address();
        let at = DeviceFunction { bus, device, function: number };
        let inner = PciTransport::new::<Memory, _>(&mut PciRoot::new(Access), at)
            .inspect_err(|why| log::error!("virtio device {}: {why}", function.address()))
            .ok()?;
        Some(Self { inner, common, notify, notify_stride, notify_at: [None; QUEUES], has_vector })
    }
}

impl transport::Transport for Transport {
    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.inner.read_device_features()
    }

    fn write_driver_features(&mut self, features: u64) {
        self.common.write16(CONFIG_VECTOR, NO_VECTOR);
        self.inner.write_driver_features(features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.inner.max_queue_size(queue)
    }

    fn notify(&mut self, queue: u16) {
        match self.notify_at.get(usize::from(queue)) {
            Some(&Some(at)) => self.notify.write16(at, queue),
            _ => self.inner.notify(queue),
        }
    }

    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status);
    }

    fn set_guest_page_size(&mut self, size: u32) {
        self.inner.set_guest_page_size(size);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }

    fn queue_set(&mut self, queue: u16, size: u32, table: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        self.common.write16(QUEUE_SELECT, queue);
        let vector = if self.has_vector { 0 } else { NO_VECTOR };
        self.common.write16(QUEUE_VECTOR, vector);
        if self.common.read16(QUEUE_VECTOR) != vector {
            log::error!("virtio: the device refuses an interrupt vector");
        }
        let at = u32::from(self.common.read16(QUEUE_NOTIFY)).checked_mul(self.notify_stride);
        if let Some(slot) = self.notify_at.get_mut(usize::from(queue)) {
            *slot = at.filter(|at| at.saturating_add(2) <= self.notify.len());
        }
        self.inner.queue_set(queue, size, table, driver, device);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.inner.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }

    fn read_config_space<T: zerocopy::FromBytes + zerocopy::IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        self.inner.read_config_space(offset)
    }

    fn write_config_space<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> virtio_drivers::Result<()> {
        self.inner.write_config_space(offset, value)
    }
}

/// Agrees with the device on features (virtio 1.2 §3.1.1): all of `needed`, and of `wanted` what it has. `None` when it
/// lacks one that is needed.
pub(crate) fn negotiate(transport: &mut Transport, needed: u64, wanted: u64) -> Option<u64> {
    use transport::Transport as _;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    let agreed = transport.read_device_features() & (needed | wanted);
    if agreed & needed != needed {
        return None;
    }
    transport.write_driver_features(agreed);
    let accepted = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
    transport.set_status(accepted);
    transport.get_status().contains(accepted).then_some(agreed)
}

/// How long an entropy source may take.
const ENTROPY_US: u64 = 5_000_000;

/// Asks the entropy source `function` for 32 random bytes; `None` when it gives fewer or takes too long.
pub(crate) fn random_bytes(function: &Function) -> Option<[u8; 32]> {
    use transport::Transport as _;
    let mut transport = Transport::open(function, None)?;
    transport.begin_init(Feature::VERSION_1);
    let mut queue = VirtQueue::<Memory, 4>::new(&mut transport, 0, false, false).ok()?;
    transport.finish_init();
    // Leaked: a device that answers after the deadline writes to memory that is still nobody else's.
    let bytes: &'static mut [u8; 32] = Box::leak(Box::new([0; 32]));
    // SAFETY: `bytes` lives for ever and is not touched before `pop_used` has succeeded.
    let token = unsafe { queue.add(&[], &mut [&mut bytes[..]]) }.ok()?;
    transport.notify(0);
    let deadline = Clock.us() + ENTROPY_US;
    while !queue.can_pop() {
        if Clock.us() > deadline {
            return None;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the same buffer as in `add`, whose token this is.
    let len = unsafe { queue.pop_used(token, &[], &mut [&mut bytes[..]]) }.ok()?;
    (len == 32).then_some(*bytes)
}
