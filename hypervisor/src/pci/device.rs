//! What the bus asks of a device.

use super::config::PciConfig;

/// One PCI function. Called with the device's own lock held; must not wait for the guest.
pub trait PciDevice: Send {
    /// The function's configuration space.
    fn config(&mut self) -> &mut PciConfig;

    /// Serves a read of `bar` at `offset`. `data` is pre-filled with 0xFF; bytes left alone stay so.
    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]);

    /// Serves a write to `bar` at `offset`.
    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]);

    /// Serves a configuration read; an assigned device may look elsewhere.
    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config().read(offset, data);
    }

    /// Serves a configuration write. A device with MSI-X or other live registers does this first, then
    /// looks at what changed.
    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config().write(offset, data);
    }

    /// Hears that `bar` answers at `base` from now on, or nowhere. Called after the write that did it and
    /// before the next guest access; also once for every BAR that is decoded when the device is added.
    fn bar_moved(&mut self, bar: u8, base: Option<u64>) {
        let _ = (bar, base);
    }

    /// Stops everything that runs outside the processors: threads, DMA, interrupts. Called once, when the
    /// machine has ended.
    fn shut_down(&mut self) {}
}
