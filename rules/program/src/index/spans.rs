//! From an address to its longest prefix.
//!
//! The address space is cut where a prefix begins or ends; each span between two cuts belongs to one node. The cuts are
//! found by the leading bits of an address, counted from the first cut: a [`Step`] has about as many slots as half of its
//! cuts, and a slot has at most [`FEW`] cuts or a step of its own.

use crate::{
    memory::{collect, exact, push},
    program::Refusal,
};
use alloc::{boxed::Box, vec::Vec};

/// Cuts in a slot at most: three comparisons find the place among them.
const FEW: usize = 7;
/// In a slot: the rest is the place of a step; else of the last cut before the slot.
const DEEPER: u32 = 1 << 31;

/// An address as a number.
pub(crate) trait Key: Copy + Ord + Default {
    const BITS: u32;
    const MAX: Self;
    /// (self - base) >> shift, at most `u32::MAX`; 0 when below the base.
    fn offset(self, base: Self, shift: u32) -> u32;
    /// The address behind it.
    fn next(self) -> Option<Self>;
    /// Bits of self - base.
    fn bits_above(self, base: Self) -> u32;
}

impl Key for u32 {
    const BITS: u32 = 32;
    const MAX: Self = Self::MAX;

    #[inline]
    fn offset(self, base: Self, shift: u32) -> u32 {
        self.saturating_sub(base) >> (shift & 31)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn bits_above(self, base: Self) -> u32 {
        Self::BITS - self.saturating_sub(base).leading_zeros()
    }
}

impl Key for u128 {
    const BITS: u32 = 128;
    const MAX: Self = Self::MAX;

    #[inline]
    fn offset(self, base: Self, shift: u32) -> u32 {
        u32::try_from(self.saturating_sub(base) >> (shift & 127)).unwrap_or(u32::MAX)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn bits_above(self, base: Self) -> u32 {
        Self::BITS - self.saturating_sub(base).leading_zeros()
    }
}

/// Which span an address lies in, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Spans<K> {
    /// First address of each span, from 0, and node; [`FEW`] more of the last node from the last address on.
    spans: Box<[(K, u32)]>,
    /// The first step.
    top: Step<K>,
    steps: Box<[Step<K>]>,
    slots: Box<[u32]>,
}

/// A table of slots for the addresses from `base` on.
#[derive(Clone, Copy, Debug)]
struct Step<K> {
    base: K,
    shift: u32,
    first: u32,
    last: u32,
}

impl<K: Key> Step<K> {
    #[inline]
    fn slot(&self, address: K) -> usize {
        self.first.saturating_add(address.offset(self.base, self.shift)).min(self.last) as usize
    }
}

impl<K: Key> Spans<K> {
    /// Spans by their first addresses, ascending from 0, and nodes.
    pub(crate) fn new(spans: &[(K, u32)]) -> Result<Self, Refusal> {
        let padding = core::iter::repeat_n((K::MAX, spans.last().map_or(0, |span| span.1)), FEW);
        let mut growing = Growing { spans, ..Growing::default() };
        let top = growing.step(1, spans.len())?;
        growing.grow()?;
        let (steps, slots) = (exact(growing.steps)?, exact(growing.slots)?);
        let spans = collect(spans.iter().copied().chain(padding), spans.len() + FEW)?;
        Ok(Self { spans, top, steps, slots })
    }

    /// The node of an address.
    #[inline]
    pub(crate) fn find(&self, address: K) -> Option<u32> {
        let mut slot = *self.slots.get(self.top.slot(address))?;
        if slot & DEEPER != 0 {
            slot = self.deeper(slot, address)?;
        }
        // Cuts behind those of the slot are greater than any address of it.
        let place = slot as usize;
        let cuts = self.spans.get(place + 1..)?.first_chunk::<FEW>()?;
        let mut below = 0;
        for step in [4, 2, 1] {
            let is_below = cuts.get(below + step - 1).is_some_and(|(cut, _)| *cut <= address);
            below += step * usize::from(is_below);
        }
        self.spans.get(place + below).map(|span| span.1)
    }

    /// The slot of an address below another slot.
    #[inline(never)]
    fn deeper(&self, slot: u32, address: K) -> Option<u32> {
        let mut slot = slot;
        // A step takes four bits of the address at least; see `Growing::step`.
        for _ in 0..K::BITS / 4 {
            let step = self.steps.get((slot & !DEEPER) as usize)?;
            slot = *self.slots.get(step.slot(address))?;
            if slot & DEEPER == 0 {
                return Some(slot);
            }
        }
        None
    }

    /// Memory that it takes in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.spans) + size_of_val(&*self.steps) + size_of_val(&*self.slots)
    }
}

/// Steps and slots while they are made.
struct Growing<'s, K> {
    spans: &'s [(K, u32)],
    steps: Vec<Step<K>>,
    slots: Vec<u32>,
    /// Slots that need a step, with the cuts that it is for.
    open: Vec<(usize, usize, usize)>,
}

impl<K> Default for Growing<'_, K> {
    fn default() -> Self {
        Self { spans: &[], steps: Vec::new(), slots: Vec::new(), open: Vec::new() }
    }
}

impl<K: Key> Growing<'_, K> {
    /// Makes the steps that are needed until there are none.
    fn grow(&mut self) -> Result<(), Refusal> {
        while let Some((slot, from, to)) = self.open.pop() {
            let place = u32::try_from(self.steps.len()).map_err(|_| Refusal::Malformed)?;
            let step = self.step(from, to)?;
            push(&mut self.steps, step)?;
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = DEEPER | place;
            }
        }
        Ok(())
    }

    /// A step for the cuts of these places. More than [`FEW`] cuts get 16 slots or more, so that each slot's part of
    /// the address space has four bits less than the step's.
    fn step(&mut self, from: usize, to: usize) -> Result<Step<K>, Refusal> {
        let cuts = self.spans.get(from..to).unwrap_or_default();
        let (base, _) = cuts.first().copied().unwrap_or_default();
        let (last, _) = cuts.last().copied().unwrap_or_default();
        let (shift, slots) = if cuts.len() <= FEW {
            (0, 1)
        } else {
            let shift = last.bits_above(base).saturating_sub((cuts.len() / 2).max(16).ilog2());
            (shift, last.offset(base, shift).saturating_add(1))
        };
        let (first, mut before) = (self.slots.len(), from);
        for slot in 0..slots {
            let rest = self.spans.get(before..to).unwrap_or_default();
            let is_here = |(cut, _): &&(K, u32)| slots == 1 || cut.offset(base, shift) == slot;
            let count = rest.iter().take_while(is_here).count();
            let place = u32::try_from(before).map_err(|_| Refusal::Malformed)?.saturating_sub(1);
            if count > FEW {
                push(&mut self.open, (self.slots.len(), before, before + count))?;
            }
            push(&mut self.slots, place)?;
            before += count;
        }
        let first = u32::try_from(first).map_err(|_| Refusal::Malformed)?;
        let last = u32::try_from(self.slots.len()).map_err(|_| Refusal::Malformed)?.saturating_sub(1);
        Ok(Step { base, shift, first, last })
    }
}
