//! The firewall's path, link in to link out: known flows both ways, and new ones. Method and numbers: `README.md`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../support/firewall.rs"]
#[expect(dead_code, reason = "the comparison uses the rest")]
mod support;
use support::{BURST, Bench, Shape, Wire};

/// Flows, and the size of the table that they are in.
const TABLES: [(u32, u32); 3] = [(1024, 16_384), (65_536, 131_072), (1_000_000, 1 << 20)];

fn measure(c: &mut Criterion, name: &str, once: fn(&mut Bench, usize) -> Duration) {
    let mut group = c.benchmark_group(format!("firewall/{name}"));
    for (wire, title) in [(Wire::Udp, "udp"), (Wire::Tcp, "tcp")] {
        for (flows, capacity) in TABLES {
            let mut bench = Bench::new(Shape { flows, capacity, wire, rules: 0 });
            for burst in [1, 8, BURST] {
                group.throughput(Throughput::Elements(burst as u64));
                group.bench_function(BenchmarkId::new(format!("{title}/{flows}"), burst), |bencher| {
                    bencher.iter_custom(|bursts| (0..bursts).map(|_| once(&mut bench, burst)).sum());
                });
            }
        }
    }
}

fn known_flows(c: &mut Criterion) {
    measure(c, "client_to_net", Bench::outward);
    measure(c, "net_to_client", Bench::inward);
}

fn new_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("firewall/new_flow");
    group.throughput(Throughput::Elements(BURST as u64));
    for (wire, title) in [(Wire::Udp, "udp"), (Wire::Tcp, "tcp")] {
        for rules in [0, 10, 10_000] {
            group.bench_function(BenchmarkId::new(title, rules), |bencher| {
                let mut bench = Bench::new(Shape { flows: 32, capacity: 262_144, wire, rules });
                bencher.iter_custom(|bursts| (0..bursts).map(|_| bench.opening(BURST)).sum());
            });
        }
    }
}

criterion_group!(benches, known_flows, new_flows);
criterion_main!(benches);
