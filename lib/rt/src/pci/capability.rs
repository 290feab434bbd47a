//! The list of capabilities in configuration space. Pure over [`Config`].

use super::config::{Address, Config};
use heapless::Vec;

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is (PCI Code and ID Assignment §2).
    pub id: u8,
    /// Where its registers start.
    pub offset: u16,
}

/// MSI-X.
pub(super) const MSI_X: u8 = 0x11;

/// Vendor-specific; virtio describes its register blocks with these.
pub(crate) const VENDOR_SPECIFIC: u8 = 0x09;

const STATUS_HAS_LIST: u32 = 1 << 20;

/// Walks the list (PCI 3.0 §6.7). 48 entries fill the whole space, so a longer list is a loop and is cut.
pub fn capabilities<C: Config>(config: &C, function: Address) -> Vec<Capability, 48> {
    let mut found = Vec::new();
    if config.read(function, 0x04) & STATUS_HAS_LIST == 0 {
        return found;
    }
    let mut offset = config.read(function, 0x34) & 0xFC;
    while offset >= 0x40 {
        let at = (offset & 0xFC) as u16;
        let header = config.read(function, at);
        if found.push(Capability { id: (header & 0xFF) as u8, offset: at }).is_err() {
            break;
        }
        offset = header >> 8 & 0xFC;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::config::fake::Fake;
    use super::*;

    const F: Address = Address { bus: 0, device: 1, function: 0 };

    #[test]
    fn walks_and_stops() {
        let fake = Fake::default();
        fake.set(F, 0, 1, 0);
        assert!(capabilities(&fake, F).is_empty());
        fake.set(F, 4, STATUS_HAS_LIST, 0);
        fake.set(F, 0x34, 0x50, 0);
        fake.set(F, 0x50, 0x0000_7005, 0);
        fake.set(F, 0x70, 0x0000_0011, 0);
        let list = capabilities(&fake, F);
        assert_eq!(list[..], [Capability { id: 5, offset: 0x50 }, Capability { id: MSI_X, offset: 0x70 }]);
        fake.set(F, 0x70, 0x0000_5011, 0); // a loop
        assert_eq!(capabilities(&fake, F).len(), 48);
        fake.set(F, 0x70, 0x0000_1011, 0); // into the header
        assert_eq!(capabilities(&fake, F).len(), 2);
    }
}
