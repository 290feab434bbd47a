//! How often something may happen: a token bucket without rounding.
//!
//! Credit is counted in microseconds times matches: a microsecond earns as much as the rate has matches, one match
//! costs the rate's period in microseconds. Nothing is ever divided, so no fraction of a token is lost.

use rules_program::policy::Rate;

/// Microseconds in a second.
const SECOND: u128 = 1_000_000;

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    credit: u128,
    since_us: u64,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, credit: Self::cost(rate) * u128::from(rate.burst), since_us: 0 }
    }

    /// What it was made with.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    fn cost(rate: Rate) -> u128 {
        u128::from(rate.per_seconds.max(1)) * SECOND
    }

    /// Whether there is a token at this time.
    pub fn has(&mut self, now_us: u64) -> bool {
        let elapsed = u128::from(now_us.saturating_sub(self.since_us));
        let full = Self::cost(self.rate) * u128::from(self.rate.burst);
        self.credit = full.min(self.credit + elapsed * u128::from(self.rate.count));
        self.since_us = self.since_us.max(now_us);
        self.credit >= Self::cost(self.rate)
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&mut self, now_us: u64) -> bool {
        let has = self.has(now_us);
        if has {
            self.credit -= Self::cost(self.rate);
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rested_bucket_allows_its_burst_and_no_more() {
        let mut bucket = Bucket::new(Rate { count: 3, per_seconds: 1, burst: 5 });
        assert_eq!((0..10).filter(|_| bucket.take(0)).count(), 5);
        // A third of a second earns a token, not a microsecond less.
        assert!(!bucket.take(333_333));
        assert!(bucket.take(333_334));
        assert!(!bucket.take(333_334));
        assert_eq!((0..10).filter(|_| bucket.take(1 << 50)).count(), 5);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        for (count, per_seconds, burst) in [(u32::MAX, 1, u32::MAX), (1, u32::MAX, u32::MAX), (1, 1, 1)] {
            let mut bucket = Bucket::new(Rate { count, per_seconds, burst });
            assert!(bucket.take(u64::MAX));
            assert!(bucket.credit < Bucket::cost(bucket.rate) * u128::from(burst));
        }
        assert!(!Bucket::new(Rate { count: 0, per_seconds: 0, burst: 0 }).take(u64::MAX), "fails closed");
    }

    proptest! {
        /// Over any time that begins with a full bucket, matches ≤ burst + time × rate, and exactly that where
        /// nobody waits.
        #[test]
        fn no_more_than_the_rate(
            count in 1..1000u32, per_seconds in 1..100u32, burst in 1..50u32,
            steps in prop::collection::vec(0..2_000_000u64, 1..200),
        ) {
            let mut bucket = Bucket::new(Rate { count, per_seconds, burst });
            let (mut now, mut taken) = (0, 0u128);
            for step in steps {
                now += step;
                while bucket.take(now) {
                    taken += 1;
                }
            }
            let earned = u128::from(now) * u128::from(count) / (u128::from(per_seconds) * SECOND);
            prop_assert!(taken <= u128::from(burst) + earned);
        }

        #[test]
        fn no_token_is_lost_to_rounding(count in 1..1000u32, per_seconds in 1..100u32, step in 1..50u64) {
            let mut bucket = Bucket::new(Rate { count, per_seconds, burst: 1000 });
            while bucket.take(0) {}
            let mut taken = 0;
            for now in (1..2000).map(|n| n * step) {
                taken += u64::from(bucket.take(now));
            }
            prop_assert_eq!(taken, 1999 * step * u64::from(count) / (u64::from(per_seconds) * 1_000_000));
        }
    }
}
