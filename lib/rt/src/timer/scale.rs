//! Ticks of the time-stamp counter to time and back. Pure arithmetic.

/// A counter that runs at a known frequency from a known start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// Ticks per millisecond.
    pub(super) khz: u64,
    /// Counter value at time zero.
    pub(super) start: u64,
}

/// Frequencies that a processor can have: 1 MHz to 100 GHz.
const PLAUSIBLE_KHZ: core::ops::RangeInclusive<u64> = 1_000..=100_000_000;

impl Scale {
    pub(super) fn new(khz: u64, start: u64) -> Option<Self> {
        PLAUSIBLE_KHZ.contains(&khz).then_some(Self { khz, start })
    }

    /// Microseconds since the start at counter value `tsc`.
    pub(super) fn us(self, tsc: u64) -> u64 {
        self.count(tsc, 1_000)
    }

    /// Nanoseconds since the start at counter value `tsc`.
    pub(super) fn ns(self, tsc: u64) -> u64 {
        self.count(tsc, 1_000_000)
    }

    fn count(self, tsc: u64, per_ms: u64) -> u64 {
        let ticks = tsc.saturating_sub(self.start);
        // Split, so that the product stays in 64 bits: the remainder is below 2^27, the factor below 2^20.
        let (ms, rest) = (ticks / self.khz, ticks % self.khz);
        ms.saturating_mul(per_ms).saturating_add(rest * per_ms / self.khz)
    }

    /// The first counter value at which `us` microseconds have passed.
    pub(super) fn tsc(self, us: u64) -> u64 {
        let (ms, rest) = (us / 1_000, us % 1_000);
        let ticks = ms.saturating_mul(self.khz).saturating_add((rest * self.khz).div_ceil(1_000));
        self.start.saturating_add(ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_absurd_frequencies() {
        assert_eq!(Scale::new(0, 0), None);
        assert_eq!(Scale::new(u64::MAX, 0), None);
        assert!(Scale::new(2_400_000, 7).is_some());
    }

    #[test]
    fn converts_known_values() {
        let scale = Scale::new(2_500_000, 1_000).unwrap();
        assert_eq!(scale.us(1_000), 0);
        assert_eq!(scale.us(0), 0);
        assert_eq!(scale.us(1_000 + 2_500), 1);
        assert_eq!(scale.ns(1_000 + 5), 2);
        assert_eq!(scale.us(1_000 + 2_500_000_000 * 60), 60_000_000);
        assert_eq!(scale.tsc(u64::MAX), u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn an_alarm_is_never_early(khz in 1_000u64..100_000_000, start in 0u64..1 << 40, us in 0u64..1 << 40) {
            let scale = Scale::new(khz, start).unwrap();
            let tsc = scale.tsc(us);
            proptest::prop_assert!(scale.us(tsc) >= us);
            if tsc > start {
                proptest::prop_assert!(scale.us(tsc - 1) <= us);
            }
        }

        #[test]
        fn time_never_goes_back(khz in 1_000u64..100_000_000, a: u64, b: u64) {
            let scale = Scale::new(khz, 1).unwrap();
            proptest::prop_assert!(scale.us(a.min(b)) <= scale.us(a.max(b)));
        }
    }
}
