//! Which ports are free towards remote ends that many connections lead to.
//!
//! Towards almost every remote end a random port is free, and nothing has to be known. A remote end with thousands of
//! connections gets a bitmap of the ports that are known to be free towards it. It is filled a few ports with every
//! connection that is opened, long before the ports become scarce, so that no single connection pays for it; from then
//! on it is exact. A free port is found through a summary of the bitmap, in a bounded number of steps, whether many are
//! left or few, and each is as likely as the others.

use super::{Key, UPLINK};
use crate::address::Address;
use alloc::vec::Vec;

/// First port that is handed out; those below belong to well-known services.
pub const FIRST: u16 = 1024;
/// Ports that are handed out.
pub const PORTS: usize = 65_536 - FIRST as usize;
/// Connections that make a remote end crowded: a quarter of its ports.
const CROWDED: u32 = 16_384;
/// Ports that are looked at whenever a connection to a crowded end is opened.
const STEP: usize = 8;
/// Words of a bitmap. Free ports are counted for every eight words, and for every eight of those.
const WORDS: usize = PORTS / 64;
const PARTS: usize = WORDS / 8;
const BLOCKS: usize = PARTS.div_ceil(8);
/// Cells in which connections are counted, by the hash of their remote end.
const CELLS: usize = 1 << 14;
/// A cell that has no map.
const NO_MAP: u16 = u16::MAX;

const _: () = assert!(PORTS.is_multiple_of(64) && WORDS.is_multiple_of(8));

/// A remote end: everything of a far key but our port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End<A> {
    address: A,
    port: u16,
    protocol: u8,
}

/// Connections to the remote ends of one hash.
#[derive(Clone, Copy, Debug)]
struct Cell {
    count: u32,
    map: u16,
}

/// The ports that are free towards one end.
#[derive(Debug)]
struct Map<A> {
    end: Option<End<A>>,
    /// Ports below this one were looked at; of the others nothing is known.
    known: usize,
    free: [u64; WORDS],
    /// How many are free in each part, and in each block of parts.
    parts: [u16; PARTS],
    blocks: [u16; BLOCKS],
}

/// What is known about crowded ends.
#[derive(Debug)]
pub(super) struct Crowds<A> {
    /// None if no end can become crowded.
    cells: Vec<Cell>,
    /// As many as ends can be crowded at once.
    maps: Vec<Map<A>>,
}

/// What can be said about the ports towards an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// This one is free.
    Port(u16),
    /// None is.
    Nothing,
    /// Not known: try.
    Unknown,
}

impl<A: Address> Map<A> {
    const fn new() -> Self {
        Self { end: None, known: 0, free: [0; WORDS], parts: [0; PARTS], blocks: [0; BLOCKS] }
    }

    /// Notes whether a port, by its place in the range, is free.
    fn set(&mut self, place: usize, free: bool) {
        let word = place / 64;
        let (Some(ports), Some(part), Some(block)) =
            (self.free.get_mut(word), self.parts.get_mut(word / 8), self.blocks.get_mut(word / 64))
        else {
            return;
        };
        let bit = 1 << (place % 64);
        match (free, *ports & bit != 0) {
            (true, false) => (*part, *block) = (*part + 1, *block + 1),
            (false, true) => (*part, *block) = (*part - 1, *block - 1),
            _ => return,
        }
        *ports ^= bit;
    }

    /// A free port's place; each is as likely as the others. Goes through the counts of all blocks, of the parts of
    /// one, of the words of one and of the bits of one: 16, 8, 8 and 64 steps at most.
    fn pick(&self, random: u64) -> Option<usize> {
        let total: usize = self.blocks.iter().map(|block| usize::from(*block)).sum();
        let skip = scale(random, total);
        let (block, skip) = find(self.blocks.iter().map(|block| usize::from(*block)), skip)?;
        let parts = self.parts.get(block * 8..)?;
        let (part, skip) = find(parts.iter().take(8).map(|part| usize::from(*part)), skip)?;
        let part = block * 8 + part;
        let words = self.free.get(part * 8..)?;
        let (word, skip) = find(words.iter().take(8).map(|word| word.count_ones() as usize), skip)?;
        let word = part * 8 + word;
        let mut free = *self.free.get(word)?;
        for _ in 0..skip {
            free &= free - 1;
        }
        Some(word * 64 + free.trailing_zeros() as usize)
    }
}

/// The place among `counts` in which the element after `skip` others is, and how many of that place come before it.
fn find(counts: impl Iterator<Item = usize>, mut skip: usize) -> Option<(usize, usize)> {
    for (place, count) in counts.enumerate() {
        if skip < count {
            return Some((place, skip));
        }
        skip -= count;
    }
    None
}

/// Maps the upper half of a random number evenly to `0..count`.
#[inline]
const fn scale(random: u64, count: usize) -> usize {
    (((random >> 32) * count as u64) >> 32) as usize
}

/// Where a port is in the range that is handed out.
const fn place(port: u16) -> Option<usize> {
    match port.checked_sub(FIRST) {
        Some(place) => Some(place as usize),
        None => None,
    }
}

/// The port at a place of the range.
fn port(place: usize) -> u16 {
    u16::try_from(place).map_or(u16::MAX, |place| place.saturating_add(FIRST))
}

/// The remote end of a far key that is not of a client.
fn end<A: Address>(key: &Key<A>) -> Option<End<A>> {
    (key.link == UPLINK).then_some(End { address: key.source, port: key.source_port, protocol: key.protocol })
}

impl<A: Address> Crowds<A> {
    /// For a table of so many flows; `None` when there is no memory.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        let count = capacity / CROWDED as usize;
        let (mut cells, mut maps) = (Vec::new(), Vec::new());
        if count > 0 {
            cells.try_reserve_exact(CELLS).ok()?;
            cells.resize(CELLS, Cell { count: 0, map: NO_MAP });
            maps.try_reserve_exact(count).ok()?;
            maps.resize_with(count, Map::new);
        }
        Some(Self { cells, maps })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.maps)
    }

    fn cell(&mut self, hash: u64) -> Option<&mut Cell> {
        let cells = self.cells.len();
        self.cells.get_mut(scale(hash, cells))
    }

    /// The map of an end, if it has one. `hash` is that of the end.
    fn map(&mut self, end: &End<A>, hash: u64) -> Option<&mut Map<A>> {
        let number = self.cell(hash)?.map;
        self.maps.get_mut(usize::from(number)).filter(|map| map.end == Some(*end))
    }

    /// Notes a new connection with this far key; `false` if nothing more is to be known about its end.
    #[inline]
    pub(super) fn inserted(&mut self, key: &Key<A>, hash: u64) -> bool {
        if key.link != UPLINK {
            return false;
        }
        let Some(cell) = self.cell(hash) else { return false };
        cell.count += 1;
        // An end that was crowded keeps its map for a while: what is opened meanwhile has to be in it.
        let any = cell.count >= CROWDED || cell.map != NO_MAP;
        if any {
            self.take(key, hash);
        }
        any
    }

    /// Notes that a port towards a crowded end is taken.
    #[cold]
    #[inline(never)]
    fn take(&mut self, key: &Key<A>, hash: u64) {
        let Some(end) = end(key) else { return };
        if self.cell(hash).is_some_and(|cell| cell.map == NO_MAP) {
            self.crowded(end, hash);
        }
        if let (Some(map), Some(place)) = (self.map(&end, hash), place(key.destination_port)) {
            map.set(place, false);
        }
    }

    /// Gives an end a map, if one is left. There are as many as ends can be crowded; another one can only be in use
    /// where two ends share a cell, and then this one has to do without.
    #[cold]
    fn crowded(&mut self, end: End<A>, hash: u64) {
        let number = self.maps.iter().position(|map| map.end.is_none());
        let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else { return };
        let Some(map) = self.maps.get_mut(usize::from(number)) else { return };
        (map.end, map.known) = (Some(end), 0);
        map.free.fill(0);
        map.parts.fill(0);
        map.blocks.fill(0);
        if let Some(cell) = self.cell(hash) {
            cell.map = number;
        }
    }

    /// Notes the end of a connection with this far key.
    pub(super) fn removed(&mut self, key: &Key<A>, hash: u64) {
        let Some(end) = end(key) else { return };
        let Some(cell) = self.cell(hash) else { return };
        cell.count = cell.count.saturating_sub(1);
        let number = cell.map;
        if number == NO_MAP {
            return;
        }
        if cell.count < CROWDED / 2 {
            cell.map = NO_MAP;
            if let Some(map) = self.maps.get_mut(usize::from(number)) {
                map.end = None;
            }
        } else if let (Some(map), Some(place)) = (self.map(&end, hash), place(key.destination_port))
            && place < map.known
        {
            map.set(place, true);
        }
    }

    /// The next ports towards the end of a far key that should be looked at.
    pub(super) fn unknown(&mut self, key: &Key<A>, hash: u64) -> core::ops::Range<usize> {
        let map = end(key).and_then(|end| self.map(&end, hash));
        map.map_or(0..0, |map| map.known..(map.known + STEP).min(PORTS))
    }

    /// Notes what was found out about a port, one after the other.
    pub(super) fn learned(&mut self, key: &Key<A>, hash: u64, place: usize, free: bool) {
        if let Some(map) = end(key).and_then(|end| self.map(&end, hash)) {
            map.set(place, free);
            map.known = place + 1;
        }
    }

    /// A port that is free towards the end of a far key, chosen by a random number.
    pub(super) fn pick(&mut self, key: &Key<A>, hash: u64, random: u64) -> Free {
        let Some(map) = end(key).and_then(|end| self.map(&end, hash)) else { return Free::Unknown };
        match map.pick(random) {
            // Before all are known, only some could be picked: too few to be hard to guess.
            _ if map.known < PORTS => Free::Unknown,
            Some(place) => Free::Port(port(place)),
            None => Free::Nothing,
        }
    }

    /// The port at a place, as [`Self::unknown`] counts them.
    pub(super) fn port(place: usize) -> u16 {
        port(place)
    }
}

#[cfg(test)]
#[path = "crowd/tests.rs"]
mod tests;
