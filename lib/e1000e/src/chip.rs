//! One table row per supported chip: everything in which family members differ, as data.
//!
//! A further member of the family (I217 to I219: ULP, K1, flush before reset; igb: advanced descriptors) adds
//! rows here and, where data does not say it, a file beside `reset.rs` that [`Family`] selects.

/// Which bring-up rules apply beyond the common ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 82574: discrete, own NVM, MDIO ownership by EXTCNF_CTRL, BM PHY.
    E82574,
}

/// What the driver needs to know of one chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    /// PCI device id; the vendor is always 8086.
    pub device: u16,
    /// Name for messages.
    pub name: &'static str,
    /// Bring-up rules.
    pub family: Family,
    /// Whether the chip has MSI-X with IVAR and EITR (five vectors).
    pub has_msix: bool,
    /// Usable receive address registers (RAL/RAH).
    pub receive_addresses: u8,
    /// Registers of the multicast table (MTA); 32 hash bits each.
    pub mta_registers: u32,
    /// Address of the PHY on the management bus.
    pub phy_address: u8,
}

const CHIPS: [Chip; 2] = [
    Chip {
        device: 0x10D3,
        name: "82574L",
        family: Family::E82574,
        has_msix: true,
        receive_addresses: 15,
        mta_registers: 128,
        phy_address: 1,
    },
    Chip {
        device: 0x10F6,
        name: "82574LA",
        family: Family::E82574,
        has_msix: true,
        receive_addresses: 15,
        mta_registers: 128,
        phy_address: 1,
    },
];

/// The PCI vendor id of every chip in the table.
pub const VENDOR: u16 = 0x8086;

impl Chip {
    /// The table row for a PCI device id of [`VENDOR`].
    #[must_use]
    pub fn find(device: u16) -> Option<&'static Self> {
        CHIPS.iter().find(|chip| chip.device == device)
    }
}
