//! How often and how soon a domain that ended by itself is replaced. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts within [`WINDOW`], after which the domain stays down.
const RESTARTS: usize = 5;
/// The time over which restarts are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Pauses before the first, second, … restart within the window.
const PAUSES: [Duration; RESTARTS] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The recent restarts of one domain.
#[derive(Debug, Default)]
pub(super) struct Budget(VecDeque<Instant>);

impl Budget {
    /// Takes one restart out of the budget; the pause before it, or `None` when the budget is spent.
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|then| now.duration_since(*then) > WINDOW) {
            self.0.pop_front();
        }
        let pause = PAUSES.get(self.0.len()).copied()?;
        self.0.push_back(now);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_restart_is_immediate_and_the_sixth_does_not_happen() {
        let mut budget = Budget::default();
        let now = Instant::now();
        let pauses: Vec<_> = (0..6).map(|_| budget.take(now)).collect();
        assert_eq!(pauses[0], Some(Duration::ZERO));
        assert!(pauses.windows(2).take(4).all(|w| w[0] < w[1]));
        assert_eq!(pauses[5], None);
    }

    #[test]
    fn old_restarts_are_forgotten() {
        let mut budget = Budget::default();
        let now = Instant::now();
        while budget.take(now).is_some() {}
        assert_eq!(budget.take(now + WINDOW + Duration::from_secs(1)), Some(Duration::ZERO));
    }
}
