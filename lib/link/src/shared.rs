//! The only access to memory that a peer can change under our feet. `unsafe` is allowed in this file alone.
//!
//! No reference into a region is ever made: words are atomics, payloads are copied by instructions that the
//! compiler cannot see through, so that it can neither repeat a load nor move it behind a check. Every access
//! is bounded; one that is not within the region does nothing.
#![expect(unsafe_code, reason = "raw shared memory is reached here and nowhere else")]

use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    layout::{HEADER_LEN, RECORD_ALIGN, RECORD_HEADER, Word},
    record::Header,
};

/// Orders our index or threshold before the load of the peer's; see `wakeup`.
#[inline]
pub(crate) fn fence() {
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// The region that this end writes and the peer reads.
#[derive(Debug)]
pub struct Writable(Region);

/// The region that the peer writes at any moment; nothing here writes to it.
#[derive(Debug)]
pub struct ReadOnly(Region);

impl Writable {
    /// Takes over a region of `len` bytes at `ptr`.
    ///
    /// # Safety
    /// Until the returned value is dropped, `len` bytes at `ptr` must be mapped readable and writable, in
    /// memory of which this program holds no Rust reference and which nobody can take away (a sealed memfd, a
    /// window of the link device). `ptr` must be aligned to 4096 bytes. No other `Writable` may overlap.
    #[must_use]
    pub unsafe fn new(ptr: NonNull<u8>, len: usize) -> Self {
        Self(Region::new(ptr, len))
    }

    /// Bytes of the region.
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// Stores a word; everything written before is visible to who loads it.
    #[inline]
    pub(crate) fn store(&self, word: Word, value: u64) {
        if let Some(word) = self.0.word(word as usize) {
            word.store(value, Ordering::Release);
        }
    }

    /// Writes a record at `offset` of the data: its header, then `parts` one after the other.
    #[inline]
    pub(crate) fn write_record(&mut self, offset: usize, header: Header, parts: &[&[u8]]) {
        let Some(mut room) = self.0.record(offset) else { return };
        room.header_out(header);
        for part in parts {
            room.copy_in(part);
        }
    }
}

impl Writable {
    /// Writes a plain frame's record at `offset` of the data.
    #[inline(always)]
    pub(crate) fn write_plain(&mut self, offset: usize, frame: &[u8]) {
        let Some(mut room) = self.0.record(offset) else { return };
        room.header_out([frame.len() as u64, 0]);
        room.copy_in(frame);
    }
}

#[cfg(any(test, feature = "host"))]
impl Writable {
    /// Copies `bytes` anywhere into the region, as only a peer that follows no rule does.
    pub(crate) fn scribble(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(left) = self.0.len.checked_sub(offset) {
            // SAFETY: in range.
            Room { at: unsafe { self.0.base.add(offset) }, left }.copy_in(bytes);
        }
    }
}

impl ReadOnly {
    /// Takes over a region of `len` bytes at `ptr`.
    ///
    /// # Safety
    /// Until the returned value is dropped, `len` bytes at `ptr` must be mapped readable, in memory of which
    /// this program holds no Rust reference and which nobody can take away (a sealed memfd, a window of the
    /// link device). `ptr` must be aligned to 4096 bytes. The content may change at any time.
    #[must_use]
    pub unsafe fn new(ptr: NonNull<u8>, len: usize) -> Self {
        Self(Region::new(ptr, len))
    }

    /// Bytes of the region.
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// Loads a word once; what its writer wrote before is visible after.
    #[inline]
    pub(crate) fn load(&self, word: Word) -> u64 {
        self.0.word(word as usize).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Copies a record's header at `offset` of the data; each word is loaded once.
    #[inline(always)]
    pub(crate) fn read_header(&self, offset: usize) -> Header {
        self.0.record(offset).map_or([u64::MAX; 2], |mut room| room.header_in())
    }

    /// Copies the payload of the record at `offset` of the data to `out`.
    #[inline(always)]
    pub(crate) fn read_payload(&self, offset: usize, out: &mut [u8]) {
        if let Some(mut room) = self.0.record(offset) {
            room.skip_header();
            room.copy_out(out);
        }
    }
}

/// Where a region lies. The base and length are private memory and never change.
#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Last offset at which a record's header fits.
    record_end: usize,
    /// Keeps the memory, if it is of this process.
    #[cfg(any(test, feature = "host"))]
    _memory: Option<std::sync::Arc<Memory>>,
}

// SAFETY: a region belongs to whoever holds it, on whichever thread; it is reached through atomics and copies
// that expect concurrent change.
unsafe impl Send for Region {}

impl Region {
    fn new(base: NonNull<u8>, len: usize) -> Self {
        Self {
            base,
            len,
            record_end: len.saturating_sub(RECORD_HEADER),
            #[cfg(any(test, feature = "host"))]
            _memory: None,
        }
    }

    /// The word at `offset` bytes from the start of the region.
    #[inline]
    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset >= self.len || self.len - offset < 8 {
            return None;
        }
        // SAFETY: in range and, as the base is aligned to a page, aligned; an atomic may be changed by others.
        Some(unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) })
    }

    /// What is left of the region from the record at `offset` of the data, if at least its header fits.
    #[inline(always)]
    fn record(&self, offset: usize) -> Option<Room> {
        let offset = (HEADER_LEN + offset) & !(RECORD_ALIGN - 1);
        if offset > self.record_end {
            return None;
        }
        // SAFETY: in range, see above.
        Some(Room { at: unsafe { self.base.add(offset) }, left: self.len - offset })
    }
}

/// A place in a region and the bytes that follow it; every access moves on and stays within them.
/// A header is only reached right after [`Region::record`], which saw to its room and alignment.
struct Room {
    at: NonNull<u8>,
    left: usize,
}

impl Room {
    #[inline(always)]
    fn header_out(&mut self, [first, second]: Header) {
        // SAFETY: a header's room and alignment were checked, and an atomic may be changed by others.
        unsafe {
            AtomicU64::from_ptr(self.at.as_ptr().cast()).store(first, Ordering::Relaxed);
            AtomicU64::from_ptr(self.at.add(8).as_ptr().cast()).store(second, Ordering::Relaxed);
        }
        self.skip_header();
    }

    #[inline(always)]
    fn header_in(&mut self) -> Header {
        // SAFETY: a header's room and alignment were checked, and an atomic may be changed by others.
        unsafe {
            [
                AtomicU64::from_ptr(self.at.as_ptr().cast()).load(Ordering::Relaxed),
                AtomicU64::from_ptr(self.at.add(8).as_ptr().cast()).load(Ordering::Relaxed),
            ]
        }
    }

    #[inline(always)]
    fn skip_header(&mut self) {
        // SAFETY: the header is within the region.
        self.at = unsafe { self.at.add(RECORD_HEADER) };
        self.left -= RECORD_HEADER;
    }

    /// Copies `bytes` here; nothing happens if they do not fit.
    #[inline(always)]
    fn copy_in(&mut self, bytes: &[u8]) {
        if bytes.len() > self.left {
            return;
        }
        // SAFETY: there is room for `bytes.len()` bytes, and `bytes` is private memory.
        unsafe {
            copy(bytes.as_ptr(), self.at.as_ptr(), bytes.len());
            self.at = self.at.add(bytes.len());
        }
        self.left -= bytes.len();
    }

    /// Fills `out` from here; nothing happens if there is less.
    #[inline(always)]
    fn copy_out(&mut self, out: &mut [u8]) {
        if out.len() > self.left {
            return;
        }
        // SAFETY: `out.len()` bytes follow, and `out` is private memory.
        unsafe { copy(self.at.as_ptr(), out.as_mut_ptr(), out.len()) }
    }
}

/// Copies `len` bytes, of which one side may be changing.
///
/// Opaque to the compiler: the copy is complete before anything looks at it, and nothing is loaded from the
/// source afterwards. Short and long copies end with a block that overlaps the one before.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and they must not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every block lies within the first `len` bytes of both sides.
    unsafe {
        match len {
            64.. => {
                let last = len - 64;
                let mut at = 0;
                while at < last {
                    block::copy_64(from.add(at), to.add(at));
                    at += 64;
                }
                block::copy_64(from.add(last), to.add(last));
            }
            32..64 => both_ends(block::copy_32, from, to, (len, 32)),
            16..32 => both_ends(block::copy_16, from, to, (len, 16)),
            8..16 => both_ends(block::copy_8, from, to, (len, 8)),
            _ => {
                for at in 0..len {
                    to.add(at).write_volatile(from.add(at).read_volatile());
                }
            }
        }
    }
}

/// Copies the first and the last `size` bytes of `len`.
///
/// # Safety
/// As [`copy`], and `size <= len`.
#[inline(always)]
unsafe fn both_ends(
    block: unsafe fn(*const u8, *mut u8),
    from: *const u8,
    to: *mut u8,
    (len, size): (usize, usize),
) {
    // SAFETY: both blocks are within `len` bytes.
    unsafe {
        block(from, to);
        block(from.add(len - size), to.add(len - size));
    }
}

/// Blocks by SSE2, which every x86-64 processor has.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod block {
    use core::arch::asm;

    /// # Safety
    /// 64 bytes at `from` must be readable and at `to` writable.
    #[inline(always)]
    pub(super) unsafe fn copy_64(from: *const u8, to: *mut u8) {
        // SAFETY: touches those bytes and scratch registers only.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + 32], {c}",
                "movups [{to} + 48], {d}",
                from = in(reg) from, to = in(reg) to,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// 32 bytes at `from` must be readable and at `to` writable.
    #[inline(always)]
    pub(super) unsafe fn copy_32(from: *const u8, to: *mut u8) {
        // SAFETY: touches those bytes and scratch registers only.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                from = in(reg) from, to = in(reg) to, a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// 16 bytes at `from` must be readable and at `to` writable.
    #[inline(always)]
    pub(super) unsafe fn copy_16(from: *const u8, to: *mut u8) {
        // SAFETY: touches those bytes and a scratch register only.
        unsafe {
            asm!(
                "movups {a}, [{from}]",
                "movups [{to}], {a}",
                from = in(reg) from, to = in(reg) to, a = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    /// 8 bytes at `from` must be readable and at `to` writable.
    #[inline(always)]
    pub(super) unsafe fn copy_8(from: *const u8, to: *mut u8) {
        // SAFETY: touches those bytes and a scratch register only.
        unsafe {
            asm!(
                "mov {a}, [{from}]",
                "mov [{to}], {a}",
                from = in(reg) from, to = in(reg) to, a = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Blocks byte by byte, for interpreters and other processors.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod block {
    macro_rules! block {
        ($name:ident, $len:literal) => {
            /// # Safety
            /// The block's bytes at `from` must be readable and at `to` writable.
            #[inline(always)]
            pub(super) unsafe fn $name(from: *const u8, to: *mut u8) {
                for at in 0..$len {
                    // SAFETY: within the block.
                    unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) }
                }
            }
        };
    }
    block!(copy_64, 64);
    block!(copy_32, 32);
    block!(copy_16, 16);
    block!(copy_8, 8);
}

/// Zeroed memory of this process, freed when the last view of it goes.
#[cfg(any(test, feature = "host"))]
#[derive(Debug)]
struct Memory(NonNull<u8>, std::alloc::Layout);

#[cfg(any(test, feature = "host"))]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout by `in_process`, and no view is left.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), self.1) }
    }
}

/// Both views of a fresh region of `len` bytes in this process. For tests, benches and host tools.
#[cfg(any(test, feature = "host"))]
pub(crate) fn in_process(len: usize) -> Result<(Writable, ReadOnly), crate::BadGeometry> {
    let layout =
        std::alloc::Layout::from_size_align(len.max(HEADER_LEN), 4096).map_err(|_| crate::BadGeometry)?;
    // SAFETY: the layout is not empty.
    let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
    let base = base.unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
    #[expect(clippy::arc_with_non_send_sync, reason = "only its count is used, and that is atomic")]
    let memory = Some(std::sync::Arc::new(Memory(base, layout)));
    let view = || Region { _memory: memory.clone(), ..Region::new(base, layout.size()) };
    Ok((Writable(view()), ReadOnly(view())))
}
