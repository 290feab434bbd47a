//! MSI-X (PCI 3.0 §6.8.2): the table of messages and its switch. Pure over [`Config`] and [`Mmio`].

use super::capability::{MSI_X, capabilities};
use super::config::{Address, Config};
use hal::mmio::Mmio;

const ENABLE: u32 = 1 << 31;
const MASK_ALL: u32 = 1 << 30;
const ENTRY: u32 = 16;
const ENTRY_MASKED: u32 = 1;

/// What a device writes to raise an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

impl Message {
    /// A fixed, edge-triggered message for `vector` on the processor with APIC number `apic`
    /// (Intel SDM vol. 3A §12.11).
    #[must_use]
    pub const fn new(apic: u8, vector: u8) -> Self {
        Self { address: 0xFEE0_0000 | (apic as u64) << 12, data: vector as u32 }
    }
}

/// The MSI-X table of one function.
#[derive(Debug)]
pub struct Msix<M> {
    function: Address,
    capability: u16,
    table: M,
    at: u32,
    entries: u16,
}

impl<M: Mmio> Msix<M> {
    /// Finds the table and masks every entry; `bar` maps a BAR. The table must lie inside it: entries beyond
    /// read as all ones, and writes to them go nowhere.
    pub(super) fn find<C: Config>(
        config: &C,
        function: Address,
        bar: impl FnOnce(u8) -> Option<M>,
    ) -> Option<Self> {
        let capability = capabilities(config, function).iter().find(|c| c.id == MSI_X)?.offset;
        let control = config.read(function, capability);
        let place = config.read(function, capability + 4);
        let entries = (control >> 16 & 0x7FF) as u16 + 1;
        let mut msix = Self { function, capability, table: bar((place & 7) as u8)?, at: place & !7, entries };
        for index in 0..entries {
            if !msix.mask(index) {
                msix.entries = index;
                break;
            }
        }
        (msix.entries > 0).then_some(msix)
    }

    /// How many vectors the function has.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Has entry `index` send `message`; `false` when there is no such entry.
    #[must_use]
    pub fn set(&mut self, index: u16, message: Message) -> bool {
        if index >= self.entries {
            return false;
        }
        let Some(at) = self.entry(index) else { return false };
        self.table.write32(at, (message.address & 0xFFFF_FFFF) as u32);
        self.table.write32(at + 4, (message.address >> 32) as u32);
        self.table.write32(at + 8, message.data);
        self.table.write32(at + 12, 0);
        true
    }

    /// Turns MSI-X on.
    pub(super) fn enable<C: Config>(&self, config: &C) {
        let control = config.read(self.function, self.capability);
        config.write(self.function, self.capability, control & !MASK_ALL | ENABLE);
    }

    /// Masks an entry; `false` when it lies outside the BAR.
    fn mask(&mut self, index: u16) -> bool {
        let Some(at) = self.entry(index) else { return false };
        if self.table.read32(at + 12) == u32::MAX {
            return false;
        }
        self.table.write32(at + 12, ENTRY_MASKED);
        true
    }

    fn entry(&self, index: u16) -> Option<u32> {
        let at = self.at.checked_add(u32::from(index) * ENTRY)?;
        at.checked_add(ENTRY).map(|_| at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::fake::Fake;
    use super::*;
    use core::cell::RefCell;
    use std::vec;
    use std::vec::Vec;

    const F: Address = Address { bus: 0, device: 1, function: 0 };

    struct Table(RefCell<Vec<u32>>);

    impl Mmio for &Table {
        fn read32(&self, offset: u32) -> u32 {
            self.0.borrow().get(offset as usize / 4).copied().unwrap_or(u32::MAX)
        }
        fn write32(&self, offset: u32, value: u32) {
            if let Some(word) = self.0.borrow_mut().get_mut(offset as usize / 4) {
                *word = value;
            }
        }
    }

    fn function(entries: u32, place: u32) -> Fake {
        let fake = Fake::default();
        fake.set(F, 0, 1, 0);
        fake.set(F, 4, 1 << 20, 0);
        fake.set(F, 0x34, 0x40, 0);
        fake.set(F, 0x40, (entries - 1) << 16 | u32::from(MSI_X), 0xC000_0000);
        fake.set(F, 0x44, place, 0);
        fake
    }

    #[test]
    fn masks_all_then_sets_one() {
        let fake = function(3, 0x10 | 2);
        let table = Table(RefCell::new(vec![0; 16]));
        let mut msix = Msix::find(&fake, F, |slot| (slot == 2).then_some(&table)).unwrap();
        assert_eq!(msix.entries(), 3);
        assert!(msix.set(1, Message::new(3, 0x41)));
        assert!(!msix.set(3, Message::new(0, 0x42)));
        msix.enable(&fake);
        assert_eq!(table.0.borrow()[4..], [0, 0, 0, 1, 0xFEE0_3000, 0, 0x41, 0, 0, 0, 0, 1]);
        assert_eq!(fake.read(F, 0x40) >> 30, 2);
    }

    #[test]
    fn a_table_beyond_its_bar_is_cut() {
        let table = Table(RefCell::new(vec![0; 8]));
        let msix = Msix::find(&function(2048, 0), F, |_| Some(&table)).unwrap();
        assert_eq!(msix.entries(), 2);
        assert!(Msix::find(&function(4, 0xFFFF_FFF8), F, |_| Some(&table)).is_none());
        assert!(Msix::<&Table>::find(&function(4, 0), F, |_| None).is_none());
    }
}
