//! What an end counts.

/// Totals since the link was made. One record is one frame or one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records staged.
    pub sent: u64,
    /// Records handed out.
    pub received: u64,
    /// Doorbells rung.
    pub rings: u64,
    /// Bursts that the peer saw without a doorbell.
    pub rings_suppressed: u64,
    /// Records refused for want of room.
    pub full: u64,
    /// Faults of the peer: 0 or 1, as a link does not outlive one.
    pub faults: u64,
    /// Records skipped because the caller's buffer was shorter.
    pub oversized: u64,
}
