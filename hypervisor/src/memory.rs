//! Guest RAM: one sealed memfd, mapped shared, split around the 32-bit hole.

use abi::memory_map::{HIGH_RAM, LOW_RAM_END};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{Advice, madvise};
use std::fs::File;
use std::sync::Arc;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};

use crate::memslots::{Access, GuestWindow, MemorySlots, SlotError};

/// First KVM slot of RAM; `memslots` counts from 0 and stays below.
const FIRST_RAM_SLOT: u32 = 1024;

/// Why there is no guest memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host refused.
    #[error("cannot get {mib} MiB of guest memory from the host: {error}")]
    Host {
        /// How much.
        mib: u64,
        /// What the host says.
        error: rustix::io::Errno,
    },
    /// The mapping failed.
    #[error("cannot map guest memory: {0}")]
    Map(String),
    /// KVM refused.
    #[error("KVM refused guest memory at {base:#x}: {error}")]
    Kvm {
        /// Guest address.
        base: u64,
        /// What KVM says.
        error: kvm_ioctls::Error,
    },
}

/// Where RAM lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from address 0.
    pub low: u64,
    /// Bytes from [`HIGH_RAM`].
    pub high: u64,
}

impl Layout {
    /// Splits `bytes` of RAM around the 32-bit hole.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let low = bytes.min(LOW_RAM_END);
        Self { low, high: bytes - low }
    }
}

/// Makes guest memory: `MAP_SHARED` on a memfd that can neither shrink nor grow.
///
/// # Errors
/// [`MemoryError`] when the host has not that much.
pub fn allocate(layout: Layout) -> Result<GuestMemoryMmap, MemoryError> {
    let total = layout.low + layout.high;
    let host = |error| MemoryError::Host { mib: total >> 20, error };
    let memfd = memfd_create("guest-ram", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(host)?;
    ftruncate(&memfd, total).map_err(host)?;
    fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(host)?;
    let file = Arc::new(File::from(memfd));
    let mut regions = vec![region(&file, 0, 0, layout.low)?];
    if layout.high > 0 {
        regions.push(region(&file, HIGH_RAM, layout.low, layout.high)?);
    }
    GuestMemoryMmap::from_regions(regions).map_err(|e| MemoryError::Map(e.to_string()))
}

fn region(file: &Arc<File>, base: u64, offset: u64, len: u64) -> Result<GuestRegionMmap, MemoryError> {
    let len = usize::try_from(len).map_err(|e| MemoryError::Map(e.to_string()))?;
    let place = Some(FileOffset::from_arc(Arc::clone(file), offset));
    let region = GuestRegionMmap::from_range(GuestAddress(base), len, place)
        .map_err(|e| MemoryError::Map(e.to_string()))?;
    // SAFETY: the range is the mapping just made; the advice changes no content.
    let advised = unsafe { madvise(region.as_ptr().cast(), len, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        tracing::debug!(%error, "no transparent huge pages for guest memory");
    }
    Ok(region)
}

/// Shows the memory to the virtual machine.
///
/// # Errors
/// [`MemoryError::Kvm`].
pub fn install(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), MemoryError> {
    for (slot, region) in (FIRST_RAM_SLOT..).zip(GuestMemoryBackend::iter(memory)) {
        let base = region.start_addr().0;
        let described = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: base,
            memory_size: region.len(),
            userspace_addr: region.as_ptr().addr() as u64,
        };
        // SAFETY: the mapping lives as long as the process: the machine keeps a clone of `memory`, and the
        // process leaves by `exit` while the virtual machine is closed by the kernel.
        unsafe { vm.set_user_memory_region(described) }.map_err(|error| MemoryError::Kvm { base, error })?;
    }
    Ok(())
}

/// Memory that outlives the machine, shown at [`abi::memory_map::STATE_BASE`].
///
/// # Errors
/// A message when the file is no memfd of an acceptable size.
pub fn install_state(slots: &Arc<MemorySlots>, file: File) -> Result<(GuestWindow, u64), String> {
    let len = file.metadata().map_err(|e| e.to_string())?.len();
    if len == 0 || len % 4096 != 0 || len > abi::memory_map::STATE_MAX {
        return Err(format!("{len} bytes: must be whole pages, at most {}", abi::memory_map::STATE_MAX));
    }
    let seals = rustix::fs::fcntl_get_seals(&file).map_err(|e| format!("not a memfd: {e}"))?;
    if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
        return Err("must be sealed against shrinking and growing".into());
    }
    let size = usize::try_from(len).map_err(|e| e.to_string())?;
    let mapping = vm_memory::MmapRegion::from_file(FileOffset::new(file, 0), size);
    let mapping = Arc::new(mapping.map_err(|e| e.to_string())?);
    let show = || -> Result<GuestWindow, SlotError> {
        let mut window = GuestWindow::new(slots, mapping, Access::ReadWrite)?;
        window.place(Some(abi::memory_map::STATE_BASE))?;
        Ok(window)
    };
    Ok((show().map_err(|e| e.to_string())?, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn ram_is_split_around_the_hole() {
        assert_eq!(Layout::new(64 << 20), Layout { low: 64 << 20, high: 0 });
        assert_eq!(Layout::new(4 << 30), Layout { low: LOW_RAM_END, high: 1 << 30 });
    }

    #[test]
    fn memory_beyond_the_hole_is_usable() {
        let memory = allocate(Layout::new(LOW_RAM_END + (16 << 20))).unwrap();
        memory.write_obj(0x1234_u32, GuestAddress(HIGH_RAM + 0x1000)).unwrap();
        memory.write_obj(0x5678_u32, GuestAddress(0x1000)).unwrap();
        assert_eq!(memory.read_obj::<u32>(GuestAddress(HIGH_RAM + 0x1000)).unwrap(), 0x1234);
        assert!(memory.write_obj(0_u32, GuestAddress(LOW_RAM_END)).is_err());
    }
}
