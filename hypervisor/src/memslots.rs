//! Memory that appears inside a BAR: shared regions of links, register pages of assigned devices.
//!
//! `unsafe` is confined to handing a mapping to KVM; the mapping is owned by the slot that uses it.

use crate::pci::bus::lock;
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Mutex};
use vm_memory::MmapRegion;

/// Memory slots at most; far below KVM's limit.
const MAX_SLOTS: u32 = 512;

/// Whether the guest may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes reach the memory.
    ReadWrite,
    /// Writes exit and are dropped.
    ReadOnly,
}

/// Why a slot cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// All slots are in use.
    #[error("all {MAX_SLOTS} memory slots are in use")]
    Exhausted,
    /// KVM refused.
    #[error("KVM refused {len:#x} bytes of memory at {base:#x}: {error}")]
    Kvm {
        /// Guest address.
        base: u64,
        /// Length in bytes.
        len: usize,
        /// What KVM says.
        error: kvm_ioctls::Error,
    },
}

/// Gives out KVM memory slot numbers.
pub struct MemorySlots {
    vm: Arc<VmFd>,
    used: Mutex<Vec<bool>>,
}

impl MemorySlots {
    /// Starts with every slot free.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Arc<Self> {
        Arc::new(Self { vm, used: Mutex::new(vec![false; MAX_SLOTS as usize]) })
    }

    fn take(&self) -> Result<u32, SlotError> {
        let mut used = lock(&self.used);
        let free = used.iter().position(|used| !used).ok_or(SlotError::Exhausted)?;
        used[free] = true;
        u32::try_from(free).map_err(|_| SlotError::Exhausted)
    }

    fn give_back(&self, slot: u32) {
        lock(&self.used)[slot as usize] = false;
    }
}

/// A mapping of this process that the guest sees while its place is decoded. Removed from the guest when
/// dropped, before the mapping goes.
pub struct GuestWindow {
    slots: Arc<MemorySlots>,
    slot: u32,
    mapping: Arc<MmapRegion>,
    access: Access,
    base: Option<u64>,
}

impl GuestWindow {
    /// Reserves a slot for `mapping`; nothing is visible to the guest yet.
    ///
    /// # Errors
    /// [`SlotError::Exhausted`].
    pub fn new(
        slots: &Arc<MemorySlots>,
        mapping: Arc<MmapRegion>,
        access: Access,
    ) -> Result<Self, SlotError> {
        let slot = slots.take()?;
        Ok(Self { slots: Arc::clone(slots), slot, mapping, access, base: None })
    }

    /// Shows the mapping at `base`, or nowhere.
    ///
    /// # Errors
    /// [`SlotError::Kvm`]; the mapping is then nowhere.
    pub fn place(&mut self, base: Option<u64>) -> Result<(), SlotError> {
        if self.base == base {
            return Ok(());
        }
        if let Some(old) = self.base.take() {
            self.set(old, 0)?;
        }
        if let Some(new) = base {
            self.set(new, self.mapping.size())?;
            self.base = base;
        }
        Ok(())
    }

    fn set(&self, base: u64, len: usize) -> Result<(), SlotError> {
        let region = kvm_userspace_memory_region {
            slot: self.slot,
            flags: if self.access == Access::ReadOnly { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: base,
            memory_size: len as u64,
            userspace_addr: self.mapping.as_ptr().addr() as u64,
        };
        // SAFETY: the region is `mapping`, which this value keeps alive until the slot is deleted (length 0)
        // in `place` or `drop`; the process never accesses it through a Rust reference.
        let set = unsafe { self.slots.vm.set_user_memory_region(region) };
        set.map_err(|error| SlotError::Kvm { base, len, error })
    }
}

impl Drop for GuestWindow {
    fn drop(&mut self) {
        match self.place(None) {
            Ok(()) => self.slots.give_back(self.slot),
            // The guest still sees the memory: keep the mapping for good rather than let it dangle.
            Err(error) => {
                tracing::error!(%error, "memory slot could not be removed");
                std::mem::forget(Arc::clone(&self.mapping));
            }
        }
    }
}
