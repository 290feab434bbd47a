//! Throughput of one link: bursts of 1 to 64 records of 64 bytes to 64 KiB, on one thread and on two.
//!
//! Each record is written fresh and read back; the method and the numbers are in `README.md`.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use link::{
    Geometry, Link, Meta, SendError,
    host::{self, CountBell},
};

const BURSTS: [usize; 4] = [1, 8, 32, 64];
const SIZES: [usize; 5] = [64, 512, 1514, 9014, 65_536];

fn ends() -> (Link<CountBell>, Link<CountBell>) {
    host::pair(Geometry::DEFAULT, 1).expect("the usual geometry")
}

fn drain(link: &mut Link<CountBell>, buffer: &mut [u8]) -> u64 {
    let mut records = 0;
    while let Some((_, len)) = link.recv(buffer).expect("an honest peer") {
        black_box(&buffer[..len]);
        records += 1;
    }
    link.release();
    records
}

/// A burst across, both ends on this thread; a burst that does not fit crosses in pieces.
fn burst_on_one_thread(
    ends: &mut (Link<CountBell>, Link<CountBell>),
    burst: usize,
    frame: &[u8],
    buffer: &mut [u8],
) {
    let (a, b) = ends;
    for _ in 0..burst {
        while a.send(&Meta::default(), &[black_box(frame)]) == Err(SendError::Full) {
            a.publish();
            drain(b, buffer);
        }
    }
    a.publish();
    drain(b, buffer);
}

fn one_thread(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("link/one_thread/{size}"));
        for burst in BURSTS {
            group.throughput(Throughput::Elements(burst as u64));
            group.bench_function(BenchmarkId::from_parameter(burst), |bencher| {
                let (mut ends, frame, mut buffer) = (ends(), vec![0x5A; size], vec![0; link::MAX_PAYLOAD]);
                bencher.iter(|| burst_on_one_thread(&mut ends, burst, &frame, &mut buffer));
            });
        }
    }
}

/// Waits as a busy end does, but leaves the processor when it is shared: a spinning peer could not go on.
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(256) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Time for `records` records from this thread to another; both spin, as both do under load.
fn across_threads(records: u64, burst: usize, size: usize) -> Duration {
    let (mut a, mut b) = ends();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut buffer, mut seen, mut patience) = (vec![0; link::MAX_PAYLOAD], 0, Patience(0));
            while seen < records {
                let burst = drain(&mut b, &mut buffer);
                seen += burst;
                if burst == 0 {
                    patience.wait();
                }
            }
            done.store(seen, Ordering::Release);
        });
        let (frame, mut sent, mut patience, start) = (vec![0x5A; size], 0, Patience(0), Instant::now());
        while sent < records {
            for _ in 0..burst {
                while a.send(&Meta::default(), &[black_box(&frame)]).is_err() {
                    a.publish();
                    patience.wait();
                }
            }
            sent += burst as u64;
            a.publish();
        }
        while done.load(Ordering::Acquire) == 0 {
            patience.wait();
        }
        start.elapsed()
    })
}

fn two_threads(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("link/two_threads/{size}"));
        for burst in BURSTS {
            group.throughput(Throughput::Elements(burst as u64));
            group.bench_function(BenchmarkId::from_parameter(burst), |bencher| {
                bencher.iter_custom(|iterations| across_threads(iterations * burst as u64, burst, size));
            });
        }
    }
}

criterion_group! {
    name = link_throughput;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = one_thread, two_threads
}
criterion_main!(link_throughput);
