//! Device registers.

/// One memory-mapped register block (a BAR). Offsets are chosen by the driver, never by the device.
pub trait Mmio {
    /// Reads the 32-bit register at `offset` bytes; all ones beyond the block.
    fn read32(&self, offset: u32) -> u32;
    /// Writes the 32-bit register at `offset` bytes; nothing happens beyond the block.
    fn write32(&self, offset: u32, value: u32);
}
