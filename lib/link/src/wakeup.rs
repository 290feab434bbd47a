//! The sleep protocol, once: who rings whom, and when an end may sleep.
//!
//! The side that wants to sleep stores a threshold, fences, looks again, and sleeps only if there is still
//! nothing. The side that makes progress stores its index, fences, and loads the threshold. Of two fences one
//! comes first: either the sleeper sees the progress or the other side sees the threshold. `tests_loom`
//! explores every interleaving.
//!
//! The threshold names the last index that is *not* worth waking for; a ring is due when the index moves past
//! it. An old threshold lies behind the index and asks for nothing, so that an awake reader is never rung.
//! A peer that stores nonsense can cause at most one ring per burst.

/// The way to wake the peer.
pub trait Doorbell {
    /// Wakes the peer if it sleeps; spurious rings are harmless.
    fn ring(&self);
}

impl<F: Fn()> Doorbell for F {
    fn ring(&self) {
        self();
    }
}

/// Whether an end may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Armed {
    /// Nothing to do; the doorbell will ring when there is.
    Sleep,
    /// Something arrived, room came free, or the peer was at fault: look again.
    Pending,
}

/// Whether moving an index from `old` to `new` passes `threshold`.
#[inline]
pub(crate) const fn passes(threshold: u64, old: u64, new: u64) -> bool {
    threshold.wrapping_sub(old) < new.wrapping_sub(old)
}

/// A space threshold that asks for nothing: no index ever passes it.
pub(crate) const NEVER: u64 = u64::MAX;
