//! Reading and writing several pieces at once. What does not fit into the layer's buffer is left for the next call, as a
//! short result allows.

use super::{Done, Stop};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::layer::Layer;
use crate::memory::{UserMemory, read_u64};
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::vec::Vec;

/// Most pieces (`IOV_MAX`).
const MOST: u64 = 1024;

/// A piece: address and length.
type Piece = (u64, usize);

/// Reads the list of pieces, up to `room` bytes in all.
pub(super) fn pieces(
    memory: &impl UserMemory,
    at: u64,
    count: u64,
    room: usize,
) -> Result<Vec<Piece>, Errno> {
    if count > MOST {
        return Err(Errno::INVAL);
    }
    let (mut out, mut left) = (Vec::new(), room);
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

/// Copies the pieces together; returns how much that is.
pub(super) fn gather(memory: &impl UserMemory, pieces: &[Piece], buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    for (address, len) in pieces {
        let place = buffer.get_mut(done..done + len).ok_or(Errno::INVAL)?;
        memory.read(*address, place)?;
        done += len;
    }
    Ok(done)
}

/// Copies to the pieces.
pub(super) fn scatter(memory: &mut impl UserMemory, pieces: &[Piece], bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    for (address, len) in pieces {
        let (here, behind) = rest.split_at(rest.len().min(*len));
        memory.write(*address, here)?;
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
        self.with_scratch(|layer, buffer| {
            let pieces = pieces(layer.memory(), at, count, buffer.len())?;
            let room = buffer.get_mut(..total(&pieces)).ok_or(Errno::INVAL)?;
            let got = layer.read_into(fd, room)?;
            scatter(layer.memory(), &pieces, room.get(..got).unwrap_or_default())?;
            Ok::<_, Stop>(got as u64)
        })
    }

    /// `writev`.
    pub(super) fn writev(&mut self, fd: i32, at: u64, count: u64) -> Done {
        self.with_scratch(|layer, buffer| {
            let pieces = pieces(layer.memory(), at, count, buffer.len())?;
            let len = gather(layer.memory(), &pieces, buffer)?;
            let bytes = buffer.get(..len).unwrap_or_default();
            layer.write_from(fd, bytes).map(|done| done as u64)
        })
    }
}
