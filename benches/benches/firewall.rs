//! The firewall's path, link in to link out: known flows both ways, and new ones. Method and numbers: `README.md`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../support/firewall.rs"]
mod support;
use support::{BURST, Bench};

/// Flows, and the size of the table that they are in.
const TABLES: [(u32, u32); 3] = [(32, 16_384), (1024, 16_384), (65_536, 131_072)];

fn measure(c: &mut Criterion, name: &str, burst: fn(&mut Bench) -> Duration) {
    let mut group = c.benchmark_group(format!("firewall/{name}"));
    group.throughput(Throughput::Elements(BURST as u64));
    for (flows, capacity) in TABLES {
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            let mut bench = Bench::new(flows, capacity);
            bencher.iter_custom(|bursts| (0..bursts).map(|_| burst(&mut bench)).sum());
        });
    }
}

fn known_flows(c: &mut Criterion) {
    measure(c, "client_to_net", Bench::outward);
    measure(c, "net_to_client", Bench::inward);
}

fn new_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("firewall/new_flow");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("udp", |bencher| {
        let mut bench = Bench::new(32, 262_144);
        bencher.iter_custom(|bursts| (0..bursts).map(|_| bench.opening()).sum());
    });
}

criterion_group!(benches, known_flows, new_flows);
criterion_main!(benches);
