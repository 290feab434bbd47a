//! The far side of a link's port: the bell that wakes the peer, and the shared regions as `link` takes them.

use crate::paging;
use crate::ram::{Range, address};
use core::ptr::NonNull;
use link::shared::{ReadOnly, Writable};
use x86_64::instructions::port::Port;

/// Rings the peer of one port: one I/O write, wired to the peer's interrupt without anybody waking between.
#[derive(Debug)]
pub struct PortBell {
    port: u16,
}

impl link::Doorbell for PortBell {
    fn ring(&self) {
        // SAFETY: the port is in the doorbell BAR of the link device, which touches no memory.
        unsafe { Port::<u32>::new(self.port).write(1) }
    }
}

/// The doorbell BAR.
#[derive(Debug)]
pub(crate) struct Bells {
    base: u16,
    count: u16,
}

impl Bells {
    /// Takes the I/O BAR `range`; `None` when it does not lie in the port space.
    pub(crate) fn new(range: Range) -> Option<Self> {
        let last = u16::try_from(range.end.checked_sub(1)?).ok()?;
        let base = u16::try_from(range.start).ok()?;
        Some(Self { base, count: (last - base) / 4 + 1 })
    }

    /// The bell of `port`.
    pub(crate) fn bell(&self, port: u8) -> Option<PortBell> {
        let port = u16::from(port);
        (port < self.count).then(|| PortBell { port: self.base + 4 * port })
    }
}

/// The windows BAR, mapped as memory.
#[derive(Debug)]
pub(crate) struct Windows {
    range: Range,
}

/// Where the two regions of a port lie in the windows, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regions {
    tx: u64,
    rx: u64,
    len: u64,
}

impl Regions {
    /// Checks that both regions lie in windows of `total` bytes, on page boundaries, and apart.
    pub(crate) fn new(tx: u32, rx: u32, len: u32, total: u64) -> Option<Self> {
        let (tx, rx, len) = (u64::from(tx), u64::from(rx), u64::from(len));
        let placed = |offset: u64| offset.is_multiple_of(4096) && offset + len <= total;
        let apart = tx + len <= rx || rx + len <= tx;
        (len > 0 && placed(tx) && placed(rx) && apart).then_some(Self { tx, rx, len })
    }
}

impl Windows {
    /// Maps `range`, the windows BAR of the link device.
    pub(crate) fn map(range: Range) -> Option<Self> {
        paging::map_memory(range).ok()?;
        Some(Self { range })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.len()
    }

    /// The regions of one port.
    pub(crate) fn open(&self, regions: Regions) -> Option<(Writable, ReadOnly)> {
        let at =
            |offset| NonNull::new(core::ptr::with_exposed_provenance_mut(address(self.range.start + offset)));
        let (tx, rx, len) = (at(regions.tx)?, at(regions.rx)?, address(regions.len));
        // SAFETY: `Regions` are page-aligned, apart and inside the windows, which stay mapped for ever and
        // of which no Rust reference is ever made. A port's earlier regions may still be held by a link
        // whose port went down; such a link only stores to memory that its peer no longer reads.
        Some(unsafe { (Writable::new(tx, len), ReadOnly::new(rx, len)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_must_be_inside_apart_and_aligned() {
        let total = 0x10_0000;
        assert!(Regions::new(0, 0x4_1000, 0x4_1000, total).is_some());
        assert!(Regions::new(0x4_1000, 0, 0x4_1000, total).is_some());
        for (tx, rx, len) in [
            (0, 0x4_0000, 0x4_1000),
            (0, 0, 0x1000),
            (0x800, 0x4_1000, 0x1000),
            (0, 0xF_F000, 0x2000),
            (u32::MAX - 0xFFF, 0, u32::MAX),
            (0, 0x1000, 0),
        ] {
            assert_eq!(Regions::new(tx, rx, len, total), None, "{tx:#x} {rx:#x} {len:#x}");
        }
    }

    #[test]
    fn bells_stay_in_their_block() {
        let bells = Bells::new(Range { start: 0xC000, end: 0xC080 }).unwrap();
        assert_eq!(bells.bell(31).unwrap().port, 0xC07C);
        assert!(bells.bell(32).is_none());
        assert!(Bells::new(Range { start: 0xC000, end: 0x1_0001 }).is_none());
    }
}
