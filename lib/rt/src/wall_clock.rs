//! The time of day: what the monitor said at entry, or the real-time clock, carried on by the monotonic clock.

use crate::mmio::Ports;
use crate::timer::Clock;
use abi::boot_info::BootInfo;
use core::cell::Cell;
use critical_section::Mutex;

/// Nanoseconds since the Unix epoch when the monotonic clock began.
static BASE: Mutex<Cell<Option<u64>>> = Mutex::new(Cell::new(None));

/// Nanoseconds since the Unix epoch (UTC); `None` when nobody has told.
#[must_use]
pub fn now_ns() -> Option<u64> {
    critical_section::with(|cs| BASE.borrow(cs).get()).map(|base| base.saturating_add(Clock.ns()))
}

/// Sets the time of day: it is `ns` nanoseconds since the Unix epoch now.
pub fn set_ns(ns: u64) {
    let base = ns.saturating_sub(Clock.ns());
    critical_section::with(|cs| BASE.borrow(cs).set(Some(base)));
}

/// Asks who may know.
pub(crate) fn start(info: Option<&BootInfo>) {
    let told = info.map(|info| info.wall_clock_ns).filter(|&ns| ns != 0);
    match (told, info) {
        // At entry the monotonic clock had not begun; what lies between is not noticed.
        (Some(ns), _) => critical_section::with(|cs| BASE.borrow(cs).set(Some(ns))),
        // Our machines have no such clock.
        (None, Some(_)) => {}
        (None, None) => {
            if let Some(seconds) = read_real_time_clock() {
                set_ns(seconds.saturating_mul(1_000_000_000));
            }
        }
    }
}

/// Registers of the MC146818.
const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;
/// Where PCs keep the century.
const CENTURY: u8 = 0x32;
/// Status A: the registers are about to change.
const UPDATING: u8 = 1 << 7;
/// Status B: hours count to 24; numbers are binary.
const HOURS_24: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;
/// In 12-hour mode: after noon.
const AFTERNOON: u8 = 1 << 7;
/// Reads before the clock counts as broken; an update lasts 2 ms at most.
const PATIENCE: u32 = 100_000;

fn register(number: u8) -> u8 {
    // Bit 7 keeps non-maskable interrupts off; nothing here needs them.
    Ports::RTC.write8(0, number | 1 << 7);
    Ports::RTC.read8(1)
}

/// What the registers say, twice the same.
fn read_real_time_clock() -> Option<u64> {
    let read = || {
        (0..PATIENCE).find(|_| register(STATUS_A) & UPDATING == 0)?;
        Some([SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, CENTURY].map(register))
    };
    let first = read()?;
    let values = (0..5).scan(first, |before, _| {
        let now = read()?;
        Some((core::mem::replace(before, now), now))
    });
    let (_, stable) = { values }.find(|(before, now)| before == now)?;
    seconds(stable, register(STATUS_B))
}

/// Seconds since the Unix epoch of the clock's registers; `None` when they are no date.
fn seconds(registers: [u8; 7], status_b: u8) -> Option<u64> {
    let number = |raw: u8| match (status_b & BINARY != 0, raw >> 4, raw & 0xF) {
        (true, ..) => Some(u64::from(raw)),
        (false, high @ 0..=9, low @ 0..=9) => Some(u64::from(high * 10 + low)),
        _ => None,
    };
    let [second, minute, hour, day, month, year, century] = registers;
    let hour = match (status_b & HOURS_24 != 0, hour & AFTERNOON != 0) {
        (true, _) => number(hour)?,
        (false, afternoon) => number(hour & !AFTERNOON)? % 12 + if afternoon { 12 } else { 0 },
    };
    let (second, minute, day, month) = (number(second)?, number(minute)?, number(day)?, number(month)?);
    // Without a century, this one.
    let century = number(century).filter(|century| (19..=21).contains(century)).unwrap_or(20);
    let year = century * 100 + number(year)?;
    let valid =
        second < 60 && minute < 60 && hour < 24 && (1..=31).contains(&day) && (1..=12).contains(&month);
    if !valid || !(1970..2200).contains(&year) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from the Unix epoch to a date of the Gregorian calendar, `year` ≥ 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leaps_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let month = usize::try_from(month).unwrap_or(1).clamp(1, 12) - 1;
    let leap_day = u64::from(month > 1 && leap(year));
    (year - 1970) * 365 + leaps_before(year) - leaps_before(1970) + BEFORE[month] + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        for (date, want) in [
            ((1970, 1, 1), 0),
            ((1972, 2, 29), 789),
            ((1972, 3, 1), 790),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days(date.0, date.1, date.2), want, "{date:?}");
        }
    }

    #[test]
    fn registers_are_read_in_every_mode() {
        // 2026-11-21 17:08:51 UTC.
        let want = Some(1_795_280_931);
        assert_eq!(seconds([0x51, 0x08, 0x17, 0x21, 0x11, 0x26, 0x20], HOURS_24), want);
        assert_eq!(seconds([51, 8, 17, 21, 11, 26, 20], HOURS_24 | BINARY), want);
        assert_eq!(seconds([0x51, 0x08, 0x85, 0x21, 0x11, 0x26, 0x20], 0), want);
        assert_eq!(seconds([0x51, 0x08, 0x17, 0x21, 0x11, 0x26, 0xFF], HOURS_24), want);
        let noon = seconds([0, 0, 0x92, 1, 1, 0x70, 0x19], 0).unwrap();
        let midnight = seconds([0, 0, 0x12, 1, 1, 0x70, 0x19], 0).unwrap();
        assert_eq!((noon, midnight), (12 * 3600, 0));
    }

    #[test]
    fn nonsense_is_no_date() {
        for registers in [
            [0x60, 0, 0, 1, 1, 0x26, 0x20],
            [0xFF; 7],
            [0; 7],
            [0, 0, 0x24, 1, 1, 0x26, 0x20],
            [0, 0, 0, 0x1A, 1, 0x26, 0x20],
            [0, 0, 0, 1, 0x13, 0x26, 0x20],
            [0, 0, 0, 1, 1, 0x26, 0x19],
        ] {
            assert_eq!(seconds(registers, HOURS_24), None, "{registers:x?}");
        }
    }
}
