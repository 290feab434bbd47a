//! Where in the program's memory the bytes of a call are: in several pieces, or in one.

use super::Done;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::memory::{UserMemory, read_u64};
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::vec::Vec;

/// Most pieces (`IOV_MAX`).
const MOST: u64 = 1024;

/// What a call moves at most, in bytes: more than all files and buffers of sockets hold. Devices would go on for long, as
/// pieces can lie over each other.
const MOST_BYTES: usize = 16 << 20;

/// A piece: address and length.
pub(super) type Piece = (u64, usize);

/// Reads the list of pieces; what is too much of them is cut.
pub(super) fn pieces(memory: &impl UserMemory, at: u64, count: u64) -> Result<Vec<Piece>, Errno> {
    if count > MOST {
        return Err(Errno::INVAL);
    }
    let (mut out, mut left) = (Vec::new(), MOST_BYTES);
    for index in 0..count {
        let entry = at.checked_add(16 * index).ok_or(Errno::FAULT)?;
        let address = read_u64(memory, entry)?;
        let len = read_u64(memory, entry.checked_add(8).ok_or(Errno::FAULT)?)?;
        if len > i64::MAX as u64 {
            return Err(Errno::INVAL);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        left -= len;
        if len > 0 {
            out.push((address, len));
        }
    }
    Ok(out)
}

/// What of the pieces lies behind their first `skip` bytes, `most` bytes of it. What would lie beyond the last address
/// lies there, where nobody has anything.
pub(super) fn parts(pieces: &[Piece], skip: usize, most: usize) -> impl Iterator<Item = Piece> {
    let (mut skip, mut left) = (skip, most);
    pieces.iter().filter_map(move |&(address, len)| {
        let before = len.min(skip);
        skip -= before;
        let here = (len - before).min(left);
        left -= here;
        (here > 0).then_some((address.saturating_add(before as u64), here))
    })
}

/// Copies together what lies behind the first `skip` bytes of the pieces, as much as there is room for; returns how much
/// that is.
pub(super) fn gather(
    memory: &impl UserMemory,
    pieces: &[Piece],
    skip: usize,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    let mut done = 0;
    for (address, len) in parts(pieces, skip, buffer.len()) {
        let place = buffer.get_mut(done..done + len).ok_or(Errno::INVAL)?;
        memory.read(address, place)?;
        done += len;
    }
    Ok(done)
}

/// Copies to what lies behind the first `skip` bytes of the pieces.
pub(super) fn scatter(
    memory: &mut impl UserMemory,
    pieces: &[Piece],
    skip: usize,
    bytes: &[u8],
) -> Result<(), Errno> {
    let mut rest = bytes;
    for (address, len) in parts(pieces, skip, bytes.len()) {
        let (here, behind) = rest.split_at(rest.len().min(len));
        memory.write(address, here)?;
        rest = behind;
    }
    Ok(())
}

/// How much the pieces hold.
pub(super) fn total(pieces: &[Piece]) -> usize {
    pieces.iter().map(|(_, len)| len).sum()
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// `readv`.
    pub(super) fn readv(&mut self, fd: i32, at: u64, count: u64) -> Done {
        let to = pieces(self.memory(), at, count)?;
        self.read_pieces(fd, &to, None)
    }

    /// `writev`.
    pub(super) fn writev(&mut self, fd: i32, at: u64, count: u64) -> Done {
        let from = pieces(self.memory(), at, count)?;
        self.write_pieces(fd, &from, None)
    }
}
