//! The process, its clocks and limits.

use crate::kernel::{Kernel, Record};

pub(crate) fn identity(k: &mut Kernel<'_>, r: &mut Record) {
    let pid = k.call(libc::SYS_getpid, &[]);
    r.note("one thread", pid == k.call(libc::SYS_gettid, &[]));
    r.note("a number", pid > 0);
    r.note("no such processor set", k.call(libc::SYS_sched_getaffinity, &[0, 3, k.buffer]));
    r.note("processors", k.call(libc::SYS_sched_getaffinity, &[0, 128, k.buffer]) >= 8);
    let first = k.get(k.buffer, 1)[0];
    r.note("at least one", first != 0);
    r.note("name", k.call(libc::SYS_uname, &[k.buffer]));
    let name = k.get(k.buffer, 6);
    r.note("Linux", name);
    r.note("yield", k.call(libc::SYS_sched_yield, &[]));
    r.note("groups", k.call(libc::SYS_getgroups, &[u64::MAX, k.buffer]));
    r.note("no such call", k.call(9999, &[]));
}

pub(crate) fn signals(k: &mut Kernel<'_>, r: &mut Record) {
    let action = |handler: u64| -> Vec<u8> {
        [handler, 0x1400_0000, 0x1234, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
    };
    let (b, old) = (k.buffer, k.buffer + 64);
    k.put(b, &action(1));
    r.note("ignore", k.call(libc::SYS_rt_sigaction, &[10, b, old, 8]));
    let before = k.get(old, 8);
    r.note("default before", before);
    r.note("ask", k.call(libc::SYS_rt_sigaction, &[10, 0, old, 8]));
    let now = k.get(old, 8);
    r.note("ignored", now);
    let pid = k.call(libc::SYS_getpid, &[]).cast_unsigned();
    r.note("to itself, ignored", k.call(libc::SYS_kill, &[pid, 10]));
    r.note("to itself, none", k.call(libc::SYS_tgkill, &[pid, pid, 0]));
    r.note("ignored by default", k.call(libc::SYS_kill, &[pid, 17]));
    r.note("no such signal", k.call(libc::SYS_kill, &[pid, 99]));
    for (signal, size) in [(0, 8), (65, 8), (9, 8), (19, 8), (10, 4)] {
        r.note("refused", k.call(libc::SYS_rt_sigaction, &[signal, b, 0, size]));
    }
    r.note("asking is not", k.call(libc::SYS_rt_sigaction, &[9, 0, old, 8]));
    k.put(b, &0b1_0000_0000_0100_u64.to_le_bytes());
    for how in [0, 1, 2, 3] {
        r.note("mask", k.call(libc::SYS_rt_sigprocmask, &[how, b, old, 8]));
        let set = k.get(old, 8);
        r.note("before", set);
    }
    r.note("mask", k.call(libc::SYS_rt_sigprocmask, &[0, 0, old, 8]));
    let set = k.get(old, 8);
    r.note("now", set);
    r.note("bad size", k.call(libc::SYS_rt_sigprocmask, &[0, b, old, 4]));
}

pub(crate) fn clocks(k: &mut Kernel<'_>, r: &mut Record) {
    let b = k.buffer;
    for clock in [0, 1, 4, 5, 6, 7, 99] {
        r.note("clock", k.call(libc::SYS_clock_gettime, &[clock, b]));
        let nanoseconds = k.get(b + 8, 8);
        r.note("in range", u64::from_le_bytes(nanoseconds.try_into().unwrap()) < 1_000_000_000);
        r.note("resolution", k.call(libc::SYS_clock_getres, &[clock, b]));
    }
    r.note("day", k.call(libc::SYS_gettimeofday, &[b, 0]));
    let seconds = k.get(b, 8);
    let seconds = u64::from_le_bytes(seconds.try_into().unwrap());
    r.note("recent", seconds > 1_700_000_000);
    let time = k.call(libc::SYS_time, &[b]).cast_unsigned();
    r.note("the same", time.abs_diff(seconds) <= 2);
    r.note("bad pointer", k.call(libc::SYS_clock_gettime, &[0, 8]));
    r.note("no sleep", k.call(libc::SYS_clock_nanosleep, &[99, 0, b, 0]));
}

pub(crate) fn limits(k: &mut Kernel<'_>, r: &mut Record) {
    let b = k.buffer;
    r.note("files", k.call(libc::SYS_prlimit64, &[0, 7, 0, b]));
    let files = u64::from_le_bytes(k.get(b, 8).try_into().unwrap());
    r.note("some", files >= 64);
    r.note("stack", k.call(libc::SYS_prlimit64, &[0, 3, 0, b]));
    r.note("unknown", k.call(libc::SYS_prlimit64, &[0, 99, 0, b]));
    r.note("bad pointer", k.call(libc::SYS_prlimit64, &[0, 7, 8, 0]));
    r.note("old call", k.call(libc::SYS_getrlimit, &[7, b]));
}

pub(crate) fn random(k: &mut Kernel<'_>, r: &mut Record) {
    let b = k.buffer;
    let draw = |k: &mut Kernel<'_>, len: u64, flags: u64| {
        k.put(b, &[0; 64]);
        let got = k.call(libc::SYS_getrandom, &[b, len, flags]);
        (got, k.get(b, 64))
    };
    let (got, one) = draw(k, 64, 0);
    let (_, two) = draw(k, 64, 1);
    r.note("random", (got, one == two, one.iter().all(|byte| *byte == 0)));
    let (got, part) = draw(k, 16, 4);
    r.note("no more than asked", (got, part[16..].iter().all(|byte| *byte == 0)));
    r.note("nothing", draw(k, 0, 0).0);
    r.note("unknown", draw(k, 8, 64).0);
    r.note("much", k.call(libc::SYS_getrandom, &[b, 300_000, 0]));
}

pub(crate) fn futex(k: &mut Kernel<'_>, r: &mut Record) {
    let b = k.buffer;
    k.put(b, &5_u32.to_le_bytes());
    let time = [0_u64.to_le_bytes(), 3_000_000_u64.to_le_bytes()].concat();
    k.put(b + 16, &time);
    r.note("wake", k.call(libc::SYS_futex, &[b, 0x81, 1, 0]));
    r.note("another value", k.call(libc::SYS_futex, &[b, 0x80, 4, b + 16]));
    r.note("time over", k.call(libc::SYS_futex, &[b, 0x80, 5, b + 16]));
    r.note("bad pointer", k.call(libc::SYS_futex, &[8, 0x80, 5, b + 16]));
    r.note("past", k.call(libc::SYS_futex, &[b, 0x89, 5, b + 16, 0, 0xFFFF_FFFF]));
    r.note("unknown", k.call(libc::SYS_futex, &[b, 0x80 | 77, 5, b + 16]));
}
