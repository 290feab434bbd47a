//! Writes that only this run of the machine sees.
//!
//! Here: a sparse private memory file and a map of the blocks that live in it; everything else is read from
//! the shared image. Not here: requests. Called by `disk`.

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Copying granularity in bytes: one page, so that the file's holes match.
pub const BLOCK: u64 = BLOCK_LEN as u64;
const BLOCK_LEN: usize = 4096;

/// The changed blocks of a disk.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    len: u64,
    /// One bit per block: set when the block lives here.
    present: Vec<u64>,
    blocks: u64,
}

impl Overlay {
    /// Makes an empty overlay for a disk of `len` bytes.
    ///
    /// # Errors
    /// No memory file to be had, or a size that makes no sense.
    pub fn new(len: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("bulkhead-volatile-disk", MemfdFlags::CLOEXEC)?);
        ftruncate(&file, len)?;
        let words = usize::try_from(len.div_ceil(BLOCK).div_ceil(64))
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(Self { file, len, present: vec![0; words], blocks: 0 })
    }

    /// Blocks that live here now.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads `[offset, offset + into.len())`, which is within the disk.
    ///
    /// # Errors
    /// What either file says.
    pub fn read(&self, base: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            let (here, run) = self.run(at, (into.len() - done) as u64);
            let part = &mut into[done..done + to_usize(run)];
            if here {
                self.file.read_exact_at(part, at)?
            } else {
                base.read_exact_at(part, at)?
            }
            done += part.len();
        }
        Ok(())
    }

    /// Writes within the disk; blocks written in part are completed from `base` first.
    ///
    /// # Errors
    /// What either file says; memory may have run out.
    pub fn write(&mut self, base: &File, offset: u64, from: &[u8]) -> io::Result<()> {
        let end = offset + from.len() as u64;
        self.adopt_edges(base, offset..end)?;
        self.file.write_all_at(from, offset)?;
        self.mark(offset..end);
        Ok(())
    }

    /// Makes a range read as zeroes and gives its memory back.
    ///
    /// # Errors
    /// What either file says.
    pub fn zero(&mut self, base: &File, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.adopt_edges(base, range.clone())?;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, mode, range.start, range.end - range.start)?;
        self.mark(range);
        Ok(())
    }

    /// Copies the first and last block of a range from `base` where the range covers them in part.
    fn adopt_edges(&mut self, base: &File, range: Range<u64>) -> io::Result<()> {
        if !range.start.is_multiple_of(BLOCK) {
            self.adopt(base, range.start / BLOCK)?;
        }
        if !range.end.is_multiple_of(BLOCK) && range.end != self.len {
            self.adopt(base, range.end / BLOCK)?;
        }
        Ok(())
    }

    fn adopt(&mut self, base: &File, block: u64) -> io::Result<()> {
        if self.has(block) {
            return Ok(());
        }
        let start = block * BLOCK;
        let mut bytes = [0; BLOCK_LEN];
        let part = &mut bytes[..to_usize((self.len - start).min(BLOCK))];
        base.read_exact_at(part, start)?;
        self.file.write_all_at(part, start)?;
        self.set(block);
        Ok(())
    }

    /// Whether the block at `offset` lives here, and for how many bytes (at most `most`) that stays so.
    fn run(&self, offset: u64, most: u64) -> (bool, u64) {
        let here = self.has(offset / BLOCK);
        let mut end = (offset / BLOCK + 1) * BLOCK;
        while end < offset + most && self.has(end / BLOCK) == here {
            end += BLOCK;
        }
        (here, (end - offset).min(most))
    }

    fn mark(&mut self, range: Range<u64>) {
        for block in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            self.set(block);
        }
    }

    fn has(&self, block: u64) -> bool {
        self.present.get(to_usize(block / 64)).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn set(&mut self, block: u64) {
        if !self.has(block)
            && let Some(word) = self.present.get_mut(to_usize(block / 64))
        {
            *word |= 1 << (block % 64);
            self.blocks += 1;
        }
    }
}

/// Lengths here are bounded by buffers and by the map, which were allocated.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
