//! Memory. Addresses differ; what can be done at them does not.

use crate::kernel::{Kernel, Record};

const PAGE: u64 = 4096;
const NONE: u64 = 0;
const READ: u64 = 1;
const WRITE: u64 = 3;
const PRIVATE: u64 = 0x22;
const FIXED: u64 = 0x10;
const NOREPLACE: u64 = 0x10_0000;

/// An address as a result, or the error.
fn error(result: i64) -> i64 {
    if result > 0 { 1 } else { result }
}

fn map(k: &mut Kernel<'_>, len: u64, access: u64) -> u64 {
    k.call(libc::SYS_mmap, &[0, len, access, PRIVATE, u64::MAX, 0]).cast_unsigned()
}

/// Whether a call could read a byte here, and write one.
fn can(k: &mut Kernel<'_>, at: u64) -> (i64, i64) {
    let null = k.call(libc::SYS_eventfd2, &[1, 0o4000]).cast_unsigned();
    let read = k.call(libc::SYS_write, &[null, at, 8]);
    k.call(libc::SYS_read, &[null, k.buffer, 8]);
    k.put(k.buffer, &1_u64.to_le_bytes());
    k.call(libc::SYS_write, &[null, k.buffer, 8]);
    let write = k.call(libc::SYS_read, &[null, at, 8]);
    k.close(null.cast_signed());
    (read, write)
}

pub(crate) fn mapping(k: &mut Kernel<'_>, r: &mut Record) {
    let at = map(k, 3 * PAGE, WRITE);
    r.note("aligned", at % PAGE);
    let zeros = k.get(at, 3 * 4096).iter().all(|byte| *byte == 0);
    r.note("zeros", zeros);
    k.put(at, &[7; 3 * 4096]);
    r.note("unmap the middle", k.call(libc::SYS_munmap, &[at + PAGE, PAGE]));
    r.note("before", can(k, at));
    r.note("middle", can(k, at + PAGE));
    r.note("behind", can(k, at + 2 * PAGE));
    r.note("unmap again", k.call(libc::SYS_munmap, &[at + PAGE, PAGE]));
    r.note(
        "there",
        k.call(libc::SYS_mmap, &[at + PAGE, 1, READ, PRIVATE | FIXED, u64::MAX, 0])
            == (at + PAGE).cast_signed(),
    );
    r.note("reading only", can(k, at + PAGE));
    r.note("taken", k.call(libc::SYS_mmap, &[at, 1, WRITE, PRIVATE | NOREPLACE, u64::MAX, 0]));
    r.note(
        "over it",
        k.call(libc::SYS_mmap, &[at, 1, WRITE, PRIVATE | FIXED, u64::MAX, 0]) == at.cast_signed(),
    );
    let zeros = k.get(at, 4096).iter().all(|byte| *byte == 0);
    r.note("zeros", zeros);
    for (what, arguments) in [
        ("no length", [0, 0, WRITE, PRIVATE, u64::MAX, 0]),
        ("no kind", [0, PAGE, WRITE, 0x20, u64::MAX, 0]),
        ("fixed, not at a page", [at + 1, PAGE, WRITE, PRIVATE | FIXED, u64::MAX, 0]),
        ("fixed, too high", [1 << 63, PAGE, WRITE, PRIVATE | FIXED, u64::MAX, 0]),
        ("too long", [0, 1 << 62, WRITE, PRIVATE, u64::MAX, 0]),
        ("no file", [0, PAGE, READ, 2, 99, 0]),
        ("hint not at a page", [at + 1, PAGE, WRITE, PRIVATE, u64::MAX, 0]),
    ] {
        r.note(what, error(k.call(libc::SYS_mmap, &arguments)));
    }
    r.note("unmap nothing", k.call(libc::SYS_munmap, &[at, 0]));
    r.note("unmap not at a page", k.call(libc::SYS_munmap, &[at + 1, PAGE]));
    r.note("unmap all", k.call(libc::SYS_munmap, &[at, 3 * PAGE]));
}

pub(crate) fn protecting(k: &mut Kernel<'_>, r: &mut Record) {
    let at = map(k, 4 * PAGE, WRITE);
    k.put(at, &[9; 4 * 4096]);
    r.note("read", k.call(libc::SYS_mprotect, &[at, PAGE, READ]));
    r.note("none", k.call(libc::SYS_mprotect, &[at + PAGE, 1, NONE]));
    for page in 0..3 {
        r.note("can", can(k, at + page * PAGE));
    }
    r.note("back", k.call(libc::SYS_mprotect, &[at, 4 * PAGE, WRITE]));
    let kept = k.get(at + PAGE + 100, 100) == [9; 100];
    r.note("kept", kept);
    let reserved = map(k, 4 * PAGE, NONE);
    r.note("reserved", can(k, reserved));
    r.note("taken", k.call(libc::SYS_mprotect, &[reserved, 2 * PAGE, WRITE]));
    r.note("can", (can(k, reserved), can(k, reserved + 2 * PAGE)));
    r.note("not at a page", k.call(libc::SYS_mprotect, &[at + 1, PAGE, READ]));
    r.note("no length", k.call(libc::SYS_mprotect, &[at, 0, READ]));
    k.call(libc::SYS_munmap, &[at + 2 * PAGE, PAGE]);
    r.note("a hole", k.call(libc::SYS_mprotect, &[at, 4 * PAGE, READ]));
    r.note("unknown", k.call(libc::SYS_mprotect, &[at, PAGE, 64]));
    r.note("wraps", k.call(libc::SYS_mprotect, &[at, u64::MAX - PAGE, READ]));
}

pub(crate) fn files_mapped(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", &[5; 5000]);
    let fd = k.open("a", libc::O_RDONLY).cast_unsigned();
    let shared = k.call(libc::SYS_mmap, &[0, 5000, READ, 1, fd, 0]).cast_unsigned();
    let seen = k.get(shared, 8192);
    r.note("all of it, then zeros", (seen[..5000] == [5; 5000], seen[5000..] == [0; 3192]));
    r.note("reading only", can(k, shared));
    let own = k.call(libc::SYS_mmap, &[0, 100, WRITE, 2, fd, PAGE]).cast_unsigned();
    let seen = k.get(own, 1000);
    r.note("the second page", (seen[..904] == [5; 904], seen[904..] == [0; 96]));
    k.put(own, b"changed");
    r.note("the file is not", k.content("a").1 == [5; 5000]);
    k.close(fd.cast_signed());
    let seen = k.get(shared, 10);
    r.note("lives without its descriptor", seen);
    let writer = k.open("a", libc::O_WRONLY).cast_unsigned();
    r.note("a writer", k.call(libc::SYS_mmap, &[0, 100, READ, 2, writer, 0]));
    let reader = k.open("a", libc::O_RDONLY).cast_unsigned();
    r.note("odd offset", k.call(libc::SYS_mmap, &[0, 100, READ, 2, reader, 100]));
    k.mkdir("d");
    let directory = k.open("d", libc::O_RDONLY).cast_unsigned();
    r.note("a directory", k.call(libc::SYS_mmap, &[0, 100, READ, 2, directory, 0]));
    r.note("unmap", k.call(libc::SYS_munmap, &[shared, 5000]));
    r.note("gone", can(k, shared + PAGE));
}

pub(crate) fn remapping(k: &mut Kernel<'_>, r: &mut Record) {
    let at = map(k, 3 * PAGE, WRITE);
    k.put(at, &[3; 3 * 4096]);
    // Something behind, so that it has to move.
    let fence = at + 3 * PAGE;
    k.call(libc::SYS_mmap, &[fence, PAGE, READ, PRIVATE | NOREPLACE, u64::MAX, 0]);
    r.note("may not move", error(k.call(libc::SYS_mremap, &[at, 3 * PAGE, 40 * PAGE, 0])));
    let moved = k.call(libc::SYS_mremap, &[at, 3 * PAGE, 40 * PAGE, 1]);
    r.note("moved", error(moved));
    let moved = moved.cast_unsigned();
    r.note("elsewhere", moved != at);
    let seen = k.get(moved, 40 * 4096);
    let (head, tail) = seen.split_at(3 * 4096);
    r.note("with what was in it", (head.iter().all(|b| *b == 3), tail.iter().all(|b| *b == 0)));
    r.note("gone", can(k, at));
    r.note("shrunk", k.call(libc::SYS_mremap, &[moved, 40 * PAGE, PAGE, 0]) == moved.cast_signed());
    r.note("cut off", can(k, moved + PAGE));
    r.note(
        "grown in its place",
        k.call(libc::SYS_mremap, &[moved, PAGE, 20 * PAGE, 0]) == moved.cast_signed(),
    );
    let seen = k.get(moved + PAGE, 19 * 4096).iter().all(|byte| *byte == 0);
    r.note("zeros", seen);
    r.note("same", k.call(libc::SYS_mremap, &[moved, 20 * PAGE, 20 * PAGE, 1]) == moved.cast_signed());
    for (what, arguments) in [
        ("nothing there", [at, PAGE, 2 * PAGE, 1]),
        ("not at a page", [moved + 1, PAGE, 2 * PAGE, 1]),
        ("to nothing", [moved, PAGE, 0, 1]),
        ("unknown", [moved, PAGE, 2 * PAGE, 8]),
        ("more than there is", [moved, 40 * PAGE, 50 * PAGE, 1]),
    ] {
        r.note(what, error(k.call(libc::SYS_mremap, &arguments)));
    }
}

pub(crate) fn heap(k: &mut Kernel<'_>, r: &mut Record) {
    let start = k.call(libc::SYS_brk, &[0]).cast_unsigned();
    r.note("there", start > 0);
    let set = |k: &mut Kernel<'_>, to: u64| k.call(libc::SYS_brk, &[to]).cast_unsigned().wrapping_sub(start);
    r.note("grown", set(k, start + 100_000));
    k.put(start, &[1; 100_000]);
    r.note("a little more", set(k, start + 100_001));
    let kept = k.get(start, 100_000).iter().all(|byte| *byte == 1);
    r.note("kept", kept);
    r.note("shrunk", set(k, start + 5000));
    r.note("grown again", set(k, start + 50_000));
    let seen = k.get(start + 12_288, 30_000).iter().all(|byte| *byte == 0);
    r.note("zeros", seen);
    r.note("below its start is refused", set(k, 4096));
    r.note("far too much is refused", set(k, 1 << 62));
    r.note("asked", set(k, 0));
    r.note("given back", set(k, start));
}

pub(crate) fn advising(k: &mut Kernel<'_>, r: &mut Record) {
    let at = map(k, 3 * PAGE, WRITE);
    k.put(at, &[4; 3 * 4096]);
    r.note("not needed", k.call(libc::SYS_madvise, &[at + PAGE, PAGE, 4]));
    let seen = k.get(at, 3 * 4096);
    r.note("zeros there", seen.chunks(4096).map(|page| page[0]).collect::<Vec<_>>());
    r.note("will need", k.call(libc::SYS_madvise, &[at, 3 * PAGE, 3]));
    r.note("not at a page", k.call(libc::SYS_madvise, &[at + 1, PAGE, 4]));
    r.note("no length", k.call(libc::SYS_madvise, &[at, 0, 4]));
    r.note("unknown", k.call(libc::SYS_madvise, &[at, PAGE, 77]));
    k.call(libc::SYS_munmap, &[at + PAGE, PAGE]);
    r.note("a hole", k.call(libc::SYS_madvise, &[at, 3 * PAGE, 4]));
}

pub(crate) fn bad_pointers(k: &mut Kernel<'_>, r: &mut Record) {
    let at = map(k, 2 * PAGE, WRITE);
    k.call(libc::SYS_munmap, &[at + PAGE, PAGE]);
    let end = at + PAGE;
    let fd = k.open("a", 0o102).cast_unsigned();
    let path = format!("{}/abc", k.directory);
    let len = path.len() as u64;
    k.put(end - len - 1, format!("{path}\0").as_bytes());
    r.note("path at the end of memory", k.call(libc::SYS_mkdir, &[end - len - 1, 0o700]));
    k.put(end - len, path.as_bytes());
    r.note("path without its end", k.call(libc::SYS_mkdir, &[end - len, 0o700]));
    r.note("stat over the end", k.call(libc::SYS_fstat, &[fd, end - 10]));
    r.note("write", k.call(libc::SYS_write, &[fd, end, 10]));
    r.note("clock", k.call(libc::SYS_clock_gettime, &[0, end - 8]));
    r.note("random", k.call(libc::SYS_getrandom, &[end, 10, 0]));
    r.note("pair", k.call(libc::SYS_socketpair, &[1, 1, 0, end]));
    r.note("nothing is left open", k.call(libc::SYS_eventfd2, &[0, 0]));
    for address in [0, 8, u64::MAX, u64::MAX - 7, 1 << 63, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000] {
        r.note("write", k.call(libc::SYS_write, &[fd, address, 8]));
        r.note("stat", k.call(libc::SYS_fstat, &[fd, address]));
        r.note("path", k.call(libc::SYS_rmdir, &[address]));
    }
}
