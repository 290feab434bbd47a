//! What the layer counts.

use crate::errno::Errno;
use crate::store::Found;
use heapless::Vec;

/// Different unknown calls that are told apart.
const KINDS: usize = 32;

/// The counters.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Calls, those that were asked again not counted again.
    pub calls: u64,
    /// Unknown calls: number and how often. The first [`KINDS`] different ones.
    unknown: Vec<(u64, u64), KINDS>,
    /// Unknown calls that had no place in the table any more.
    pub unknown_others: u64,
    /// Calls that failed because the program's memory was used up.
    pub memory_refusals: u64,
    /// Calls that failed because files had taken what they may.
    pub file_refusals: u64,
    /// Least memory that was left for the program after a call (bytes).
    pub memory_least: Option<u64>,
    /// Most bytes that the files have taken.
    pub file_most: u64,
    /// Savings of the state that were written.
    pub stored: u64,
    /// Savings that failed: the disk did not do it, or the state was too large.
    pub store_failures: u64,
    /// What was on the disk at the start.
    pub store_found: Option<Found>,
}

impl Counters {
    /// Counts an unknown call; `true` the first time for each number.
    pub fn unknown_call(&mut self, number: u64) -> bool {
        if let Some((_, count)) = self.unknown.iter_mut().find(|(known, _)| *known == number) {
            *count = count.saturating_add(1);
            return false;
        }
        let new = self.unknown.push((number, 1)).is_ok();
        if !new {
            self.unknown_others = self.unknown_others.saturating_add(1);
        }
        new
    }

    /// Looks at what a call has left for the program, and has made of the files (bytes).
    pub(super) fn measure(&mut self, left: u64, files: u64) {
        self.memory_least = Some(self.memory_least.map_or(left, |least| least.min(left)));
        self.file_most = self.file_most.max(files);
    }

    /// Counts a call that failed for want of room.
    pub(super) fn failed(&mut self, errno: Errno) {
        match errno {
            Errno::NOMEM => self.memory_refusals = self.memory_refusals.saturating_add(1),
            Errno::NOSPC => self.file_refusals = self.file_refusals.saturating_add(1),
            _ => {}
        }
    }

    /// Tells every counter by its name.
    pub(super) fn tell(&self, tell: &mut dyn FnMut(&str, u64)) {
        let unknown = self.unknown.iter().map(|(_, count)| count).sum::<u64>();
        tell("calls", self.calls);
        tell("calls-unknown", unknown.saturating_add(self.unknown_others));
        tell("program-memory-refusals", self.memory_refusals);
        if let Some(least) = self.memory_least {
            tell("program-memory-least", least);
        }
        tell("file-bytes-most", self.file_most);
        tell("file-refusals", self.file_refusals);
        tell("state-stored", self.stored);
        tell("state-store-failures", self.store_failures);
        let lost = matches!(self.store_found, Some(Found::Older | Found::Damaged));
        tell("state-damaged", u64::from(lost));
    }

    /// Unknown calls: number, how often.
    #[must_use]
    pub fn unknown_calls(&self) -> &[(u64, u64)] {
        &self.unknown
    }
}
