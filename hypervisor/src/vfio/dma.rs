//! What an assigned function may reach: the DMA arena of a unikernel, or all RAM of a Linux machine, at
//! guest-physical addresses. Never a link, never another device's registers.

use super::open::{Container, Fault};
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// A range of guest-physical addresses within one piece of RAM: base and length in bytes.
pub type Range = (u64, u64);

/// The top `arena` bytes of low memory, which is where the boot record says the arena is; with 0, all RAM.
#[must_use]
pub fn ranges(memory: &GuestMemoryMmap, arena: u64) -> Vec<Range> {
    let mut pieces =
        GuestMemoryBackend::iter(memory).map(|piece| (piece.start_addr().raw_value(), piece.len()));
    if arena == 0 {
        return pieces.collect();
    }
    let low = pieces.find(|(base, len)| *base == 0 && *len >= arena);
    low.map(|(_, len)| (len - arena, arena)).into_iter().collect()
}

/// Lets the container's functions reach a range, at the guest's own addresses.
///
/// # Errors
/// [`Fault::Map`] when the range is not RAM or the host refuses.
pub fn map(container: &Container, memory: &GuestMemoryMmap, (base, len): Range) -> Result<(), Fault> {
    let size = usize::try_from(len).map_err(|_| Fault::NoMemory { base, len })?;
    let slice = GuestMemoryBackend::get_slice(memory, GuestAddress(base), size);
    let slice = slice.map_err(|_| Fault::NoMemory { base, len })?;
    let start = slice.ptr_guard_mut().as_ptr();
    // SAFETY: `start` is valid for `size` bytes, as `get_slice` checked. The mapping of guest RAM lives as
    // long as the process (`memory.rs`), which ends by `exit`, upon which the kernel unpins it. Nobody holds
    // references into guest RAM: vm-memory accesses it by volatile copies alone.
    let mapped = unsafe { container.vfio().vfio_dma_map(base, size, start) };
    mapped.map_err(|error| Fault::Map { base, len, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Layout, allocate};

    #[test]
    fn only_the_top_of_low_memory_is_the_arena() {
        let memory = allocate(Layout::new(64 << 20)).unwrap();
        assert_eq!(ranges(&memory, 4 << 20), [(60 << 20, 4 << 20)]);
        assert_eq!(ranges(&memory, 0), [(0, 64 << 20)]);
        assert_eq!(ranges(&memory, 65 << 20), [], "larger than memory: nothing rather than anything");
    }

    #[test]
    fn a_linux_machine_is_mapped_on_both_sides_of_the_hole() {
        let memory = allocate(Layout::new((3 << 30) + (1 << 20))).unwrap();
        assert_eq!(ranges(&memory, 0), [(0, 3 << 30), (4 << 30, 1 << 20)]);
        assert_eq!(ranges(&memory, 1 << 20), [((3 << 30) - (1 << 20), 1 << 20)]);
    }
}
