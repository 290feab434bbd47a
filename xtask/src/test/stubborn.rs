//! Further chances for what runs on emulated processors, or in a network whose members wait for each other in real time.

use super::tally::Tally;
use crate::machine::Accel;
use anyhow::Result;

/// Attempts on emulated processors. One attempt in ten or so meets a nested guest that stops in its boot, so that two in a
/// row are met too often.
const ATTEMPTS: u32 = 3;

/// Runs a program. On emulated processors it gets further chances, aloud: nested guests on QEMU's TCG now and
/// then lose an interrupt, or all of the machine stops, before the program has said anything or after. With real KVM the
/// first word stands.
///
/// # Errors
/// Those of the attempt that counts.
pub(super) fn stubborn(
    name: &str,
    accel: Accel,
    mut attempt: impl FnMut() -> Result<Tally>,
) -> Result<Tally> {
    let attempts = if accel == Accel::Tcg { ATTEMPTS } else { 1 };
    let mut before = None;
    for _ in 1..attempts {
        let mut tally = attempt().unwrap_or_else(|error| {
            crate::progress::error(&error);
            let mut tally = Tally::default();
            tally.fail(&format!("{name}: {error:#}"));
            tally
        });
        before.take().into_iter().for_each(|before| tally.unstable(before));
        if tally.failed == 0 {
            return Ok(tally);
        }
        crate::progress::note(&format!("{name} failed; trying once more"));
        before = Some(tally);
    }
    let mut last = attempt()?;
    before.into_iter().for_each(|before| last.unstable(before));
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as often as told, then passes; returns the outcome and the number of attempts.
    fn failing(times: usize, accel: Accel) -> (Tally, usize) {
        let mut attempts = 0;
        let tally = stubborn("x", accel, || {
            attempts += 1;
            let mut tally = Tally::default();
            tally.step("y", attempts > times);
            Ok(tally)
        });
        (tally.unwrap(), attempts)
    }

    #[test]
    fn further_words_count_on_emulated_processors_only() {
        let outcome = |times, accel| {
            let (tally, attempts) = failing(times, accel);
            (tally.passed, tally.failed, attempts)
        };
        assert_eq!(outcome(0, Accel::Tcg), (1, 0, 1));
        assert_eq!(outcome(1, Accel::Tcg), (1, 0, 2));
        assert_eq!(outcome(2, Accel::Tcg), (1, 0, 3));
        assert_eq!(outcome(3, Accel::Tcg), (0, 1, 3));
        assert_eq!(outcome(1, Accel::Kvm), (0, 1, 1));
    }

    #[test]
    fn machine_that_ends_early_is_a_failed_attempt() {
        let outcome = |breaks: usize, accel| {
            let mut attempts = 0;
            stubborn("x", accel, || {
                attempts += 1;
                anyhow::ensure!(attempts > breaks, "the machine ended");
                let mut tally = Tally::default();
                tally.step("y", true);
                Ok(tally)
            })
        };
        for breaks in [1, 2] {
            let later = outcome(breaks, Accel::Tcg).unwrap();
            assert_eq!((later.passed, later.failed), (1, 0));
        }
        assert!(outcome(3, Accel::Tcg).is_err());
        assert!(outcome(1, Accel::Kvm).is_err());
    }
}
