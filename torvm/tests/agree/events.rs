//! Waiting: epoll, eventfd, poll.

use crate::kernel::{Kernel, Record};
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD};

const IN: u32 = 1;
const OUT: u32 = 4;
const RDHUP: u32 = 0x2000;
const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const NONBLOCK: u64 = 0o4000;

fn eventfd(k: &mut Kernel<'_>, count: u64, flags: u64) -> u64 {
    k.call(libc::SYS_eventfd2, &[count, flags | NONBLOCK]).cast_unsigned()
}

pub(crate) fn epoll(k: &mut Kernel<'_>) -> u64 {
    k.call(libc::SYS_epoll_create1, &[0]).cast_unsigned()
}

pub(crate) fn control(k: &mut Kernel<'_>, set: u64, operation: i32, fd: u64, events: u32) -> i64 {
    let event = [&events.to_le_bytes()[..], &(1000 + fd).to_le_bytes()].concat();
    k.put(k.buffer, &event);
    k.call(libc::SYS_epoll_ctl, &[set, u64::from(operation.cast_unsigned()), fd, k.buffer])
}

/// What a set reports: word of the program, events; sorted, for the order is nobody's promise.
pub(crate) fn wait(k: &mut Kernel<'_>, set: u64, most: u64, timeout: i64) -> (i64, Vec<(u64, u32)>) {
    let count = k.call(libc::SYS_epoll_wait, &[set, k.buffer, most, timeout.cast_unsigned()]);
    let bytes = k.get(k.buffer, 12 * usize::try_from(count).unwrap_or(0));
    let mut out: Vec<_> = bytes
        .chunks(12)
        .map(|e| {
            (u64::from_le_bytes(e[4..].try_into().unwrap()), u32::from_le_bytes(e[..4].try_into().unwrap()))
        })
        .collect();
    out.sort_unstable();
    (count, out)
}

fn count(k: &mut Kernel<'_>, fd: u64, value: u64) -> i64 {
    k.write(fd.cast_signed(), &value.to_le_bytes())
}

pub(crate) fn counters(k: &mut Kernel<'_>, r: &mut Record) {
    let fd = eventfd(k, 3, 0);
    r.note("read", k.read(fd.cast_signed(), 8));
    r.note("empty", k.read(fd.cast_signed(), 8));
    r.note("write", count(k, fd, 5));
    r.note("write", count(k, fd, 7));
    r.note("short", k.read(fd.cast_signed(), 7));
    r.note("long", k.read(fd.cast_signed(), 100));
    r.note("too much", count(k, fd, u64::MAX));
    r.note("much", count(k, fd, u64::MAX - 1));
    r.note("more", count(k, fd, 1));
    r.note("nothing", count(k, fd, 0));
    r.note("short write", k.write(fd.cast_signed(), b"1234"));
    r.note("read", k.read(fd.cast_signed(), 8));
}

pub(crate) fn semaphores(k: &mut Kernel<'_>, r: &mut Record) {
    let fd = eventfd(k, 2, 1);
    for _ in 0..3 {
        r.note("read", k.read(fd.cast_signed(), 8));
    }
    let set = epoll(k);
    control(k, set, EPOLL_CTL_ADD, fd, IN | EDGE);
    count(k, fd, 2);
    r.note("wait", wait(k, set, 8, 0));
    r.note("read", k.read(fd.cast_signed(), 8));
    r.note("reading is no edge for a reader", wait(k, set, 8, 0));
}

pub(crate) fn edges(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 0, 0));
    r.note("add", control(k, set, EPOLL_CTL_ADD, fd, IN | EDGE));
    r.note("nothing", wait(k, set, 8, 0));
    for _ in 0..3 {
        count(k, fd, 1);
        r.note("each write is an edge", wait(k, set, 8, 0));
        r.note("once", wait(k, set, 8, 0));
    }
    count(k, fd, 1);
    count(k, fd, 1);
    r.note("two writes, one report", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    r.note("a failed write is none", (count(k, fd, u64::MAX), wait(k, set, 8, 0)));
    r.note("read", k.read(fd.cast_signed(), 8));
    r.note("not readable", wait(k, set, 8, 0));
    count(k, fd, 1);
    k.read(fd.cast_signed(), 8);
    r.note("come and gone", wait(k, set, 8, 0));
    r.note("modified", control(k, set, EPOLL_CTL_MOD, fd, IN | OUT | EDGE));
    r.note("what is so already", wait(k, set, 8, 0));
    r.note("once", wait(k, set, 8, 0));
    count(k, fd, 1);
    r.note("both", wait(k, set, 8, 0));
    k.read(fd.cast_signed(), 8);
    r.note("reading makes room", wait(k, set, 8, 0));
    r.note("once", wait(k, set, 8, 0));
    r.note("again", control(k, set, EPOLL_CTL_MOD, fd, OUT | EDGE));
    r.note("modifying is an edge", wait(k, set, 8, 0));
    count(k, fd, 1);
    r.note("nobody asked", wait(k, set, 8, 0));
}

pub(crate) fn levels(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 1, 0));
    control(k, set, EPOLL_CTL_ADD, fd, IN);
    r.note("level", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    k.read(fd.cast_signed(), 8);
    r.note("over", wait(k, set, 8, 0));
    control(k, set, EPOLL_CTL_MOD, fd, 0);
    count(k, fd, 1);
    r.note("nothing asked", wait(k, set, 8, 0));
    let one = eventfd(k, 1, 0);
    control(k, set, EPOLL_CTL_ADD, one, IN);
    control(k, set, EPOLL_CTL_MOD, fd, IN);
    let turns: Vec<_> = (0..4).map(|_| wait(k, set, 1, 0).1[0].0).collect();
    r.note("in turn", turns[0] != turns[1] && turns[0] == turns[2] && turns[1] == turns[3]);
}

pub(crate) fn oneshot(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 1, 0));
    control(k, set, EPOLL_CTL_ADD, fd, IN | ONESHOT);
    r.note("once", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    count(k, fd, 1);
    r.note("spent", wait(k, set, 8, 0));
    control(k, set, EPOLL_CTL_MOD, fd, IN | ONESHOT | EDGE);
    r.note("armed again", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    count(k, fd, 1);
    r.note("spent", wait(k, set, 8, 0));
}

pub(crate) fn duplicates(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 0, 0));
    let copy = k.call(libc::SYS_fcntl, &[set, 1030, 3]).cast_unsigned();
    r.note("add through the copy", control(k, copy, EPOLL_CTL_ADD, fd, IN | EDGE));
    r.note("it is the same set", control(k, set, EPOLL_CTL_ADD, fd, IN | EDGE));
    count(k, fd, 1);
    r.note("wait", wait(k, set, 8, 0));
    let other = k.call(libc::SYS_dup, &[fd]).cast_unsigned();
    r.note("another number is another entry", control(k, set, EPOLL_CTL_ADD, other, IN));
    r.note("wait", wait(k, set, 8, 0));
    r.note("close the set's first number", k.close(set.cast_signed()));
    r.note("the copy goes on", wait(k, copy, 8, 0));
    r.note("delete", control(k, copy, EPOLL_CTL_DEL, other, 0));
    r.note("delete again", control(k, copy, EPOLL_CTL_DEL, other, 0));
    count(k, fd, 1);
    r.note("wait", wait(k, copy, 8, 0));
}

pub(crate) fn closed(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 1, 0));
    let copy = k.call(libc::SYS_dup, &[fd]).cast_unsigned();
    control(k, set, EPOLL_CTL_ADD, fd, IN);
    k.close(fd.cast_signed());
    r.note("lives on in its copy", wait(k, set, 8, 0));
    r.note("but has no number", control(k, set, EPOLL_CTL_DEL, fd, 0));
    let new = eventfd(k, 1, 0);
    r.note("the number is free", new == fd);
    r.note("another entry", control(k, set, EPOLL_CTL_MOD, new, IN));
    r.note("another entry", control(k, set, EPOLL_CTL_ADD, new, IN | EDGE));
    r.note("both", wait(k, set, 8, 0));
    k.close(copy.cast_signed());
    r.note("the last copy is gone", wait(k, set, 8, 0));
    k.close(new.cast_signed());
    r.note("nothing", wait(k, set, 8, 0));
}

pub(crate) fn refused(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 0, 0));
    r.note("itself", control(k, set, EPOLL_CTL_ADD, set, IN));
    r.note("not a set", control(k, fd, EPOLL_CTL_ADD, set, IN));
    r.note("not a set", control(k, fd, EPOLL_CTL_ADD, fd, IN));
    r.note("nothing", control(k, set, EPOLL_CTL_ADD, 99, IN));
    r.note("no set", control(k, 99, EPOLL_CTL_ADD, fd, IN));
    r.note("modify what is not there", control(k, set, EPOLL_CTL_MOD, fd, IN));
    r.note("delete what is not there", control(k, set, EPOLL_CTL_DEL, fd, IN));
    r.note("unknown", control(k, set, 9, fd, IN));
    let file = k.open("a", 0o102).cast_unsigned();
    r.note("a file", control(k, set, EPOLL_CTL_ADD, file, IN));
    r.note("bad pointer", k.call(libc::SYS_epoll_ctl, &[set, 1, fd, 8]));
    r.note("deleting needs no event", k.call(libc::SYS_epoll_ctl, &[set, 2, fd, 0]));
    for most in [0, u64::MAX] {
        r.note("no room", wait(k, set, most, 0));
    }
    r.note("wait for a counter", wait(k, fd, 1, 0));
    r.note("wait for nothing", wait(k, 99, 1, 0));
    r.note("bad flags", k.call(libc::SYS_epoll_create1, &[1]));
    r.note("no size", k.call(libc::SYS_epoll_create, &[0]));
    r.note("read", k.read(set.cast_signed(), 8));
    r.note("write", k.write(set.cast_signed(), b"12345678"));
}

pub(crate) fn many(k: &mut Kernel<'_>, r: &mut Record) {
    let set = epoll(k);
    let fds: Vec<u64> = (0..50).map(|_| eventfd(k, 1, 0)).collect();
    for fd in &fds {
        control(k, set, EPOLL_CTL_ADD, *fd, IN | EDGE);
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(wait(k, set, 10, 0).1);
    }
    seen.sort_unstable();
    r.note("everybody has a turn", seen);
    r.note("and no second one", wait(k, set, 10, 0));
    for fd in fds.iter().step_by(7) {
        count(k, *fd, 1);
    }
    r.note("some", wait(k, set, 100, 0));
}

fn poll(k: &mut Kernel<'_>, list: &[(i64, u16)], timeout: i64) -> (i64, Vec<u16>) {
    let bytes: Vec<u8> = list
        .iter()
        .flat_map(|(fd, events)| {
            let fd = i32::try_from(*fd).unwrap();
            [&fd.to_le_bytes()[..], &events.to_le_bytes(), &[0xFF; 2]].concat()
        })
        .collect();
    k.put(k.buffer, &bytes);
    let got = k.call(libc::SYS_poll, &[k.buffer, list.len() as u64, timeout.cast_unsigned()]);
    let bytes = k.get(k.buffer, 8 * list.len());
    (got, bytes.chunks(8).map(|entry| u16::from_le_bytes([entry[6], entry[7]])).collect())
}

pub(crate) fn polling(k: &mut Kernel<'_>, r: &mut Record) {
    let event = eventfd(k, 0, 0).cast_signed();
    let file = k.open("a", 0o102);
    let random = k.open("/dev/random", 0);
    r.note("nothing asked", poll(k, &[(event, 0), (file, 0)], 0));
    r.note("writable", poll(k, &[(event, 5), (file, 5), (-1, 5), (99, 5)], 0));
    count(k, event.cast_unsigned(), 1);
    r.note("readable", poll(k, &[(event, 1)], 1000));
    r.note("random", poll(k, &[(random, 1)], -1));
    r.note("ordinary data", poll(k, &[(file, 0x145)], 0));
    k.read(event, 8);
    r.note("time over", poll(k, &[(event, 1)], 5));
    r.note("bad pointer", k.call(libc::SYS_poll, &[8, 1, 0]));
    r.note("none", k.call(libc::SYS_poll, &[0, 0, 3]));
    let set = epoll(k);
    control(k, set, EPOLL_CTL_ADD, event.cast_unsigned(), IN);
    r.note("a set", poll(k, &[(set.cast_signed(), 1)], 0));
    count(k, event.cast_unsigned(), 1);
    r.note("a set with something", poll(k, &[(set.cast_signed(), 1)], 0));
    k.put(k.buffer + 100, &[0; 16]);
    k.put(k.buffer, &[&event.to_le_bytes()[..4], &[1, 0, 0, 0]].concat());
    r.note("ppoll", k.call(libc::SYS_ppoll, &[k.buffer, 1, k.buffer + 100, 0]));
}

pub(crate) fn pairs(k: &mut Kernel<'_>, r: &mut Record) {
    r.note("make", k.call(libc::SYS_socketpair, &[1, 1 | NONBLOCK | 0o2_000_000, 0, k.buffer]));
    let fds = k.get(k.buffer, 8);
    let [one, two] = [0, 4].map(|at| i64::from(i32::from_le_bytes(fds[at..at + 4].try_into().unwrap())));
    r.note("numbers", (one, two));
    let set = epoll(k);
    control(k, set, EPOLL_CTL_ADD, one.cast_unsigned(), IN | OUT | RDHUP | EDGE);
    r.note("writable", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    r.note("nothing to read", k.read(one, 10));
    r.note("send", k.write(two, b"hello"));
    r.note("readable", (wait(k, set, 8, 0), wait(k, set, 8, 0)));
    r.note("part", k.read(one, 3));
    r.note("the rest is no edge", wait(k, set, 8, 0));
    r.note("more is", (k.write(two, b"!"), wait(k, set, 8, 0)));
    r.note("read", k.read(one, 100));
    r.note("recvfrom", k.call(libc::SYS_recvfrom, &[one.cast_unsigned(), k.buffer, 10, 0, 0, 0]));
    k.put(k.buffer, b"by sendto");
    r.note("sendto", k.call(libc::SYS_sendto, &[two.cast_unsigned(), k.buffer, 9, 0x4000, 0, 0]));
    r.note("recvfrom", k.call(libc::SYS_recvfrom, &[one.cast_unsigned(), k.buffer, 20, 0x40, 0, 0]));
    r.note("shut down", k.call(libc::SYS_shutdown, &[two.cast_unsigned(), 1]));
    r.note("half closed", wait(k, set, 8, 0));
    r.note("end", k.read(one, 10));
    r.note("it cannot send", k.call(libc::SYS_sendto, &[two.cast_unsigned(), k.buffer, 1, 0x4000, 0, 0]));
    r.note("but hears", (k.write(one, b"still"), k.read(two, 10)));
    r.note("close", k.close(two));
    r.note("hung up", wait(k, set, 8, 0));
    r.note("nobody reads", k.call(libc::SYS_sendto, &[one.cast_unsigned(), k.buffer, 1, 0x4000, 0, 0]));
    r.note("bad family", k.call(libc::SYS_socketpair, &[99, 1, 0, k.buffer]));
    r.note("not a socket", k.call(libc::SYS_sendto, &[set, k.buffer, 1, 0x4000, 0, 0]));
}

pub(crate) fn timeouts(k: &mut Kernel<'_>, r: &mut Record) {
    let (set, fd) = (epoll(k), eventfd(k, 0, 0));
    control(k, set, EPOLL_CTL_ADD, fd, IN | EDGE);
    let now = |k: &mut Kernel<'_>| {
        k.call(libc::SYS_clock_gettime, &[1, k.buffer]);
        let bytes = k.get(k.buffer, 16);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        word(0) * 1_000_000_000 + word(8)
    };
    for ms in [0_u64, 3, 20] {
        let before = now(k);
        r.note("wait", wait(k, set, 8, ms.cast_signed()));
        r.note("not too short", now(k) - before >= ms * 1_000_000);
    }
    count(k, fd, 1);
    r.note("at once", wait(k, set, 8, -1));
    k.put(k.buffer, &[0_u64.to_le_bytes(), 2_000_000_u64.to_le_bytes()].concat());
    let before = now(k);
    k.put(k.buffer, &[0_u64.to_le_bytes(), 2_000_000_u64.to_le_bytes()].concat());
    r.note("sleep", k.call(libc::SYS_nanosleep, &[k.buffer, 0]));
    r.note("not too short", now(k) - before >= 2_000_000);
    k.put(k.buffer, &[0_u64.to_le_bytes(), 1_000_000_000_u64.to_le_bytes()].concat());
    r.note("bad time", k.call(libc::SYS_nanosleep, &[k.buffer, 0]));
    let until = now(k) + 3_000_000;
    k.put(k.buffer, &[(until / 1_000_000_000).to_le_bytes(), (until % 1_000_000_000).to_le_bytes()].concat());
    r.note("until", k.call(libc::SYS_clock_nanosleep, &[1, 1, k.buffer, 0]));
    r.note("reached", now(k) >= until);
}
