//! The heap: `talc` behind a lock that keeps interrupts off.
//!
//! For start-up and the control plane; nothing on the packet path allocates.

use crate::ram::{Range, address};
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use talc::{TalcLock, source::Manual};

/// A lock for one processor: taking it turns interrupts off, releasing it restores them.
struct InterruptsOff {
    taken: AtomicBool,
    were_on: AtomicU8,
}

// SAFETY: with interrupts off nothing else runs on the only processor; `taken` catches re-entry from an
// exception handler, which then finds the lock taken instead of a half-changed heap.
unsafe impl lock_api::RawMutex for InterruptsOff {
    const INIT: Self = Self { taken: AtomicBool::new(false), were_on: AtomicU8::new(0) };
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        if !self.try_lock() {
            crate::panic::die(format_args!("the heap was used while it was being changed"));
        }
    }

    fn try_lock(&self) -> bool {
        let were_on = crate::interrupts::disable();
        if self.taken.swap(true, Ordering::Acquire) {
            crate::interrupts::restore(were_on);
            return false;
        }
        self.were_on.store(u8::from(were_on), Ordering::Relaxed);
        true
    }

    unsafe fn unlock(&self) {
        let were_on = self.were_on.load(Ordering::Relaxed) != 0;
        self.taken.store(false, Ordering::Release);
        crate::interrupts::restore(were_on);
    }
}

/// The global allocator of an image; empty until boot gives it memory.
pub struct Heap(TalcLock<InterruptsOff, Manual>);

impl Heap {
    /// An allocator without memory.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "used once, in a static")]
    pub const fn new() -> Self {
        Self(TalcLock::new(Manual))
    }

    /// Gives the heap its memory; `false` when the range is too small.
    ///
    /// # Safety
    /// `range` is mapped writable memory that nothing else uses, for ever.
    pub(crate) unsafe fn provide(&self, range: Range) -> bool {
        let base = core::ptr::with_exposed_provenance_mut(address(range.start));
        // SAFETY: by the caller's promise.
        unsafe { self.0.lock().claim(base, address(range.len())).is_some() }
    }
}

// SAFETY: every call goes to talc, under its lock, unchanged.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { self.0.dealloc(ptr, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}
