//! Keyed hash → flow number: two candidate buckets of eight slots, each bucket one cache line.
//!
//! A slot holds 15 bits of the hash, its tag, and a flow number; all tags of a bucket are compared at once. A new key
//! goes into its first bucket while that has room to spare, so that nine look-ups in ten read one line; a bucket says
//! whether any of its keys had to go elsewhere, so that this holds for what is not found too. The other bucket of a
//! slot follows from the bucket that it is in and its tag, so a slot can be moved out of two full buckets without its
//! key. At the greatest load, 65 %, one insertion in a hundred thousand moves one; who does not know the hash function
//! cannot bring it about.

use alloc::vec::Vec;

/// Slots in a bucket.
const WAYS: usize = 8;
/// Slots of its first bucket that a key leaves free if the other has more.
const SPARE: u32 = 2;
/// Marks an empty slot; no key has this tag.
const EMPTY: u16 = 0;
/// Keys for which ten buckets are made: 65 % of eighty.
const KEYS_IN_TEN: usize = 52;
/// One in each lane of a word of tags.
const ONES: u64 = 0x0001_0001_0001_0001;
/// All but the upper bit of each lane.
const LOWER: u64 = 0x7FFF * ONES;

/// One cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct Bucket {
    /// Way 2n is lane n of the first word, way 2n + 1 that of the second.
    tags: [u64; 2],
    /// Flow numbers.
    flows: [u32; WAYS],
    /// At least as many as there are keys whose first bucket this is but that are in their other one; once
    /// [`MANY`], that for ever. With none, a key that is not here is nowhere.
    elsewhere: u32,
}

/// A number that is not kept any more.
const MANY: u32 = u32::MAX;

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const NEW: Self = Self { tags: [0; 2], flows: [0; WAYS], elsewhere: 0 };

    /// The slots with this tag, as a bitmap in which slot w is bit 8w rounded down to 16, plus w's lowest bit. The first
    /// one is; others may only look like it, as a match borrows from its neighbour.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u64 {
        let pattern = u64::from(tag) * ONES;
        let [even, odd] = self.tags.map(|tags| {
            let other = tags ^ pattern;
            other.wrapping_sub(ONES) & !other & !LOWER
        });
        even >> 15 | odd >> 14
    }

    /// Slots with this tag; exactly those.
    fn exact_matches(&self, tag: u16) -> u64 {
        let pattern = u64::from(tag) * ONES;
        // A lane of zeros is one that neither has its upper bit set nor carries into it.
        let [even, odd] = self.tags.map(|tags| {
            let other = tags ^ pattern;
            !(((other & LOWER) + LOWER) | other | LOWER)
        });
        even >> 15 | odd >> 14
    }

    /// The way of the first slot in a bitmap; none is beyond the last way.
    #[inline(always)]
    const fn first_way(ways: u64) -> usize {
        let bit = ways.trailing_zeros() as usize;
        bit >> 3 | bit & 1
    }

    /// The flow in the first slot of a bitmap.
    #[inline(always)]
    fn first(&self, ways: u64) -> Option<u32> {
        self.flows.get(Self::first_way(ways)).copied()
    }

    /// The tag of a slot.
    const fn tag(&self, way: usize) -> u16 {
        let [even, odd] = self.tags;
        let word = if way & 1 == 0 { even } else { odd };
        (word >> (way / 2 * 16) & 0xFFFF) as u16
    }

    const fn set_tag(&mut self, way: usize, tag: u16) {
        let [even, odd] = &mut self.tags;
        let word = if way & 1 == 0 { even } else { odd };
        let shift = way / 2 * 16;
        *word = *word & !(0xFFFF << shift) | (tag as u64) << shift;
    }

    /// Empty slots.
    fn room(&self) -> u32 {
        self.exact_matches(EMPTY).count_ones()
    }

    /// Fills an empty slot if there are more than are spared; `false` when there are not.
    #[inline]
    fn put_sparing(&mut self, tag: u16, flow: u32) -> bool {
        let empty = self.exact_matches(EMPTY);
        let beyond_spare = (0..SPARE).fold(empty, |rest, _| rest & rest.wrapping_sub(1));
        let Some(place) = self.flows.get_mut(Self::first_way(empty)).filter(|_| beyond_spare != 0) else {
            return false;
        };
        *place = flow;
        self.set_tag(Self::first_way(empty), tag);
        true
    }

    /// Fills an empty slot; `false` when there is none.
    fn put(&mut self, tag: u16, flow: u32) -> bool {
        let way = Self::first_way(self.matches(EMPTY));
        match self.flows.get_mut(way) {
            Some(place) => {
                *place = flow;
                self.set_tag(way, tag);
                true
            }
            None => false,
        }
    }
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
}

/// What a slot keeps of a hash.
#[inline(always)]
const fn tag(hash: u64) -> u16 {
    (hash & 0xFFFF) as u16 | 1
}

/// Maps 32 bits evenly to `0..count`.
#[inline(always)]
const fn scale(bits: u64, count: usize) -> usize {
    ((bits * count as u64) >> 32) as usize
}

impl Index {
    /// An index for `keys` keys; `None` when there is no memory for it.
    pub(super) fn new(keys: usize) -> Option<Self> {
        let count = keys * 10 / KEYS_IN_TEN + 2;
        u32::try_from(count).ok()?;
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(count).ok()?;
        buckets.resize(count, Bucket::NEW);
        Some(Self { buckets })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    #[inline(always)]
    fn first_place(&self, hash: u64) -> usize {
        scale(hash >> 32, self.buckets.len())
    }

    /// The other bucket of a slot: both together give a sum that its tag determines.
    #[inline(always)]
    fn other_place(&self, place: usize, tag: u16) -> usize {
        let count = self.buckets.len();
        let sum = scale(u64::from(u32::from(tag).wrapping_mul(0x9E37_79B1)), count);
        if sum >= place { sum - place } else { sum + count - place }
    }

    /// The flow with this hash that `is_it` recognises.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (tag, place) = (tag(hash), self.first_place(hash));
        for place in [place, self.other_place(place, tag)] {
            let bucket = self.buckets.get(place)?;
            let mut found = bucket.matches(tag);
            while let Some(flow) = bucket.first(found) {
                if is_it(flow) {
                    return Some(flow);
                }
                found &= found - 1;
            }
            if bucket.elsewhere == 0 {
                return None;
            }
        }
        None
    }

    /// The first flow with this tag, which is the right one but for one look-up in some ten thousand.
    #[inline(always)]
    pub(super) fn candidate(&self, hash: u64) -> Option<u32> {
        let (tag, place) = (tag(hash), self.first_place(hash));
        let bucket = self.buckets.get(place)?;
        match bucket.first(bucket.matches(tag)) {
            None if bucket.elsewhere == 0 => None,
            None => self.second_candidate(place, tag),
            found => found,
        }
    }

    #[inline(never)]
    fn second_candidate(&self, place: usize, tag: u16) -> Option<u32> {
        let bucket = self.buckets.get(self.other_place(place, tag))?;
        bucket.first(bucket.matches(tag))
    }

    /// Reads a word of the first bucket, so that its cache line is on the way when it is needed.
    #[inline(always)]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        self.buckets.get(self.first_place(hash)).map_or(0, |bucket| bucket.tags[0])
    }

    /// Adds a flow; `false` when there is no place for it.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, flow: u32) -> bool {
        let (tag, first) = (tag(hash), self.first_place(hash));
        let sparing = self.buckets.get_mut(first).is_some_and(|bucket| bucket.put_sparing(tag, flow));
        sparing || self.insert_crowded(first, tag, flow)
    }

    /// Adds a flow whose first bucket is about full.
    #[inline(never)]
    fn insert_crowded(&mut self, first: usize, tag: u16, flow: u32) -> bool {
        let a = self.buckets.get(first).map_or(0, Bucket::room);
        let second = self.other_place(first, tag);
        let b = self.buckets.get(second).map_or(0, Bucket::room);
        if a == 0 && b == 0 && !self.make_room(first) && !self.make_room(second) {
            return false;
        }
        for place in if a >= b { [first, second] } else { [second, first] } {
            if self.buckets.get_mut(place).is_some_and(|bucket| bucket.put(tag, flow)) {
                if place != first
                    && let Some(bucket) = self.buckets.get_mut(first)
                {
                    bucket.elsewhere = bucket.elsewhere.saturating_add(1);
                }
                return true;
            }
        }
        false
    }

    /// Moves one slot of a full bucket to its other place; `false` when all those are full too.
    #[cold]
    fn make_room(&mut self, place: usize) -> bool {
        for way in 0..WAYS {
            let slot = self.buckets.get(place).and_then(|b| Some((b.tag(way), *b.flows.get(way)?)));
            let Some((tag, flow)) = slot else { return false };
            let other = self.other_place(place, tag);
            if other != place && self.buckets.get_mut(other).is_some_and(|bucket| bucket.put(tag, flow)) {
                if let Some(bucket) = self.buckets.get_mut(place) {
                    bucket.set_tag(way, EMPTY);
                    // Whether this was its first bucket is not known.
                    bucket.elsewhere = MANY;
                }
                return true;
            }
        }
        false
    }

    /// Takes a flow out.
    pub(super) fn remove(&mut self, hash: u64, flow: u32) {
        let (tag, first) = (tag(hash), self.first_place(hash));
        for place in [first, self.other_place(first, tag)] {
            let Some(bucket) = self.buckets.get_mut(place) else { return };
            let mut found = bucket.exact_matches(tag);
            while found != 0 {
                if bucket.first(found) == Some(flow) {
                    bucket.set_tag(Bucket::first_way(found), EMPTY);
                    if place != first {
                        self.came_back(first);
                    }
                    return;
                }
                found &= found - 1;
            }
        }
    }

    /// A key of this first bucket is not in its other one any more.
    fn came_back(&mut self, first: usize) {
        if let Some(bucket) = self.buckets.get_mut(first).filter(|bucket| bucket.elsewhere != MANY) {
            bucket.elsewhere = bucket.elsewhere.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Random;

    fn hashes(count: usize) -> Vec<u64> {
        let mut random = Random::new([1, 2]);
        (0..count).map(|_| random.next_u64()).collect()
    }

    #[test]
    fn finds_what_was_inserted_and_not_what_was_removed() {
        let mut index = Index::new(1000).unwrap();
        let hashes = hashes(1000);
        for (flow, hash) in (0..).zip(&hashes) {
            assert!(index.insert(*hash, flow), "{flow}");
        }
        for (flow, hash) in (0..).zip(&hashes) {
            assert_eq!(index.find(*hash, |found| found == flow), Some(flow));
            assert_eq!(index.candidate(*hash), Some(flow));
            assert_eq!(index.find(*hash, |_| false), None);
        }
        for (flow, hash) in (0..).zip(&hashes) {
            index.remove(*hash, flow);
            assert_eq!(index.find(*hash, |found| found == flow), None);
        }
        assert!(index.buckets.iter().all(|bucket| bucket.tags == [0; 2] && bucket.elsewhere == 0));
    }

    /// Whatever comes, moves and goes, nobody is overlooked: a small index, filled to its last slots again and again.
    #[test]
    fn overlooks_nobody_however_full() {
        let mut random = Random::new([3, 4]);
        let mut index = Index::new(200).unwrap();
        let mut there: Vec<(u64, u32)> = Vec::new();
        let (mut moved, mut refused) = (0, 0);
        for flow in 0..60_000 {
            let hash = random.next_u64();
            // Long stretches of filling and of emptying.
            if !there.is_empty() && random.next_u64() % 8 < if flow / 2_000 % 2 == 0 { 3 } else { 5 } {
                let gone = usize::try_from(random.next_u64()).unwrap() % there.len();
                let (hash, flow) = there.swap_remove(gone);
                index.remove(hash, flow);
                assert_eq!(index.find(hash, |found| found == flow), None);
            } else if index.insert(hash, flow) {
                there.push((hash, flow));
            } else {
                refused += 1;
            }
            if flow % 16 == 0 {
                for (hash, flow) in &there {
                    assert_eq!(index.find(*hash, |found| found == *flow), Some(*flow));
                    assert!(index.candidate(*hash).is_some());
                }
            }
            moved = index.buckets.iter().filter(|bucket| bucket.elsewhere == MANY).count();
        }
        assert!(moved > 0 && refused > 0, "{moved} {refused}");
    }

    /// A million flows have two million keys: all find a place, most of them their first.
    #[test]
    fn takes_as_many_as_it_was_made_for() {
        let count = 1 << 21;
        let mut index = Index::new(count).unwrap();
        let hashes = hashes(count);
        for (flow, hash) in (0..).zip(&hashes) {
            assert!(index.insert(*hash, flow), "{flow}");
        }
        assert!(count * 100 / (index.buckets.len() * WAYS) <= 65);
        let mut second = 0;
        for (flow, hash) in (0..).zip(&hashes) {
            assert_eq!(index.find(*hash, |found| found == flow), Some(flow));
            let place = index.other_place(index.first_place(*hash), tag(*hash));
            assert_eq!(index.other_place(place, tag(*hash)), index.first_place(*hash));
            second += u32::from(index.buckets[place].flows.contains(&flow));
        }
        assert!(second < 1 << 18, "{second} in their second place");
    }

    #[test]
    fn equal_hashes_fill_two_buckets_and_then_are_refused() {
        let mut index = Index::new(1000).unwrap();
        let inserted = (0..40).filter(|flow| index.insert(0x1234_5678_9ABC_DEF0, *flow)).count();
        assert_eq!(inserted, 16);
    }

    /// Two full buckets give way to one more key as long as somebody in them has another place.
    #[test]
    fn moves_somebody_to_make_room() {
        let mut index = Index::new(1000).unwrap();
        let hash = 0x1234_5678_9ABC_DEF0;
        let second = index.other_place(index.first_place(hash), tag(hash));
        let fill = |index: &Index, place| -> Vec<u64> {
            hashes(100_000).into_iter().filter(|hash| index.first_place(*hash) == place).take(8).collect()
        };
        let residents = [fill(&index, index.first_place(hash)), fill(&index, second)].concat();
        for (flow, hash) in (0..).zip(&residents) {
            let place = index.first_place(*hash);
            assert!(index.buckets[place].put(tag(*hash), flow));
        }
        assert!(index.insert(hash, 99));
        assert_eq!(index.candidate(hash), Some(99));
        for (flow, hash) in (0..).zip(&residents) {
            assert_eq!(index.find(*hash, |found| found == flow), Some(flow));
        }
    }
}
