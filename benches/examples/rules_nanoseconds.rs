//! Nanoseconds per question, as percentiles of short runs: on a machine shared with other work those that were not
//! interrupted tell what the rest hides. See `README.md`.

#[path = "../support/rules.rs"]
mod support;

use std::{hint::black_box, time::Instant};

use rules_program::{Program, assemble};
use support::{Bench, Shape};

/// Runs over all questions.
const ROUNDS: usize = 100;
/// Questions of a run.
const RUN: usize = 32;

/// The 10th and the 50th percentile.
fn percentiles(mut times: Vec<u64>) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100] as f64;
    (at(10), at(50))
}

/// What a run takes on top of its questions: reading the clock.
fn clock() -> f64 {
    let times = (0..10_000).map(|_| {
        let start = Instant::now();
        u64::from(black_box(start).elapsed().subsec_nanos())
    });
    percentiles(times.collect()).1
}

fn timed(bench: &Bench, mut run: impl FnMut(usize)) -> (f64, f64) {
    let starts = (0..ROUNDS).flat_map(|_| (0..bench.questions.len()).step_by(RUN));
    let times = starts.map(|at| {
        let start = Instant::now();
        run(at);
        u64::from(start.elapsed().subsec_nanos())
    });
    let (p10, p50) = percentiles(times.collect());
    let clock = clock();
    ((p10 - clock) / RUN as f64, (p50 - clock) / RUN as f64)
}

fn install(shape: Shape) {
    let policy = shape.policy(10_000);
    let bytes = assemble(&policy).expect("not too large");
    let micros = |run: &dyn Fn()| {
        let times = (0..100).map(|_| {
            let start = Instant::now();
            run();
            u64::from(start.elapsed().subsec_nanos())
        });
        let (p10, p50) = percentiles(times.collect());
        (p10 / 1000.0, p50 / 1000.0)
    };
    let assembly = micros(&|| drop(black_box(assemble(&policy))));
    let load = micros(&|| drop(black_box(Program::load(&bytes))));
    let memory = Program::load(&bytes).expect("sound").memory();
    println!(
        "{}, 10000 rules: assembled in {:.0} / {:.0} us, loaded in {:.0} / {:.0} us, {} bytes, {memory} in memory",
        shape.name(),
        assembly.0,
        assembly.1,
        load.0,
        load.1,
        bytes.len()
    );
}

fn main() {
    let only = std::env::args().nth(1);
    for shape in
        Shape::ALL.into_iter().filter(|shape| only.as_deref().is_none_or(|only| only == shape.name()))
    {
        for rules in [10, 100, 1000, 10_000] {
            let bench = Bench::new(shape, rules);
            let zero = black_box(0);
            let stream = timed(&bench, |at| {
                black_box(bench.stream(at..at + RUN));
            });
            let chained = timed(&bench, |at| {
                black_box(bench.chained(at..at + RUN, zero));
            });
            println!(
                "{}, {rules} rules: {:.1} / {:.1} ns together, {:.1} / {:.1} ns one after the other",
                shape.name(),
                stream.0,
                stream.1,
                chained.0,
                chained.1
            );
        }
        install(shape);
    }
}
