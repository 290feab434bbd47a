//! What is asked of the real function; a fake stands in for it in tests.

use super::open::Fault;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_REGION_INFO_FLAG_MMAP,
};
use vfio_ioctls::{VfioDevice, VfioError, VfioRegionInfoCap};
use vm_memory::{FileOffset, MmapRegion};
use vmm_sys_util::eventfd::EventFd;

/// A part of the function that can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Registers behind a BAR.
    Bar(u8),
    /// Configuration space.
    Config,
}

/// How the function interrupts; at most one is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqKind {
    /// The pin.
    IntX,
    /// Message signalled, one message.
    Msi,
    /// Message signalled, by table.
    MsiX,
}

/// A stretch of a BAR: offset and length in bytes.
pub type Area = (u64, u64);

/// The function as VFIO gives it.
pub trait Hardware: Send {
    /// Reads registers; bytes that cannot be read are 0xFF.
    fn read(&self, region: Region, offset: u64, data: &mut [u8]);
    /// Writes registers.
    fn write(&self, region: Region, offset: u64, data: &[u8]);
    /// Bytes of a region; 0 when it does not exist.
    fn size(&self, region: Region) -> u64;
    /// Parts of a BAR that may be mapped.
    fn areas(&self, bar: u8) -> Vec<Area>;
    /// Maps such a part into this process.
    ///
    /// # Errors
    /// What the host says.
    fn map(&self, bar: u8, area: Area) -> Result<MmapRegion, vm_memory::mmap::MmapRegionError>;
    /// Interrupts that the function has of this kind.
    fn interrupts(&self, kind: IrqKind) -> u16;
    /// Signals `events` at the interrupts of this kind, in order, from now on.
    ///
    /// # Errors
    /// What the host says.
    fn enable(&self, kind: IrqKind, events: &[&EventFd]) -> Result<(), VfioError>;
    /// Unmasks the pin at every signal of `event`.
    ///
    /// # Errors
    /// What the host says.
    fn unmask_by(&self, event: &EventFd) -> Result<(), VfioError>;
    /// Undoes `enable`.
    ///
    /// # Errors
    /// What the host says.
    fn disable(&self, kind: IrqKind) -> Result<(), VfioError>;
    /// Brings the function into the state after power-on, as far as it can be.
    fn reset(&self);
}

/// A function opened through VFIO.
///
/// Never dropped: the library's destructor opens files and panics when it cannot, as in a confined process.
/// The kernel closes and resets the function when the process ends.
pub struct VfioFunction {
    device: ManuallyDrop<VfioDevice>,
    file: File,
}

impl VfioFunction {
    pub(super) fn new(device: VfioDevice) -> Result<Self, Fault> {
        // SAFETY: the device owns the descriptor and is alive during the call, which duplicates it.
        let file = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }.try_clone_to_owned();
        Ok(Self { device: ManuallyDrop::new(device), file: file.map_err(Fault::Descriptor)?.into() })
    }
}

impl Region {
    fn index(self) -> u32 {
        match self {
            Self::Bar(bar) => bar.into(),
            Self::Config => VFIO_PCI_CONFIG_REGION_INDEX,
        }
    }
}

impl IrqKind {
    fn index(self) -> u32 {
        match self {
            Self::IntX => VFIO_PCI_INTX_IRQ_INDEX,
            Self::Msi => VFIO_PCI_MSI_IRQ_INDEX,
            Self::MsiX => VFIO_PCI_MSIX_IRQ_INDEX,
        }
    }
}

impl Hardware for VfioFunction {
    fn read(&self, region: Region, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        self.device.region_read(region.index(), data, offset);
    }

    fn write(&self, region: Region, offset: u64, data: &[u8]) {
        self.device.region_write(region.index(), data, offset);
    }

    fn size(&self, region: Region) -> u64 {
        self.device.get_region_size(region.index())
    }

    fn areas(&self, bar: u8) -> Vec<Area> {
        let region = Region::Bar(bar).index();
        if self.device.get_region_flags(region) & VFIO_REGION_INFO_FLAG_MMAP == 0 {
            return Vec::new();
        }
        let sparse = self.device.get_region_caps(region).into_iter().find_map(|cap| match cap {
            VfioRegionInfoCap::SparseMmap(sparse) => Some(sparse.areas),
            _ => None,
        });
        sparse.map_or_else(
            || vec![(0, self.device.get_region_size(region))],
            |areas| areas.iter().map(|area| (area.offset, area.size)).collect(),
        )
    }

    fn map(&self, bar: u8, (offset, len): Area) -> Result<MmapRegion, vm_memory::mmap::MmapRegionError> {
        let start = self.device.get_region_offset(Region::Bar(bar).index()) + offset;
        let failed = vm_memory::mmap::MmapRegionError::Mmap;
        let place = FileOffset::new(self.file.try_clone().map_err(failed)?, start);
        MmapRegion::from_file(place, usize::try_from(len).map_err(|e| failed(std::io::Error::other(e)))?)
    }

    fn interrupts(&self, kind: IrqKind) -> u16 {
        let count = self.device.get_irq_info(kind.index()).map_or(0, |irq| irq.count);
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    fn enable(&self, kind: IrqKind, events: &[&EventFd]) -> Result<(), VfioError> {
        self.device.enable_irq(kind.index(), events.to_vec())
    }

    fn unmask_by(&self, event: &EventFd) -> Result<(), VfioError> {
        self.device.set_irq_resample_fd(IrqKind::IntX.index(), vec![event])
    }

    fn disable(&self, kind: IrqKind) -> Result<(), VfioError> {
        self.device.disable_irq(kind.index())
    }

    fn reset(&self) {
        self.device.reset();
    }
}

#[cfg(test)]
pub(super) mod tests;
