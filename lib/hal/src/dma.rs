//! Memory that a device can read and write at any moment.
//!
//! A driver never holds a reference into such memory: every access copies, so a device that changes a
//! byte between two looks cannot make the driver contradict itself.

/// One contiguous piece of device-visible memory, zeroed when handed out, owned by one driver for good.
pub trait DmaRegion {
    /// Address of the first byte as the device sees it.
    fn bus_addr(&self) -> u64;
    /// Length in bytes.
    fn len(&self) -> usize;
    /// Whether the region has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies `out.len()` bytes from `offset`; `false`, and nothing copied, when out of range.
    #[must_use]
    fn read(&self, offset: usize, out: &mut [u8]) -> bool;
    /// Copies `data` to `offset`; `false`, and nothing copied, when out of range.
    #[must_use]
    fn write(&self, offset: usize, data: &[u8]) -> bool;
    /// One untorn 64-bit load at an 8-byte aligned `offset`; all ones when out of range or misaligned.
    fn read_u64(&self, offset: usize) -> u64;
    /// One untorn 64-bit store at an 8-byte aligned `offset`; nothing when out of range or misaligned.
    fn write_u64(&self, offset: usize, value: u64);
}

/// The arena from which a driver takes its rings and buffers at start-up; nothing is ever given back.
pub trait Dma {
    /// What this arena hands out.
    type Region: DmaRegion;
    /// Takes `len` bytes aligned to `align` (a power of two); `None` when the arena is exhausted.
    fn alloc(&mut self, len: usize, align: usize) -> Option<Self::Region>;
}

/// Orders descriptor contents before the register write that hands them to the device, and a descriptor's
/// done bit before its other fields. x86 is strongly ordered for write-back memory: a compiler fence would
/// do, a full fence costs nothing measurable next to the register write.
pub fn fence() {
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
