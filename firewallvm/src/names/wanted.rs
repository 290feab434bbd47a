//! The names of a client's program, found by their hash.

use super::wire::{Name, hash};
use crate::hash::Key;
use alloc::{collections::TryReserveError, vec::Vec};
use core::ops::Range;

/// Names that are looked at; a program has no more.
pub(super) const MAX_NAMES: usize = 1024;

/// A program's names.
#[derive(Debug)]
pub(super) struct Wanted {
    key: Key,
    /// Hashes and numbers, in order.
    order: Vec<(u64, u16)>,
    /// Where each name is in `bytes`; empty for text that is no name and is never found.
    places: Vec<Range<u32>>,
    bytes: Vec<u8>,
}

impl Wanted {
    /// Takes the names over; a name's place is its number.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new<'n>(key: Key, names: impl Iterator<Item = &'n str>) -> Result<Self, TryReserveError> {
        let mut wanted = Self { key, order: Vec::new(), places: Vec::new(), bytes: Vec::new() };
        for (number, text) in (0..).zip(names.take(MAX_NAMES)) {
            let start = u32::try_from(wanted.bytes.len()).unwrap_or(u32::MAX);
            if let Some(name) = Name::from_text(text) {
                wanted.bytes.try_reserve(name.as_bytes().len())?;
                wanted.bytes.extend_from_slice(name.as_bytes());
                wanted.order.try_reserve(1)?;
                wanted.order.push((name.hash(key), number));
            }
            wanted.places.try_reserve(1)?;
            wanted.places.push(start..u32::try_from(wanted.bytes.len()).unwrap_or(u32::MAX));
        }
        wanted.order.sort_unstable();
        Ok(wanted)
    }

    /// How many names there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The number of a name, if the program has it.
    #[must_use]
    pub(super) fn find(&self, name: &Name) -> Option<u16> {
        self.number(name.hash(self.key), name.as_bytes())
    }

    /// The number that another program's name has here.
    #[must_use]
    pub(super) fn number_of(&self, other: &Self, number: u16) -> Option<u16> {
        let bytes = other.bytes_of(number).filter(|bytes| !bytes.is_empty())?;
        self.number(hash(self.key, bytes), bytes)
    }

    fn number(&self, hash: u64, bytes: &[u8]) -> Option<u16> {
        let first = self.order.partition_point(|(of, _)| *of < hash);
        let equal = self.order.get(first..)?.iter().take_while(|(of, _)| *of == hash);
        equal.map(|(_, number)| *number).find(|number| self.bytes_of(*number) == Some(bytes))
    }

    fn bytes_of(&self, number: u16) -> Option<&[u8]> {
        let place = self.places.get(usize::from(number))?;
        self.bytes.get(place.start as usize..place.end as usize)
    }
}
