//! One table: the firewall's numbers, and those of the kernel's own packet filter with a rule set of Qubes' shape, from
//! the same run on the same processor. Method: `README.md`. Without root or nftables the kernel's part is skipped aloud.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

#[path = "../support/firewall.rs"]
mod support;
#[path = "../support/veth.rs"]
mod veth;

use firewallvm::{
    flows::{
        ClientKey, Flow,
        tcp::{Direction, Tracker},
    },
    nat,
    state::{Core, Setup},
};
use support::{BURST, Bench, Shape, Small, Wire};
use veth::{BATCH, Router};

/// Bursts of which the median is taken.
const BURSTS: usize = 10_000;
/// Turns in which ours and the kernel's configurations are measured one after the other.
const TURNS: usize = 7;
/// Beyond this ratio of the 90th percentile to the median a figure is not a quiet one.
const QUIET: f64 = 1.3;

/// Nanoseconds: median, 90th and 99.9th percentile.
#[derive(Clone, Copy)]
struct Figures([f64; 3]);

impl Figures {
    fn of(mut nanoseconds: Vec<f64>) -> Self {
        nanoseconds.sort_by(f64::total_cmp);
        let at = |permille: usize| nanoseconds[(nanoseconds.len() - 1) * permille / 1000];
        Self([at(500), at(900), at(999)])
    }

    fn quiet(self) -> &'static str {
        let Self([median, high, _]) = self;
        if high > median * QUIET { "  (not quiet)" } else { "" }
    }
}

/// What reading the clock adds to a measured time.
fn clock() -> f64 {
    let times = (0..10_000).map(|_| {
        let start = Instant::now();
        start.elapsed().as_nanos() as f64
    });
    Figures::of(times.collect()).0[0]
}

fn per_packet(burst: usize, count: usize, mut once: impl FnMut() -> Duration) -> Figures {
    let clock = clock();
    let time = |took: Duration| (took.as_nanos() as f64 - clock).max(0.0) / burst as f64;
    Figures::of((0..count).map(|_| time(once())).collect())
}

fn line(what: &str, figures: Figures) {
    let Figures([median, high, last]) = figures;
    println!("{what:<58} {median:9.1} {high:9.1} {last:9.1}{}", figures.quiet());
}

fn known() {
    println!("\n{:<58} {:>9} {:>9} {:>9}", "Bulkhead, ns per packet", "median", "p90", "p99.9");
    for (flows, capacity) in [(1024, 16_384), (65_536, 131_072), (1_000_000, 1 << 20)] {
        for wire in [Wire::Udp, Wire::Tcp] {
            let mut bench = Bench::new(Shape { flows, capacity, wire, rules: 20 });
            for burst in [1, 8, BURST] {
                let name =
                    |way: &str| format!("known {wire:?} flow, {flows} flows, bursts of {burst}, {way}");
                line(&name("out"), per_packet(burst, BURSTS, || bench.outward(burst)));
                line(&name("in"), per_packet(burst, BURSTS, || bench.inward(burst)));
            }
            let (bytes, flows) = (bench.memory(), bench.flows());
            let mib = bytes as f64 / f64::from(1 << 20);
            println!(
                "    tables for {capacity} flows: {mib:.1} MiB; {} bytes a flow in use",
                bytes / flows as usize
            );
        }
    }
}

fn new() {
    for wire in [Wire::Udp, Wire::Tcp] {
        for rules in [20, 10_000] {
            let mut bench = Bench::new(Shape { flows: 32, capacity: 262_144, wire, rules });
            let figures = per_packet(BURST, BURSTS / 4, || bench.opening(BURST));
            line(&format!("new {wire:?} flow with translation, {rules} rules, bursts of {BURST}"), figures);
            println!("    {:.2} million connections a second", 1000.0 / figures.0[0]);
        }
    }
}

/// The choice of a port, and the whole of a connection's entry, when 99 of 100 ports towards one end are taken.
fn scarce_ports() {
    let mut core = Core::new(&Setup { v4_flows: 1 << 17, v6_flows: 1, seed: [7; 64] }).expect("memory");
    let remote = Ipv4Addr::new(198, 51, 100, 9);
    let key = |inside: u32| ClientKey {
        client: Ipv4Addr::from_bits(0x0A89_0002 + (inside >> 16)),
        destination: remote,
        client_port: u16::try_from(inside & 0xFFFF).expect("16 bits"),
        destination_port: 443,
        protocol: 6,
        link: 2,
    };
    let (mut live, mut inside, mut choices, mut entries) = (Vec::new(), 0u32, Vec::new(), Vec::new());
    let clock = clock();
    while choices.len() < 200_000 {
        inside += 1;
        if live.len() == 64_512 * 99 / 100 {
            let gone = live.swap_remove(inside.wrapping_mul(0x9E37_79B1) as usize % live.len());
            core.v4.flows.remove(gone);
        }
        let full = live.len() == 64_512 * 99 / 100 - 1;
        let key = key(inside);
        let start = Instant::now();
        let (port, _) = nat::choose(&mut core.v4, &mut core.common, &key, remote).expect("one is free");
        let chosen = start.elapsed();
        let flow = Flow::new(&key, remote, port, Tracker::packets(Direction::Outward));
        live.push(core.v4.flows.insert(flow, 1).expect("room"));
        let entered = start.elapsed();
        if full {
            choices.push(chosen.as_nanos() as f64 - clock);
            entries.push(entered.as_nanos() as f64 - 2.0 * clock);
        }
    }
    line("choice of a port, 99 % towards one end taken", Figures::of(choices));
    line("    with the flow's entry", Figures::of(entries));
}

/// Qubes' shape: policy drop, connection tracking first, one chain for each client with 20 rules, masquerade.
fn qubes(rules: u32) -> String {
    let mut chains = String::new();
    for client in 0..8 {
        chains += &format!("chain client{client} {{\n");
        for n in 0..rules {
            let (a, b) = (n / 250, n % 250);
            chains += &format!("ip daddr 100.64.{a}.{b} tcp dport {} drop\n", 1 + n);
        }
        chains += "accept\n}\n";
    }
    let map: Vec<String> = (0..8).map(|n| format!("{} : jump client{n}", support::address(n))).collect();
    format!(
        "table ip filter {{\n{chains}chain forward {{\ntype filter hook forward priority 0; policy drop;\n\
         ct state established,related accept\nct state invalid drop\nip saddr vmap {{ {} }}\n}}\n}}\n\
         table ip nat {{\nchain post {{\ntype nat hook postrouting priority 100;\noifname \"out\" masquerade\n}}\n}}\n",
        map.join(", ")
    )
}

const DROP: &str = "table netdev t { chain c { type filter hook ingress device in priority 0; drop; }; }";

fn packets(flows: u32, first: u32) -> Vec<Small> {
    let one = |n: u32| {
        let source = support::address(u8::try_from(n % 8).expect("8"));
        let port = 1024 + u16::try_from(n / 8 % 60_000).expect("in range");
        let remote = Ipv4Addr::from_bits(0xC633_6400 + n / 8 / 60_000 + n % 199);
        support::udp((source, port), (remote, 4433))
    };
    (first..first + flows).map(one).collect()
}

fn nanoseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|took| took.as_nanos() as f64 / BATCH as f64).collect()
}

/// The kernel's figures: whole path, and without what a drop at the door costs with the same sender.
fn kernel() -> Result<(), String> {
    let router = Router::new()?;
    println!("\n{:<58} {:>9} {:>9} {:>9}", "Linux nftables, ns per packet", "median", "p90", "p99.9");
    for flows in [1024, 50_048] {
        let frames = packets(flows, 0);
        let (mut dropped, mut passed) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            router.rules(DROP)?;
            (0..65_536 / flows + 1).for_each(|_| dropped.extend(nanoseconds(&router.send(&frames))));
            router.rules(&qubes(20))?;
            let before = router.arrived()?;
            router.send(&frames);
            let rounds = 65_536 / flows + 1;
            (0..rounds).for_each(|_| passed.extend(nanoseconds(&router.send(&frames))));
            let (arrived, sent) = (router.arrived()? - before, u64::from(flows * (rounds + 1)));
            if arrived * 100 < sent * 99 {
                return Err(format!("{arrived} of {sent} packets came out"));
            }
        }
        let (base, whole) = (Figures::of(dropped), Figures::of(passed));
        line(&format!("known UDP flow, {flows} flows, with its sender"), whole);
        line("    the sender alone: dropped at the door", base);
        println!("    filter, tracking, translation, forwarding: {:.0} ns", whole.0[0] - base.0[0]);
    }
    for (rules, turns) in [(20, 7u32), (10_000, 2)] {
        let (mut dropped, mut passed) = (Vec::new(), Vec::new());
        for turn in 0..turns {
            let frames = packets(if rules > 20 { 2048 } else { 16_384 }, 100_000 * (turn + 1) + 7 * rules);
            router.rules(DROP)?;
            dropped.extend(nanoseconds(&router.send(&frames)));
            router.rules(&qubes(rules))?;
            passed.extend(nanoseconds(&router.send(&frames)));
        }
        let (base, whole) = (Figures::of(dropped), Figures::of(passed));
        line(&format!("new UDP flow, {rules} rules, with its sender"), whole);
        let cost = whole.0[0] - base.0[0];
        println!("    without its sender: {cost:.0} ns, {:.2} million connections a second", 1000.0 / cost);
    }
    Ok(())
}

/// Starts this program anew with large tables in pages of 2 MiB, as the unikernel has all of its memory; the C library
/// reads its settings only once.
fn large_pages() {
    use std::os::unix::process::CommandExt;
    const SETTING: &str = "GLIBC_TUNABLES";
    if std::env::var_os(SETTING).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut again = std::process::Command::new(program);
        // Returns only if it did not work; then pages are small.
        let _ = again.args(std::env::args().skip(1)).env(SETTING, "glibc.malloc.hugetlb=1").exec();
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"comparison".contains(&filter)) {
        return;
    }
    large_pages();
    veth::stay_here();
    println!("medians and percentiles of single bursts; the clock's own time is taken off");
    known();
    new();
    scarce_ports();
    if let Err(why) = kernel() {
        println!("\nSKIPPED: Linux nftables beside it: {why}");
    }
}
