//! Sets of descriptions to wait for (epoll(7)).
//!
//! An entry belongs to a number *and* the description that it meant when it was added: another description under the
//! same number is another entry, and an entry lives on while its description does. Edges: an edge-triggered entry
//! reports when it is new or changed, or when a counter of its object moved since it reported last, so that nothing has
//! to call back into a set.

use crate::descriptors::Serial;
use crate::errno::Errno;
use crate::ready::Ready;
use crate::sockets::Readiness;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Reports once, then not before it is changed.
pub const ONESHOT: u32 = 1 << 30;
/// Reports edges.
pub const EDGE: u32 = 1 << 31;

/// Most entries of a set.
pub const MOST: usize = 2048;

/// What is asked about a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// What to wait for, and how.
    pub events: u32,
    /// The program's own word.
    pub data: u64,
}

#[derive(Debug)]
struct Entry {
    interest: Interest,
    seen: Ready,
    /// New or changed: reports what is ready even without an edge.
    fresh: bool,
    /// Reported once, and was to.
    spent: bool,
}

type Key = (i32, Serial);

/// A set.
#[derive(Debug, Default)]
pub struct Epoll {
    entries: BTreeMap<Key, Entry>,
    /// Who reported last; the next one has the next turn.
    last: Option<Key>,
}

impl Epoll {
    /// Adds a description under its number.
    ///
    /// # Errors
    /// [`Errno::EXIST`], [`Errno::NOSPC`] when there are [`MOST`].
    pub fn add(&mut self, fd: i32, serial: Serial, interest: Interest) -> Result<(), Errno> {
        if self.entries.contains_key(&(fd, serial)) {
            return Err(Errno::EXIST);
        }
        if self.entries.len() >= MOST {
            return Err(Errno::NOSPC);
        }
        let entry = Entry { interest, seen: Ready::default(), fresh: true, spent: false };
        self.entries.insert((fd, serial), entry);
        Ok(())
    }

    /// Changes what is asked.
    ///
    /// # Errors
    /// [`Errno::NOENT`].
    pub fn modify(&mut self, fd: i32, serial: Serial, interest: Interest) -> Result<(), Errno> {
        let entry = self.entries.get_mut(&(fd, serial)).ok_or(Errno::NOENT)?;
        (entry.interest, entry.fresh, entry.spent) = (interest, true, false);
        Ok(())
    }

    /// Takes a description out.
    ///
    /// # Errors
    /// [`Errno::NOENT`].
    pub fn remove(&mut self, fd: i32, serial: Serial) -> Result<(), Errno> {
        self.entries.remove(&(fd, serial)).map(drop).ok_or(Errno::NOENT)
    }

    /// Forgets a description that is closed.
    pub fn forget(&mut self, serial: Serial) {
        self.entries.retain(|key, _| key.1 != serial);
    }

    /// Whether anything would be reported.
    pub fn is_ready(&self, ready: impl Fn(Serial) -> Ready) -> bool {
        self.entries.iter().any(|(key, entry)| entry.report(ready(key.1)) != 0)
    }

    /// Reports at most `most`, in turn.
    pub fn report(&mut self, most: usize, ready: impl Fn(Serial) -> Ready) -> Vec<Interest> {
        use core::ops::Bound::{Excluded, Unbounded};
        let mut out = Vec::new();
        let turns = match self.last {
            Some(last) => [(Excluded(last), Unbounded), (Unbounded, core::ops::Bound::Included(last))],
            None => [(Unbounded, Unbounded), (Excluded((i32::MAX, Serial::MAX)), Unbounded)],
        };
        for turn in turns {
            for (key, entry) in self.entries.range_mut(turn) {
                if out.len() >= most {
                    return out;
                }
                let now = ready(key.1);
                let events = entry.report(now);
                entry.seen = now;
                entry.fresh = false;
                if events != 0 {
                    entry.spent = entry.interest.events & ONESHOT != 0;
                    self.last = Some(*key);
                    out.push(Interest { events, data: entry.interest.data });
                }
            }
        }
        out
    }
}

impl Entry {
    /// What it reports now; 0: nothing.
    fn report(&self, now: Ready) -> u32 {
        let asked = self.interest.events;
        if self.spent || asked & EDGE != 0 && !self.fresh && !self.moved(now) {
            return 0;
        }
        now.bits & (asked | Readiness::ERR | Readiness::HUP)
    }

    /// Whether a counter of what is asked moved.
    fn moved(&self, now: Ready) -> bool {
        let asked = self.interest.events & (Readiness::IN | Readiness::OUT | Readiness::RDHUP);
        let incoming = asked != Readiness::OUT && now.incoming != self.seen.incoming;
        let outgoing = (asked == 0 || asked & Readiness::OUT != 0) && now.outgoing != self.seen.outgoing;
        incoming || outgoing
    }
}
