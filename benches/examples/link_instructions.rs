//! Instructions per record: run under callgrind as `README.md` says. Each side is one function, not inlined,
//! so that callgrind can be told to count one of them.

use std::hint::black_box;

use link::{
    Geometry, Link, Meta,
    host::{self, CountBell},
};

const BURSTS: usize = 1000;

#[inline(never)]
fn send_burst(link: &mut Link<CountBell>, frame: &[u8], burst: usize) {
    for _ in 0..burst {
        link.send(&Meta::default(), &[black_box(frame)]).expect("room for a burst");
    }
    link.publish();
}

#[inline(never)]
fn recv_burst(link: &mut Link<CountBell>, buffer: &mut [u8]) -> usize {
    let mut records = 0;
    while let Some((_, len)) = link.recv(buffer).expect("an honest peer") {
        black_box(&buffer[..len]);
        records += 1;
    }
    link.release();
    records
}

fn main() {
    let number =
        |n: usize, default| std::env::args().nth(n).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (size, burst) = (number(1, 64), number(2, 32));
    let (mut a, mut b) = host::pair(Geometry::DEFAULT, 1).expect("the usual geometry");
    let (frame, mut buffer) = (vec![0x5A; size], vec![0; link::MAX_PAYLOAD]);
    let mut records = 0;
    for _ in 0..BURSTS {
        send_burst(&mut a, &frame, burst);
        records += recv_burst(&mut b, &mut buffer);
    }
    println!("{records}");
}
