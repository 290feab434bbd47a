//! The time: a monotonic clock, and what that means on the wall.

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since boot; never goes back.
    pub us: u64,
    /// Nanoseconds since the Unix epoch, as far as known.
    pub wall_ns: u64,
}
