//! What network cards there are. Reads only; what cannot be read is left out.

use super::{Host, link_target};
use crate::name::Bdf;
use serde::Serialize;
use std::path::Path;

/// PCI base class of network controllers.
const CLASS_NETWORK: u32 = 0x02;
/// PCI class of PCI-to-PCI bridges.
const CLASS_BRIDGE: u32 = 0x0604;
/// Longest list of names that is read, in bytes.
const MAX_PCI_IDS: u64 = 8 * 1024 * 1024;

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Address.
    pub bdf: Bdf,
    /// Vendor.
    pub vendor: u16,
    /// Device of that vendor.
    pub device: u16,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// The driver that has it now.
    pub driver: Option<String>,
    /// IOMMU group.
    pub group: Option<String>,
    /// How it can be reset from outside, as the kernel lists it.
    pub reset: Vec<String>,
    /// Interfaces of this machine that it carries.
    pub interfaces: Vec<String>,
    /// MSI-X vectors, where the configuration space can be read.
    pub msix: Option<u16>,
    /// Whether it has MSI; absent like `msix`.
    pub msi: Option<bool>,
}

impl Function {
    /// Whether it is a network controller.
    #[must_use]
    pub const fn is_network(&self) -> bool {
        self.class >> 16 == CLASS_NETWORK
    }

    /// Whether it is a PCI bridge, which may share a group with what is behind it.
    #[must_use]
    pub const fn is_bridge(&self) -> bool {
        self.class >> 8 == CLASS_BRIDGE
    }

    /// `8086:10d3`.
    #[must_use]
    pub fn ids(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl Host {
    /// Every network controller.
    #[must_use]
    pub fn network_cards(&self) -> Vec<Function> {
        let bdfs = self.names("sys/bus/pci/devices").into_iter().filter_map(|n| n.parse().ok());
        bdfs.filter_map(|bdf| self.find(bdf)).filter(Function::is_network).collect()
    }

    /// One function, if it is there.
    #[must_use]
    pub fn find(&self, bdf: Bdf) -> Option<Function> {
        let path = self.function(bdf);
        let hex =
            |name: &str| u32::from_str_radix(self.text(path.join(name)).trim_start_matches("0x"), 16).ok();
        let (msi, msix) =
            capabilities(&path.join("config")).map_or((None, None), |(a, b)| (Some(a), Some(b)));
        Some(Function {
            bdf,
            vendor: u16::try_from(hex("vendor")?).ok()?,
            device: u16::try_from(hex("device")?).ok()?,
            class: hex("class")?,
            driver: link_target(&path.join("driver")),
            group: link_target(&path.join("iommu_group")),
            reset: self.text(path.join("reset_method")).split_whitespace().map(str::to_owned).collect(),
            interfaces: self.names(path.join("net")),
            msix,
            msi,
        })
    }

    /// The other members of a function's IOMMU group.
    #[must_use]
    pub fn neighbours(&self, function: &Function) -> Vec<Function> {
        let Some(group) = &function.group else { return Vec::new() };
        let members = self.names(Path::new("sys/kernel/iommu_groups").join(group).join("devices"));
        let bdfs = members.iter().filter_map(|n| n.parse().ok()).filter(|b| *b != function.bdf);
        bdfs.filter_map(|bdf| self.find(bdf)).collect()
    }

    /// The name of a function in the list of PCI identifiers, if this machine has one.
    #[must_use]
    pub fn model(&self, function: &Function) -> Option<String> {
        let lists = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
        let list = lists
            .iter()
            .map(|l| self.root.join(l))
            .find(|l| std::fs::metadata(l).is_ok_and(|m| m.is_file() && m.len() <= MAX_PCI_IDS))?;
        let text = std::fs::read(list).ok()?;
        model_in(&String::from_utf8_lossy(&text), function)
    }
}

fn model_in(list: &str, function: &Function) -> Option<String> {
    let vendor_line = format!("{:04x}  ", function.vendor);
    let device_line = format!("\t{:04x}  ", function.device);
    let mut lines = list.lines();
    let vendor = lines.find_map(|l| l.strip_prefix(&vendor_line))?;
    let mut devices = lines.take_while(|l| l.starts_with('\t') || l.starts_with('#'));
    let device = devices.find_map(|l| l.strip_prefix(&device_line))?;
    Some(crate::console::printable(&format!("{vendor} {device}")))
}

/// Whether there is MSI, and how many MSI-X vectors: PCI Local Bus 3.0, 6.7 and 6.8. Needs root to read past
/// the first 64 bytes.
fn capabilities(config: &Path) -> Option<(bool, u16)> {
    let bytes = std::fs::read(config).ok().filter(|b| b.len() >= 256)?;
    let word = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (mut msi, mut msix) = (false, 0);
    let mut at = usize::from(*bytes.get(0x34)? & 0xfc);
    // A capability takes at least four bytes, so a chain in 256 bytes has at most 48 links.
    for _ in 0..48 {
        if at < 0x40 {
            break;
        }
        match *bytes.get(at)? {
            0x05 => msi = true,
            0x11 => msix = (word(at + 2)? & 0x7ff) + 1,
            _ => {}
        }
        at = usize::from(*bytes.get(at + 1)? & 0xfc);
    }
    Some((msi, msix))
}
