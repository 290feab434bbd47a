//! What runs in the gateway's place: does what the configuration says, and says what came of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Instant, SystemTime};

fn main() {
    let told = fs::read_to_string("/etc/gateway.toml").expect("a configuration");
    println!("told to {told}");
    match told.trim() {
        "count" => count(),
        "fault" => fault(),
        "panic" => panic!("as told"),
        "overflow" => println!("{}", overflow(1)),
        "spend" => spend(),
        "grow" => grow(),
        "spin" => spin(),
        "cost" => cost(),
        what => println!("no such thing: {what}"),
    }
}

/// Counts its runs in a file that lasts, and shows what else a program has.
fn count() {
    let runs = fs::read_to_string("/state/runs").map_or(0, |text| text.parse().expect("a number")) + 1u32;
    let mut file = fs::File::create("/state/runs.new").expect("a file");
    write!(file, "{runs}").expect("written");
    drop(file);
    fs::rename("/state/runs.new", "/state/runs").expect("renamed");
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let mut random = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("random bytes");
    let vector: Vec<f64> = (0..100_000).map(f64::from).collect();
    let sum: f64 = vector.iter().map(|x| x.sqrt()).sum();
    println!("run {runs} at {unix}, {random:02x?}, sum {sum:.3}");
    std::process::exit(40 + i32::try_from(runs).expect("small"));
}

fn fault() {
    let nowhere = std::hint::black_box(0x10_0000usize) as *const u8;
    // SAFETY: none; the fault is the point.
    println!("NOT STOPPED {}", unsafe { nowhere.read_volatile() });
}

#[expect(unconditional_recursion, reason = "the overflow is the point")]
fn overflow(n: usize) -> usize {
    let frame = std::hint::black_box([n; 64]);
    overflow(n + 1) + std::hint::black_box(frame)[n % 64]
}

/// Takes memory until there is none.
fn spend() {
    let mut taken = Vec::new();
    loop {
        let mut block = Vec::<u8>::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            println!("spent {} MiB", taken.len());
            return;
        }
        block.resize(1 << 20, 1);
        taken.push(block);
    }
}

/// Has one block grow to most of the memory, which there is no room to copy.
fn grow() {
    let mut block = Vec::<u64>::new();
    for mib in 1..=45 {
        let len = mib << 17;
        block.reserve_exact(len - block.len());
        block.extend((block.len()..len).map(|n| n as u64));
        // In its way, so that it has to move.
        std::mem::forget(vec![1u8; 200_000]);
    }
    let kept = block.iter().enumerate().all(|(n, &value)| n as u64 == value);
    println!("grown to {} MiB, kept: {kept}", block.len() >> 17);
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

/// Says what calls cost in nanoseconds of the machine, which are instructions where it counts so: one for the time, and
/// two that move a cell.
fn cost() {
    const CALLS: u128 = 20_000;
    let begun = Instant::now();
    for _ in 0..CALLS {
        std::hint::black_box(Instant::now());
    }
    let clock = begun.elapsed().as_nanos() / CALLS;
    let (mut one, mut other) = UnixStream::pair().expect("a pair");
    let mut cell = [7; 498];
    let begun = Instant::now();
    for _ in 0..CALLS {
        one.write_all(&cell).expect("written");
        other.read_exact(&mut cell).expect("read");
    }
    let moved = begun.elapsed().as_nanos() / CALLS;
    println!("time: {clock}, a cell written and read: {moved}.");
}
