//! How much may be on its way to a relay: slow start and congestion avoidance (RFC 5681).
//!
//! smoltcp sends whatever its buffer holds and the peer takes, so that the buffer is filled no further than this. After a
//! loss it sends the rest of its buffer again at once; what is written later keeps to the smaller window.

/// Segments at the beginning (RFC 6928).
const FIRST: usize = 10;
/// Segments at least.
const LEAST: usize = 4;
/// Payload of a full segment.
const SEGMENT: usize = 1460;

/// A connection's window, in bytes.
#[derive(Debug)]
pub(super) struct Congestion {
    window: usize,
    threshold: usize,
    /// The end of what was sent, and of what was when the last loss was noticed.
    sent: Option<u32>,
    recover: Option<u32>,
}

/// Whether `a` comes before `b` in sequence numbers.
const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}

impl Congestion {
    pub(super) const fn new() -> Self {
        Self { window: FIRST * SEGMENT, threshold: usize::MAX, sent: None, recover: None }
    }

    /// How much may be unacknowledged.
    pub(super) const fn window(&self) -> usize {
        self.window
    }

    /// So much was acknowledged while `queued` bytes were unacknowledged.
    pub(super) fn acknowledge(&mut self, bytes: usize, queued: usize) {
        // RFC 7661: a window that was not used says nothing.
        if bytes == 0 || queued.saturating_mul(2) < self.window {
            return;
        }
        let more = if self.window < self.threshold { bytes } else { (SEGMENT * bytes / self.window).max(1) };
        self.window = self.window.saturating_add(more).min(super::state::RELAY_BUFFERS.send);
    }

    /// The bytes from `start` to `end` were sent; for the second time means that something was lost.
    pub(super) fn send(&mut self, (start, end): (u32, u32)) {
        let again = self.sent.is_some_and(|sent| before(start, sent));
        if again && self.recover.is_none_or(|recover| !before(start, recover)) {
            self.window = (self.window / 2).max(LEAST * SEGMENT);
            self.threshold = self.window;
            self.recover = self.sent;
        }
        if self.sent.is_none_or(|sent| before(sent, end)) {
            self.sent = Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_with_each_round_until_something_is_lost() {
        let mut congestion = Congestion::new();
        let mut at = u32::MAX - 20_000;
        for _ in 0..3 {
            let window = congestion.window();
            let end = at.wrapping_add(u32::try_from(window).unwrap());
            congestion.send((at, end));
            congestion.acknowledge(window, window);
            assert_eq!(congestion.window(), 2 * window);
            at = end;
        }
        let window = congestion.window();
        congestion.send((at, at.wrapping_add(100_000)));
        for again in [0, 1460, 2920] {
            congestion.send((at.wrapping_add(again), at.wrapping_add(again + 1460)));
            assert_eq!(congestion.window(), window / 2, "one loss a round");
        }
        // From here on a segment a round.
        let half = congestion.window();
        congestion.acknowledge(half, half);
        assert_eq!(congestion.window(), half + SEGMENT);
        // What is not used does not grow, what was lost again shrinks, down to a bound.
        congestion.acknowledge(100, 100);
        assert_eq!(congestion.window(), half + SEGMENT);
        for round in 1..20u32 {
            let start = at.wrapping_add(round * 100_000);
            congestion.send((start, start.wrapping_add(100_000)));
            congestion.send((start, start.wrapping_add(1460)));
        }
        assert_eq!(congestion.window(), LEAST * SEGMENT);
    }
}
