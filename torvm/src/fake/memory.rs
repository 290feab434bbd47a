//! Memory of a program that is not there: pages, each with its access.

use crate::memory::{Access, BadAddress, OutOfMemory, PAGE, Range, UserMemory};
use crate::processor::{Processor, Trap};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;

type Page = Box<[u8; 4096]>;

/// A processor that runs nothing, with memory.
#[derive(Debug)]
pub struct FakeProcessor {
    pages: BTreeMap<u64, (Access, Page)>,
    limit: usize,
    /// Entry and stack of the program that was started.
    pub started: Option<(u64, u64)>,
    /// The base of segment FS.
    pub fs_base: u64,
}

impl FakeProcessor {
    /// Memory of so many bytes at most.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { pages: BTreeMap::new(), limit: bytes / 4096, started: None, fs_base: 0 }
    }

    /// Pages that are backed.
    #[must_use]
    pub fn backed(&self) -> usize {
        self.pages.len()
    }

    /// Pages that are backed: address and access.
    pub fn pages(&self) -> impl Iterator<Item = (u64, Access)> {
        self.pages.iter().map(|(page, (access, _))| (page * PAGE, *access))
    }

    /// The access of a page.
    #[must_use]
    pub fn access(&self, at: u64) -> Option<Access> {
        self.pages.get(&(at / PAGE)).map(|(access, _)| *access)
    }

    /// Calls `f` with each piece of a range that lies in one page: its page, and where in it.
    fn each(
        at: u64,
        len: usize,
        mut f: impl FnMut(u64, core::ops::Range<usize>, usize) -> Result<(), BadAddress>,
    ) -> Result<(), BadAddress> {
        let mut done = 0;
        while done < len {
            let here = at.checked_add(done as u64).ok_or(BadAddress)?;
            let offset = usize::try_from(here % PAGE).map_err(|_| BadAddress)?;
            let piece = (4096 - offset).min(len - done);
            f(here / PAGE, offset..offset + piece, done)?;
            done += piece;
        }
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8], force: Option<Access>) -> Result<(), BadAddress> {
        Self::each(at, bytes.len(), |page, place, done| {
            let (access, content) = self.pages.get_mut(&page).ok_or(BadAddress)?;
            if force.is_some_and(|needed| *access != needed) {
                return Err(BadAddress);
            }
            let from = bytes.get(done..done + place.len()).ok_or(BadAddress)?;
            content.get_mut(place).ok_or(BadAddress)?.copy_from_slice(from);
            Ok(())
        })
    }
}

impl UserMemory for FakeProcessor {
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), BadAddress> {
        Self::each(at, out.len(), |page, place, done| {
            let (access, content) = self.pages.get(&page).ok_or(BadAddress)?;
            if *access == Access::None {
                return Err(BadAddress);
            }
            let to = out.get_mut(done..done + place.len()).ok_or(BadAddress)?;
            to.copy_from_slice(content.get(place).ok_or(BadAddress)?);
            Ok(())
        })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        self.put(at, bytes, Some(Access::Write))
    }

    fn load(&mut self, at: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        self.put(at, bytes, None)
    }

    fn map(&mut self, range: Range, access: Access) -> Result<(), OutOfMemory> {
        self.unmap(range);
        if access == Access::None {
            return Ok(());
        }
        let pages = usize::try_from((range.end - range.start) / PAGE).map_err(|_| OutOfMemory)?;
        if pages > self.limit.saturating_sub(self.pages.len()) {
            return Err(OutOfMemory);
        }
        for page in range.start / PAGE..range.end / PAGE {
            self.pages.insert(page, (access, Box::new([0; 4096])));
        }
        Ok(())
    }

    fn protect(&mut self, range: Range, access: Access) -> Result<(), BadAddress> {
        for page in range.start / PAGE..range.end / PAGE {
            self.pages.get_mut(&page).ok_or(BadAddress)?.0 = access;
        }
        Ok(())
    }

    fn unmap(&mut self, range: Range) {
        let gone: alloc::vec::Vec<u64> =
            self.pages.range(range.start / PAGE..range.end / PAGE).map(|(page, _)| *page).collect();
        gone.iter().for_each(|page| drop(self.pages.remove(page)));
    }

    fn relocate(&mut self, from: Range, to: u64) -> bool {
        let (first, count, target) = (from.start / PAGE, from.len() / PAGE, to / PAGE);
        let is_there = (first..first + count).all(|page| self.pages.contains_key(&page));
        if !is_there || self.pages.range(target..target + count).next().is_some() {
            return false;
        }
        for page in 0..count {
            let moved = self.pages.remove(&(first + page));
            moved.into_iter().for_each(|moved| drop(self.pages.insert(target + page, moved)));
        }
        true
    }

    fn clear(&mut self) {
        self.pages.clear();
    }

    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.pages.len()) as u64 * PAGE
    }
}

impl Processor for FakeProcessor {
    fn start(&mut self, entry: u64, stack: u64) {
        self.started = Some((entry, stack));
    }

    fn run(&mut self) -> Trap {
        Trap::Interrupt
    }

    fn answer(&mut self, _: i64) {}

    fn set_fs_base(&mut self, at: u64) {
        self.fs_base = at;
    }
}
