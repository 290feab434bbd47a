//! Base address registers: what a function wants, where it is, where to put it. Pure over [`Config`].

use super::config::{Address, Config};

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// I/O ports.
    Ports,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes two slots.
    Memory64,
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What it decodes.
    pub kind: Kind,
    /// Where; 0 when nobody placed it.
    pub base: u64,
    /// Length in bytes, a power of two.
    pub size: u64,
}

const FIRST: u16 = 0x10;
const COMMAND: u16 = 0x04;
const DECODE: u32 = 3;
const LARGEST: u64 = 1 << 40;

#[expect(clippy::cast_possible_truncation, reason = "a slot is below 6")]
const fn register(slot: usize) -> u16 {
    FIRST + 4 * (slot % 6) as u16
}

/// Reads and sizes all six BARs of a function (PCI 3.0 §6.2.5.1); its decoding is off meanwhile.
pub fn read_all<C: Config>(config: &C, function: Address) -> [Option<Bar>; 6] {
    let command = config.read(function, COMMAND) & 0xFFFF;
    config.write(function, COMMAND, command & !DECODE);
    let mut bars = [None; 6];
    let mut slot = 0;
    while slot < 6 {
        let (bar, slots) = read(config, function, slot);
        bars[slot] = bar;
        slot += slots;
    }
    config.write(function, COMMAND, command);
    bars
}

/// The BAR at `slot` and how many slots it takes.
fn read<C: Config>(config: &C, function: Address, slot: usize) -> (Option<Bar>, usize) {
    let probe = |slot| {
        let old = config.read(function, register(slot));
        config.write(function, register(slot), u32::MAX);
        let mask = config.read(function, register(slot));
        config.write(function, register(slot), old);
        (u64::from(old), u64::from(mask))
    };
    let (old, mask) = probe(slot);
    if old & 1 == 1 {
        // Some devices leave the upper half of an I/O BAR at zero.
        let mask = mask & 0xFFFC | !0xFFFF;
        return (bar(Kind::Ports, old & 0xFFFC, mask), 1);
    }
    match (old >> 1 & 3, slot) {
        (0, _) => (bar(Kind::Memory32, old & !15, mask & !15 | !0xFFFF_FFFF), 1),
        (2, 0..5) => {
            let (old_high, mask_high) = probe(slot + 1);
            (bar(Kind::Memory64, old & !15 | old_high << 32, mask & !15 | mask_high << 32), 2)
        }
        // Reserved types, and a 64-bit BAR without a second slot.
        _ => (None, 1),
    }
}

/// A BAR from its address and the mask of the bits that can be written; `None` when it is not there.
fn bar(kind: Kind, base: u64, mask: u64) -> Option<Bar> {
    let size = mask & mask.wrapping_neg();
    let whole = mask == size.wrapping_neg();
    let absent = match kind {
        Kind::Ports => mask & 0xFFFC == 0,
        Kind::Memory32 => mask & 0xFFFF_FFF0 == 0,
        Kind::Memory64 => mask == 0,
    };
    (!absent && whole && size <= LARGEST && base & (size - 1) == 0).then_some(Bar { kind, base, size })
}

/// Writes the address of a BAR.
pub(super) fn write<C: Config>(config: &C, function: Address, slot: usize, bar: &Bar) {
    // Low and high half; the type bits are read-only.
    config.write(function, register(slot), (bar.base & 0xFFFF_FFFF) as u32);
    if bar.kind == Kind::Memory64 {
        config.write(function, register(slot + 1), (bar.base >> 32) as u32);
    }
}

/// A stretch of addresses from which BARs are placed.
#[derive(Debug)]
pub(super) struct Window {
    next: u64,
    end: u64,
}

impl Window {
    pub(super) const fn new(base: u64, len: u64) -> Self {
        Self { next: base, end: base + len }
    }

    /// Moves past a BAR that is placed already.
    pub(super) fn skip(&mut self, bar: &Bar) {
        let end = bar.base.saturating_add(bar.size);
        if bar.base != 0 && bar.base < self.end && end > self.next {
            self.next = end.min(self.end);
        }
    }

    /// Takes `size` bytes, a power of two, aligned to themselves.
    pub(super) fn take(&mut self, size: u64) -> Option<u64> {
        let base = self.next.checked_add(size - 1)? & !(size - 1);
        let next = base.checked_add(size).filter(|&next| next <= self.end)?;
        self.next = next;
        Some(base)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::fake::Fake;
    use super::*;

    const F: Address = Address { bus: 0, device: 1, function: 0 };

    fn function(bars: &[(u32, u32)]) -> Fake {
        let fake = Fake::default();
        fake.set(F, 0, 0x1234_8086, 0);
        fake.set(F, COMMAND, 7, 0x7);
        for (slot, &(value, writable)) in bars.iter().enumerate() {
            fake.set(F, register(slot), value, writable);
        }
        fake
    }

    #[test]
    fn sizes_each_kind_and_restores() {
        let fake = function(&[
            (0xFEB0_0000, 0xFFFE_0000),
            (0x0000_C041, 0x0000_FFE0),
            (0x0000_000C, 0xFFFF_C000),
            (0x0000_0080, 0xFFFF_FFFF),
            (0, 0),
            (0x0000_0004, 0xFFFF_F000), // 64-bit in the last slot
        ]);
        let bars = read_all(&fake, F);
        assert_eq!(bars[0], Some(Bar { kind: Kind::Memory32, base: 0xFEB0_0000, size: 0x2_0000 }));
        assert_eq!(bars[1], Some(Bar { kind: Kind::Ports, base: 0xC040, size: 0x20 }));
        assert_eq!(bars[2], Some(Bar { kind: Kind::Memory64, base: 0x80_0000_0000, size: 0x4000 }));
        assert_eq!(bars[3..], [None, None, None]);
        assert_eq!(fake.read(F, COMMAND), 7);
        assert_eq!(fake.read(F, register(0)), 0xFEB0_0000);
        assert_eq!(fake.read(F, register(3)), 0x80);
    }

    #[test]
    fn refuses_masks_with_holes_and_reserved_types() {
        let fake = function(&[(0, 0xF0F0_0000), (6, 0xFFFF_F000), (2, 0xFFFF_F000), (0x800, 0xFFFF_F800)]);
        let bars = read_all(&fake, F);
        assert_eq!(bars[..3], [None, None, None]);
        assert_eq!(bars[3], Some(Bar { kind: Kind::Memory32, base: 0x800, size: 0x800 }));
    }

    #[test]
    fn places_beside_what_is_placed() {
        let mut window = Window::new(0xC000_0000, 0x10_0000);
        window.skip(&Bar { kind: Kind::Memory32, base: 0xC000_0000, size: 0x1000 });
        window.skip(&Bar { kind: Kind::Memory32, base: 0, size: 0x1000 });
        window.skip(&Bar { kind: Kind::Ports, base: 0xC040, size: 0x20 });
        window.skip(&Bar { kind: Kind::Memory64, base: 0x80_0000_0000, size: 0x4000 });
        assert_eq!(window.take(0x4000), Some(0xC000_4000));
        assert_eq!(window.take(0x10), Some(0xC000_8000));
        assert_eq!(window.take(0x8_0000), Some(0xC008_0000));
        assert_eq!(window.take(0x10), None);
        assert_eq!(window.take(1 << 63), None);
    }

    #[test]
    fn writes_both_halves() {
        let fake = function(&[(0x4, 0xFFFF_C000), (0, 0xFFFF_FFFF)]);
        write(&fake, F, 0, &Bar { kind: Kind::Memory64, base: 0x1_C000_0000, size: 0x4000 });
        assert_eq!((fake.read(F, 0x10), fake.read(F, 0x14)), (0xC000_0004, 1));
    }

    proptest::proptest! {
        #[test]
        fn hostile_registers_never_panic(values: [(u32, u32); 6]) {
            let fake = function(&values);
            for bar in read_all(&fake, F).into_iter().flatten() {
                proptest::prop_assert!(bar.size.is_power_of_two() && bar.base % bar.size == 0);
                let mut window = Window::new(0xC000_0000, 0x2000_0000);
                window.skip(&bar);
                if let Some(base) = window.take(bar.size) {
                    proptest::prop_assert!(base >= 0xC000_0000 && base + bar.size <= 0xE000_0000);
                }
            }
        }
    }
}
