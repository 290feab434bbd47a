//! Sleeping and waking on time, in tasks and in the run loop.

use embassy_time::{Duration, Instant, Timer};
use rt::Step;

/// A task that sleeps five times and says how long it really was.
#[embassy_executor::task]
async fn sleeper() {
    for _ in 0..5 {
        let begin = Instant::now();
        Timer::after(Duration::from_millis(20)).await;
        let slept = begin.elapsed().as_micros();
        if slept < 20_000 {
            log::error!("WOKEN EARLY after {slept} us");
            rt::exit(1);
        }
        log::info!("task slept {slept} us");
    }
}

/// Runs the sleeper beside a step that wants to be called every 30 ms, for 300 ms.
pub(crate) fn sleep_and_wake(machine: &rt::Machine) -> ! {
    match sleeper() {
        Ok(task) => machine.spawner().spawn(task),
        Err(why) => rt::stop(format_args!("{why:?}")),
    }
    let (mut steps, mut due, begin) = (0u32, 0, Instant::now().as_micros());
    rt::run(move |now| {
        steps += 1;
        if now >= begin + 300_000 {
            log::info!("{steps} steps in {} us", now - begin);
            // Tickless: ten steps of ours, five of the task, and a few that came early.
            rt::exit(if steps < 40 { 0 } else { 1 });
        }
        if now >= due {
            due = now + 30_000;
        }
        Step::Idle { until_us: Some(due) }
    })
}
