//! Time per record and side on a busy machine: each burst is timed alone, and the median of many is not moved by
//! the bursts that were interrupted. The clock's own cost (some 25 ns a reading) is included.

use std::{hint::black_box, time::Instant};

use link::{Geometry, Meta, host};

const BURSTS: usize = 30_000;
const CASES: [(usize, usize); 6] = [(64, 1), (64, 8), (64, 32), (64, 64), (1514, 32), (65_536, 1)];

fn main() {
    for (size, burst) in CASES {
        let [send, recv] = medians(size, burst);
        println!("{size:5} bytes in bursts of {burst:2}: send {send} ps, receive {recv} ps per record");
    }
}

/// Median picoseconds per record of both sides.
fn medians(size: usize, burst: usize) -> [u128; 2] {
    let (mut a, mut b) = host::pair(Geometry::DEFAULT, 1).expect("the usual geometry");
    let (frame, mut buffer) = (vec![0x5A; size], vec![0; link::MAX_PAYLOAD]);
    let mut times = [Vec::with_capacity(BURSTS), Vec::with_capacity(BURSTS)];
    for _ in 0..BURSTS {
        let start = Instant::now();
        for _ in 0..burst {
            a.send(&Meta::default(), &[black_box(&frame)]).expect("room for a burst");
        }
        a.publish();
        let sent = Instant::now();
        while let Some((_, len)) = b.recv(&mut buffer).expect("an honest peer") {
            black_box(&buffer[..len]);
        }
        b.release();
        times[0].push((sent - start).as_nanos());
        times[1].push(sent.elapsed().as_nanos());
    }
    times.map(|mut side| {
        side.sort_unstable();
        side[BURSTS / 2] * 1000 / burst as u128
    })
}
