//! Which of the program's addresses are in use, and where there is room.

use super::{Access, LOWEST, PAGE, Range, TOP};
use rangemap::RangeMap;

/// Most areas that a program can have; neighbours of one kind are one area.
pub const MOST: usize = 8192;

/// What an area is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// What the program may do there.
    pub access: Access,
    /// Whether there is memory; what was mapped without any access is only reserved.
    pub backed: bool,
}

/// The areas of a program.
#[derive(Debug, Default)]
pub struct Areas {
    map: RangeMap<u64, Area>,
    /// Where the search for room begins.
    base: u64,
}

impl Range {
    /// The pages from `at` for `len` bytes, rounded up; `None` when that is empty, does not begin at a page or does not
    /// lie in the program's part.
    #[must_use]
    pub fn pages(at: u64, len: u64) -> Option<Self> {
        let len = len.checked_next_multiple_of(PAGE)?;
        let end = at.checked_add(len)?;
        (at.is_multiple_of(PAGE) && len > 0 && at >= LOWEST && end <= TOP).then_some(Self { start: at, end })
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

impl Areas {
    /// No areas; room is looked for from `base` on, then from the bottom on.
    #[must_use]
    pub fn new(base: u64) -> Self {
        Self { map: RangeMap::new(), base }
    }

    /// Whether no more areas can be had.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.map.len() >= MOST
    }

    /// Notes an area, in place of what was there.
    pub fn insert(&mut self, range: Range, area: Area) {
        if !range.is_empty() {
            self.map.insert(range.start..range.end, area);
        }
    }

    /// Forgets what lies in a range.
    pub fn remove(&mut self, range: Range) {
        if !range.is_empty() {
            self.map.remove(range.start..range.end);
        }
    }

    /// Whether nothing lies in a range.
    #[must_use]
    pub fn is_free(&self, range: Range) -> bool {
        !self.map.overlaps(&(range.start..range.end))
    }

    /// Whether the whole range is in use.
    #[must_use]
    pub fn covers(&self, range: Range) -> bool {
        self.map.gaps(&(range.start..range.end)).next().is_none()
    }

    /// The area at an address.
    #[must_use]
    pub fn at(&self, at: u64) -> Option<(Range, Area)> {
        self.map.get_key_value(&at).map(|(r, area)| (Range { start: r.start, end: r.end }, *area))
    }

    /// The pieces of areas that lie in a range.
    pub fn within(&self, range: Range) -> impl Iterator<Item = (Range, Area)> {
        self.map.overlapping(range.start..range.end).map(move |(r, area)| {
            (Range { start: r.start.max(range.start), end: r.end.min(range.end) }, *area)
        })
    }

    /// A free range of `len` bytes with a free page in front of it, so that running over one end meets no other area.
    #[must_use]
    pub fn room(&self, len: u64) -> Option<Range> {
        let len = len.checked_next_multiple_of(PAGE).filter(|len| (1..=TOP).contains(len))?;
        [self.base..TOP, LOWEST..self.base].into_iter().find_map(|outer| {
            let gap = self.map.gaps(&outer).find(|gap| gap.end - gap.start >= len + PAGE)?;
            Some(Range { start: gap.start + PAGE, end: gap.start + PAGE + len })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Area = Area { access: Access::Read, backed: true };
    const BASE: u64 = LOWEST + (1 << 30);

    fn range(first: u64, pages: u64) -> Range {
        Range { start: BASE + first * PAGE, end: BASE + (first + pages) * PAGE }
    }

    #[test]
    fn room_lies_between_areas_and_never_in_them() {
        let mut areas = Areas::new(BASE);
        areas.insert(range(0, 4), READ);
        areas.insert(range(8, 4), READ);
        assert_eq!(areas.room(3 * PAGE), Some(range(5, 3)));
        assert_eq!(areas.room(4 * PAGE), Some(range(13, 4)), "with a free page in front");
        areas.insert(Range { start: BASE, end: TOP }, READ);
        assert_eq!(
            areas.room(1).map(|r| r.start),
            Some(LOWEST + PAGE),
            "below the base when all above is full"
        );
        areas.insert(Range { start: LOWEST, end: TOP }, READ);
        assert_eq!(areas.room(1), None);
        assert_eq!(areas.room(u64::MAX), None);
        assert_eq!(areas.room(0), None);
    }

    #[test]
    fn pieces_are_cut_at_the_borders() {
        let mut areas = Areas::new(BASE);
        areas.insert(range(0, 4), READ);
        areas.insert(range(4, 4), Area { access: Access::Write, backed: true });
        let pieces: alloc::vec::Vec<_> = areas.within(range(2, 4)).map(|(r, a)| (r, a.access)).collect();
        assert_eq!(pieces, [(range(2, 2), Access::Read), (range(4, 2), Access::Write)]);
        areas.remove(range(3, 1));
        assert!(!areas.covers(range(2, 4)) && areas.covers(range(0, 3)) && areas.is_free(range(3, 1)));
    }

    #[test]
    fn pages_stay_in_the_programs_part() {
        assert_eq!(Range::pages(LOWEST, 1), Some(Range { start: LOWEST, end: LOWEST + PAGE }));
        for (at, len) in
            [(LOWEST, 0), (LOWEST + 1, 1), (0, 1), (TOP, 1), (TOP - PAGE, 2 * PAGE), (LOWEST, u64::MAX)]
        {
            assert_eq!(Range::pages(at, len), None, "{at:x} {len:x}");
        }
    }
}
