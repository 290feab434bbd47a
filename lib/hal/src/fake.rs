//! Fakes for driver tests, stricter than hardware: what hardware would let pass, these refuse.
//!
//! [`FakeArena`] hands out regions with gaps between them. A driver that reaches beyond its region panics the
//! test; a device (through [`FakeBus`]) that does gets nothing and is written down, as an IOMMU would do.

use crate::clock::Clock;
use crate::dma::{Dma, DmaRegion};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// Unowned bytes between two regions.
const GAP: usize = 64;
/// What untouched gaps hold.
const CANARY: u8 = 0xA5;

#[derive(Debug)]
struct Memory {
    base: u64,
    bytes: Vec<u8>,
    next: usize,
    regions: Vec<(usize, usize)>,
    violations: Vec<BusFault>,
}

/// A device access outside every region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFault {
    /// Bus address of the first byte.
    pub addr: u64,
    /// Bytes asked for.
    pub len: usize,
}

/// DMA memory at a chosen bus address.
#[derive(Clone, Debug)]
pub struct FakeArena(Rc<RefCell<Memory>>);

impl FakeArena {
    /// An arena of `len` bytes that devices see at `base`.
    #[must_use]
    pub fn new(base: u64, len: usize) -> Self {
        let (bytes, regions) = (vec![CANARY; len], Vec::new());
        Self(Rc::new(RefCell::new(Memory { base, bytes, next: 0, regions, violations: Vec::new() })))
    }

    /// The device's side of this memory.
    #[must_use]
    pub fn bus(&self) -> FakeBus {
        FakeBus(Rc::clone(&self.0))
    }

    /// Whether nothing wrote between the regions.
    #[must_use]
    pub fn gaps_untouched(&self) -> bool {
        let memory = self.0.borrow();
        // Regions are handed out in ascending order.
        let starts = memory.regions.iter().map(|(start, _)| *start).chain([memory.bytes.len()]);
        let ends = [0].into_iter().chain(memory.regions.iter().map(|(start, len)| start + len));
        ends.zip(starts).all(|(from, to)| memory.bytes[from..to].iter().all(|byte| *byte == CANARY))
    }
}

impl Dma for FakeArena {
    type Region = FakeRegion;

    fn alloc(&mut self, len: usize, align: usize) -> Option<FakeRegion> {
        assert!(align.is_power_of_two(), "alignment {align} is not a power of two");
        let mut memory = self.0.borrow_mut();
        let start = memory.next.checked_next_multiple_of(align)?;
        let end = start.checked_add(len)?;
        memory.bytes.get_mut(start..end)?.fill(0);
        memory.next = end + GAP;
        memory.regions.push((start, len));
        Some(FakeRegion { memory: Rc::clone(&self.0), start, len })
    }
}

/// A region; the driver's side.
#[derive(Debug)]
pub struct FakeRegion {
    memory: Rc<RefCell<Memory>>,
    start: usize,
    len: usize,
}

impl FakeRegion {
    /// Position in the arena; panics when the driver reaches beyond its region.
    fn at(&self, offset: usize, len: usize) -> core::ops::Range<usize> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        assert!(end.is_some(), "driver reached {offset}+{len} in a region of {} bytes", self.len);
        self.start + offset..self.start + offset + len
    }
}

impl DmaRegion for FakeRegion {
    fn bus_addr(&self) -> u64 {
        self.memory.borrow().base + self.start as u64
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        let range = self.at(offset, out.len());
        out.copy_from_slice(&self.memory.borrow().bytes[range]);
        true
    }

    fn write(&self, offset: usize, data: &[u8]) -> bool {
        let range = self.at(offset, data.len());
        self.memory.borrow_mut().bytes[range].copy_from_slice(data);
        true
    }

    fn read_u64(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8), "misaligned load at {offset}");
        let mut bytes = [0; 8];
        let _ = self.read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn write_u64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8), "misaligned store at {offset}");
        let _ = self.write(offset, &value.to_le_bytes());
    }
}

/// The device's side: bus addresses, checked as an IOMMU checks them, but to the byte.
#[derive(Clone, Debug)]
pub struct FakeBus(Rc<RefCell<Memory>>);

impl FakeBus {
    /// Device reads memory; `false`, and a fault written down, outside the regions.
    #[must_use]
    pub fn read(&self, addr: u64, out: &mut [u8]) -> bool {
        let Some(range) = self.check(addr, out.len()) else { return false };
        out.copy_from_slice(&self.0.borrow().bytes[range]);
        true
    }

    /// Device writes memory; `false`, and a fault written down, outside the regions.
    #[must_use]
    pub fn write(&self, addr: u64, data: &[u8]) -> bool {
        let Some(range) = self.check(addr, data.len()) else { return false };
        self.0.borrow_mut().bytes[range].copy_from_slice(data);
        true
    }

    /// Every device access outside the regions so far.
    #[must_use]
    pub fn faults(&self) -> Vec<BusFault> {
        self.0.borrow().violations.clone()
    }

    fn check(&self, addr: u64, len: usize) -> Option<core::ops::Range<usize>> {
        let mut memory = self.0.borrow_mut();
        let inside = |start: usize| {
            let end = start.checked_add(len)?;
            memory.regions.iter().any(|(at, size)| start >= *at && end <= at + size).then_some(start..end)
        };
        let start = addr.checked_sub(memory.base).and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(inside);
        if range.is_none() {
            memory.violations.push(BusFault { addr, len });
        }
        range
    }
}

/// A clock that moves only when asked or looked at.
#[derive(Clone, Debug, Default)]
pub struct FakeClock(Rc<Cell<u64>>);

impl FakeClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass.
    pub fn advance_us(&self, us: u64) {
        self.0.set(self.0.get().saturating_add(us));
    }

    /// The time, without moving it.
    #[must_use]
    pub fn peek_us(&self) -> u64 {
        self.0.get()
    }
}

impl Clock for FakeClock {
    /// Looking costs a microsecond, so that a loop that waits for a time ends.
    fn now_us(&self) -> u64 {
        self.advance_us(1);
        self.0.get()
    }

    fn delay_us(&self, us: u32) {
        self.advance_us(u64::from(us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_access_outside_a_region_is_refused_and_noted() {
        let mut arena = FakeArena::new(0x1000, 4096);
        let region = arena.alloc(100, 16).unwrap();
        let bus = arena.bus();
        assert!(bus.write(region.bus_addr() + 99, &[7]));
        assert!(!bus.write(region.bus_addr() + 99, &[7, 7]));
        assert!(!bus.read(0, &mut [0]));
        assert!(!bus.read(u64::MAX, &mut [0; 2]));
        assert_eq!(bus.faults().len(), 3);
        assert!(arena.gaps_untouched());
        assert!(arena.alloc(4096, 16).is_none(), "exhausted");
    }

    #[test]
    #[should_panic(expected = "driver reached")]
    fn driver_access_outside_its_region_panics() {
        let region = FakeArena::new(0, 4096).alloc(8, 8).unwrap();
        let _ = region.read(1, &mut [0; 8]);
    }
}
