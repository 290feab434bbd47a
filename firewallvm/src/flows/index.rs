//! Keyed hash → flow number: two candidate buckets of eight slots, each bucket one cache line.
//!
//! A look-up reads one or two lines, an insertion as many, a removal leaves no trace; nothing is ever moved. Half
//! full, sixteen slots overflow with a probability that can be ignored, and who does not know the key cannot
//! bring it about.

use alloc::vec::Vec;

/// Slots in a bucket.
const WAYS: usize = 8;
/// Marks an empty slot; no flow has this number.
const EMPTY: u64 = 0;

/// One cache line: each slot is the upper half of a hash and a flow number plus one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket([u64; WAYS]);

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    mask: usize,
}

/// Builds a slot's content.
const fn slot(hash: u64, flow: u32) -> u64 {
    (hash & 0xFFFF_FFFF_0000_0000) | (flow as u64 + 1)
}

impl Index {
    /// An index for `keys` keys; `None` when there is no memory for it.
    pub(super) fn new(keys: usize) -> Option<Self> {
        let count = (keys * 2).div_ceil(WAYS).next_power_of_two();
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(count).ok()?;
        buckets.resize(count, Bucket([EMPTY; WAYS]));
        Some(Self { buckets, mask: count - 1 })
    }

    /// The two buckets of a hash; the second follows from the slot's bits too, with a multiplier that spreads.
    #[inline]
    fn places(&self, hash: u64) -> [usize; 2] {
        let first = (hash & 0xFFFF_FFFF) as usize;
        let second = (hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        [first & self.mask, (second & 0xFFFF_FFFF) as usize & self.mask]
    }

    /// The flow with this hash that `is_it` recognises.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash & 0xFFFF_FFFF_0000_0000;
        for place in self.places(hash) {
            for found in self.buckets.get(place)?.0 {
                let flow = (found & 0xFFFF_FFFF) as u32;
                if found & 0xFFFF_FFFF_0000_0000 == tag && flow != 0 && is_it(flow - 1) {
                    return Some(flow - 1);
                }
            }
        }
        None
    }

    /// The first flow with this hash, which is the right one but for one look-up in hundreds of millions.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Reads a word of either bucket, so that their cache lines are on the way when they are needed.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        let word = |place| self.buckets.get(place).map_or(0, |bucket: &Bucket| bucket.0[0]);
        let [a, b] = self.places(hash);
        word(a) ^ word(b)
    }

    /// Adds a flow; `false` when both buckets are full.
    pub(super) fn insert(&mut self, hash: u64, flow: u32) -> bool {
        let places = self.places(hash);
        let free = |bucket: &Bucket| bucket.0.iter().filter(|slot| **slot == EMPTY).count();
        let [a, b] = places.map(|place| self.buckets.get(place).map_or(0, free));
        let place = if a >= b { places[0] } else { places[1] };
        let empty =
            self.buckets.get_mut(place).and_then(|bucket| bucket.0.iter_mut().find(|slot| **slot == EMPTY));
        match empty {
            Some(empty) => {
                *empty = slot(hash, flow);
                true
            }
            None => false,
        }
    }

    /// Takes a flow out.
    pub(super) fn remove(&mut self, hash: u64, flow: u32) {
        let content = slot(hash, flow);
        for place in self.places(hash) {
            let bucket = self.buckets.get_mut(place);
            if let Some(found) = bucket.and_then(|bucket| bucket.0.iter_mut().find(|slot| **slot == content))
            {
                *found = EMPTY;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Random;

    #[test]
    fn finds_what_was_inserted_and_not_what_was_removed() {
        let mut index = Index::new(1000).unwrap();
        let mut random = Random::new([1, 2]);
        let hashes: Vec<u64> = (0..1000).map(|_| random.next_u64()).collect();
        for (flow, hash) in (0..).zip(&hashes) {
            assert!(index.insert(*hash, flow), "{flow}");
        }
        for (flow, hash) in (0..).zip(&hashes) {
            assert_eq!(index.find(*hash, |found| found == flow), Some(flow));
            assert_eq!(index.find(*hash, |_| false), None);
        }
        for (flow, hash) in (0..).zip(&hashes) {
            index.remove(*hash, flow);
            assert_eq!(index.find(*hash, |found| found == flow), None);
        }
        assert!(index.buckets.iter().all(|bucket| bucket.0 == [EMPTY; WAYS]));
    }

    #[test]
    fn equal_hashes_fill_two_buckets_and_then_are_refused() {
        let mut index = Index::new(1000).unwrap();
        let inserted = (0..40).filter(|flow| index.insert(0x1234_5678_9ABC_DEF0, *flow)).count();
        assert_eq!(inserted, 16);
    }
}
