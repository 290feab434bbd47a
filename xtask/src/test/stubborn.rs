//! A second chance for what runs on emulated processors, or in a network whose members wait for each other in real time.

use super::tally::Tally;
use crate::machine::Accel;
use anyhow::Result;

/// Runs a program. On emulated processors it gets a second chance, aloud: nested guests on QEMU's TCG now and
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
    let first = match attempt() {
        Err(error) if accel == Accel::Tcg => {
            crate::progress::error(&error);
            let mut tally = Tally::default();
            tally.fail(&format!("{name}: {error:#}"));
            tally
        }
        outcome => outcome?,
    };
    if first.failed == 0 || accel == Accel::Kvm {
        return Ok(first);
    }
    crate::progress::note(&format!("{name} failed at first; trying once more"));
    let mut second = attempt()?;
    second.unstable(first);
    Ok(second)
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
    fn second_word_counts_on_emulated_processors_only() {
        let outcome = |times, accel| {
            let (tally, attempts) = failing(times, accel);
            (tally.passed, tally.failed, attempts)
        };
        assert_eq!(outcome(0, Accel::Tcg), (1, 0, 1));
        assert_eq!(outcome(1, Accel::Tcg), (1, 0, 2));
        assert_eq!(outcome(2, Accel::Tcg), (0, 1, 2));
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
        let second = outcome(1, Accel::Tcg).unwrap();
        assert_eq!((second.passed, second.failed), (1, 0));
        assert!(outcome(2, Accel::Tcg).is_err());
        assert!(outcome(1, Accel::Kvm).is_err());
    }
}
