//! What a unikernel is handed at entry, as the first PVH module (`hvm_start_info.modlist_paddr`).
//!
//! A unikernel that boots without this module (stock QEMU) falls back to what it can find itself.

/// First eight bytes of a [`BootInfo`], little endian ("BULKHEAD").
pub const MAGIC: u64 = u64::from_le_bytes(*b"BULKHEAD");

/// Layout version; bumped on any change of meaning or offset.
pub const VERSION: u32 = 1;

/// Fixed-size record at the start of the boot module. All fields little endian, addresses guest-physical.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of this record in bytes.
    pub size: u32,
    /// Frequency of the time-stamp counter in kHz; 0 when unknown.
    pub tsc_khz: u64,
    /// Base of the PCI ECAM window of bus 0; 0 when there is none.
    pub ecam_base: u64,
    /// Start of the memory that assigned devices may reach; 0 when no device is assigned.
    pub dma_base: u64,
    /// Length in bytes of the DMA arena.
    pub dma_len: u64,
    /// Start of memory that outlives this domain; its content is untrusted input. 0 when there is none.
    pub state_base: u64,
    /// Length in bytes of the surviving memory.
    pub state_len: u64,
    /// Wall clock at entry, nanoseconds since the Unix epoch; 0 when unknown.
    pub wall_clock_ns: u64,
    /// Fresh random bytes from the host, never used twice.
    pub seed: [u8; 64],
    /// Domain name, UTF-8, padded with NUL.
    pub name: [u8; 32],
}

const _: () = {
    assert!(core::mem::size_of::<BootInfo>() == 168);
    assert!(core::mem::offset_of!(BootInfo, tsc_khz) == 16);
    assert!(core::mem::offset_of!(BootInfo, wall_clock_ns) == 64);
    assert!(core::mem::offset_of!(BootInfo, seed) == 72);
    assert!(core::mem::offset_of!(BootInfo, name) == 136);
};
