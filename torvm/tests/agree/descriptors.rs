//! Descriptors.

use crate::kernel::{Kernel, Record};
use libc::{F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, O_CREAT, O_NONBLOCK, O_RDWR};

fn fcntl(k: &mut Kernel<'_>, fd: i64, command: i32, argument: u64) -> i64 {
    k.call(libc::SYS_fcntl, &[fd.cast_unsigned(), u64::from(command.cast_unsigned()), argument])
}

pub(crate) fn lowest(k: &mut Kernel<'_>, r: &mut Record) {
    let fds: Vec<i64> = (0..4).map(|i| k.open(&format!("f{i}"), O_RDWR | O_CREAT)).collect();
    r.note("in order", &fds);
    r.note("close", k.close(fds[1]));
    r.note("close again", k.close(fds[1]));
    r.note("reused", k.open("g", O_RDWR | O_CREAT));
    r.note("from 10", fcntl(k, fds[0], F_DUPFD, 10));
    r.note("from 10", fcntl(k, fds[0], F_DUPFD_CLOEXEC, 10));
    r.note("from -1", fcntl(k, fds[0], F_DUPFD, u64::MAX));
    r.note("negative", k.close(-1));
    r.note("dup", k.call(libc::SYS_dup, &[fds[0].cast_unsigned()]));
    r.note("dup of nothing", k.call(libc::SYS_dup, &[99]));
}

pub(crate) fn duplicating(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"0123456789");
    let fd = k.open("a", O_RDWR);
    let other = k.call(libc::SYS_dup, &[fd.cast_unsigned()]);
    r.note("read", k.read(fd, 3));
    r.note("one position", k.read(other, 3));
    r.note("close", k.close(fd));
    r.note("still there", k.read(other, 3));
    r.note("dup2", k.call(libc::SYS_dup2, &[other.cast_unsigned(), 20]));
    r.note("dup2 to itself", k.call(libc::SYS_dup2, &[20, 20]));
    r.note("dup3 to itself", k.call(libc::SYS_dup3, &[20, 20, 0]));
    r.note("dup2 of nothing", k.call(libc::SYS_dup2, &[98, 20]));
    r.note("dup2 of nothing to itself", k.call(libc::SYS_dup2, &[98, 98]));
    let b = k.open("b", O_RDWR | O_CREAT);
    r.note("dup2 over", k.call(libc::SYS_dup2, &[b.cast_unsigned(), 20]));
    r.note("it is the other", k.write(20, b"b"));
    r.note("content", k.content("b"));
    r.note("bad flags", k.call(libc::SYS_dup3, &[20, 21, 1]));
    r.note("too high", k.call(libc::SYS_dup2, &[20, 1 << 31]));
}

pub(crate) fn flags(k: &mut Kernel<'_>, r: &mut Record) {
    const LARGE: i64 = 0o100_000;
    let fd = k.open("a", O_RDWR | O_CREAT | O_NONBLOCK);
    r.note("flags", fcntl(k, fd, F_GETFL, 0) & !LARGE);
    r.note("set", fcntl(k, fd, F_SETFL, 0o2000));
    r.note("flags", fcntl(k, fd, F_GETFL, 0) & !LARGE);
    let other = k.call(libc::SYS_dup, &[fd.cast_unsigned()]);
    fcntl(k, other, F_SETFL, 0o4000);
    r.note("shared", fcntl(k, fd, F_GETFL, 0) & !LARGE);
    r.note("close on exec", fcntl(k, fd, F_GETFD, 0));
    r.note("set", fcntl(k, fd, F_SETFD, 1));
    r.note("own", (fcntl(k, fd, F_GETFD, 0), fcntl(k, other, F_GETFD, 0)));
    let event = k.call(libc::SYS_eventfd2, &[0, 0o2_000_000]);
    r.note("close on exec", fcntl(k, event, F_GETFD, 0));
    r.note("flags", fcntl(k, event, F_GETFL, 0));
    k.put(k.buffer, &1_u32.to_le_bytes());
    r.note("ioctl", k.call(libc::SYS_ioctl, &[event.cast_unsigned(), 0x5421, k.buffer]));
    r.note("flags", fcntl(k, event, F_GETFL, 0));
    r.note("unknown", fcntl(k, fd, 777, 0));
    r.note("of nothing", fcntl(k, 99, F_GETFL, 0));
}

pub(crate) fn locks(k: &mut Kernel<'_>, r: &mut Record) {
    const NB: u64 = 4;
    let one = k.open("a", O_RDWR | O_CREAT).cast_unsigned();
    let two = k.open("a", O_RDWR).cast_unsigned();
    for (who, fd, how) in [
        ("one", one, 2 | NB),
        ("two", two, 2 | NB),
        ("two", two, 1 | NB),
        ("one", one, 1 | NB),
        ("two", two, 1 | NB),
        ("one", one, 2 | NB),
        ("two", two, 8),
        ("one", one, 2 | NB),
        ("bad", one, 3),
        ("none", 99, 1),
    ] {
        r.note(&format!("flock {who} {how}"), k.call(libc::SYS_flock, &[fd, how]));
    }
    let copy = k.call(libc::SYS_dup, &[one]);
    k.close(one.cast_signed());
    r.note("held by the copy", k.call(libc::SYS_flock, &[two, 2 | NB]));
    k.close(copy);
    r.note("given up", k.call(libc::SYS_flock, &[two, 2 | NB]));
    let mut lock = vec![0; 32];
    lock[0] = 1;
    k.put(k.buffer, &lock);
    r.note("setlk", fcntl(k, two.cast_signed(), 6, k.buffer));
    r.note("getlk", fcntl(k, two.cast_signed(), 5, k.buffer));
    let kind = k.get(k.buffer, 2);
    r.note("own locks do not count", kind);
}

pub(crate) fn closing_all(k: &mut Kernel<'_>, r: &mut Record) {
    let many: Vec<i64> = (0..100).map(|_| k.call(libc::SYS_eventfd2, &[0, 0])).collect();
    r.note("many", &many);
    r.note("closed", many.iter().map(|fd| k.close(*fd)).sum::<i64>());
    r.note("again", k.call(libc::SYS_eventfd2, &[0, 0]));
    r.note("bad flags", k.call(libc::SYS_eventfd2, &[0, 2]));
}
