//! The limits of one program's rules: how often each may match, and how many of its connections may be alive.

use super::{Occasion, bucket::Bucket};
use alloc::vec::Vec;
use rules_program::{Program, policy::Rate, question::Gate};

/// A rule with a limit.
#[derive(Clone, Copy, Debug)]
struct Slot {
    rule: u16,
    bucket: Option<Bucket>,
    /// Connections alive at most.
    most: Option<u32>,
    /// Connections alive now.
    live: u32,
}

impl Slot {
    fn limits(&self) -> (Option<Rate>, Option<u32>) {
        (self.bucket.map(|bucket| bucket.rate()), self.most)
    }
}

/// All of them, in order of the rules.
#[derive(Debug, Default)]
pub(super) struct Limits {
    slots: Vec<Slot>,
    /// Rules of the previous program and those of this one that took their state over.
    inherited: Vec<(u16, u16)>,
}

impl Limits {
    /// The limits of a program that takes the place of one with `old` limits. A rule goes on with the state of one
    /// that had the same limits: of several, the first with the first.
    #[must_use]
    pub(super) fn new(program: &Program, old: Option<&Self>) -> Option<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(program.limited().count()).ok()?;
        slots.extend(program.limited().map(|(rule, rate, most)| {
            let bucket = rate.map(Bucket::new);
            Slot { rule, bucket, most, live: 0 }
        }));
        let mut inherited: Vec<(u16, u16)> = Vec::new();
        inherited.try_reserve_exact(slots.len()).ok()?;
        for slot in &mut slots {
            let taken = |rule| inherited.iter().any(|(old, _)| *old == rule);
            let same = |old: &&Slot| old.limits() == slot.limits() && !taken(old.rule);
            if let Some(old) = old.and_then(|old| old.slots.iter().find(same)) {
                inherited.push((old.rule, slot.rule));
                (slot.bucket, slot.live) = (old.bucket, old.live);
            }
        }
        Some(Self { slots, inherited })
    }

    fn slot(&mut self, rule: u16) -> Option<&mut Slot> {
        let place = self.slots.binary_search_by_key(&rule, |slot| slot.rule).ok()?;
        self.slots.get_mut(place)
    }

    /// A connection that this rule allowed begins.
    #[inline]
    pub(super) fn opened(&mut self, rule: u16) {
        if self.slots.is_empty() {
            return;
        }
        if let Some(slot) = self.slot(rule) {
            slot.live = slot.live.saturating_add(1);
        }
    }

    /// A connection that this rule allowed is over.
    pub(super) fn closed(&mut self, rule: u16) {
        if let Some(slot) = self.slot(rule) {
            slot.live = slot.live.saturating_sub(1);
        }
    }

    /// A connection that this rule of the previous program allowed is over, or about to be judged again.
    pub(super) fn closed_before(&mut self, rule: u16) {
        let heir = self.inherited.iter().find(|(old, _)| *old == rule).map(|(_, new)| *new);
        if let Some(heir) = heir {
            self.closed(heir);
        }
    }

    /// Connections alive that this rule allowed, if it has a limit.
    #[must_use]
    pub(super) fn live(&self, rule: u16) -> Option<u32> {
        self.slots.iter().find(|slot| slot.rule == rule).map(|slot| slot.live)
    }
}

/// The limits as a program asks them.
pub(super) struct Turnstile<'l> {
    pub(super) limits: &'l mut Limits,
    pub(super) occasion: Occasion,
    pub(super) now_us: u64,
}

impl Gate for Turnstile<'_> {
    fn admits(&mut self, rule: u16) -> bool {
        let Some(slot) = self.limits.slot(rule) else { return false };
        if slot.most.is_some_and(|most| slot.live >= most) {
            return false;
        }
        match (&mut slot.bucket, self.occasion) {
            (None, _) => true,
            (Some(bucket), Occasion::Opening) => bucket.take(self.now_us),
            (Some(bucket), Occasion::Stray) => bucket.has(self.now_us),
            // Rates limit how often connections begin; these have begun.
            (Some(_), Occasion::Again) => true,
        }
    }
}
