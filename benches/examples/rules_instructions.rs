//! Instructions per question: run under callgrind as `README.md` says. What is measured is one function, not inlined
//! (`stream`), so that callgrind can be told to count it alone.

#[path = "../support/rules.rs"]
#[expect(dead_code, reason = "the bench uses the rest")]
mod support;
use support::{Bench, QUESTIONS, Shape};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rules = arguments.next().and_then(|rules| rules.parse().ok()).expect("how many rules?");
    let shape = Shape::ALL.into_iter().find(|shape| shape.name() == name).expect("which shape?");
    std::hint::black_box(Bench::new(shape, rules).stream(0..QUESTIONS));
    println!("{QUESTIONS}");
}
