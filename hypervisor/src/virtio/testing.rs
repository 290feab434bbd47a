//! The driver's side of a virtqueue, for tests: real rings in real memory, and as wrong as a test wants.

use super::device::{F_EVENT_IDX, Interrupt, Session};
use super::queue::{GuestRam, VirtQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Memory of a test guest.
pub(crate) fn memory(len: usize) -> Arc<GuestRam> {
    Arc::new(GuestRam::from_ranges(&[(GuestAddress(0), len)]).unwrap())
}

/// One piece of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// The device reads it.
    Out(u64, u32),
    /// The device writes it.
    In(u64, u32),
}

/// Driver of one queue. Rings take 16 KiB from `base`.
pub(crate) struct Driver {
    pub(crate) memory: Arc<GuestRam>,
    pub(crate) base: u64,
    size: u16,
    next_descriptor: u16,
    available: u16,
    seen: u16,
}

impl Driver {
    pub(crate) fn new(memory: &Arc<GuestRam>, base: u64, size: u16) -> Self {
        Self { memory: memory.clone(), base, size, next_descriptor: 0, available: 0, seen: 0 }
    }

    pub(crate) fn queue(&self) -> VirtQueue {
        VirtQueue::new(self.raw_queue(0), self.memory.clone()).unwrap()
    }

    pub(crate) fn raw_queue(&self, features: u64) -> Queue {
        let mut queue = Queue::new(self.size).unwrap();
        let low = |offset: u64| Some(u32::try_from(self.base + offset).unwrap());
        queue.set_desc_table_address(low(0), Some(0));
        queue.set_avail_ring_address(low(0x1000), Some(0));
        queue.set_used_ring_address(low(0x2000), Some(0));
        queue.set_event_idx(features & F_EVENT_IDX != 0);
        queue.set_ready(true);
        queue
    }

    pub(crate) fn put<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.memory.write_obj(value, GuestAddress(address)).unwrap();
    }

    pub(crate) fn get<T: vm_memory::ByteValued>(&self, address: u64) -> T {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub(crate) fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Writes descriptor `index` as it is: address, length, flags, next.
    pub(crate) fn descriptor(&self, index: u16, fields: (u64, u32, u16, u16)) {
        self.descriptor_at(self.base + 16 * u64::from(index), fields);
    }

    pub(crate) fn descriptor_at(&self, place: u64, (address, len, flags, next): (u64, u32, u16, u16)) {
        self.put(place, address);
        self.put(place + 8, len);
        self.put(place + 12, flags);
        self.put(place + 14, next);
    }

    /// Makes `head` available.
    pub(crate) fn offer_head(&mut self, head: u16) {
        self.put(self.base + 0x1004 + 2 * u64::from(self.available % self.size), head);
        self.available = self.available.wrapping_add(1);
        self.set_available(self.available);
    }

    /// Claims any number of available requests.
    pub(crate) fn set_available(&self, index: u16) {
        self.put(self.base + 0x1002, index);
    }

    /// Offers a well-formed request; descriptors are taken round-robin, so at most a table is in flight.
    pub(crate) fn offer(&mut self, pieces: &[Piece]) -> u16 {
        let head = self.next_descriptor;
        for (index, piece) in pieces.iter().enumerate() {
            let this = self.next_descriptor;
            self.next_descriptor = (this + 1) % self.size;
            let more = if index + 1 < pieces.len() { NEXT } else { 0 };
            let (address, len, flags) = match *piece {
                Piece::Out(address, len) => (address, len, more),
                Piece::In(address, len) => (address, len, more | WRITE),
            };
            self.descriptor(this, (address, len, flags, self.next_descriptor));
        }
        self.offer_head(head);
        head
    }

    /// Requests given back since the last call: head and bytes written.
    pub(crate) fn used(&mut self) -> Vec<(u16, u32)> {
        let index: u16 = self.get(self.base + 0x2002);
        let mut list = Vec::new();
        while self.seen != index {
            let place = self.base + 0x2004 + 8 * u64::from(self.seen % self.size);
            list.push((u16::try_from(self.get::<u32>(place)).unwrap(), self.get::<u32>(place + 4)));
            self.seen = self.seen.wrapping_add(1);
        }
        list
    }

    /// Waits until `count` requests have been given back.
    pub(crate) fn wait_used(&mut self, count: usize) -> Vec<(u16, u32)> {
        let mut list = Vec::new();
        wait_until("requests given back", || {
            list.extend(self.used());
            list.len() >= count
        });
        list
    }
}

/// Waits for a condition that another thread brings about; panics after a minute.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Counts what a device signals.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) queue: AtomicU64,
    pub(crate) config: AtomicU64,
    pub(crate) needs_reset: AtomicU64,
}

impl Interrupt for Signals {
    fn queue(&self, _index: u16) {
        self.queue.fetch_add(1, Ordering::SeqCst);
    }
    fn config(&self) {
        self.config.fetch_add(1, Ordering::SeqCst);
    }
    fn needs_reset(&self) {
        self.needs_reset.fetch_add(1, Ordering::SeqCst);
    }
}

/// A session over these drivers' queues.
pub(crate) fn session(drivers: &[&Driver], features: u64) -> (Session, Arc<Signals>) {
    let signals = Arc::new(Signals::default());
    let queues = drivers
        .iter()
        .map(|driver| VirtQueue::new(driver.raw_queue(features), driver.memory.clone()))
        .collect();
    (Session { queues, features, interrupt: signals.clone() }, signals)
}
