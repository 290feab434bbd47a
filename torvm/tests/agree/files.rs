//! Files.

use crate::kernel::{CWD, Kernel, Record};
use libc::{O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};

pub(crate) fn opening(k: &mut Kernel<'_>, r: &mut Record) {
    k.mkdir("d");
    for (path, flags) in [
        ("a", O_RDONLY),
        ("a", O_WRONLY | O_CREAT | O_EXCL),
        ("a", O_WRONLY | O_CREAT | O_EXCL),
        ("a", O_RDWR | O_CREAT | O_NOFOLLOW),
        ("a", O_RDONLY | O_DIRECTORY),
        ("a/", O_RDONLY),
        ("a/b", O_RDONLY),
        ("b/", O_WRONLY | O_CREAT),
        ("no/b", O_WRONLY | O_CREAT),
        ("d", O_RDONLY),
        ("d/", O_RDONLY | O_DIRECTORY),
        ("d", O_RDWR),
        ("d", O_RDONLY | O_CREAT),
        ("d/.", O_RDONLY),
        ("d/../a", O_RDONLY),
        ("d/nothing", O_RDONLY | O_TRUNC),
    ] {
        let fd = k.open(path, flags);
        r.note(&format!("open {path} {flags:o}"), fd);
    }
    let empty = k.raw_path(0, "");
    r.note("empty path", k.call(libc::SYS_openat, &[CWD, empty, 0, 0]));
    r.note("bad path", k.call(libc::SYS_openat, &[CWD, 8, 0, 0]));
    let long = k.path(&"x".repeat(256));
    r.note("long name", k.call(libc::SYS_openat, &[CWD, long, 0o100, 0o600]));
    let longer = k.raw_path(0, &"/x".repeat(2048));
    r.note("long path", k.call(libc::SYS_openat, &[CWD, longer, 0, 0]));
}

pub(crate) fn reading_and_writing(k: &mut Kernel<'_>, r: &mut Record) {
    let fd = k.open("a", O_RDWR | O_CREAT);
    r.note("write", k.write(fd, b"hello, world"));
    r.note("read at the end", k.read(fd, 10));
    k.call(libc::SYS_lseek, &[fd.cast_unsigned(), 0, 0]);
    r.note("read", k.read(fd, 5));
    r.note("read on", k.read(fd, 100));
    let b = k.buffer;
    for (at, len) in [(0, 5), (7, 100), (12, 1), (100, 1), (u64::MAX, 1)] {
        r.note("pread", k.call(libc::SYS_pread64, &[fd.cast_unsigned(), b, len, at]));
    }
    k.put(b, b"HELLO");
    r.note("pwrite", k.call(libc::SYS_pwrite64, &[fd.cast_unsigned(), b, 5, 2]));
    r.note("pwrite far", k.call(libc::SYS_pwrite64, &[fd.cast_unsigned(), b, 5, 20]));
    r.note("content", k.content("a"));
    let reader = k.open("a", O_RDONLY);
    r.note("write to a reader", k.write(reader, b"x"));
    let writer = k.open("a", O_WRONLY | O_APPEND);
    r.note("read from a writer", k.read(writer, 1));
    r.note("append", k.write(writer, b"end"));
    r.note("position", k.call(libc::SYS_lseek, &[writer.cast_unsigned(), 0, 1]));
    r.note("truncated", k.open("a", O_WRONLY | O_TRUNC));
    r.note("appended to nothing", k.write(writer, b"new"));
    r.note("content", k.content("a"));
    r.note("nothing", k.write(fd, b""));
    r.note("bad pointer", k.call(libc::SYS_write, &[fd.cast_unsigned(), 4096, 8]));
    r.note("bad descriptor", k.call(libc::SYS_write, &[99, b, 8]));
    let big = k.open("big", O_RDWR | O_CREAT);
    k.put(b, &[7; 300_000]);
    r.note("much", k.call(libc::SYS_write, &[big.cast_unsigned(), b, 300_000]));
    r.note("much", k.call(libc::SYS_pread64, &[big.cast_unsigned(), b, 500_000, 10]));
}

pub(crate) fn positions(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"0123456789");
    let fd = k.open("a", O_RDWR).cast_unsigned();
    for (offset, whence) in
        [(3_i64, 0), (2, 1), (-1, 1), (-2, 2), (5, 2), (-1, 0), (-100, 1), (0, 9), (i64::MAX, 1)]
    {
        r.note(
            &format!("seek {offset} {whence}"),
            k.call(libc::SYS_lseek, &[fd, offset.cast_unsigned(), whence]),
        );
    }
    r.note("read", k.read(fd.cast_signed(), 4));
    for len in [5, 12, 0, u64::MAX] {
        r.note("ftruncate", k.call(libc::SYS_ftruncate, &[fd, len]));
        r.note("content", k.content("a"));
    }
    let path = k.path("a");
    r.note("truncate", k.call(libc::SYS_truncate, &[path, 3]));
    let reader = k.open("a", O_RDONLY).cast_unsigned();
    r.note("reader", k.call(libc::SYS_ftruncate, &[reader, 1]));
    k.call(libc::SYS_socketpair, &[1, 1, 0, k.buffer]);
    let stream = u64::from(k.get(k.buffer, 1)[0]);
    r.note("seek in what has none", k.call(libc::SYS_lseek, &[stream, 0, 0]));
    r.note("pread of what has none", k.call(libc::SYS_pread64, &[stream, k.buffer, 8, 0]));
}

pub(crate) fn sparse(k: &mut Kernel<'_>, r: &mut Record) {
    let fd = k.open("a", O_RDWR | O_CREAT);
    for (at, len) in [(5000_u64, 10_usize), (4090, 12), (0, 1), (20_000, 4096)] {
        k.call(libc::SYS_lseek, &[fd.cast_unsigned(), at, 0]);
        r.note("write", k.write(fd, &vec![at.to_le_bytes()[0] | 1; len]));
    }
    r.note("content", k.content("a"));
    k.call(libc::SYS_ftruncate, &[fd.cast_unsigned(), 4095]);
    k.call(libc::SYS_ftruncate, &[fd.cast_unsigned(), 6000]);
    r.note("content", k.content("a"));
}

pub(crate) fn renaming(k: &mut Kernel<'_>, r: &mut Record) {
    for (path, text) in [("a", b"a"), ("b", b"b"), ("c", b"c")] {
        k.file(path, text);
    }
    for path in ["d", "d/e", "f", "full"] {
        k.mkdir(path);
    }
    k.file("full/x", b"x");
    let open = k.open("b", O_RDONLY);
    for (from, to) in [
        ("a", "b"),
        ("a", "b"),
        ("b", "b"),
        ("b", "d"),
        ("d", "b"),
        ("d", "full"),
        ("d", "d/e/x"),
        ("d", "d"),
        ("b", "no/x"),
        ("b", "d/b"),
        ("d/b", "c"),
        ("f", "d/e"),
        ("f", "d/"),
        ("c", "x/"),
        ("d", "g/"),
        ("g/.", "h"),
        ("g", "g/.."),
        ("g/..", "h"),
        ("c", ""),
        ("full", "g/e"),
        ("c/x", "y"),
        ("y", "c/x"),
    ] {
        r.note(&format!("rename {from} {to}"), k.rename(from, to));
    }
    r.note("the replaced one lives", k.read(open, 5));
    r.note("c", k.content("c"));
    r.note("g/e/x", k.content("g/e/x"));
    let (from, to) = (k.path_at(0, "c"), k.path_at(1, "n"));
    r.note("noreplace", k.call(libc::SYS_renameat2, &[CWD, from, CWD, to, 1]));
    k.file("c", b"");
    r.note("noreplace", k.call(libc::SYS_renameat2, &[CWD, from, CWD, to, 1]));
    r.note("bad flags", k.call(libc::SYS_renameat2, &[CWD, from, CWD, to, 64]));
}

pub(crate) fn removing(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"text");
    k.mkdir("d");
    k.mkdir("full");
    k.file("full/x", b"");
    let open = k.open("a", O_RDWR);
    let listed = k.open("d", O_RDONLY);
    for (path, flags) in [
        ("a", 0x200),
        ("a/", 0),
        ("a", 0),
        ("a", 0),
        ("d", 0),
        ("full", 0x200),
        ("d/.", 0x200),
        ("full/..", 0x200),
        ("d", 0x200),
        ("d", 0x200),
        ("full/x/", 0),
        ("full/x", 4),
        ("full/x", 0),
        ("full/", 0x200),
    ] {
        let at = k.path(path);
        r.note(&format!("unlink {path} {flags}"), k.call(libc::SYS_unlinkat, &[CWD, at, flags]));
    }
    r.note("it lives", k.read(open, 10));
    r.note("it grows", k.write(open, b"more"));
    k.call(libc::SYS_lseek, &[open.cast_unsigned(), 0, 0]);
    r.note("it lives", k.read(open, 10));
    k.file("a", b"another");
    r.note("another", k.content("a"));
    let name = k.raw_path(0, "x");
    r.note("in a removed directory", k.call(libc::SYS_openat, &[listed.cast_unsigned(), name, 0o102, 0o600]));
}

pub(crate) fn directories(k: &mut Kernel<'_>, r: &mut Record) {
    for path in ["d", "d", "d/e/", "d/x/y", "d/.", "d/..", "d/e/../f"] {
        r.note(&format!("mkdir {path}"), k.mkdir(path));
    }
    k.file("d/a", b"in d");
    r.note("in a file", k.mkdir("d/a/b"));
    let d = k.open("d", O_RDONLY | O_DIRECTORY).cast_unsigned();
    let a = k.raw_path(0, "a");
    let fd = k.call(libc::SYS_openat, &[d, a, 0, 0]);
    r.note("relative", k.read(fd, 10));
    r.note("relative to a file", k.call(libc::SYS_openat, &[fd.cast_unsigned(), a, 0, 0]));
    r.note("relative to nothing", k.call(libc::SYS_openat, &[77, a, 0, 0]));
    let up = k.raw_path(0, "../d/e/../a");
    r.note("up", k.call(libc::SYS_faccessat, &[d, up, 0]));
    r.note("read", k.read(d.cast_signed(), 10));
    r.note("write", k.write(d.cast_signed(), b"x"));
    let new = k.raw_path(0, "new");
    r.note("mkdirat", k.call(libc::SYS_mkdirat, &[d, new, 0o700]));
    r.note("getcwd", k.call(libc::SYS_getcwd, &[k.buffer, 1]));
}

/// Names that a descriptor lists, in order, and what they are.
fn list(k: &mut Kernel<'_>, fd: u64, room: u64) -> Vec<(String, u8)> {
    let mut out = Vec::new();
    loop {
        let got = k.call(libc::SYS_getdents64, &[fd, k.buffer, room]);
        let Ok(len @ 1..) = usize::try_from(got) else {
            out.push((format!("result {got}"), 0));
            break;
        };
        let bytes = k.get(k.buffer, len);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
            let name = rest[19..len].split(|byte| *byte == 0).next().unwrap();
            out.push((String::from_utf8(name.to_vec()).unwrap(), rest[18]));
            rest = &rest[len..];
        }
    }
    out.sort();
    out
}

pub(crate) fn listing(k: &mut Kernel<'_>, r: &mut Record) {
    k.mkdir("d");
    k.mkdir("d/sub");
    for i in 0..20 {
        k.file(&format!("d/file-{i}"), b"");
    }
    let fd = k.open("d", O_RDONLY | O_DIRECTORY).cast_unsigned();
    r.note("all", list(k, fd, 65_536));
    r.note("at the end", k.call(libc::SYS_getdents64, &[fd, k.buffer, 1000]));
    k.call(libc::SYS_lseek, &[fd, 0, 0]);
    r.note("in pieces", list(k, fd, 100));
    k.call(libc::SYS_lseek, &[fd, 0, 0]);
    r.note("no room", k.call(libc::SYS_getdents64, &[fd, k.buffer, 10]));
    for i in 0..20 {
        let path = k.path(&format!("d/file-{i}"));
        k.call(libc::SYS_unlink, &[path]);
    }
    k.call(libc::SYS_lseek, &[fd, 0, 0]);
    r.note("fewer", list(k, fd, 65_536));
    let file = k.open("a", O_RDWR | O_CREAT).cast_unsigned();
    r.note("of a file", k.call(libc::SYS_getdents64, &[file, k.buffer, 1000]));
}

/// Type and permissions, links, size: what two file systems agree about.
fn told(bytes: &[u8]) -> (u32, u64, u64) {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mode = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    let directory = mode & 0o170_000 == 0o040_000;
    (mode, if directory { 0 } else { word(16) }, if directory { 0 } else { word(48) })
}

pub(crate) fn telling(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"12345");
    k.mkdir("d");
    let fd = k.open("a", O_RDWR);
    for path in ["a", "d", "d/", "a/", "no", "a/b"] {
        let at = k.path(path);
        let result = k.call(libc::SYS_newfstatat, &[CWD, at, k.buffer, 0x100]);
        r.note(path, result);
        if result != 0 {
            r.note("statx", k.call(libc::SYS_statx, &[CWD, at, 0, 0x7FF, k.buffer]));
            continue;
        }
        let bytes = k.get(k.buffer, 144);
        r.note("stat", told(&bytes));
        r.note("statx", k.call(libc::SYS_statx, &[CWD, at, 0, 0x7FF, k.buffer]));
        let bytes = k.get(k.buffer, 256);
        let size = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
        r.note("mode and size", (bytes[28], bytes[29], if path.starts_with('d') { 0 } else { size }));
    }
    let empty = k.raw_path(0, "");
    r.note("fstat", k.call(libc::SYS_fstat, &[fd.cast_unsigned(), k.buffer]));
    r.note("by descriptor", k.call(libc::SYS_newfstatat, &[fd.cast_unsigned(), empty, k.buffer, 0x1000]));
    let bytes = k.get(k.buffer, 144);
    r.note("stat", told(&bytes));
    r.note("empty without the flag", k.call(libc::SYS_newfstatat, &[CWD, empty, k.buffer, 0]));
    let path = k.path("a");
    k.call(libc::SYS_unlink, &[path]);
    k.call(libc::SYS_fstat, &[fd.cast_unsigned(), k.buffer]);
    let bytes = k.get(k.buffer, 144);
    r.note("unlinked", told(&bytes));
    r.note("bad pointer", k.call(libc::SYS_fstat, &[fd.cast_unsigned(), 4096]));
    r.note("bad descriptor", k.call(libc::SYS_fstat, &[99, k.buffer]));
    let event = k.call(libc::SYS_eventfd2, &[0, 0]).cast_unsigned();
    r.note("an event counter", k.call(libc::SYS_fstat, &[event, k.buffer]));
}

pub(crate) fn names(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"");
    for path in ["a", "no", "a/b", "."] {
        let at = k.path(path);
        r.note("readlink", k.call(libc::SYS_readlink, &[at, k.buffer, 100]));
        r.note("access", k.call(libc::SYS_access, &[at, 0]));
        r.note("faccessat2", k.call(libc::SYS_faccessat2, &[CWD, at, 4, 0x200]));
    }
    let at = k.path("a");
    r.note("bad mode", k.call(libc::SYS_access, &[at, 8]));
    for name in ["..a", "...", "a b", "\u{e4}"] {
        k.file(name, b"x");
        r.note(name, k.content(name));
    }
}

pub(crate) fn permissions(k: &mut Kernel<'_>, r: &mut Record) {
    let mode = |k: &mut Kernel<'_>, path: &str| {
        let at = k.path(path);
        k.call(libc::SYS_stat, &[at, k.buffer]);
        let bytes = k.get(k.buffer, 144);
        format!("{:o}", told(&bytes).0)
    };
    r.note("umask", k.call(libc::SYS_umask, &[0o77]));
    k.file("a", b"");
    k.mkdir("d");
    r.note("a", mode(k, "a"));
    r.note("d", mode(k, "d"));
    let at = k.path("a");
    r.note("chmod", k.call(libc::SYS_chmod, &[at, 0o4751]));
    r.note("a", mode(k, "a"));
    let fd = k.open("a", O_RDONLY).cast_unsigned();
    r.note("fchmod", k.call(libc::SYS_fchmod, &[fd, 0o600]));
    r.note("a", mode(k, "a"));
    let at = k.path("no");
    r.note("nothing", k.call(libc::SYS_chmod, &[at, 0]));
    r.note("umask", k.call(libc::SYS_umask, &[0o22]));
    r.note("fsync", k.call(libc::SYS_fsync, &[fd]));
    r.note("fsync of nothing", k.call(libc::SYS_fsync, &[99]));
}

pub(crate) fn vectors(k: &mut Kernel<'_>, r: &mut Record) {
    let fd = k.open("a", O_RDWR | O_CREAT).cast_unsigned();
    let (b, list) = (k.buffer, k.buffer + 4096);
    k.put(b, b"abcdefghij");
    let vector = |pieces: &[(u64, u64)]| -> Vec<u8> {
        pieces.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat()).collect()
    };
    k.put(list, &vector(&[(b + 5, 3), (b, 0), (b, 2)]));
    r.note("writev", k.call(libc::SYS_writev, &[fd, list, 3]));
    r.note("none", k.call(libc::SYS_writev, &[fd, list, 0]));
    r.note("too many", k.call(libc::SYS_writev, &[fd, list, 1025]));
    r.note("content", k.content("a"));
    k.call(libc::SYS_lseek, &[fd, 0, 0]);
    k.put(list, &vector(&[(b + 100, 1), (b + 200, 100)]));
    r.note("readv", k.call(libc::SYS_readv, &[fd, list, 2]));
    let first = k.get(b + 100, 1);
    let second = k.get(b + 200, 4);
    r.note("pieces", (first, second));
    k.put(list, &vector(&[(8, 10)]));
    r.note("bad piece", k.call(libc::SYS_writev, &[fd, list, 1]));
    r.note("bad list", k.call(libc::SYS_writev, &[fd, 8, 1]));
    k.put(list, &vector(&[(b, u64::MAX)]));
    r.note("negative", k.call(libc::SYS_writev, &[fd, list, 1]));
    let room = k.call(libc::SYS_mmap, &[0, 200_000, 3, 0x22, u64::MAX, 0]).cast_unsigned();
    k.put(room + 80_000, b"middle");
    k.put(list, &vector(&[(room, 80_000), (room + 80_000, 10), (room, 60_000)]));
    r.note("long", k.call(libc::SYS_writev, &[fd, list, 3]));
    k.call(libc::SYS_lseek, &[fd, (-80_000_i64).cast_unsigned(), 1]);
    k.put(list, &vector(&[(room + 100_000, 19_990), (room + 190_000, 10), (room, 200_000)]));
    r.note("long", k.call(libc::SYS_readv, &[fd, list, 3]));
    r.note("its middle", k.get(room + 190_000, 10));
}

pub(crate) fn devices(k: &mut Kernel<'_>, r: &mut Record) {
    let null = k.open("/dev/null", O_RDWR);
    r.note("null", k.read(null, 10));
    r.note("null", k.write(null, b"gone"));
    let zero = k.open("/dev/zero", O_RDONLY);
    r.note("zero", k.read(zero, 10));
    for path in ["/dev/urandom", "/dev/random"] {
        let random = k.open(path, O_RDONLY);
        let (got, first) = k.read(random, 32);
        let (_, second) = k.read(random, 32);
        r.note(path, (got, first.len(), first == second));
        r.note("seek", k.call(libc::SYS_lseek, &[random.cast_unsigned(), 0, 1]));
        r.note("stat", k.call(libc::SYS_fstat, &[random.cast_unsigned(), k.buffer]));
        let bytes = k.get(k.buffer, 144);
        r.note("type", told(&bytes).0 & 0o170_000);
    }
    r.note("not a directory", k.open("/dev/null/x", O_RDONLY));
    r.note("ioctl", k.call(libc::SYS_ioctl, &[null.cast_unsigned(), 0x5401, k.buffer]));
}

pub(crate) fn times(k: &mut Kernel<'_>, r: &mut Record) {
    k.file("a", b"");
    let at = k.path("a");
    let times: Vec<u8> =
        [1_u64, 5, 1_234_567_890, 999_999_999].iter().flat_map(|w| w.to_le_bytes()).collect();
    k.put(k.buffer, &times);
    r.note("utimensat", k.call(libc::SYS_utimensat, &[CWD, at, k.buffer, 0]));
    k.call(libc::SYS_stat, &[at, k.buffer]);
    let bytes = k.get(k.buffer + 88, 16);
    r.note("modified", bytes);
    let bad: Vec<u8> = [1_u64, 5, 1, 1_000_000_000].iter().flat_map(|w| w.to_le_bytes()).collect();
    k.put(k.buffer, &bad);
    r.note("bad", k.call(libc::SYS_utimensat, &[CWD, at, k.buffer, 0]));
    r.note("now", k.call(libc::SYS_utimensat, &[CWD, at, 0, 0]));
    k.call(libc::SYS_stat, &[at, k.buffer]);
    let bytes = k.get(k.buffer + 88, 8);
    r.note("recent", u64::from_le_bytes(bytes.try_into().unwrap()) > 1_700_000_000);
    let nothing = k.path("no");
    r.note("nothing", k.call(libc::SYS_utimensat, &[CWD, nothing, 0, 0]));
}
