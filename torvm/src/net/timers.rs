//! When which connection wants to be looked at: a binary heap that knows where everybody is, so that a deadline moves
//! without leaving the old one behind, and without allocating.

use alloc::vec::Vec;

/// Names what has a deadline: small numbers.
pub(super) type Who = u16;

/// Deadlines in microseconds, at most one each.
#[derive(Debug)]
pub(super) struct Timers {
    heap: Vec<(u64, Who)>,
    places: Vec<Option<u16>>,
}

impl Timers {
    /// For as many as `capacity`.
    pub(super) fn new(capacity: u16) -> Self {
        let capacity = usize::from(capacity);
        Self { heap: Vec::with_capacity(capacity), places: alloc::vec![None; capacity] }
    }

    /// The earliest deadline.
    pub(super) fn first(&self) -> Option<u64> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Sets, moves or (`None`) takes away a deadline.
    pub(super) fn set(&mut self, who: Who, at: Option<u64>) {
        let Some(place) = self.places.get(usize::from(who)).copied() else { return };
        match (place.map(usize::from), at) {
            (None, None) => {}
            (None, Some(at)) => {
                self.heap.push((at, who));
                self.rise(self.heap.len() - 1);
            }
            (Some(place), Some(at)) => {
                let Some(entry) = self.heap.get_mut(place) else { return };
                entry.0 = at;
                let place = self.rise(place);
                self.sink(place);
            }
            (Some(place), None) => self.remove(place),
        }
    }

    /// Takes out one whose deadline has come.
    pub(super) fn pop(&mut self, now_us: u64) -> Option<Who> {
        let (_, who) = *self.heap.first().filter(|(at, _)| *at <= now_us)?;
        self.remove(0);
        Some(who)
    }

    fn remove(&mut self, place: usize) {
        if place >= self.heap.len() {
            return;
        }
        let (_, who) = self.heap.swap_remove(place);
        self.note(who, None);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    /// Moves an entry towards the front as far as it belongs; gives its place.
    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.at(parent) <= self.at(place) {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.settle(place);
        place
    }

    /// Moves an entry towards the back as far as it belongs.
    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2];
            let Some(child) =
                children.into_iter().filter(|c| *c < self.heap.len()).min_by_key(|c| self.at(*c))
            else {
                break;
            };
            if self.at(place) <= self.at(child) {
                break;
            }
            self.swap(place, child);
            place = child;
        }
        self.settle(place);
    }

    fn at(&self, place: usize) -> u64 {
        self.heap.get(place).map_or(u64::MAX, |(at, _)| *at)
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a < self.heap.len() && b < self.heap.len() {
            self.heap.swap(a, b);
            self.settle(a);
            self.settle(b);
        }
    }

    /// Writes down where the entry in this place is.
    fn settle(&mut self, place: usize) {
        if let Some((_, who)) = self.heap.get(place).copied() {
            self.note(who, u16::try_from(place).ok());
        }
    }

    fn note(&mut self, who: Who, place: Option<u16>) {
        if let Some(entry) = self.places.get_mut(usize::from(who)) {
            *entry = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slow_list_agrees(moves in proptest::collection::vec((0u16..40, proptest::option::of(0u64..100), any::<bool>()), 1..300)) {
            let mut timers = Timers::new(40);
            let mut slow: BTreeMap<Who, u64> = BTreeMap::new();
            for (who, at, pop) in moves {
                timers.set(who, at);
                match at {
                    Some(at) => slow.insert(who, at),
                    None => slow.remove(&who),
                };
                prop_assert_eq!(timers.first(), slow.values().min().copied());
                if pop {
                    match timers.pop(50) {
                        Some(who) => {
                            let at = slow.remove(&who);
                            prop_assert!(at.is_some_and(|at| at <= 50 && slow.values().all(|other| *other >= at)));
                        }
                        None => prop_assert!(slow.values().all(|at| *at > 50)),
                    }
                }
            }
        }
    }
}
