//! The link device: one PCI function that carries every shared-memory link of a domain.
//!
//! | BAR | kind            | content                                                             |
//! |-----|-----------------|---------------------------------------------------------------------|
//! | 0   | 32-bit memory   | registers, emulated; read at attach, never on the packet path       |
//! | 1   | 32-bit memory   | MSI-X table (offset 0) and PBA (offset [`PBA_OFFSET`])              |
//! | 2   | 32-bit prefetch | windows: shared regions, backed by memory; map write-back           |
//! | 4   | I/O             | doorbells: a 32-bit write to base + 4 × port rings that port's peer |
//!
//! MSI-X vector 0 reports that some port changed; vector 1 + n is the doorbell of port n.
//! A port's two regions may be replaced at any time when the peer is replaced: the port goes
//! [`STATE_DOWN`], then [`STATE_UP`] with a larger epoch. While a port is down, reads of its windows
//! give all ones and writes are dropped.

/// PCI vendor of our virtual devices; not assigned by the PCI-SIG, seen only inside our machines.
pub const VENDOR: u16 = 0xB01C;
/// PCI device number of the link device.
pub const DEVICE: u16 = 0x0001;
/// Class code: other memory controller.
pub const CLASS: u32 = 0x05_80_00;

/// BAR number of the registers.
pub const BAR_REGS: u8 = 0;
/// BAR number of the MSI-X table.
pub const BAR_MSIX: u8 = 1;
/// BAR number of the windows.
pub const BAR_WINDOWS: u8 = 2;
/// BAR number of the doorbells.
pub const BAR_DOORBELLS: u8 = 4;
/// Offset of the pending-bit array in [`BAR_MSIX`].
pub const PBA_OFFSET: u32 = 0x800;

/// Ports at most.
pub const MAX_PORTS: usize = 32;

/// Register: [`MAGIC`].
pub const REG_MAGIC: u32 = 0x00;
/// Register: [`VERSION`].
pub const REG_VERSION: u32 = 0x04;
/// Register: number of ports.
pub const REG_PORTS: u32 = 0x08;
/// Register: bitmap of the ports changed since the last read; reading clears it.
pub const REG_CHANGED: u32 = 0x0C;
/// First port block; block n is at `PORT_BASE + n * PORT_STRIDE`.
pub const PORT_BASE: u32 = 0x100;
/// Distance of two port blocks in bytes.
pub const PORT_STRIDE: u32 = 0x40;
/// In a port block: [`STATE_DOWN`] or [`STATE_UP`].
pub const PORT_STATE: u32 = 0x00;
/// In a port block: what the peer is to this domain, a [`Role`] as number.
pub const PORT_ROLE: u32 = 0x04;
/// In a port block: low half of the epoch.
pub const PORT_EPOCH_LO: u32 = 0x08;
/// In a port block: high half of the epoch.
pub const PORT_EPOCH_HI: u32 = 0x0C;
/// In a port block: offset in the windows of the region that this domain writes.
pub const PORT_TX_OFFSET: u32 = 0x10;
/// In a port block: offset in the windows of the region that the peer writes (read-only here).
pub const PORT_RX_OFFSET: u32 = 0x14;
/// In a port block: size of either region in bytes (header page and data).
pub const PORT_REGION_LEN: u32 = 0x18;

/// Content of [`REG_MAGIC`] ("BHLK").
pub const MAGIC: u32 = u32::from_le_bytes(*b"BHLK");
/// Content of [`REG_VERSION`].
pub const VERSION: u32 = 1;
/// No peer: windows are not there.
pub const STATE_DOWN: u32 = 0;
/// Regions of the current epoch are mapped.
pub const STATE_UP: u32 = 1;

/// Bytes of frame data in a region by default; always a power of two.
pub const DEFAULT_DATA_LEN: u32 = 256 * 1024;
/// Bytes of the header page that precedes the data.
pub const HEADER_LEN: u32 = 4096;

/// What the peer at the other end of a port is to this domain.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The manager: control messages only.
    Dom0 = 1,
    /// The domain that this one reaches the network through.
    Upstream = 2,
    /// A domain that reaches the network through this one.
    Downstream = 3,
}

impl Role {
    /// Reads the register value; `None` for a number that means nothing.
    #[must_use]
    pub const fn from_u32(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::Dom0),
            2 => Some(Self::Upstream),
            3 => Some(Self::Downstream),
            _ => None,
        }
    }
}
