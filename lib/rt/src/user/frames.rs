//! The memory that programs and their page tables are made of: whole frames of one block, reached by copy.

use crate::ram::{PAGE, address};
use alloc::alloc::{Layout, alloc, dealloc};
use alloc::vec::Vec;
use core::fmt;

/// Bytes of a frame.
const FRAME: usize = address(PAGE);

/// There is no memory for a block of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrames;

impl fmt::Display for NoFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too little memory for programs")
    }
}

impl core::error::Error for NoFrames {}

/// A block of frames. Every frame is zeroed before it is given out, and again when it comes back.
#[derive(Debug)]
pub struct Frames {
    base: u64,
    count: u32,
    /// Frames from this one on were never given out.
    fresh: u32,
    /// Frames that came back, zeroed.
    returned: Vec<u32>,
}

impl Frames {
    fn layout(count: u32) -> Option<Layout> {
        Layout::from_size_align((count as usize).checked_mul(FRAME)?, FRAME).ok()
    }

    /// Takes `bytes`, rounded down to whole frames, from the heap.
    ///
    /// # Errors
    /// [`NoFrames`] when the heap has no such block, or not one whole frame was asked for.
    pub fn take(bytes: u64) -> Result<Self, NoFrames> {
        let count = u32::try_from(bytes / PAGE).map_err(|_| NoFrames)?;
        let layout = Self::layout(count).filter(|layout| layout.size() > 0).ok_or(NoFrames)?;
        let mut returned = Vec::new();
        returned.try_reserve_exact(count as usize).map_err(|_| NoFrames)?;
        // SAFETY: the layout is not empty. Null (no memory) becomes an error.
        let block = unsafe { alloc(layout) };
        if block.is_null() {
            return Err(NoFrames);
        }
        Ok(Self { base: block.expose_provenance() as u64, count, fresh: 0, returned })
    }

    /// Bytes that can still be given out.
    #[must_use]
    pub fn left(&self) -> u64 {
        (u64::from(self.count - self.fresh) + self.returned.len() as u64) * PAGE
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.count) * PAGE
    }

    /// Gives out a zeroed frame: its address.
    pub(super) fn get(&mut self) -> Option<u64> {
        if let Some(number) = self.returned.pop() {
            return Some(self.base + u64::from(number) * PAGE);
        }
        let number = (self.fresh < self.count).then_some(self.fresh)?;
        self.fresh += 1;
        let frame = self.base + u64::from(number) * PAGE;
        self.zero(frame);
        Some(frame)
    }

    /// Takes a frame back, and zeroes it.
    pub(super) fn put(&mut self, frame: u64) {
        self.zero(frame);
        let number = u32::try_from(frame.wrapping_sub(self.base) / PAGE).unwrap_or(u32::MAX);
        if number < self.count {
            // There is room for every frame.
            self.returned.push(number);
        }
    }

    /// The place of `len` bytes at `offset` in `frame`; `None` when they are not inside one frame of this block.
    fn place(&self, frame: u64, offset: usize, len: usize) -> Option<*mut u8> {
        let inside = frame.checked_sub(self.base)? < self.size() && frame.is_multiple_of(PAGE);
        let fits = offset.checked_add(len)? <= FRAME;
        // The block's provenance was exposed when it was taken.
        (inside && fits)
            .then(|| core::ptr::with_exposed_provenance_mut::<u8>(address(frame)).wrapping_add(offset))
    }

    fn zero(&mut self, frame: u64) {
        if let Some(at) = self.place(frame, 0, FRAME) {
            // SAFETY: a whole frame of the block, to which no reference exists; no program runs meanwhile.
            unsafe { at.write_bytes(0, FRAME) }
        }
    }

    /// Copies from `frame` at `offset` to `out`; `false` when that is not inside one frame of this block.
    pub(super) fn read(&self, frame: u64, offset: usize, out: &mut [u8]) -> bool {
        let Some(at) = self.place(frame, offset, out.len()) else { return false };
        // SAFETY: inside one frame of the block, to which no reference exists (so `out` is elsewhere); no program
        // runs meanwhile.
        unsafe { at.copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) }
        true
    }

    /// Copies `data` to `frame` at `offset`; `false` as for [`Frames::read`].
    pub(super) fn write(&mut self, frame: u64, offset: usize, data: &[u8]) -> bool {
        let Some(at) = self.place(frame, offset, data.len()) else { return false };
        // SAFETY: as in `read`.
        unsafe { at.copy_from_nonoverlapping(data.as_ptr(), data.len()) }
        true
    }

    /// Reads entry `index` of the page table in `table`; 0 when there is none.
    pub(super) fn entry(&self, table: u64, index: usize) -> u64 {
        let Some(at) = index.checked_mul(8).and_then(|offset| self.place(table, offset, 8)) else { return 0 };
        // SAFETY: aligned and inside one frame of the block. Volatile, because the processor reads tables, too.
        unsafe { at.cast::<u64>().read_volatile() }
    }

    /// Writes entry `index` of the page table in `table`.
    pub(super) fn set_entry(&mut self, table: u64, index: usize, entry: u64) {
        if let Some(at) = index.checked_mul(8).and_then(|offset| self.place(table, offset, 8)) {
            // SAFETY: as in `entry`.
            unsafe { at.cast::<u64>().write_volatile(entry) }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.count) {
            // SAFETY: allocated in `take` with this layout; the space that used the frames is gone, and has removed
            // them from the page tables.
            unsafe { dealloc(core::ptr::with_exposed_provenance_mut(address(self.base)), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_frame_once_and_zeroed() {
        let mut frames = Frames::take(3 * PAGE + 5).unwrap();
        assert_eq!((frames.left(), frames.size()), (3 * PAGE, 3 * PAGE));
        let mut seen: Vec<u64> = (0..3).map(|_| frames.get().unwrap()).collect();
        assert_eq!((frames.get(), frames.left()), (None, 0));
        assert!(frames.write(seen[1], 4000, &[7; 96]));
        frames.put(seen[1]);
        assert_eq!((frames.left(), frames.get()), (PAGE, Some(seen[1])));
        let mut out = [1; 96];
        assert!(frames.read(seen[1], 4000, &mut out) && out == [0; 96]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|frame| frame.is_multiple_of(PAGE)));
    }

    #[test]
    fn stays_inside_one_frame_of_the_block() {
        let mut frames = Frames::take(2 * PAGE).unwrap();
        let frame = frames.get().unwrap();
        assert!(!frames.write(frame, 4090, &[1; 7]) && !frames.write(frame, usize::MAX, &[1; 7]));
        assert!(!frames.write(frame - PAGE, 0, &[1]) && !frames.write(frame + 2 * PAGE, 0, &[1]));
        assert!(!frames.write(frame + 1, 0, &[1]));
        frames.set_entry(frame, 512, 9);
        assert_eq!(frames.entry(frame, 512), 0);
        frames.set_entry(frame, 511, 9);
        assert_eq!(frames.entry(frame, 511), 9);
        frames.put(frame - PAGE);
        assert_eq!(frames.left(), PAGE, "a frame that is not ours does not come back");
    }

    #[test]
    fn a_block_without_a_frame_is_refused() {
        assert_eq!(Frames::take(PAGE - 1).unwrap_err(), NoFrames);
        assert_eq!(Frames::take(u64::MAX).unwrap_err(), NoFrames);
    }
}
