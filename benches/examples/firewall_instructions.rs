//! Instructions per packet of the firewall: run under callgrind as `README.md` says. What is measured is one
//! function, not inlined (`serve`), so that callgrind can be told to count it alone.

#[path = "../support/firewall.rs"]
#[expect(dead_code, reason = "the bench uses the rest")]
mod support;
use support::{BURST, Bench};

const BURSTS: usize = 1000;

fn main() {
    let direction = std::env::args().nth(1).unwrap_or_default();
    let mut bench = Bench::new(1024, 16_384);
    for _ in 0..BURSTS {
        match direction.as_str() {
            "out" => bench.outward(),
            "in" => bench.inward(),
            _ => panic!("which direction: out or in?"),
        };
    }
    println!("{}", BURSTS * BURST);
}
