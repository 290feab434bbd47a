//! What is in a file: chunks, and under them the bytes of the bundle that nobody wrote to yet.

use crate::errno::Errno;
use crate::headroom;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;

/// Bytes of a chunk.
pub const CHUNK: usize = 4096;
/// Longest file.
pub const LONGEST: u64 = 64 << 20;

/// What is in a file. What was never written is zero and takes no memory.
#[derive(Debug, Default)]
pub struct Content {
    len: u64,
    fixed: &'static [u8],
    chunks: BTreeMap<usize, Box<[u8]>>,
}

impl Content {
    /// These bytes, not copied before they are written to.
    #[must_use]
    pub fn fixed(bytes: &'static [u8]) -> Self {
        Self { len: bytes.len() as u64, fixed: bytes, ..Self::default() }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Chunks that take memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.chunks.len()
    }

    /// All of it, when it is still as the bundle had it.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&'static [u8]> {
        (self.chunks.is_empty() && self.len == self.fixed.len() as u64).then_some(self.fixed)
    }

    /// Copies from `at`; returns how much, 0 at the end.
    pub fn read(&self, at: u64, out: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        let Ok(at) = usize::try_from(at) else { return 0 };
        let mut done = 0;
        while done < len {
            let (index, offset) = ((at + done) / CHUNK, (at + done) % CHUNK);
            let here = (CHUNK - offset).min(len - done);
            let Some(piece) = out.get_mut(done..done + here) else { return done };
            match self.chunks.get(&index).and_then(|c| c.get(offset..offset + here)) {
                Some(bytes) => piece.copy_from_slice(bytes),
                None => copy_or_zero(self.fixed.get(at + done..).unwrap_or_default(), piece),
            }
            done += here;
        }
        done
    }

    /// Writes up to the end of the chunk that `at` lies in, with at most `budget` new chunks; returns how much.
    ///
    /// # Errors
    /// [`Errno::FBIG`], [`Errno::NOSPC`].
    pub fn write(&mut self, at: u64, bytes: &[u8], budget: usize) -> Result<usize, Errno> {
        if at >= LONGEST {
            return Err(Errno::FBIG);
        }
        let start = usize::try_from(at).map_err(|_| Errno::FBIG)?;
        let (index, offset) = (start / CHUNK, start % CHUNK);
        let len = bytes.len().min(CHUNK - offset);
        let chunk = self.chunk(index, budget)?;
        let place = chunk.get_mut(offset..offset + len).ok_or(Errno::NOSPC)?;
        place.copy_from_slice(bytes.get(..len).ok_or(Errno::NOSPC)?);
        self.len = self.len.max(at + len as u64);
        Ok(len)
    }

    /// Cuts it off or makes it longer, by zeros.
    ///
    /// # Errors
    /// [`Errno::FBIG`].
    pub fn set_len(&mut self, len: u64) -> Result<(), Errno> {
        if len > LONGEST {
            return Err(Errno::FBIG);
        }
        if len < self.len {
            let keep = usize::try_from(len).map_err(|_| Errno::FBIG)?;
            let (index, offset) = (keep / CHUNK, keep % CHUNK);
            // What comes behind the cut in its own chunk must be zero should the file grow again.
            if let Some(tail) = self.chunks.get_mut(&index).and_then(|chunk| chunk.get_mut(offset..)) {
                tail.fill(0);
            }
            self.fixed = self.fixed.get(..keep).unwrap_or(self.fixed);
            self.chunks.split_off(&keep.div_ceil(CHUNK));
        }
        self.len = len;
        Ok(())
    }

    /// A chunk to write to.
    fn chunk(&mut self, index: usize, budget: usize) -> Result<&mut [u8], Errno> {
        if !self.chunks.contains_key(&index) {
            let chunk = if budget == 0 { None } else { headroom::zeros(CHUNK) };
            let mut chunk = chunk.ok_or(Errno::NOSPC)?;
            copy_or_zero(self.fixed.get(index * CHUNK..).unwrap_or_default(), &mut chunk);
            self.chunks.insert(index, chunk.into_boxed_slice());
        }
        self.chunks.get_mut(&index).map(|chunk| &mut **chunk).ok_or(Errno::NOSPC)
    }
}

/// Copies what there is, and zeros behind it.
fn copy_or_zero(from: &[u8], to: &mut [u8]) {
    let len = from.len().min(to.len());
    let (head, tail) = to.split_at_mut(len);
    head.copy_from_slice(from.get(..len).unwrap_or_default());
    tail.fill(0);
}
