//! Memory that devices reach: one arena, handed out in pieces that are never given back.
//!
//! Under our monitor the arena is the only memory mapped for an assigned device. Nobody holds a reference
//! into it: access is by copy, through assembly that the compiler takes as it stands. The memory that outlives
//! a domain is reached in the same way.

use crate::ram::{Range, address};
use core::cell::Cell;
use core::ptr::NonNull;
use critical_section::Mutex;
use hal::dma::{Dma, DmaRegion};

static ARENA: Mutex<Cell<Option<Range>>> = Mutex::new(Cell::new(None));

/// Gives the arena its memory.
///
/// # Safety
/// `range` is mapped writable memory that nothing else uses, for ever.
pub(crate) unsafe fn provide(range: Range) {
    critical_section::with(|cs| ARENA.borrow(cs).set(Some(range)));
}

/// The arena, as drivers ask it for memory. Any number of handles draw on the one arena.
#[derive(Clone, Copy, Debug)]
pub struct DmaArena {
    _private: (),
}

impl DmaArena {
    pub(crate) const fn new() -> Self {
        Self { _private: () }
    }

    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        critical_section::with(|cs| ARENA.borrow(cs).get().map_or(0, |range| range.len()))
    }
}

impl Dma for DmaArena {
    type Region = Region;

    fn alloc(&mut self, len: usize, align: usize) -> Option<Region> {
        let range = critical_section::with(|cs| {
            let arena = ARENA.borrow(cs);
            let (taken, left) = carve(arena.get()?, len as u64, align as u64)?;
            arena.set(Some(left));
            Some(taken)
        })?;
        // SAFETY: carved from the arena, so nobody else has it.
        unsafe { Region::new(range) }
    }
}

/// The memory that outlives this domain, with what its predecessor left there.
pub(crate) fn state(range: Range) -> Option<Region> {
    // SAFETY: the boot record names this memory for that purpose; the plan gave it to nobody else and the
    // tables map it. `Machine` takes it once.
    unsafe { Region::keep(range) }
}

/// Cuts `len` bytes aligned to `align` from the start of `arena`: what was cut, and what is left.
fn carve(arena: Range, len: u64, align: u64) -> Option<(Range, Range)> {
    if !align.is_power_of_two() {
        return None;
    }
    let start = arena.start.checked_add(align - 1)? & !(align - 1);
    let taken = Range::new(start, len)?;
    (taken.end <= arena.end).then_some((taken, Range { start: taken.end, end: arena.end }))
}

/// A piece of memory shared with a device or with the host, reached by copy alone.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the region has one owner; every access is made by assembly or atomics.
unsafe impl Send for Region {}

impl Region {
    /// Takes `range` and zeroes it.
    ///
    /// # Safety
    /// `range` is mapped writable memory that nothing else in this domain uses, for ever.
    unsafe fn new(range: Range) -> Option<Self> {
        // SAFETY: by the caller's promise.
        let region = unsafe { Self::keep(range) }?;
        // SAFETY: by the caller's promise; no device knows of the region yet.
        unsafe { region.base.write_bytes(0, region.len) };
        Some(region)
    }

    /// Takes `range` with what is in it, which is untrusted input.
    ///
    /// # Safety
    /// As [`Region::new`].
    unsafe fn keep(range: Range) -> Option<Self> {
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(address(range.start)))?;
        Some(Self { base, len: address(range.len()) })
    }

    /// The address `offset` bytes in, when `len` bytes from there are inside.
    fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the sum stays inside the region.
        Some(unsafe { self.base.add(offset) })
    }

    /// Start of the region, for drivers that keep pointers (virtio queues).
    pub(crate) fn pointer(&self) -> NonNull<u8> {
        self.base
    }

    /// The untorn 64-bit word at `offset`.
    fn word(&self, offset: usize) -> Option<NonNull<u64>> {
        let at = self.at(offset, 8)?.cast::<u64>();
        at.is_aligned().then_some(at)
    }
}

impl DmaRegion for Region {
    fn bus_addr(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, out.len()) else { return false };
        // SAFETY: `from` is readable for the length, checked above; `out` is ours alone.
        unsafe { copy(out.as_mut_ptr(), from.as_ptr(), out.len()) };
        true
    }

    fn write(&self, offset: usize, data: &[u8]) -> bool {
        let Some(to) = self.at(offset, data.len()) else { return false };
        // SAFETY: `to` is writable for the length, checked above; no Rust reference covers the region.
        unsafe { copy(to.as_ptr(), data.as_ptr(), data.len()) };
        true
    }

    fn read_u64(&self, offset: usize) -> u64 {
        // SAFETY: aligned and inside the region.
        self.word(offset).map_or(u64::MAX, |at| unsafe { at.read_volatile() })
    }

    fn write_u64(&self, offset: usize, value: u64) {
        if let Some(at) = self.word(offset) {
            // SAFETY: aligned and inside the region.
            unsafe { at.write_volatile(value) }
        }
    }
}

/// Copies `len` bytes. In assembly, because the other side may change the memory meanwhile: the compiler
/// may assume nothing about what is read or when.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes; they do not overlap.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the caller's promise; the loop touches exactly `len` bytes on either side.
    unsafe {
        core::arch::asm!(
            "cmp {n}, 64",
            "jb 3f",
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {n}, 64",
            "cmp {n}, 64",
            "jae 2b",
            "3:",
            "cmp {n}, 8",
            "jb 5f",
            "4:",
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            "add {from}, 8",
            "add {to}, 8",
            "sub {n}, 8",
            "cmp {n}, 8",
            "jae 4b",
            "5:",
            "test {n}, {n}",
            "jz 7f",
            "6:",
            "mov {word:l}, [{from}]",
            "mov [{to}], {word:l}",
            "inc {from}",
            "inc {to}",
            "dec {n}",
            "jnz 6b",
            "7:",
            to = inout(reg) to => _,
            from = inout(reg) from => _,
            n = inout(reg) len => _,
            word = out(reg_abcd) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// A region over ordinary memory, leaked.
    fn region(len: usize) -> Region {
        let memory = vec![0xEEu64; len / 8].leak();
        let start = memory.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: leaked, so it is this region's alone.
        unsafe { Region::new(Range { start, end: start + len as u64 }) }.unwrap()
    }

    #[test]
    fn carves_aligned_pieces_until_it_is_empty() {
        let arena = Range { start: 0x1001, end: 0x4000 };
        let (taken, left) = carve(arena, 0x800, 0x1000).unwrap();
        assert_eq!(
            (taken, left),
            (Range { start: 0x2000, end: 0x2800 }, Range { start: 0x2800, end: 0x4000 })
        );
        assert!(carve(left, 0x1800, 8).is_some());
        assert!(carve(left, 0x1801, 8).is_none());
        assert!(carve(left, 8, 3).is_none() && carve(left, 8, 0).is_none() && carve(left, 0, 8).is_none());
        assert!(carve(left, u64::MAX, 8).is_none());
    }

    #[test]
    fn copies_every_length_and_nothing_else() {
        let memory = region(512);
        assert_eq!(memory.read_u64(504), 0, "zeroed");
        for len in 0..200 {
            let data: vec::Vec<u8> = (0..len).map(|i| u8::try_from(i ^ len).unwrap()).collect();
            assert!(memory.write(3, &[0xAA; 300]));
            assert!(memory.write(5, &data));
            let mut back = vec![0; len + 4];
            assert!(memory.read(3, &mut back));
            assert_eq!(&back[2..len + 2], &data[..]);
            assert_eq!((&back[..2], &back[len + 2..]), (&[0xAA; 2][..], &[0xAA; 2][..]));
        }
    }

    #[test]
    fn stays_inside() {
        let memory = region(64);
        let mut one = [7];
        assert!(!memory.read(64, &mut one) && !memory.read(usize::MAX, &mut one) && one == [7]);
        assert!(!memory.write(63, &[1, 2]) && memory.read_u64(56) == 0);
        memory.write_u64(60, 1);
        memory.write_u64(4, 1);
        assert_eq!((memory.read_u64(60), memory.read_u64(4)), (u64::MAX, u64::MAX));
        memory.write_u64(8, 0x1122);
        assert_eq!(memory.read_u64(8), 0x1122);
    }
}
