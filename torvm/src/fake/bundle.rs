//! A bundle with a program that the loader takes.

use alloc::format;
use alloc::vec::Vec;

/// Flags of a segment.
const R: u32 = 4;
const RW: u32 = 6;
const RX: u32 = 5;

/// A program header: kind, flags, offset in the file, address, bytes in the file, bytes in memory.
pub type Header = (u32, u32, u64, u64, u64, u64);

/// Headers of a sound program: something to read, something to execute, something to write, thread-local storage, a
/// stack.
#[must_use]
pub fn headers() -> [Header; 5] {
    [
        (1, R, 0, 0, 0x400, 0x400),
        (1, RX, 0x400, 0x1400, 0x200, 0x200),
        (1, RW, 0x600, 0x2600, 0x100, 0x2000),
        (7, R, 0x600, 0x2600, 0x10, 0x20),
        (0x6474_E551, RW, 0, 0, 0, 0),
    ]
}

/// An ELF file with these headers, which begins at 0x1410.
#[must_use]
pub fn program(headers: &[Header]) -> Vec<u8> {
    let mut out = Vec::from([0x7F, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    for word in [0x1410, 64, 0] {
        out.extend(u64::to_le_bytes(word));
    }
    let count = u8::try_from(headers.len()).unwrap_or(u8::MAX);
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, count, 0, 64, 0, 0, 0, 0, 0]);
    for (kind, flags, offset, at, in_file, in_memory) in headers {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for word in [*offset, *at, *at, *in_file, *in_memory, 0x1000] {
            out.extend(word.to_le_bytes());
        }
    }
    out.resize(0x400, 0x11);
    out.resize(0x600, 0x22);
    out.resize(0x700, 0x33);
    out
}

/// An archive as `cpio -H newc` makes it. A path that ends in a slash is a directory.
#[must_use]
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, bytes) in members {
        let mode = if path.ends_with('/') { 0o40_755 } else { 0o100_755 };
        member(&mut out, path.trim_end_matches('/'), mode, bytes);
    }
    member(&mut out, "TRAILER!!!", 0, b"");
    out
}

/// Adds a member to an archive.
pub(crate) fn member(out: &mut Vec<u8>, path: &str, mode: usize, bytes: &[u8]) {
    out.extend(b"070701");
    let numbers = [1, mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, path.len() + 1, 0];
    numbers.iter().for_each(|n| out.extend(format!("{n:08x}").bytes()));
    out.extend(path.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}
