//! What a guest sees of an assigned function's configuration space.
//!
//! Pure: read once from the function, then a copy of ours answers. Shown are identity, BARs, and of the
//! capabilities: power management (fixed in D0), PCI Express (as an integrated endpoint without link),
//! MSI (one message), MSI-X. Everything else does not exist for the guest: extended capabilities (ATS, PRI,
//! PASID, SR-IOV, resizable BARs, ACS), vendor-specific ones, the expansion ROM, function-level reset, ASPM.

use super::hardware::{Area, Hardware, IrqKind, Region};
use crate::pci::config::{BadLayout, BarKind, Identity, PciConfig, bar_offset};
use crate::pci::msix::{ENTRY, Place};

const HEADER_TYPE: usize = 0x0E;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const FIRST_POINTER: usize = 0x34;
/// Bytes that a capability list can lie in; 48 capabilities of four bytes fill them.
const LEGACY: usize = 256;
const MAX_CAPABILITIES: usize = 48;

const ID_POWER: u8 = 0x01;
const ID_MSI: u8 = 0x05;
const ID_EXPRESS: u8 = 0x10;
const ID_MSIX: u8 = 0x11;

/// Power management: version 3, no D1, D2 or PME; state D0, which is also kept over D3hot (NoSoftRst).
const POWER: [u8; 6] = [0x03, 0x00, 0x08, 0x00, 0x00, 0x00];
/// PCI Express, version 2: root complex integrated endpoint, payload of 128 bytes, role-based errors.
const EXPRESS: [u8; 58] = {
    let mut body = [0; 58];
    body[0] = 0x92;
    body[3] = 0x80;
    body
};
/// MSI: 64-bit address, one message, no masking by vector.
const MSI: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const MSI_WRITABLE: [u8; 12] = [0x01, 0, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Why a function cannot be shown to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    /// Bridges and CardBus.
    #[error("header type {0:#x} is not that of a device")]
    HeaderType(u8),
    /// MSI-X lies where it cannot lie.
    #[error("the device's MSI-X table or pending bits lie outside its BARs")]
    MsixPlace,
    /// The host kernel and the function disagree.
    #[error("the device has {0} MSI-X vectors but the host offers {1}")]
    MsixCount(u16, u16),
    /// A BAR that cannot be expressed.
    #[error(transparent)]
    Layout(#[from] BadLayout),
}

/// The guest's view.
pub struct Shown {
    /// Configuration space, MSI-X still to be added.
    pub config: PciConfig,
    /// The function's MSI-X, if it has any.
    pub msix: Option<MsixShape>,
    /// Where the MSI capability was put, if the function has one.
    pub msi: Option<u16>,
}

/// MSI-X of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixShape {
    /// Number of vectors.
    pub vectors: u16,
    /// Where table and pending bits are.
    pub place: Place,
}

impl MsixShape {
    /// Table and pending bits as BAR and area.
    #[must_use]
    pub fn holes(&self) -> Vec<(u8, Area)> {
        let pending = u64::from(self.vectors.div_ceil(64)) * 8;
        vec![
            (self.place.table_bar, (self.place.table_offset.into(), u64::from(self.vectors) * ENTRY)),
            (self.place.pba_bar, (self.place.pba_offset.into(), pending)),
        ]
    }
}

/// Reads the function and makes the guest's view of it.
///
/// # Errors
/// [`Unsuitable`].
pub fn show(hardware: &impl Hardware) -> Result<Shown, Unsuitable> {
    let mut bytes = [0; LEGACY];
    for (word, chunk) in (0_u64..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
        hardware.read(Region::Config, word, chunk);
    }
    let physical = Physical(&bytes);
    let header = physical.u8(HEADER_TYPE) & 0x7F;
    if header != 0 {
        return Err(Unsuitable::HeaderType(header));
    }
    let mut config = PciConfig::new(&physical.identity());
    physical.add_bars(hardware, &mut config)?;
    if hardware.interrupts(IrqKind::IntX) > 0 {
        config.set(crate::pci::config::INTERRUPT_PIN, &[1]);
    }
    if physical.capability(ID_POWER).is_some() {
        config.add_capability(ID_POWER, &POWER, &[])?;
    }
    if physical.capability(ID_EXPRESS).is_some() {
        config.add_capability(ID_EXPRESS, &EXPRESS, &[])?;
    }
    let has_msi = physical.capability(ID_MSI).is_some() && hardware.interrupts(IrqKind::Msi) > 0;
    let msi = has_msi.then(|| config.add_capability(ID_MSI, &MSI, &MSI_WRITABLE)).transpose()?;
    let msix = physical.msix(hardware, &config)?;
    Ok(Shown { config, msix, msi })
}

/// The first 256 bytes of the function's own configuration space: untrusted.
struct Physical<'a>(&'a [u8; LEGACY]);

impl Physical<'_> {
    fn u8(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0xFF)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.u8(at), self.u8(at + 1)])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn identity(&self) -> Identity {
        Identity {
            vendor: self.u16(0x00),
            device: self.u16(0x02),
            class: self.u32(0x08) >> 8,
            revision: self.u8(0x08),
            subsystem_vendor: self.u16(0x2C),
            subsystem: self.u16(0x2E),
        }
    }

    /// Sizes come from the host kernel, kinds from the registers.
    fn add_bars(&self, hardware: &impl Hardware, config: &mut PciConfig) -> Result<(), Unsuitable> {
        let mut bar = 0;
        while bar < 6 {
            let kind = bar_kind(self.u32(usize::from(bar_offset(bar))));
            let size = hardware.size(Region::Bar(bar));
            if size > 0 {
                config.add_bar(bar, kind, size)?;
            }
            bar += if size > 0 && kind.is_64() { 2 } else { 1 };
        }
        Ok(())
    }

    /// Finds a capability; a list that loops or leaves its place ends.
    fn capability(&self, id: u8) -> Option<usize> {
        if self.u16(0x06) & STATUS_CAPABILITIES == 0 {
            return None;
        }
        let mut at = usize::from(self.u8(FIRST_POINTER) & !3);
        for _ in 0..MAX_CAPABILITIES {
            if at < 0x40 {
                return None;
            }
            if self.u8(at) == id {
                return Some(at);
            }
            at = usize::from(self.u8(at + 1) & !3);
        }
        None
    }

    fn msix(&self, hardware: &impl Hardware, config: &PciConfig) -> Result<Option<MsixShape>, Unsuitable> {
        let offered = hardware.interrupts(IrqKind::MsiX);
        let Some(at) = self.capability(ID_MSIX).filter(|_| offered > 0) else { return Ok(None) };
        let vectors = (self.u16(at + 2) & 0x7FF) + 1;
        if vectors != offered {
            return Err(Unsuitable::MsixCount(vectors, offered));
        }
        let ([table_bar, ..], [pba_bar, ..]) =
            ((self.u32(at + 4) & 7).to_le_bytes(), (self.u32(at + 8) & 7).to_le_bytes());
        let (table_offset, pba_offset) = (self.u32(at + 4) & !7, self.u32(at + 8) & !7);
        let place = Place { table_bar, table_offset, pba_bar, pba_offset };
        let shape = MsixShape { vectors, place };
        let inside = |(bar, (offset, len)): &(u8, Area)| {
            config.bar(*bar).is_some_and(|bar| !bar.kind.is_io() && offset + len <= bar.size)
        };
        if shape.holes().iter().all(inside) { Ok(Some(shape)) } else { Err(Unsuitable::MsixPlace) }
    }
}

/// Kind of a BAR from the low bits of its register (PCI 3.0, 6.2.5.1).
fn bar_kind(register: u32) -> BarKind {
    match (register & 1, register >> 1 & 3, register >> 3 & 1) {
        (1, _, _) => BarKind::Io,
        (_, 2, 0) => BarKind::Memory64,
        (_, 2, _) => BarKind::Memory64Prefetch,
        (_, _, 0) => BarKind::Memory32,
        _ => BarKind::Memory32Prefetch,
    }
}

#[cfg(test)]
pub(super) mod tests;
