//! Time for drivers.

/// A monotonic clock that can also wait.
pub trait Clock {
    /// Microseconds since an arbitrary start; never goes back.
    fn now_us(&self) -> u64;

    /// Busy-waits; for bring-up sequences only, never on a packet path.
    fn delay_us(&self, us: u32) {
        let end = self.now_us().saturating_add(u64::from(us));
        while self.now_us() < end {
            core::hint::spin_loop();
        }
    }
}
