//! Which memory serves what: heap, DMA arena, surviving state. Pure arithmetic, decided once at boot.

use heapless::Vec;

/// A piece of guest-physical memory, `start..end` in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Smallest unit of every decision here.
pub const PAGE: u64 = 4096;
/// Largest arena that is taken when nobody names one.
const ARENA_MAX: u64 = 4 << 20;
/// A heap below this is of no use.
const HEAP_MIN: u64 = 64 << 10;

/// A guest-physical address, or a length, as Rust wants it.
#[expect(clippy::cast_possible_truncation, reason = "images are built for 64-bit processors alone")]
pub(crate) const fn address(at: u64) -> usize {
    at as usize
}

impl Range {
    /// Makes a range of `len` bytes; `None` when it is empty or runs past the address space.
    #[must_use]
    pub const fn new(start: u64, len: u64) -> Option<Self> {
        match start.checked_add(len) {
            Some(end) if len > 0 => Some(Self { start, end }),
            _ => None,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The whole pages inside the range.
    #[must_use]
    pub const fn inner_pages(&self) -> Self {
        Self { start: self.start.saturating_add(PAGE - 1) & !(PAGE - 1), end: self.end & !(PAGE - 1) }
    }

    /// The whole pages that the range touches.
    #[must_use]
    pub const fn outer_pages(&self) -> Self {
        Self { start: self.start & !(PAGE - 1), end: self.end.saturating_add(PAGE - 1) & !(PAGE - 1) }
    }

    /// Whether `other` lies entirely inside.
    #[must_use]
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl core::fmt::Display for Range {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

/// What the boot loader said about memory.
#[derive(Debug, Default)]
pub struct Offered {
    /// Usable RAM.
    pub ram: Vec<Range, 32>,
    /// Memory that holds something which is still needed: boot modules, the surviving state.
    pub reserved: Vec<Range, 12>,
    /// The DMA arena, when the monitor chose one.
    pub arena: Option<Range>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The RAM that the image lies in, from the image's first byte to its end.
    pub main: Range,
    /// Memory for the heap.
    pub heap: Range,
    /// Memory that devices may reach.
    pub arena: Range,
}

/// Why memory cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// No RAM range of the memory map contains the image.
    ImageOutsideRam,
    /// Too little is left beside the image.
    TooSmall,
}

/// Divides what lies above `image` in its RAM range: the largest gap becomes heap, and its top quarter the
/// DMA arena when the monitor did not choose one.
///
/// # Errors
/// [`NoPlan`] when the memory map does not allow for it.
pub fn divide(offered: &Offered, image: Range) -> Result<Plan, NoPlan> {
    let around = offered.ram.iter().find(|ram| ram.contains(&image)).ok_or(NoPlan::ImageOutsideRam)?;
    let main = Range { start: image.start, end: around.inner_pages().end };
    let free = Range { start: image.outer_pages().end, end: main.end };
    let gap = largest_gap(free, offered);
    let (heap, arena) = match offered.arena {
        Some(arena) => (gap, arena),
        None => split_top(gap),
    };
    if heap.len() < HEAP_MIN {
        return Err(NoPlan::TooSmall);
    }
    Ok(Plan { main, heap, arena })
}

/// Cuts the DMA arena from the top of `gap`.
fn split_top(gap: Range) -> (Range, Range) {
    let len = (gap.len() / 4).min(ARENA_MAX) & !(PAGE - 1);
    let cut = gap.end.saturating_sub(len);
    (Range { start: gap.start, end: cut }, Range { start: cut, end: gap.end })
}

/// The largest run of whole pages in `free` that touches nothing reserved.
fn largest_gap(free: Range, offered: &Offered) -> Range {
    let taken = || offered.reserved.iter().chain(&offered.arena).map(Range::outer_pages);
    let mut best = Range { start: free.start, end: free.start };
    let mut start = free.start;
    // Each turn passes at least one reserved range, so this many turns see every gap.
    for _ in 0..=offered.reserved.len() + 1 {
        // Step over whatever covers `start`, then run up to what comes next.
        while let Some(over) = taken().find(|r| r.start <= start && start < r.end) {
            start = over.end;
        }
        if start >= free.end {
            break;
        }
        let end = taken().map(|r| r.start).filter(|&s| s > start).min().unwrap_or(free.end).min(free.end);
        if end - start > best.len() {
            best = Range { start, end };
        }
        start = end;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn image() -> Range {
        Range { start: MIB, end: MIB + 0x2_3456 }
    }

    fn machine(ram: &[(u64, u64)], reserved: &[(u64, u64)]) -> Offered {
        let ranges = |list: &[(u64, u64)]| {
            list.iter().map(|&(start, end)| Range { start, end }).collect::<std::vec::Vec<_>>()
        };
        Offered {
            ram: ranges(ram).into_iter().collect(),
            reserved: ranges(reserved).into_iter().collect(),
            arena: None,
        }
    }

    #[test]
    fn takes_a_part_for_the_arena() {
        let plan = divide(&machine(&[(0, 0x9_F000), (MIB, 64 * MIB)], &[]), image()).unwrap();
        assert_eq!(plan.heap.start, MIB + 0x2_4000);
        assert_eq!(plan.heap.end, plan.arena.start);
        assert_eq!(plan.arena.end, 64 * MIB);
        assert_eq!(plan.arena.len(), 4 * MIB);
        let small = divide(&machine(&[(MIB, 9 * MIB)], &[]), image()).unwrap();
        assert_eq!(small.arena.len(), (8 * MIB - 0x2_4000) / 4);
    }

    #[test]
    fn steps_around_reserved_memory() {
        let reserved = [(3 * MIB + 5, 4 * MIB - 5), (MIB + 0x2_3000, 2 * MIB), (3 * MIB, 3 * MIB + 100)];
        let plan = divide(&machine(&[(MIB, 8 * MIB)], &reserved), image()).unwrap();
        assert_eq!((plan.heap.start, plan.arena.end), (4 * MIB, 8 * MIB));
    }

    #[test]
    fn keeps_the_monitors_arena() {
        let mut offered = machine(&[(0, 16 * MIB)], &[]);
        offered.arena = Range::new(8 * MIB, 4 * MIB);
        let plan = divide(&offered, image()).unwrap();
        assert_eq!(plan.arena, Range { start: 8 * MIB, end: 12 * MIB });
        assert_eq!((plan.heap.start, plan.heap.end), (MIB + 0x2_4000, 8 * MIB));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(divide(&machine(&[(0, MIB)], &[]), image()), Err(NoPlan::ImageOutsideRam));
        assert_eq!(divide(&machine(&[(0, MIB + 0x2_5000)], &[]), image()), Err(NoPlan::TooSmall));
        let all = [(MIB, 16 * MIB)];
        assert_eq!(divide(&machine(&all, &all), image()), Err(NoPlan::TooSmall));
    }

    proptest::proptest! {
        #[test]
        fn never_hands_out_reserved_memory(
            top in 2u64..64,
            reserved in proptest::collection::vec((0u64..64 * MIB, 1u64..4 * MIB), 0..12),
        ) {
            let list: std::vec::Vec<_> = reserved.iter().map(|&(s, l)| (s, s + l)).collect();
            let offered = machine(&[(0, top * MIB)], &list);
            if let Ok(plan) = divide(&offered, image()) {
                for r in &offered.reserved {
                    proptest::prop_assert!(r.end <= plan.heap.start || plan.arena.end <= r.start);
                }
                proptest::prop_assert!(plan.heap.start >= image().end && plan.arena.end <= top * MIB);
                proptest::prop_assert!(plan.heap.end <= plan.arena.start);
            }
        }
    }
}
