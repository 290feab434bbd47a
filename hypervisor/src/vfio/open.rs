//! Opening a device through VFIO, and what to tell the operator when that fails.

use super::hardware::VfioFunction;
use super::sysfs::Sysfs;
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use kvm_ioctls::VmFd;
use rustix::io::Errno;
use std::sync::Arc;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioError, VfioOps};

/// Why a device cannot be assigned: the thing, the reason, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not an address.
    #[error("{0:?} is not a PCI address; write it like 0000:01:00.0, in small letters")]
    Address(String),
    /// No IOMMU groups.
    #[error("no IOMMU: enable VT-d or AMD-Vi in the firmware, and boot Intel hosts with intel_iommu=on")]
    NoIommu,
    /// Nothing there.
    #[error("{0}: no such device; see `bulkhead nic list`")]
    NoDevice(String),
    /// Another driver has it.
    #[error("{bdf}: bound to {driver}, not to vfio-pci; give it up with `bulkhead nic assign {bdf} DOMAIN`")]
    NotBound {
        /// The device.
        bdf: String,
        /// Who has it.
        driver: String,
    },
    /// The group has members that the host uses.
    #[error(
        "{bdf}: shares IOMMU group {group} with {neighbours}; move the card to another slot, or choose another device"
    )]
    SharedGroup {
        /// The device.
        bdf: String,
        /// Its group.
        group: String,
        /// Who else is in it.
        neighbours: String,
    },
    /// RMRR.
    #[error(
        "{0}: the firmware lets it reach fixed memory (RMRR), which only the vendor can change; choose another device"
    )]
    FixedMapping(String),
    /// No way to reset it.
    #[error(
        "{0}: the host has no way to reset it, so it would keep what an earlier owner did; choose another device or slot"
    )]
    NoReset(String),
    /// Somebody has it open.
    #[error("{0}: already in use by another machine or program")]
    InUse(String),
    /// VFIO is not there.
    #[error("VFIO is not available: {0}; load the module vfio-pci")]
    NoVfio(std::io::Error),
    /// VFIO has no IOMMU driver.
    #[error("VFIO has no IOMMU driver: load the module vfio_iommu_type1")]
    NoType1,
    /// The group's device file is missing although the device is bound.
    #[error("{bdf}: no /dev/vfio/{group}; bind the device again, a built-in driver may still own it")]
    NoGroupFile {
        /// The device.
        bdf: String,
        /// Its group.
        group: String,
    },
    /// No interrupt remapping.
    #[error(
        "{0}: the host has no interrupt remapping, so the device could forge interrupts; enable it (x2APIC, VT-d) in the firmware"
    )]
    NoInterruptRemapping(String),
    /// Anything else.
    #[error("{bdf}: {error}")]
    Vfio {
        /// The device.
        bdf: String,
        /// What VFIO says.
        error: VfioError,
    },
    /// KVM lacks its VFIO device.
    #[error("KVM cannot work with VFIO: {0}; load the module kvm with VFIO support")]
    Kvm(kvm_ioctls::Error),
    /// Out of descriptors.
    #[error("cannot duplicate the device's descriptor: {0}")]
    Descriptor(std::io::Error),
    /// Not RAM.
    #[error("{len:#x} bytes at {base:#x} are not guest memory")]
    NoMemory {
        /// Guest address.
        base: u64,
        /// Bytes.
        len: u64,
    },
    /// The IOMMU refused.
    #[error("the IOMMU refuses {len:#x} bytes of guest memory at {base:#x}: {error}{}", memlock(error, *len))]
    Map {
        /// Guest address.
        base: u64,
        /// Bytes.
        len: u64,
        /// What VFIO says.
        error: VfioError,
    },
}

/// The remedy, if it is the usual reason.
fn memlock(error: &VfioError, len: u64) -> String {
    match error {
        VfioError::IommuDmaMap(os) if os.errno() == Errno::NOMEM.raw_os_error() => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
            let allowed = limit.map_or("unlimited".into(), |bytes| format!("{} KiB", bytes >> 10));
            format!(
                "; it must be locked in memory: {} KiB needed, {allowed} allowed (RLIMIT_MEMLOCK)",
                len >> 10
            )
        }
        _ => String::new(),
    }
}

/// The IOMMU context that all assigned devices of a machine share.
pub struct Container {
    vfio: Arc<VfioContainer>,
    sysfs: Sysfs,
}

impl Container {
    /// Opens `/dev/vfio/vfio` and tells KVM about it.
    ///
    /// # Errors
    /// [`Fault::Kvm`], [`Fault::NoVfio`], [`Fault::NoType1`].
    pub fn new(vm: &VmFd, sysfs: Sysfs) -> Result<Self, Fault> {
        let mut device = kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, fd: 0, flags: 0 };
        let bridge = VfioDeviceFd::new_from_kvm(vm.create_device(&mut device).map_err(Fault::Kvm)?);
        let vfio = VfioContainer::new(Some(Arc::new(bridge))).map_err(|error| match error {
            VfioError::OpenContainer(error) => Fault::NoVfio(error),
            VfioError::VfioExtension => Fault::NoType1,
            other => Fault::NoVfio(std::io::Error::other(other)),
        })?;
        Ok(Self { vfio: Arc::new(vfio), sysfs })
    }

    pub(super) fn vfio(&self) -> &VfioContainer {
        &self.vfio
    }

    /// Opens one device that was checked. The kernel resets it at this moment.
    ///
    /// # Errors
    /// [`Fault`], naming the device.
    pub fn open(&self, bdf: &str) -> Result<VfioFunction, Fault> {
        let ops: Arc<dyn VfioOps> = Arc::<VfioContainer>::clone(&self.vfio);
        let opened = VfioDevice::new(&self.sysfs.device(bdf), ops, false);
        VfioFunction::new(opened.map_err(|error| explain(bdf, error))?)
    }
}

/// Turns the library's error into what the operator can act upon.
fn explain(bdf: &str, error: VfioError) -> Fault {
    let bdf = bdf.to_owned();
    let is = |code: Option<i32>, errno: Errno| code == Some(errno.raw_os_error());
    match &error {
        VfioError::OpenGroup(os, _) if is(os.raw_os_error(), Errno::BUSY) => Fault::InUse(bdf),
        VfioError::OpenGroup(os, group) if is(os.raw_os_error(), Errno::NOENT) => {
            Fault::NoGroupFile { bdf, group: group.clone() }
        }
        VfioError::ContainerSetIOMMU(os) if os.errno() == Errno::PERM.raw_os_error() => {
            Fault::NoInterruptRemapping(bdf)
        }
        VfioError::GroupGetDeviceFD(os) if os.errno() == Errno::BUSY.raw_os_error() => Fault::InUse(bdf),
        _ => Fault::Vfio { bdf, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_errors_are_explained() {
        let os = |errno: Errno| std::io::Error::from_raw_os_error(errno.raw_os_error());
        let text = |error| explain("0000:01:00.0", error).to_string();
        assert!(text(VfioError::OpenGroup(os(Errno::BUSY), "7".into())).contains("already in use"));
        assert!(text(VfioError::OpenGroup(os(Errno::NOENT), "7".into())).contains("/dev/vfio/7"));
        let refused = vmm_sys_util::errno::Error::new(Errno::PERM.raw_os_error());
        assert!(text(VfioError::ContainerSetIOMMU(refused)).contains("interrupt remapping"));
        assert!(text(VfioError::GroupViable).contains("0000:01:00.0"));
    }

    #[test]
    fn a_lack_of_lockable_memory_is_told_with_both_numbers() {
        let error = VfioError::IommuDmaMap(vmm_sys_util::errno::Error::new(Errno::NOMEM.raw_os_error()));
        let text = Fault::Map { base: 0, len: 4 << 20, error }.to_string();
        assert!(text.contains("4096 KiB needed") && text.contains("RLIMIT_MEMLOCK"), "{text}");
    }
}
