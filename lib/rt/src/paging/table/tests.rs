//! Builds tables in ordinary memory and walks them as the processor would.
use super::*;
use std::vec::Vec;

struct Fake {
    pages: Vec<[u64; 512]>,
    limit: usize,
}

impl Fake {
    fn new(limit: usize) -> (Self, u64) {
        let mut fake = Self { pages: Vec::new(), limit };
        let root = fake.take().unwrap();
        (fake, root)
    }
    fn page(table: u64) -> usize {
        usize::try_from(table / PAGE).unwrap() - 1
    }
    /// The leaf entry's address, to check that the mapping is one to one.
    fn target(&self, root: u64, at: u64) -> u64 {
        let mut table = root;
        for level in [3, 2, 1, 0] {
            let entry = self.get(table, index(at, level));
            if entry & LARGE != 0 {
                return (entry & ADDRESS & !(LARGE_PAGE - 1)) + (at & (LARGE_PAGE - 1));
            }
            table = entry & ADDRESS;
        }
        table + (at & (PAGE - 1))
    }
}

impl Tables for Fake {
    fn take(&mut self) -> Option<u64> {
        (self.pages.len() < self.limit).then(|| {
            self.pages.push([0; 512]);
            self.pages.len() as u64 * PAGE
        })
    }
    fn get(&self, table: u64, index: usize) -> u64 {
        self.pages[Self::page(table)][index]
    }
    fn set(&mut self, table: u64, index: usize, entry: u64) {
        self.pages[Self::page(table)][index] = entry;
    }
}

fn range(start: u64, end: u64) -> Range {
    Range { start, end }
}

#[test]
fn maps_one_to_one_with_each_access() {
    let (mut t, root) = Fake::new(16);
    map(&mut t, root, range(0x10_0000, 0x10_3000), Access::Execute).unwrap();
    map(&mut t, root, range(0x10_3000, 0x10_4000), Access::Read).unwrap();
    map(&mut t, root, range(0x10_4000, 0x80_0000), Access::Write).unwrap();
    map(&mut t, root, range(0xFEE0_0000, 0xFEE0_1000), Access::Registers).unwrap();
    for (at, want) in [
        (0x0F_FFFF, None),
        (0x10_0000, Some(Access::Execute)),
        (0x10_2FFF, Some(Access::Execute)),
        (0x10_3000, Some(Access::Read)),
        (0x10_4000, Some(Access::Write)),
        (0x7F_FFFF, Some(Access::Write)),
        (0x80_0000, None),
        (0xFEE0_0FFF, Some(Access::Registers)),
        (0xFEE0_1000, None),
    ] {
        assert_eq!(look_up(&t, root, at), want, "{at:#x}");
        if want.is_some() {
            assert_eq!(t.target(root, at), at);
        }
    }
    // Root, two lower directories for two GiB, tables for 0..2 MiB and the APIC; 2..8 MiB in large pages.
    assert_eq!(t.pages.len(), 6);
}

#[test]
fn splits_a_large_page_for_a_guard() {
    let (mut t, root) = Fake::new(16);
    map(&mut t, root, range(0, 0x40_0000), Access::Write).unwrap();
    unmap(&mut t, root, range(0x20_5000, 0x20_6000)).unwrap();
    assert_eq!(look_up(&t, root, 0x20_5FFF), None);
    for at in [0x20_4FFF, 0x20_6000, 0x1F_FFFF, 0x3F_FFFF] {
        assert_eq!(look_up(&t, root, at), Some(Access::Write));
        assert_eq!(t.target(root, at), at);
    }
}

#[test]
fn no_page_is_writable_and_executable() {
    for access in [Access::Execute, Access::Read, Access::Write, Access::Registers] {
        let bits = access.bits();
        assert!(bits & WRITABLE == 0 || bits & NO_EXECUTE != 0);
    }
}

#[test]
fn refuses_bad_ranges_and_runs_out() {
    let (mut t, root) = Fake::new(2);
    for bad in [range(1, PAGE), range(0, 100), range(PAGE, PAGE), range(TOP, TOP + PAGE)] {
        assert_eq!(map(&mut t, root, bad, Access::Read), Err(MapError::BadRange));
    }
    assert_eq!(map(&mut t, root, range(0, PAGE), Access::Read), Err(MapError::NoTable));
}
