//! Four-level page tables (Intel SDM vol. 3A §4.5), one to one, as pure code over a source of table pages.

use crate::ram::{PAGE, Range};

/// What may be done with a piece of memory. Nothing is ever both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// Data.
    Write,
    /// Device registers: data that is never cached.
    Registers,
}

/// Where tables live and what is in them. Addresses are physical.
pub trait Tables {
    /// A zeroed table page; `None` when there is no memory for one.
    fn take(&mut self) -> Option<u64>;
    /// Reads entry `index` (below 512) of the table at `table`.
    fn get(&self, table: u64, index: usize) -> u64;
    /// Writes entry `index` (below 512) of the table at `table`.
    fn set(&mut self, table: u64, index: usize, entry: u64);
}

/// Why a range was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No memory for another table.
    NoTable,
    /// The range is not whole pages below 2^47.
    BadRange,
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const UNCACHED: u64 = 1 << 4;
const ACCESSED_DIRTY: u64 = 3 << 5;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
const LARGE_PAGE: u64 = 2 << 20;
const TOP: u64 = 1 << 47;

impl Access {
    const fn bits(self) -> u64 {
        // Accessed and dirty are set beforehand, so that the processor never writes to the tables.
        PRESENT
            | ACCESSED_DIRTY
            | match self {
                Self::Execute => 0,
                Self::Read => NO_EXECUTE,
                Self::Write => NO_EXECUTE | WRITABLE,
                Self::Registers => NO_EXECUTE | WRITABLE | UNCACHED | WRITE_THROUGH,
            }
    }
}

/// Maps `range` one to one with `access`, replacing what was there; in 2 MiB pages where possible.
///
/// # Errors
/// [`MapError`]; what was mapped before the error stays.
pub fn map<T: Tables>(tables: &mut T, root: u64, range: Range, access: Access) -> Result<(), MapError> {
    change(tables, root, range, Some(access))
}

/// Removes `range`: any later access faults.
///
/// # Errors
/// As [`map`].
pub fn unmap<T: Tables>(tables: &mut T, root: u64, range: Range) -> Result<(), MapError> {
    change(tables, root, range, None)
}

fn change<T: Tables>(t: &mut T, root: u64, range: Range, access: Option<Access>) -> Result<(), MapError> {
    if range.inner_pages() != range || range.end > TOP || range.is_empty() {
        return Err(MapError::BadRange);
    }
    let mut at = range.start;
    while at < range.end {
        let directory = descend(t, root, at, 3).and_then(|pdpt| descend(t, pdpt, at, 2))?;
        let slot = index(at, 1);
        let large = at.is_multiple_of(LARGE_PAGE) && range.end - at >= LARGE_PAGE;
        // A table that exists already is kept, so that it is never lost.
        let has_table = matches!(t.get(directory, slot), e if e & PRESENT != 0 && e & LARGE == 0);
        if large && !has_table {
            t.set(directory, slot, access.map_or(0, |a| at | LARGE | a.bits()));
            at += LARGE_PAGE;
        } else {
            let table = descend(t, directory, at, 1)?;
            t.set(table, index(at, 0), access.map_or(0, |a| at | a.bits()));
            at += PAGE;
        }
    }
    Ok(())
}

/// The table below the entry for `at` in `table` (of `level`), made, or split from a large page, if needed.
fn descend<T: Tables>(t: &mut T, table: u64, at: u64, level: u32) -> Result<u64, MapError> {
    let slot = index(at, level);
    let entry = t.get(table, slot);
    if entry & PRESENT != 0 && entry & LARGE == 0 {
        return Ok(entry & ADDRESS);
    }
    let below = t.take().ok_or(MapError::NoTable)?;
    if entry & PRESENT != 0 {
        for i in 0..512u64 {
            let small = (entry & !LARGE) + i * PAGE;
            t.set(below, usize::try_from(i).unwrap_or(0), small);
        }
    }
    t.set(table, slot, below | PRESENT | WRITABLE | ACCESSED_DIRTY & !(1 << 6));
    Ok(below)
}

/// Index into the table of `level` (0 = last) for address `at`.
const fn index(at: u64, level: u32) -> usize {
    // Nine bits fit in any usize.
    ((at >> (12 + 9 * level)) & 511) as usize
}

/// What a walk by the processor would find for one address; for tests and for fault messages.
pub fn look_up<T: Tables>(t: &T, root: u64, at: u64) -> Option<Access> {
    let mut table = root;
    let mut entry = 0;
    for level in [3, 2, 1, 0] {
        entry = t.get(table, index(at, level));
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 || entry & LARGE != 0 {
            break;
        }
        table = entry & ADDRESS;
    }
    Some(match (entry & NO_EXECUTE != 0, entry & WRITABLE != 0, entry & UNCACHED != 0) {
        (false, ..) => Access::Execute,
        (true, false, _) => Access::Read,
        (true, true, false) => Access::Write,
        (true, true, true) => Access::Registers,
    })
}

#[cfg(test)]
mod tests;
