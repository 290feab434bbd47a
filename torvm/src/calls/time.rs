//! Clocks and sleeping.

use super::{Done, Stop};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::memory::{UserMemory, read_u64};
use crate::processor::Processor;
use crate::sockets::Sockets;
use crate::time::Now;

const CLOCK_REALTIME: u32 = 0;
const CLOCK_REALTIME_COARSE: u32 = 5;
/// The other clocks below this one, processor time included, all count from the domain's boot.
const CLOCK_BOOTTIME: u32 = 7;
const TIMER_ABSTIME: u32 = 1;
const NS: u64 = 1_000_000_000;

/// A timeout in milliseconds; negative: without end.
pub(super) fn from_ms(timeout: i32) -> Option<u64> {
    u64::try_from(timeout).ok().map(|ms| ms * 1000)
}

/// Reads `struct timespec`.
fn timespec(memory: &impl UserMemory, at: u64) -> Result<(u64, u64), Errno> {
    let seconds = read_u64(memory, at)?;
    let nanoseconds = read_u64(memory, at.checked_add(8).ok_or(Errno::FAULT)?)?;
    Ok((seconds, nanoseconds))
}

/// Reads `struct timespec` as microseconds, rounded up.
pub(super) fn duration(memory: &impl UserMemory, at: u64) -> Result<u64, Errno> {
    let (seconds, nanoseconds) = timespec(memory, at)?;
    if seconds > i64::MAX as u64 || nanoseconds >= NS {
        return Err(Errno::INVAL);
    }
    Ok(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds.div_ceil(1000)))
}

/// Reads a time stamp for `utimensat`: nanoseconds since the epoch; `None`: it is to stay.
pub(super) fn stamp(memory: &impl UserMemory, at: u64, now: Now) -> Result<Option<u64>, Errno> {
    const UTIME_NOW: u64 = 0x3FFF_FFFF;
    const UTIME_OMIT: u64 = 0x3FFF_FFFE;
    match timespec(memory, at)? {
        (_, UTIME_NOW) => Ok(Some(now.wall_ns)),
        (_, UTIME_OMIT) => Ok(None),
        (_, NS..) => Err(Errno::INVAL),
        (seconds, nanoseconds) => {
            // Before the epoch is the epoch.
            let seconds = u64::try_from(seconds.cast_signed()).unwrap_or(0);
            Ok(Some(seconds.saturating_mul(NS).saturating_add(nanoseconds)))
        }
    }
}

/// Nanoseconds of a clock.
fn clock(which: u32, now: Now) -> Result<u64, Errno> {
    match which {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE => Ok(now.wall_ns),
        ..=CLOCK_BOOTTIME => Ok(now.us.saturating_mul(1000)),
        _ => Err(Errno::INVAL),
    }
}

/// Two words. As one number, so that it is two moves: the program asks for the time several times for each cell.
const fn words(first: u64, second: u64) -> [u8; 16] {
    ((second as u128) << 64 | first as u128).to_le_bytes()
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `clock_gettime`.
    pub(super) fn clock_gettime(&mut self, which: u32, out: u64) -> Done {
        let time = clock(which, self.now)?;
        self.memory().write(out, &words(time / NS, time % NS))?;
        Ok(0)
    }

    /// `clock_getres`: one microsecond.
    pub(super) fn clock_getres(&mut self, which: u32, out: u64) -> Done {
        clock(which, Now::default())?;
        if out != 0 {
            self.memory().write(out, &words(0, 1000))?;
        }
        Ok(0)
    }

    /// `gettimeofday`.
    pub(super) fn gettimeofday(&mut self, out: u64, zone: u64) -> Done {
        if out != 0 {
            let wall = self.now.wall_ns;
            self.memory().write(out, &words(wall / NS, wall % NS / 1000))?;
        }
        if zone != 0 {
            self.memory().write(zone, &[0; 8])?;
        }
        Ok(0)
    }

    /// `time`.
    pub(super) fn time(&mut self, out: u64) -> Done {
        let seconds = self.now.wall_ns / NS;
        if out != 0 {
            self.memory().write(out, &seconds.to_le_bytes())?;
        }
        Ok(seconds)
    }

    /// `nanosleep`; nothing interrupts it.
    pub(super) fn nanosleep(&mut self, time: u64) -> Done {
        let time = duration(self.memory(), time)?;
        self.wait(Some(time))
    }

    /// `clock_nanosleep`.
    pub(super) fn clock_nanosleep(&mut self, which: u32, how: u32, time: u64) -> Done {
        let here = clock(which, self.now)?;
        let time = duration(self.memory(), time)?;
        if how & TIMER_ABSTIME == 0 {
            return self.wait(Some(time));
        }
        // Asked anew each time, so that a clock that is set is followed.
        let left = time.saturating_sub(here / 1000);
        if left == 0 { Ok(0) } else { Err(Stop::Wait(Some(self.now.us.saturating_add(left)))) }
    }
}
