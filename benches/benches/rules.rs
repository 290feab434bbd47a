//! One question judged by 10 to 10,000 rules, and what it takes to make and to load these.
//!
//! The method and the numbers are in `README.md`.

#[path = "../support/rules.rs"]
mod support;

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rules_program::{Program, assemble};
use support::{Bench, QUESTIONS, Shape};

fn judge(c: &mut Criterion) {
    for shape in Shape::ALL {
        for kind in ["stream", "chained"] {
            let mut group = c.benchmark_group(format!("rules/{}/{kind}", shape.name()));
            group.throughput(Throughput::Elements(QUESTIONS as u64));
            for rules in [10, 100, 1000, 10_000] {
                let bench = Bench::new(shape, rules);
                group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
                    bencher.iter(|| match kind {
                        "stream" => bench.stream(0..QUESTIONS),
                        _ => bench.chained(0..QUESTIONS, black_box(0)),
                    });
                });
            }
        }
    }
}

fn install(c: &mut Criterion) {
    for shape in Shape::ALL {
        let policy = shape.policy(10_000);
        let bytes = assemble(&policy).expect("not too large");
        let mut group = c.benchmark_group(format!("rules/{}/install", shape.name()));
        group.bench_function("assemble", |bencher| bencher.iter(|| assemble(black_box(&policy))));
        group.bench_function("load", |bencher| bencher.iter(|| Program::load(black_box(&bytes))));
        let program = Program::load(&bytes).expect("sound");
        println!("{}: {} bytes, {} in memory", shape.name(), bytes.len(), program.memory());
    }
}

criterion_group! {
    name = rules;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = judge, install
}
criterion_main!(rules);
