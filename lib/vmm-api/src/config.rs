//! Description of one virtual machine.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file the machine needs: a descriptor that dom0 opened, or (standalone use) a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRef {
    /// Number of an inherited descriptor.
    Fd(i32),
    /// A path, opened before the process is confined.
    Path(PathBuf),
}

/// Everything a machine is made of. dom0 writes it, `bulkhead-vmm` checks it before anything else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Domain name, for messages and the boot record; 1 to 31 bytes.
    pub name: String,
    /// ELF with a PVH note, or a bzImage.
    pub kernel: FileRef,
    /// Initial RAM disk of a Linux machine.
    #[serde(default)]
    pub initrd: Option<FileRef>,
    /// Kernel command line.
    #[serde(default)]
    pub cmdline: String,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Number of virtual processors.
    #[serde(default = "one")]
    pub vcpus: u8,
    /// Whether to hand over a [`abi::boot_info::BootInfo`] module (unikernels), in front of the initrd if there is one.
    #[serde(default)]
    pub boot_info: bool,
    /// Where the serial console goes; standard output when absent. Read from the same descriptor.
    #[serde(default)]
    pub console: Option<FileRef>,
    /// Descriptor of `/dev/kvm`; opened by name when absent.
    #[serde(default)]
    pub kvm: Option<FileRef>,
    /// Ports of the link device; 0 leaves the device out.
    #[serde(default)]
    pub link_ports: u8,
    /// Network interfaces of a Linux machine; each is a link end behind virtio-net.
    #[serde(default)]
    pub vifs: Vec<Vif>,
    /// Block devices in order (`vda`, `vdb`, …).
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Context identifier of the vsock device; absent leaves the device out.
    #[serde(default)]
    pub vsock_cid: Option<u32>,
    /// A tap device as virtio-net, for a netvm without an assigned NIC.
    #[serde(default)]
    pub tap: Option<FileRef>,
    /// Assigned PCI devices.
    #[serde(default)]
    pub devices: Vec<AssignedDevice>,
    /// MiB at the top of memory that assigned devices may reach; unikernels only. 0 with a device
    /// assigned to a Linux machine maps all of its memory.
    #[serde(default)]
    pub dma_arena_mib: u32,
    /// Memory that outlives the machine (a sealed memfd), for a unikernel's flow state.
    #[serde(default)]
    pub state: Option<FileRef>,
}

const fn one() -> u8 {
    1
}

/// A virtio-net interface whose other end is a link to the firewall domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vif {
    /// MAC address that the guest sees.
    pub mac: [u8; 6],
    /// Largest IP packet, without GSO, in bytes.
    #[serde(default = "mtu")]
    pub mtu: u16,
}

const fn mtu() -> u16 {
    1500
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Raw image or block device.
    pub image: FileRef,
    /// What happens to writes.
    pub mode: DiskMode,
}

/// What happens to writes to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskMode {
    /// The guest sees a read-only disk.
    ReadOnly,
    /// Writes reach the image.
    ReadWrite,
    /// Writes are seen by this run of the machine only and are gone when it ends.
    Volatile,
}

/// A PCI device given to the machine through VFIO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignedDevice {
    /// Host address, `0000:01:00.0`.
    pub bdf: String,
}
