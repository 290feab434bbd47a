//! Time: a microsecond clock on the time-stamp counter, and one alarm on the local APIC.

mod frequency;
pub(crate) mod queue;
mod scale;

use crate::interrupts::Lapic;
use crate::mmio;
use abi::boot_info::BootInfo;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use scale::Scale;

/// The monotonic clock: microseconds since boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

// Written once at boot, before the first read.
static KHZ: AtomicU64 = AtomicU64::new(1_000_000);
static START: AtomicU64 = AtomicU64::new(0);
/// Frequency of the APIC's own timer in kHz; 0 where the APIC compares with the time-stamp counter.
static APIC_KHZ: AtomicU32 = AtomicU32::new(0);

/// How long the APIC's timer is watched to learn its frequency, in microseconds.
const CALIBRATION_US: u32 = 2_000;

/// Finds the frequency and starts clock and alarm; the error says what is missing.
pub(crate) fn start(info: Option<&BootInfo>, cmdline: &str) -> Result<(), &'static str> {
    let (khz, source) = frequency::find(info, cmdline).ok_or(
        "no source tells the frequency of the time-stamp counter; give tsc_khz= on the command line",
    )?;
    let scale = Scale::new(khz, mmio::tsc()).ok_or("the frequency of the time-stamp counter is absurd")?;
    KHZ.store(scale.khz, Ordering::Relaxed);
    START.store(scale.start, Ordering::Relaxed);
    let deadline = Lapic::has_deadline();
    if !deadline {
        APIC_KHZ.store(apic_frequency(), Ordering::Relaxed);
    }
    let start = scale.start;
    log::debug!("time-stamp counter at {khz} kHz by {source}, 0 is tick {start}, deadline timer: {deadline}");
    Ok(())
}

/// Watches the APIC's timer count down for a known time. The time includes every pause that this processor may make
/// around the count, so a measurement can come out too low, which makes alarms early, but never too high, which would
/// make them late; the highest of three is the least disturbed.
fn apic_frequency() -> u32 {
    let measure = || {
        let before = Clock.us();
        Lapic::fire_after(u32::MAX);
        hal::clock::Clock::delay_us(&Clock, CALIBRATION_US);
        let ticks = u64::from(u32::MAX - Lapic::ticks_left());
        let us = Clock.us().saturating_sub(before).max(1);
        u32::try_from(ticks.saturating_mul(1000) / us).unwrap_or(u32::MAX).max(1)
    };
    let khz = measure().max(measure()).max(measure());
    Lapic::fire_after(0);
    khz
}

fn scale() -> Scale {
    Scale { khz: KHZ.load(Ordering::Relaxed), start: START.load(Ordering::Relaxed) }
}

impl Clock {
    /// Microseconds since boot.
    #[must_use]
    pub fn us(self) -> u64 {
        scale().us(mmio::tsc())
    }

    /// Nanoseconds since boot, for measurements.
    #[must_use]
    pub fn ns(self) -> u64 {
        scale().ns(mmio::tsc())
    }
}

impl hal::clock::Clock for Clock {
    fn now_us(&self) -> u64 {
        self.us()
    }
}

/// When the alarm will fire at the latest; `u64::MAX` when it is not set.
static ALARM: AtomicU64 = AtomicU64::new(u64::MAX);

/// Has the processor woken at `at_us` at the latest. It may wake earlier: setting the alarm is an exit to the
/// monitor, so one that is due before is left alone.
pub(crate) fn set_alarm(at_us: u64) {
    let now = Clock.us();
    if alarm_serves(ALARM.load(Ordering::Relaxed), now, at_us) {
        return;
    }
    // Noted before it is set: `alarm_fired` may come at once.
    ALARM.store(at_us, Ordering::Relaxed);
    match APIC_KHZ.load(Ordering::Relaxed) {
        0 => Lapic::fire_at_tsc(scale().tsc(at_us)),
        khz => {
            let ticks = at_us.saturating_sub(now).saturating_mul(u64::from(khz)) / 1000;
            Lapic::fire_after(u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
        }
    }
}

/// Called by the timer interrupt, which may come before the time that was asked for.
pub(crate) fn alarm_fired() {
    ALARM.store(u64::MAX, Ordering::Relaxed);
}

/// Whether the alarm that is set (or `u64::MAX`) wakes the processor by `wanted` (or `u64::MAX`: need not).
const fn alarm_serves(alarm: u64, now: u64, wanted: u64) -> bool {
    // One that is due has fired, or is about to; either way it will not fire again.
    wanted == u64::MAX || (now < alarm && alarm <= wanted)
}

#[cfg(test)]
mod tests {
    use super::alarm_serves;

    #[test]
    fn an_alarm_is_kept_only_when_it_is_early_enough_and_still_to_come() {
        const NONE: u64 = u64::MAX;
        for (alarm, now, wanted, serves) in [
            (NONE, 10, NONE, true),
            (NONE, 10, 20, false),
            (15, 10, 20, true),
            (20, 10, 20, true),
            (21, 10, 20, false),
            (10, 10, 20, false),
            (5, 10, 20, false),
            (5, 10, NONE, true),
        ] {
            assert_eq!(alarm_serves(alarm, now, wanted), serves, "{alarm} {now} {wanted}");
        }
    }
}
