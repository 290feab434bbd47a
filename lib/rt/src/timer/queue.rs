//! Timers of tasks: the driver of `embassy-time`. The run loop asks when the next one expires.

use super::Clock;
use core::cell::RefCell;
use core::task::Waker;
use critical_section::Mutex;
use embassy_time_queue_utils::Queue;

static QUEUE: Mutex<RefCell<Queue>> = Mutex::new(RefCell::new(Queue::new()));

/// The time driver; [`entry!`](crate::entry) makes it the one of the image. One tick is one microsecond.
#[doc(hidden)]
#[derive(Debug)]
pub struct TimeDriver;

impl embassy_time_driver::Driver for TimeDriver {
    fn now(&self) -> u64 {
        Clock.us()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        // No alarm here: the run loop looks at the queue before every halt.
        critical_section::with(|cs| QUEUE.borrow_ref_mut(cs).schedule_wake(at, waker));
    }
}

/// Wakes the tasks whose time has come at `now`.
pub(crate) fn expire(now: u64) {
    critical_section::with(|cs| QUEUE.borrow_ref_mut(cs).next_expiration(now));
}

/// When the next task is due; `u64::MAX` for never.
pub(crate) fn next() -> u64 {
    // Nothing is due at time zero, so nothing is woken.
    critical_section::with(|cs| QUEUE.borrow_ref_mut(cs).next_expiration(0))
}
