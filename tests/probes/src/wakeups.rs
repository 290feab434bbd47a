//! Thousands of short sleeps, each ended by one interrupt or one alarm alone: a wake-up that is lost hangs the probe.

use core::sync::atomic::{AtomicBool, Ordering};
use embassy_time::{Duration, Instant, Timer};
use rt::{Clock, Step, virtio_net::VirtioNet};

/// Sleeps of each kind.
const SLEEPS: u32 = 1_500;
/// Longest sleep in microseconds; the shortest is none.
const LONGEST_US: u64 = 1_000;
/// A deadline that must not be what ends a sleep: far beyond the patience of whoever waits for the answer.
const FAR_US: u64 = 3_600_000_000;
/// Longest pause between the last look for work and the sleep, in microseconds.
const PAUSE_US: u64 = 200;
/// Frames in one step.
const BURST: usize = 8;

/// Cheap random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(rt::entropy::u64() | 1)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Whether the task sleeps while the run loop has no deadline of its own.
static ALONE: AtomicBool = AtomicBool::new(false);

/// Sleeps by the alarm of the run loop, then by timers of a task, then by both, and ends.
pub(crate) fn alarms(machine: &rt::Machine) -> ! {
    let spawner = machine.spawner();
    let (mut dice, mut slept, mut due, mut worst) = (Dice::new(), 0, 0, 0);
    rt::run(move |now| {
        if now >= due {
            worst = if due == 0 { 0 } else { worst.max(now - due) };
            due = now + dice.below(LONGEST_US);
            slept += 1;
            if slept == SLEEPS {
                log::info!("{SLEEPS} alarms, the worst {worst} us late");
                ALONE.store(true, Ordering::Relaxed);
                match sleeper() {
                    Ok(task) => spawner.spawn(task),
                    Err(why) => rt::stop(format_args!("{why:?}")),
                }
                return Step::Busy;
            }
        }
        if ALONE.load(Ordering::Relaxed) { Step::IDLE } else { Step::Idle { until_us: Some(due) } }
    })
}

#[embassy_executor::task]
async fn sleeper() {
    let mut dice = Dice::new();
    for company in ["alone", "beside alarms"] {
        let mut worst = 0;
        for _ in 0..SLEEPS {
            let due = Instant::now() + Duration::from_micros(dice.below(LONGEST_US));
            Timer::at(due).await;
            let Some(late) = Instant::now().checked_duration_since(due) else {
                log::error!("WOKEN EARLY");
                rt::exit(1)
            };
            worst = worst.max(late.as_micros());
        }
        log::info!("{SLEEPS} timers {company}, the worst {worst} us late");
        ALONE.store(false, Ordering::Relaxed);
    }
    rt::exit(0)
}

/// Answers ARP, sends every IPv4 frame back to where it came from, and ends at one that carries `quit`.
pub(crate) fn bounce(machine: &rt::Machine) -> ! {
    let Some(mut net) = machine.virtio_net() else { rt::stop(format_args!("no network device")) };
    let mut dice = Dice::new();
    log::info!("bouncing");
    rt::run(move |now| {
        for _ in 0..BURST {
            let mut frame = [0; 1514];
            match net.receive(&mut frame) {
                Ok(Some(len)) => reply(&mut net, &mut frame[..len]),
                Ok(None) => return tire(now, &mut dice),
                Err(why) => rt::stop(format_args!("{why}")),
            }
        }
        Step::Busy
    })
}

/// Goes to sleep in one of several ways, some of them slowly: what comes meanwhile must end the sleep.
fn tire(now: u64, dice: &mut Dice) -> Step {
    let pause = now + dice.below(PAUSE_US);
    match dice.below(4) {
        0 => Step::IDLE,
        1 => Step::Idle { until_us: Some(now + FAR_US - dice.below(FAR_US / 2)) },
        2 => Step::Idle { until_us: Some(pause) },
        _ => {
            while Clock.us() < pause {
                core::hint::spin_loop();
            }
            Step::IDLE
        }
    }
}

/// Answers one frame, if it is one that is answered.
fn reply(net: &mut VirtioNet, frame: &mut [u8]) {
    if frame.len() >= 46 && frame[42..46] == *b"quit" {
        rt::exit(0);
    }
    match frame.get(12..14) {
        // An ARP request becomes the reply: who is asked for is us.
        Some([8, 6]) if frame.len() >= 42 && frame[20..22] == [0, 1] => {
            frame[21] = 2;
            let (asker, asked) = frame[22..42].split_at_mut(10);
            asker.swap_with_slice(asked);
            frame[22..28].copy_from_slice(&net.mac());
        }
        // Swapping addresses and ports leaves every checksum right.
        Some([8, 0]) if frame.len() >= 42 => {
            let (from, to) = frame[26..34].split_at_mut(4);
            from.swap_with_slice(to);
            let (from, to) = frame[34..38].split_at_mut(2);
            from.swap_with_slice(to);
        }
        _ => return,
    }
    let (to, from) = frame[..12].split_at_mut(6);
    to.copy_from_slice(from);
    from.copy_from_slice(&net.mac());
    if let Err(why) = net.send(&[frame]) {
        log::error!("NOT SENT {why:?}");
    }
}
