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
    log::debug!("time-stamp counter at {khz} kHz by {source}, deadline timer: {deadline}");
    Ok(())
}

/// Watches the APIC's timer count down for a known time.
fn apic_frequency() -> u32 {
    Lapic::fire_after(u32::MAX);
    let before = Clock.us();
    hal::clock::Clock::delay_us(&Clock, CALIBRATION_US);
    let ticks = u64::from(u32::MAX - Lapic::ticks_left());
    let us = Clock.us().saturating_sub(before).max(1);
    Lapic::fire_after(0);
    u32::try_from(ticks.saturating_mul(1000) / us).unwrap_or(u32::MAX).max(1)
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

/// Sets the alarm to wake the processor at `at_us`; an early wake-up is possible. `None` switches it off.
pub(crate) fn set_alarm(at_us: Option<u64>) {
    let apic_khz = APIC_KHZ.load(Ordering::Relaxed);
    match (at_us, apic_khz) {
        (None, 0) => Lapic::fire_at_tsc(u64::MAX),
        (None, _) => Lapic::fire_after(0),
        (Some(at), 0) => Lapic::fire_at_tsc(scale().tsc(at)),
        (Some(at), khz) => {
            let ticks = at.saturating_sub(Clock.us()).saturating_mul(u64::from(khz)) / 1000;
            Lapic::fire_after(u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
        }
    }
}
