//! 10,000 rules from text to a verified program, whole and in its steps: what an install costs dom0.

use criterion::{Criterion, criterion_group, criterion_main};
use rules_compiler::{compile, compile_file, parse};
use rules_program::{Program, assemble};
use std::fmt::Write;
use std::hint::black_box;

const RULES: u32 = 10_000;

/// A file as a site with many exceptions has it: prefixes, single addresses of both families, ports, ranges, lists.
fn mixed() -> String {
    let mut text = String::from("set office = 192.0.2.0/24, 2001:db8::/32, files.example\n");
    let mut seed = 1u32;
    for number in 0..RULES {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (a, b, port) = (seed >> 24, seed >> 16 & 255, seed >> 8 & 0x7fff);
        let line = match number % 8 {
            0 => format!("action=accept dst4=10.{a}.{b}.0/24 proto=tcp dstports={port}-{}", port + 10),
            1 => format!("drop 172.16.{a}.{b} udp {port}"),
            2 => format!("action=reject dst6=2001:db8:{a:x}:{b:x}::/64"),
            3 => format!(
                "accept dsthost=2001:db8::{a:x}:{b:x} proto=tcp,udp dstports=443 comment=site {number}"
            ),
            4 => format!("accept 198.{a}.{b}.7 tcp https log=yes"),
            5 => format!("drop 100.{a}.0.0/16 icmp 8"),
            6 => format!("accept 192.168.{a}.{b} tcp 1024-65535 # {number}"),
            _ => format!("accept srcdomain=work tcp {port}"),
        };
        let _ = writeln!(text, "{line}");
    }
    text + "accept @office\naccept specialtarget=dns\n"
}

fn steps(c: &mut Criterion) {
    let text = mixed();
    let file = parse(&text).expect("valid rules");
    let compiled = compile(&text, 0).expect("valid rules");
    let mut group = c.benchmark_group("rules_compile/10000");
    group.sample_size(20);
    group.bench_function("text_to_verified_program", |bencher| {
        bencher.iter(|| Program::load(&compile(black_box(&text), 0).expect("valid rules").program));
    });
    group.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(&text))));
    group.bench_function("lower_lint_assemble", |bencher| {
        bencher.iter_batched(|| file.clone(), |file| compile_file(file, 0), criterion::BatchSize::LargeInput);
    });
    group.bench_function("assemble", |bencher| bencher.iter(|| assemble(black_box(&compiled.policy))));
    group.bench_function("load", |bencher| bencher.iter(|| Program::load(black_box(&compiled.program))));
}

criterion_group!(benches, steps);
criterion_main!(benches);
