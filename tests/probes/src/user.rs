//! Programs in ring 3 that do what they should and, mostly, what they should not: whatever it is, the runtime lives
//! on and says what it was.

mod programs;

use core::fmt;
use programs::{CODE, DATA, STACK_TOP};
use rt::ram::Range;
use rt::user::{Access, Context, Frames, Space, Trap};
use rt::{Clock, Machine};

const PAGE: u64 = 4096;
/// How long a program may run at a time.
const SLICE_US: u64 = 1_000;
/// Runs of one program before it counts as hung.
const RUNS: u32 = 20_000;

fn failed(what: impl fmt::Display) -> ! {
    log::error!("FAILED: {what}");
    rt::exit(1)
}

fn space() -> Space {
    let frames = Frames::take(2 << 20).unwrap_or_else(|why| rt::stop(format_args!("{why}")));
    Space::new(frames).unwrap_or_else(|| failed("there is another space"))
}

/// A fresh space with `code`, two pages of data, and a stack of two pages.
fn load(space: &mut Space, code: &[u8]) -> Context {
    space.clear();
    let range = |start, pages| Range { start, end: start + pages * PAGE };
    let pages = (code.len() as u64).div_ceil(PAGE);
    let loaded = space
        .map(range(CODE, pages), Access::Write)
        .and_then(|()| space.map(range(DATA, 2), Access::Write))
        .and_then(|()| space.map(range(STACK_TOP - 2 * PAGE, 2), Access::Write));
    loaded.unwrap_or_else(|why| failed(why));
    if space.write(CODE, code).is_err() || space.protect(range(CODE, pages), Access::Execute).is_err() {
        failed("the program cannot be loaded");
    }
    Context::new(CODE, STACK_TOP)
}

/// Runs until something else than an interrupt comes.
fn next(context: &mut Context) -> Trap {
    for _ in 0..RUNS {
        // What a step of the run loop does: interrupts so far were looked at.
        rt::interrupts::forget_wakeups();
        match context.run(Clock.us() + SLICE_US) {
            Trap::Interrupt => {}
            trap => return trap,
        }
    }
    failed("the program runs for ever")
}

/// What a program that calls number `number` must be seen to do; returns its first argument.
fn expect_call(context: &mut Context, wanted: u64) -> u64 {
    match next(context) {
        Trap::Call { number, args: [first, ..] } if number == wanted => first,
        trap => failed(format_args!("{trap} instead of call {wanted}")),
    }
}

/// Calls, answers, and registers that live through both.
pub(crate) fn calls(machine: &Machine) -> ! {
    let mut space = space();
    let mut context = load(&mut space, programs::caller());
    let Trap::Call { number: 39, args } = next(&mut context) else { failed("no call") };
    if args != [1, 2, 3, 4, 5, 6] {
        failed(format_args!("arguments {args:?}"));
    }
    context.answer(-4711);
    let back = expect_call(&mut context, 60);
    if back.cast_signed() != -4711 {
        failed(format_args!("the answer arrived as {back}"));
    }
    log::info!("call answered");
    for (name, program) in [("general", programs::keeps_general()), ("vector", programs::keeps_vectors())] {
        keeps(&mut space, name, program);
    }
    context = load(&mut space, programs::reads_fs());
    if context.set_fs_base(DATA + 64).is_err() || space.write(DATA + 72, &77u64.to_le_bytes()).is_err() {
        failed("no thread-local storage");
    }
    if expect_call(&mut context, 60) != 77 || context.set_fs_base(1 << 47).is_ok() {
        failed("thread-local storage is elsewhere");
    }
    time_calls(&mut space, machine);
    rt::exit(0)
}

/// A program that checks its registers around thousand calls and many interrupts, while the runtime uses them, too.
fn keeps(space: &mut Space, name: &str, program: &[u8]) {
    let mut context = load(space, program);
    let (mut calls, mut interrupts) = (0, 0);
    loop {
        rt::interrupts::forget_wakeups();
        match context.run(Clock.us() + 200) {
            Trap::Interrupt => interrupts += 1,
            Trap::Call { number: 39, .. } => {
                calls += 1;
                let mut noise = [0; 777];
                rt::entropy::fill(&mut noise);
                if space.write(DATA + 4000, &noise).is_err() {
                    failed("data cannot be written");
                }
                context.answer(i64::from(noise[0]));
            }
            Trap::Call { number: 60, args: [0, ..] } => break,
            trap => failed(format_args!("{name} registers: {trap:?}")),
        }
    }
    log::info!("{name} registers kept over {calls} calls and {interrupts} interrupts");
}

/// How long a call takes, there and back.
fn time_calls(space: &mut Space, _: &Machine) {
    const CALLS: u64 = 10_000;
    let mut context = load(space, programs::calls_for_ever());
    let begin = Clock.ns();
    for _ in 0..CALLS {
        next(&mut context);
    }
    log::info!("{} ns a call", (Clock.ns() - begin) / CALLS);
}

/// Programs that break rules, each followed by one that must find everything clean.
pub(crate) fn faults() -> ! {
    let mut space = space();
    let all = space.left();
    for (name, program, vectors) in programs::OFFENDERS {
        let mut context = load(&mut space, program());
        let trap = next(&mut context);
        match trap {
            Trap::Fault { vector, .. } if vectors.contains(&vector) => log::info!("{name}: {trap}"),
            _ => failed(format_args!("{name}: {trap:?} instead of {vectors:?}")),
        }
        let mut context = load(&mut space, programs::looks_around());
        let dirt = expect_call(&mut context, 60);
        if dirt != 0 {
            failed(format_args!("{name} left {dirt:#x} behind"));
        }
    }
    space.clear();
    if space.left() != all {
        failed("memory is lost");
    }
    log::info!("{} offenders survived", programs::OFFENDERS.len());
    rt::exit(0)
}

/// Programs that put the processor into odd states and then make calls, or are interrupted.
pub(crate) fn odd_states() -> ! {
    let mut space = space();
    for (name, program) in programs::ODD {
        let mut context = load(&mut space, program());
        for _ in 0..3 {
            expect_call(&mut context, 39);
            rt::interrupts::forget_wakeups();
            // The runtime's own flags and units work as ever.
            let third = core::hint::black_box(1.0f64) / core::hint::black_box(3.0);
            let mut copy = [0u8; 100];
            copy.copy_from_slice(&core::hint::black_box([7u8; 100]));
            if !(0.33..0.34).contains(&third) || core::hint::black_box(copy) != [7; 100] {
                failed(format_args!("{name} changed the runtime"));
            }
            context.answer(0);
        }
        expect_call(&mut context, 60);
        log::info!("{name}: harmless");
    }
    gets_on(&mut space);
    let mut context = load(&mut space, programs::spins());
    let begin = Clock.us();
    for _ in 0..20 {
        rt::interrupts::forget_wakeups();
        let trap = context.run(Clock.us() + 5_000);
        if trap != Trap::Interrupt {
            failed(format_args!("a spinning program: {trap}"));
        }
    }
    let ms = (Clock.us() - begin) / 1000;
    log::info!("a spinning program was interrupted 20 times in {ms} ms");
    rt::exit(u32::from(!(20..2_000).contains(&ms)))
}

/// A program runs however often there is something else to look at.
fn gets_on(space: &mut Space) {
    let mut context = load(space, programs::calls_for_ever());
    let mut calls = 0;
    for _ in 0..200 {
        rt::interrupts::wake();
        calls += u32::from(matches!(context.run(Clock.us() + 5_000), Trap::Call { .. }));
    }
    if !(50..=100).contains(&calls) {
        failed(format_args!("{calls} calls in 200 runs under interrupts"));
    }
    log::info!("{calls} calls in 200 runs under interrupts");
}

/// A program's page, for ring 0 to trip over.
fn page() -> u64 {
    let mut space = space();
    let mut context = load(&mut space, programs::caller());
    next(&mut context);
    core::mem::forget(space);
    CODE
}

/// Ring 0 reads memory of ring 3 by its address.
pub(crate) fn touch() -> ! {
    crate::faults::read(page())
}

/// Ring 0 executes memory of ring 3.
pub(crate) fn execute() -> ! {
    crate::faults::run(page())
}
