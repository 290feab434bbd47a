//! Nanoseconds per packet of the firewall by percentile of bursts: on a machine shared with others the median of
//! a criterion run is theirs as much as ours; the fast bursts are the undisturbed ones.

#[path = "../support/firewall.rs"]
mod support;
use support::{BURST, Bench};

const BURSTS: usize = 20_000;

fn report(name: &str, flows: u32, bench: &mut Bench, burst: fn(&mut Bench) -> std::time::Duration) {
    let mut times: Vec<_> = (0..BURSTS).map(|_| burst(bench).as_nanos()).collect();
    times.sort_unstable();
    let at = |percent: usize| times[BURSTS * percent / 100] as f64 / BURST as f64;
    println!(
        "{name:14} {flows:6} flows: p1 {:5.0}  p10 {:5.0}  p50 {:5.0}  p90 {:5.0} ns",
        at(1),
        at(10),
        at(50),
        at(90)
    );
}

fn main() {
    for (flows, capacity) in [(32, 16_384), (1024, 16_384), (65_536, 131_072)] {
        let mut bench = Bench::new(flows, capacity);
        report("client_to_net", flows, &mut bench, Bench::outward);
        report("net_to_client", flows, &mut bench, Bench::inward);
    }
    let mut bench = Bench::new(32, 262_144);
    report("new_flow", 1, &mut bench, Bench::opening);
}
