//! Where BARs may lie, and the addresses they get before the guest runs.
//!
//! Unikernels use the addresses as they find them; Linux accepts them because `_CRS` names the windows.

use super::config::{BARS, BarKind, PciConfig};
use abi::memory_map;

/// A range of guest addresses or ports from which BARs are given out, upwards.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    base: u64,
    len: u64,
    next: u64,
}

impl Window {
    /// Describes `len` bytes or ports from `base`.
    #[must_use]
    pub const fn new(base: u64, len: u64) -> Self {
        Self { base, len, next: base }
    }

    /// Whether all of `base..base + len` lies inside.
    #[must_use]
    pub fn contains(&self, base: u64, len: u64) -> bool {
        base >= self.base && base.checked_add(len).is_some_and(|end| end <= self.base + self.len)
    }

    fn take(&mut self, size: u64) -> Option<u64> {
        let base = self.next.checked_next_multiple_of(size)?;
        if !self.contains(base, size) {
            return None;
        }
        self.next = base + size;
        Some(base)
    }
}

/// The machine has no address left for a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for BAR {bar} of {size:#x} bytes in the {space} window")]
pub struct WindowFull {
    /// BAR number.
    pub bar: u8,
    /// Its length.
    pub size: u64,
    /// Which window.
    pub space: &'static str,
}

/// Both windows of the bus.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    memory: Window,
    ports: Window,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            memory: Window::new(memory_map::MMIO32_BASE, memory_map::MMIO32_LEN),
            ports: Window::new(memory_map::PIO_BASE.into(), memory_map::PIO_LEN.into()),
        }
    }
}

impl Windows {
    /// Programs every BAR of a function, largest first so that little is lost to alignment.
    ///
    /// # Errors
    /// [`WindowFull`] when a window is exhausted.
    pub fn assign(&mut self, config: &mut PciConfig) -> Result<(), WindowFull> {
        let mut bars: Vec<_> = (0..BARS).filter_map(|n| Some((n, config.bar(n)?))).collect();
        bars.sort_by_key(|(_, bar)| std::cmp::Reverse(bar.size));
        for (number, bar) in bars {
            let (window, space) = match bar.kind {
                BarKind::Io => (&mut self.ports, "I/O"),
                _ => (&mut self.memory, "memory"),
            };
            let full = WindowFull { bar: number, size: bar.size, space };
            // Whole pages, so that no two devices share one: a BAR may be backed by a memory slot.
            let size = if bar.kind.is_io() { bar.size } else { bar.size.max(4096) };
            config.set_bar_address(number, window.take(size).ok_or(full)?);
        }
        Ok(())
    }

    /// Whether a BAR at `base` lies where BARs may lie. One elsewhere is not decoded: a guest must not
    /// put a device over its memory or over an interrupt controller.
    #[must_use]
    pub fn allow(&self, kind: BarKind, base: u64, size: u64) -> bool {
        if kind.is_io() { self.ports.contains(base, size) } else { self.memory.contains(base, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::config::Identity;

    #[test]
    fn bars_get_disjoint_aligned_addresses() {
        let mut windows = Windows::default();
        let mut taken = Vec::new();
        for _ in 0..4 {
            let mut config = PciConfig::new(&Identity::default());
            config.add_bar(0, BarKind::Memory32, 0x100).unwrap();
            config.add_bar(1, BarKind::Io, 0x20).unwrap();
            config.add_bar(2, BarKind::Memory64, 0x10_0000).unwrap();
            windows.assign(&mut config).unwrap();
            for n in [0, 1, 2] {
                let (base, bar) = (config.bar_address(n), config.bar(n).unwrap());
                assert!(windows.allow(bar.kind, base, bar.size));
                assert_eq!(base % bar.size, 0);
                taken.push((base, base + bar.size));
            }
        }
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }

    #[test]
    fn exhaustion_names_the_bar() {
        let mut config = PciConfig::new(&Identity::default());
        config.add_bar(0, BarKind::Memory64, 1 << 30).unwrap();
        let full = WindowFull { bar: 0, size: 1 << 30, space: "memory" };
        assert_eq!(Windows::default().assign(&mut config), Err(full));
    }

    #[test]
    fn memory_and_interrupt_controllers_are_out_of_bounds() {
        let windows = Windows::default();
        assert!(!windows.allow(BarKind::Memory32, 0x1000, 0x1000));
        assert!(!windows.allow(BarKind::Memory32, memory_map::ECAM_BASE, 0x1000));
        assert!(!windows.allow(BarKind::Memory32, memory_map::LAPIC_BASE, 0x1000));
        assert!(!windows.allow(BarKind::Memory64, u64::MAX - 0xFFF, 0x1000));
        assert!(!windows.allow(BarKind::Io, memory_map::COM1.into(), 8));
    }
}
