//! The memory of a program: which of its pages are there, and what it may do with them.

use super::frames::Frames;
use super::{END, FIRST};
use crate::paging::UserHalf;
use crate::ram::{PAGE, Range, address};
use core::fmt;

/// What a program may do with a piece of its memory. Nothing is ever both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing; what is in the memory is kept.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

/// Why memory was not mapped, or not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Not whole pages of the program's part of the address space.
    BadRange,
    /// Some page of the range is mapped already.
    Taken,
    /// Some page of the range is not mapped.
    Missing,
    /// No frames are left.
    NoFrames,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRange => "not whole pages of a program",
            Self::Taken => "mapped already",
            Self::Missing => "not mapped",
            Self::NoFrames => "no memory left for programs",
        })
    }
}

impl core::error::Error for MapError {}

/// The program could not have made this access itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such memory of the program")
    }
}

impl core::error::Error for BadAddress {}

/// The top table's part for programs, as the processor uses it; tests have one of their own.
pub(crate) trait Top: fmt::Debug {
    /// Reads the entry of `slot` (1..=255).
    fn get(&self, slot: usize) -> u64;
    /// Writes the entry of `slot` (1..=255).
    fn set(&mut self, slot: usize, entry: u64);
    /// Has the processor forget what it knows of `range`.
    fn forget(&mut self, range: Range);
}

// Entry bits (Intel SDM vol. 3A §4.5).
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED_DIRTY: u64 = 3 << 5;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000F_FFFF_FFFF_F000;
/// Ours (a bit that the processor ignores): the frame is kept, although the page is not present.
const KEPT: u64 = 1 << 9;

/// Bytes that one last-level table maps.
const TABLE_SPAN: u64 = 512 * PAGE;

impl Access {
    const fn bits(self) -> u64 {
        // Accessed and dirty are set beforehand, so that the processor never writes to the tables.
        match self {
            Self::None => KEPT,
            Self::Read => PRESENT | USER | ACCESSED_DIRTY | NO_EXECUTE,
            Self::Write => PRESENT | USER | ACCESSED_DIRTY | NO_EXECUTE | WRITABLE,
            Self::Execute => PRESENT | USER | ACCESSED_DIRTY,
        }
    }

    const fn of(entry: u64) -> Option<Self> {
        match (entry & PRESENT != 0, entry & WRITABLE != 0, entry & NO_EXECUTE != 0) {
            (false, ..) if entry & KEPT != 0 => Some(Self::None),
            (false, ..) => None,
            (true, true, _) => Some(Self::Write),
            (true, false, true) => Some(Self::Read),
            (true, false, false) => Some(Self::Execute),
        }
    }
}

/// The memory of the one program at a time.
#[derive(Debug)]
pub struct Space {
    inner: Tables<UserHalf>,
}

impl Space {
    /// An empty space whose pages come out of `frames`; `None` while there is another.
    #[must_use]
    pub fn new(frames: Frames) -> Option<Self> {
        Some(Self { inner: Tables { frames, top: UserHalf::take()? } })
    }

    /// Makes `range` appear, zeroed.
    ///
    /// # Errors
    /// [`MapError`]: then nothing changed.
    pub fn map(&mut self, range: Range, access: Access) -> Result<(), MapError> {
        self.inner.map(range, access)
    }

    /// Makes `range` disappear; what of it is not mapped is passed over.
    ///
    /// # Errors
    /// [`MapError::BadRange`].
    pub fn unmap(&mut self, range: Range) -> Result<(), MapError> {
        self.inner.unmap(range)
    }

    /// Changes what the program may do with `range`, all of which must be mapped.
    ///
    /// # Errors
    /// [`MapError`]: then nothing changed.
    pub fn protect(&mut self, range: Range, access: Access) -> Result<(), MapError> {
        self.inner.protect(range, access)
    }

    /// Moves the pages of `from`, with what is in them, to `to`, where nothing may be mapped.
    ///
    /// # Errors
    /// [`MapError`]: then nothing changed.
    pub fn relocate(&mut self, from: Range, to: u64) -> Result<(), MapError> {
        self.inner.relocate(from, to)
    }

    /// What the program may do with the page at `at`; `None` where nothing is mapped.
    #[must_use]
    pub fn access(&self, at: u64) -> Option<Access> {
        self.inner.entry(at).and_then(Access::of)
    }

    /// Copies what the program would read at `at` to `out`.
    ///
    /// # Errors
    /// [`BadAddress`] when it could not read all of it; `out` may have been filled in part.
    pub fn read(&self, at: u64, out: &mut [u8]) -> Result<(), BadAddress> {
        self.inner.read(at, out)
    }

    /// Copies `data` to `at`, as if the program wrote it.
    ///
    /// # Errors
    /// [`BadAddress`] when it could not write all of it; then nothing was written.
    pub fn write(&mut self, at: u64, data: &[u8]) -> Result<(), BadAddress> {
        self.inner.write(at, data)
    }

    /// Copies `data` to `at` whatever the program may do there: for loading it.
    ///
    /// # Errors
    /// [`BadAddress`] when not all of it is mapped; then nothing was written.
    pub fn load(&mut self, at: u64, data: &[u8]) -> Result<(), BadAddress> {
        self.inner.load(at, data)
    }

    /// Bytes that are left for pages and their tables.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.inner.frames.left()
    }

    /// Bytes in all, used or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.frames.size()
    }

    /// Removes everything, and zeroes it: the program has ended.
    pub fn clear(&mut self) {
        self.inner.clear();
    }
}

/// [`Space`] over any top table.
#[derive(Debug)]
struct Tables<T: Top> {
    frames: Frames,
    top: T,
}

impl<T: Top> Tables<T> {
    fn map(&mut self, range: Range, access: Access) -> Result<(), MapError> {
        check(range)?;
        if self.frames.left() / PAGE < range.len() / PAGE + tables(range) {
            return Err(MapError::NoFrames);
        }
        if pages(range).any(|at| self.entry(at).is_some_and(|entry| entry != 0)) {
            return Err(MapError::Taken);
        }
        for at in pages(range) {
            let table = self.table(at).ok_or(MapError::NoFrames)?;
            let frame = self.frames.get().ok_or(MapError::NoFrames)?;
            self.frames.set_entry(table, index(at, 0), frame | access.bits());
        }
        Ok(())
    }

    fn unmap(&mut self, range: Range) -> Result<(), MapError> {
        check(range)?;
        let mut at = range.start;
        while at < range.end {
            let Some((table, entry)) = self.find(at) else {
                at = self.behind_hole(at);
                continue;
            };
            self.frames.set_entry(table, index(at, 0), 0);
            if entry != 0 {
                // The processor may know the page until `forget`, but no program runs before.
                self.frames.put(entry & FRAME);
            }
            at += PAGE;
            if at.is_multiple_of(TABLE_SPAN) || at == range.end {
                self.drop_empty(at - PAGE);
            }
        }
        self.top.forget(range);
        Ok(())
    }

    /// Where to go on from `at`, for which there is no last-level table: behind the widest table that is missing.
    fn behind_hole(&self, at: u64) -> u64 {
        let linked = |entry: u64| (entry & USER != 0).then_some(entry & FRAME);
        let pdpt = linked(self.top.get(index(at, 3)));
        let directory = pdpt.map(|pdpt| linked(self.frames.entry(pdpt, index(at, 2))));
        let bits = match (pdpt, directory) {
            (None, _) => 39,
            (_, Some(Some(_))) => 21,
            _ => 30,
        };
        ((at >> bits) + 1) << bits
    }

    /// Takes back the last-level table of `at` when it has become empty.
    fn drop_empty(&mut self, at: u64) {
        let Some((table, _)) = self.find(at) else { return };
        if (0..512).all(|i| self.frames.entry(table, i) == 0)
            && let Some(directory) = self.directory(at)
        {
            self.frames.set_entry(directory, index(at, 1), 0);
            self.frames.put(table);
        }
    }

    fn protect(&mut self, range: Range, access: Access) -> Result<(), MapError> {
        check(range)?;
        if pages(range).any(|at| self.entry(at).is_none_or(|entry| entry == 0)) {
            return Err(MapError::Missing);
        }
        for at in pages(range) {
            if let Some((table, entry)) = self.find(at) {
                self.frames.set_entry(table, index(at, 0), entry & FRAME | access.bits());
            }
        }
        self.top.forget(range);
        Ok(())
    }

    fn relocate(&mut self, from: Range, to: u64) -> Result<(), MapError> {
        check(from)?;
        let target = Range::new(to, from.len()).ok_or(MapError::BadRange)?;
        check(target)?;
        if pages(from).any(|at| self.entry(at).is_none_or(|entry| entry == 0)) {
            return Err(MapError::Missing);
        }
        if pages(target).any(|at| self.entry(at).is_some_and(|entry| entry != 0)) {
            return Err(MapError::Taken);
        }
        if self.frames.left() / PAGE < tables(target) {
            return Err(MapError::NoFrames);
        }
        for (old, new) in pages(from).zip(pages(target)) {
            let table = self.table(new).ok_or(MapError::NoFrames)?;
            if let Some((old_table, entry)) = self.find(old) {
                self.frames.set_entry(old_table, index(old, 0), 0);
                self.frames.set_entry(table, index(new, 0), entry);
            }
            if index(old, 0) == 511 || old + PAGE == from.end {
                self.drop_empty(old);
            }
        }
        self.top.forget(from);
        Ok(())
    }

    fn read(&self, mut at: u64, out: &mut [u8]) -> Result<(), BadAddress> {
        let mut rest = out;
        while !rest.is_empty() {
            let frame = self.frame_for(at, PRESENT | USER)?;
            let offset = address(at % PAGE);
            let (now, later) = rest.split_at_mut(rest.len().min(address(PAGE) - offset));
            if !self.frames.read(frame, offset, now) {
                return Err(BadAddress);
            }
            at = at.wrapping_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), BadAddress> {
        self.store(at, data, PRESENT | USER | WRITABLE)
    }

    fn load(&mut self, at: u64, data: &[u8]) -> Result<(), BadAddress> {
        self.store(at, data, 0)
    }

    /// Writes to pages whose entries have all bits of `needed`.
    fn store(&mut self, mut at: u64, data: &[u8], needed: u64) -> Result<(), BadAddress> {
        let end = at.checked_add(data.len() as u64).ok_or(BadAddress)?;
        // Every page but the first, which is looked at before anything is written.
        let mut page = (at & !(PAGE - 1)).saturating_add(PAGE);
        while page < end {
            self.frame_for(page, needed)?;
            page += PAGE;
        }
        let mut rest = data;
        while !rest.is_empty() {
            let frame = self.frame_for(at, needed)?;
            let offset = address(at % PAGE);
            let (now, later) = rest.split_at(rest.len().min(address(PAGE) - offset));
            if !self.frames.write(frame, offset, now) {
                return Err(BadAddress);
            }
            at = at.wrapping_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }

    fn clear(&mut self) {
        for slot in 1..256 {
            let entry = self.top.get(slot);
            if entry & USER != 0 {
                self.top.set(slot, 0);
                self.put_table(entry & FRAME, 2);
            }
        }
        self.top.forget(Range { start: FIRST, end: END });
    }

    /// Takes back a table of `level` with all below it. Recurses three deep.
    fn put_table(&mut self, table: u64, level: u32) {
        for i in 0..512 {
            let entry = self.frames.entry(table, i);
            match level {
                _ if entry == 0 => {}
                0 => self.frames.put(entry & FRAME),
                _ => self.put_table(entry & FRAME, level - 1),
            }
        }
        self.frames.put(table);
    }

    /// The frame behind `at`, when its page has all bits of `needed`.
    fn frame_for(&self, at: u64, needed: u64) -> Result<u64, BadAddress> {
        let entry =
            self.entry(at).filter(|&entry| entry != 0 && entry & needed == needed).ok_or(BadAddress)?;
        Ok(entry & FRAME)
    }

    /// The last-level entry for `at`; `None` when there is no table for it.
    fn entry(&self, at: u64) -> Option<u64> {
        self.find(at).map(|(_, entry)| entry)
    }

    /// The last-level table for `at`, and the entry in it.
    fn find(&self, at: u64) -> Option<(u64, u64)> {
        let entry = self.frames.entry(self.directory(at)?, index(at, 1));
        let table = (entry & USER != 0).then_some(entry & FRAME)?;
        Some((table, self.frames.entry(table, index(at, 0))))
    }

    /// The table one above the last for `at`.
    fn directory(&self, at: u64) -> Option<u64> {
        if !(FIRST..END).contains(&at) {
            return None;
        }
        let below = |entry: u64| (entry & USER != 0).then_some(entry & FRAME);
        let pdpt = below(self.top.get(index(at, 3)))?;
        below(self.frames.entry(pdpt, index(at, 2)))
    }

    /// The last-level table for `at`, made if needed; `None` when there is no frame for it.
    fn table(&mut self, at: u64) -> Option<u64> {
        const LINK: u64 = PRESENT | WRITABLE | USER | 1 << 5;
        let slot = index(at, 3);
        let mut table = match self.top.get(slot) {
            0 => {
                let made = self.frames.get()?;
                self.top.set(slot, made | LINK);
                made
            }
            entry if entry & USER != 0 => entry & FRAME,
            // Something else of the runtime's.
            _ => return None,
        };
        for level in [2, 1] {
            table = match self.frames.entry(table, index(at, level)) {
                0 => {
                    let made = self.frames.get()?;
                    self.frames.set_entry(table, index(at, level), made | LINK);
                    made
                }
                entry => entry & FRAME,
            };
        }
        Some(table)
    }
}

impl<T: Top> Drop for Tables<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether `range` is whole pages that a program may use.
fn check(range: Range) -> Result<(), MapError> {
    let fits = FIRST <= range.start && range.start < range.end && range.end <= END;
    if fits && range.inner_pages() == range { Ok(()) } else { Err(MapError::BadRange) }
}

/// Frames that the tables for `range` take at most: at each level one that it begins in, and more as it is longer.
const fn tables(range: Range) -> u64 {
    let len = range.len();
    (len / TABLE_SPAN + 2) + (len / (512 * TABLE_SPAN) + 2) + (len / (512 * 512 * TABLE_SPAN) + 2)
}

/// The addresses of the pages of `range`.
fn pages(range: Range) -> impl Iterator<Item = u64> {
    (0..range.len() / PAGE).map(move |i| range.start + i * PAGE)
}

/// Index into the table of `level` (0 = last) for address `at`.
const fn index(at: u64, level: u32) -> usize {
    // Nine bits fit in any usize.
    ((at >> (12 + 9 * level)) & 511) as usize
}

#[cfg(test)]
mod tests;
