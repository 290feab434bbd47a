//! When flows expire: a wheel of one-second slots, each a list through the entries. A packet only writes its flow's
//! deadline; the wheel finds out when it gets there.

use super::{Flow, Flows, NONE};
use crate::address::Address;

/// Slots of the wheel, one second each.
const SLOTS: usize = 256;
/// The same number as seconds.
const SLOT_SECONDS: u32 = 256;
/// Flows looked at per call.
const BUDGET: usize = 64;

const _: () = assert!(SLOTS == SLOT_SECONDS as usize);

/// The slots.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The first flow of each.
    heads: [u32; SLOTS],
    /// Second up to which the wheel has turned.
    turned: u32,
}

impl Wheel {
    pub(super) const fn new() -> Self {
        Self { heads: [NONE; SLOTS], turned: 0 }
    }
}

impl<A: Address> Flows<A> {
    /// Turns the wheel up to `now`, or as far as the budget for one call goes; `true` when it got there. Tells of each
    /// flow that it forgets.
    pub fn expire(&mut self, now: u32, mut removed: impl FnMut(&Flow<A>)) -> bool {
        if self.used == 0 {
            self.wheel.turned = now;
            return true;
        }
        let mut budget = BUDGET;
        // After a long sleep some slots wait for the next round: late by minutes at most, and harmless.
        self.wheel.turned = self.wheel.turned.max(now.saturating_sub(SLOT_SECONDS / 2));
        while self.wheel.turned < now {
            let due = self.wheel.turned + 1;
            while let Some(number) = self.head(due) {
                if budget == 0 {
                    return false;
                }
                budget -= 1;
                if self.get(number).is_none_or(|flow| flow.expires <= now) {
                    self.remove(number).iter().for_each(&mut removed);
                } else {
                    self.unlink(number);
                    self.link(number, now);
                }
            }
            self.wheel.turned = due;
        }
        true
    }

    /// The next second at which the wheel has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u32> {
        (1..=SLOT_SECONDS).map(|ahead| self.wheel.turned + ahead).find(|second| self.head(*second).is_some())
    }

    /// The first flow in the slot of a second.
    fn head(&self, second: u32) -> Option<u32> {
        self.wheel.heads.get(second as usize % SLOTS).copied().filter(|head| *head != NONE)
    }

    /// Puts a flow into the slot of its deadline, or into the last one before the wheel comes round if that is
    /// farther.
    pub(super) fn link(&mut self, number: u32, now: u32) {
        let Some(expires) = self.get(number).map(|flow| flow.expires) else { return };
        let last = self.wheel.turned.max(now.saturating_sub(SLOT_SECONDS / 2)) + SLOT_SECONDS - 1;
        let second = expires.clamp(now + 1, last);
        let slot = second.to_le_bytes()[0];
        let Some(head) = self.wheel.heads.get_mut(usize::from(slot)) else { return };
        let next = core::mem::replace(head, number);
        if let Some(flow) = self.get_mut(number) {
            (flow.slot, flow.next, flow.previous) = (slot, next, NONE);
        }
        if let Some(next) = self.get_mut(next) {
            next.previous = number;
        }
    }

    /// Notes that a flow expires earlier than it was to: else the wheel finds out only when it gets to the old deadline.
    #[cold]
    pub fn hasten(&mut self, number: u32, now: u32) {
        if self.get(number).is_some_and(Flow::is_live) {
            self.unlink(number);
            self.link(number, now);
        }
    }

    /// Takes a flow out of its slot.
    pub(super) fn unlink(&mut self, number: u32) {
        let Some((slot, next, previous)) = self.get(number).map(|flow| (flow.slot, flow.next, flow.previous))
        else {
            return;
        };
        match self.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => {
                if let Some(head) = self.wheel.heads.get_mut(usize::from(slot)) {
                    *head = next;
                }
            }
        }
        if let Some(next) = self.get_mut(next) {
            next.previous = previous;
        }
    }
}
