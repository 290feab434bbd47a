//! Instructions per packet of the firewall: run under callgrind as `README.md` says. What is measured is one
//! function, not inlined (`serve`), so that callgrind can be told to count it alone.

#[path = "../support/firewall.rs"]
#[expect(dead_code, reason = "the bench uses the rest")]
mod support;
use support::{BURST, Bench, Shape, Wire};

const BURSTS: usize = 1000;

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let wire = if what.starts_with("tcp") { Wire::Tcp } else { Wire::Udp };
    let rules = if what.ends_with("10000") { 10_000 } else { 0 };
    let capacity = if what.contains("new") { 262_144 } else { 16_384 };
    let mut bench = Bench::new(Shape { flows: 1024, capacity, wire, rules });
    let burst = match what.split('_').nth(1) {
        Some("out") => Bench::outward,
        Some("in") => Bench::inward,
        Some("new") => Bench::opening,
        _ => panic!("what: udp_out, udp_in, tcp_out, tcp_in, udp_new, tcp_new or udp_new_10000?"),
    };
    for _ in 0..BURSTS {
        burst(&mut bench, BURST);
    }
    println!("{}", BURSTS * BURST);
}
