//! What lasts: one piece of bytes, kept in two slots of a disk.
//!
//! A new piece goes into the slot that is not in force: first its bytes, then, when they last, its header. So a power
//! cut at any moment leaves the old piece or the new one. Each header has a generation and a digest; when loading, the
//! newest slot that is whole wins. Libraries for stores in flash (`sequential-storage`, `ekv`) spare erase cycles and
//! keep many values; on a disk with a few kilobytes that are always written together they would be more code, and would
//! not make several files change in one step.

#[cfg(test)]
mod tests;

use crate::disk::{Disk, DiskFault, SECTOR};
use alloc::vec;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// Longest piece in bytes.
pub const LONGEST: usize = 1 << 20;
const MAGIC: [u8; 8] = *b"torstate";
const VERSION: u32 = 1;

/// What was there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No disk: nothing lasts.
    NoDisk,
    /// Nothing was ever stored.
    Blank,
    /// What was stored last.
    Newest,
    /// Something older, because what was stored last is damaged or cannot be read.
    Older,
    /// Nothing sound, though something was stored.
    Damaged,
}

/// Why nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The disk did not do it.
    Disk,
    /// The piece is longer than a slot or [`LONGEST`].
    TooLong,
}

impl From<DiskFault> for StoreFault {
    fn from(_: DiskFault) -> Self {
        Self::Disk
    }
}

impl core::fmt::Display for StoreFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Disk => "the disk failed",
            Self::TooLong => "there is more than it can keep",
        })
    }
}

/// A digest.
type Sum = [u8; 32];

/// What a header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    generation: u64,
    len: u64,
    sum: Sum,
}

/// A slot, as it was read.
enum Slot {
    Blank,
    Whole(Header, Vec<u8>),
    /// The header is sound, but not what it speaks of.
    Broken(Header),
    Unreadable,
}

/// The store.
#[derive(Debug)]
pub struct Store<D> {
    disk: Option<D>,
    /// The slot that is in force (0 or 1), and what it says.
    active: (u64, Option<Header>),
}

impl<D: Disk> Store<D> {
    /// A store on a disk, or one that keeps nothing.
    pub fn new(disk: Option<D>) -> Self {
        Self { disk, active: (1, None) }
    }

    /// Reads what is in force.
    pub fn load(&mut self) -> (Found, Vec<u8>) {
        let Some(disk) = &mut self.disk else { return (Found::NoDisk, Vec::new()) };
        let slots = [slot(disk, 0), slot(disk, 1)];
        let blank = slots.iter().all(|slot| matches!(slot, Slot::Blank));
        // What is not whole but might be newer than what is.
        let newest_broken = slots.iter().filter_map(Slot::broken_since).max();
        let whole = slots.into_iter().zip([0, 1]).filter_map(|(slot, index)| match slot {
            Slot::Whole(header, bytes) => Some((header, bytes, index)),
            _ => None,
        });
        let Some((header, bytes, index)) = whole.max_by_key(|(header, ..)| header.generation) else {
            return (if blank { Found::Blank } else { Found::Damaged }, Vec::new());
        };
        self.active = (index, Some(header));
        let lost = newest_broken.is_some_and(|generation| generation > header.generation);
        (if lost { Found::Older } else { Found::Newest }, bytes)
    }

    /// Stores a piece; when this returns, it lasts. `false`: it was stored already, or there is no disk.
    ///
    /// # Errors
    /// [`StoreFault`]; what was in force still is, or the piece is.
    pub fn save(&mut self, bytes: &[u8]) -> Result<bool, StoreFault> {
        let Some(disk) = &mut self.disk else { return Ok(false) };
        let (active, before) = self.active;
        let sum = digest(bytes);
        if before.is_some_and(|header| header.sum == sum && header.len == bytes.len() as u64) {
            return Ok(false);
        }
        if bytes.len() > room(disk) {
            return Err(StoreFault::TooLong);
        }
        let (active, generation) = match before {
            Some(header) => (active, header.generation),
            // Perhaps it could not be read at the start; it must not win over this when it can be again.
            None => newest(disk)?.map_or((active, 0), |(generation, index)| (index, generation)),
        };
        let header = Header { generation: generation.saturating_add(1), len: bytes.len() as u64, sum };
        let index = 1 - active.min(1);
        let first = first_sector(disk, index);
        if !bytes.is_empty() {
            write(disk, first + 1, bytes)?;
            disk.flush()?;
        }
        disk.write(first, &header.sector())?;
        disk.flush()?;
        self.active = (index, Some(header));
        Ok(true)
    }
}

impl Slot {
    /// The generation of what is lost here; `None` when nothing is.
    fn broken_since(&self) -> Option<u64> {
        match self {
            Self::Blank | Self::Whole(..) => None,
            Self::Broken(header) => Some(header.generation),
            Self::Unreadable => Some(u64::MAX),
        }
    }
}

impl Header {
    fn sector(self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        let fields = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4], &self.generation.to_le_bytes()];
        let more = [&self.len.to_le_bytes()[..], &self.sum];
        let bytes = fields.into_iter().chain(more).flatten();
        out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        let own = digest(out.get(..64).unwrap_or_default());
        out.iter_mut().skip(64).zip(own).for_each(|(to, byte)| *to = byte);
        out
    }

    fn parse(sector: &[u8; SECTOR]) -> Option<Self> {
        let number = |at: usize| sector.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let header =
            Self { generation: number(16)?, len: number(24)?, sum: *sector.get(32..)?.first_chunk()? };
        // Made again, it must be the same: magic, version and its own digest are then right, too.
        (header.sector() == *sector).then_some(header)
    }
}

fn digest(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

/// Writes bytes from a sector on; zeros fill the last one up.
fn write(disk: &mut impl Disk, first: u64, bytes: &[u8]) -> Result<(), DiskFault> {
    let (whole, rest) = bytes.as_chunks::<SECTOR>();
    if !whole.is_empty() {
        disk.write(first, whole.as_flattened())?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let mut last = [0; SECTOR];
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    disk.write(first + whole.len() as u64, &last)
}

fn first_sector(disk: &impl Disk, index: u64) -> u64 {
    index * (disk.sectors() / 2)
}

/// Bytes that a slot holds behind its header.
fn room(disk: &impl Disk) -> usize {
    let sectors = usize::try_from((disk.sectors() / 2).saturating_sub(1)).unwrap_or(usize::MAX);
    sectors.saturating_mul(SECTOR).min(LONGEST)
}

/// The newest generation of which a header speaks, whether or not that is sound, and its slot.
fn newest(disk: &mut impl Disk) -> Result<Option<(u64, u64)>, DiskFault> {
    let mut newest = None;
    for index in [0, 1] {
        let mut sector = [0; SECTOR];
        disk.read(first_sector(disk, index), &mut sector)?;
        newest = newest.max(Header::parse(&sector).map(|header| (header.generation, index)));
    }
    Ok(newest)
}

fn slot(disk: &mut impl Disk, index: u64) -> Slot {
    if disk.sectors() < 2 {
        return Slot::Unreadable;
    }
    let first = first_sector(disk, index);
    let mut sector = [0; SECTOR];
    if disk.read(first, &mut sector).is_err() {
        return Slot::Unreadable;
    }
    if sector.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    let Some(header) = Header::parse(&sector) else { return Slot::Unreadable };
    let Some(len) = usize::try_from(header.len).ok().filter(|len| *len <= room(disk)) else {
        return Slot::Broken(header);
    };
    let mut bytes = vec![0; len.next_multiple_of(SECTOR)];
    if !bytes.is_empty() && disk.read(first + 1, &mut bytes).is_err() {
        return Slot::Broken(header);
    }
    bytes.truncate(len);
    if digest(&bytes) == header.sum { Slot::Whole(header, bytes) } else { Slot::Broken(header) }
}
