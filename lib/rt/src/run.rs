//! The loop that every domain ends in: do all there is to do, then sleep until something happens.

use crate::interrupts;
use crate::tasks::Runner;
use crate::timer::{self, Clock, queue};

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more to do at once.
    Busy,
    /// Nothing to do until an interrupt, or until a time.
    Idle {
        /// When to look again at the latest, in microseconds of [`Clock`].
        until_us: Option<u64>,
    },
}

impl Step {
    /// Nothing to do until an interrupt.
    pub const IDLE: Self = Self::Idle { until_us: None };
}

/// Calls `step` with the time, and runs the tasks, for ever; halts without a periodic tick in between.
///
/// No wake-up is lost: an interrupt that comes after `step` looked, but before the processor halts, makes it
/// look again. So `step` must look at everything that an interrupt announces.
///
/// # Panics
/// When a task or `step` calls it again.
pub fn run(mut step: impl FnMut(u64) -> Step) -> ! {
    let Some(mut tasks) = Runner::take() else { panic!("the run loop runs already") };
    interrupts::restore(true);
    loop {
        interrupts::forget_wakeups();
        queue::expire(Clock.us());
        tasks.poll();
        let Step::Idle { until_us } = step(Clock.us()) else { continue };
        let at = until_us.unwrap_or(u64::MAX).min(queue::next());
        if at > Clock.us() {
            timer::set_alarm(at);
            interrupts::sleep();
        }
    }
}
