//! Registers of an assigned function in the guest's address space: without exits, except for the pages that
//! hold the MSI-X table or its pending bits, which the guest must never reach.

use super::hardware::{Area, Hardware};
use crate::memslots::{Access, GuestWindow, MemorySlots, SlotError};
use std::sync::Arc;

const PAGE: u64 = 4096;

/// Why a BAR cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum BarError {
    /// The host refused to map it.
    #[error("BAR {bar} cannot be mapped: {error}")]
    Map {
        /// Which.
        bar: u8,
        /// What the host says.
        error: vm_memory::mmap::MmapRegionError,
    },
    /// No memory slot.
    #[error("BAR {bar}: {error}")]
    Slot {
        /// Which.
        bar: u8,
        /// What is lacking.
        error: SlotError,
    },
}

/// The mapped parts of one BAR. What is not mapped exits and is served by hand.
pub struct BarWindows {
    bar: u8,
    parts: Vec<(u64, GuestWindow)>,
}

impl BarWindows {
    /// Maps what may be mapped of `bar`, less the pages that `holes` touch; invisible until [`Self::follow`].
    ///
    /// # Errors
    /// [`BarError`].
    pub fn new(
        hardware: &impl Hardware,
        slots: &Arc<MemorySlots>,
        bar: u8,
        holes: &[(u8, Area)],
    ) -> Result<Self, BarError> {
        let holes: Vec<_> = holes.iter().filter(|hole| hole.0 == bar).map(|hole| hole.1).collect();
        let mut parts = Vec::new();
        for area in carve(&hardware.areas(bar), &holes) {
            let mapping = hardware.map(bar, area).map_err(|error| BarError::Map { bar, error })?;
            let window = GuestWindow::new(slots, Arc::new(mapping), Access::ReadWrite);
            parts.push((area.0, window.map_err(|error| BarError::Slot { bar, error })?));
        }
        Ok(Self { bar, parts })
    }

    /// Which BAR.
    #[must_use]
    pub fn bar(&self) -> u8 {
        self.bar
    }

    /// Follows the BAR to its new base. A part that KVM refuses exits instead.
    pub fn follow(&mut self, base: Option<u64>) {
        for (offset, window) in &mut self.parts {
            if let Err(error) = window.place(base.map(|base| base + *offset)) {
                tracing::warn!(bar = self.bar, %error, "registers fall back to exits");
            }
        }
    }
}

/// Whole pages of `areas` that no hole touches, in ascending order, neighbours joined.
fn carve(areas: &[Area], holes: &[Area]) -> Vec<Area> {
    let mut parts: Vec<Area> = Vec::new();
    let mut areas = areas.to_vec();
    areas.sort_unstable();
    for (offset, len) in areas {
        let Some(end) = offset.checked_add(len) else { continue };
        let Some(start) = offset.checked_next_multiple_of(PAGE) else { continue };
        let start = parts.last().map_or(start, |last| start.max(last.0 + last.1));
        let mut cuts: Vec<_> = holes.iter().map(|hole| pages(*hole)).collect();
        cuts.sort_unstable();
        let mut from = start;
        for (first, past) in cuts {
            push(&mut parts, from, end.min(first));
            from = from.max(past);
        }
        push(&mut parts, from, end);
    }
    parts
}

/// First byte of the first page and one past the last page that an area touches.
fn pages((offset, len): Area) -> (u64, u64) {
    let end = offset.saturating_add(len);
    (offset / PAGE * PAGE, end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX))
}

fn push(parts: &mut Vec<Area>, from: u64, to: u64) {
    let to = to / PAGE * PAGE;
    if from < to {
        parts.push((from, to - from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table_and_pending_bits_of_the_82574_are_carved_out() {
        assert_eq!(carve(&[(0, 0x4000)], &[(0, 80), (0x2000, 8)]), [(0x1000, 0x1000), (0x3000, 0x1000)]);
        assert_eq!(carve(&[(0, 0x2_0000)], &[]), [(0, 0x2_0000)]);
        assert_eq!(carve(&[(0, 0x1000)], &[(0xFF0, 0x10)]), []);
        assert_eq!(carve(&[(0, 0x800)], &[]), [], "less than a page");
        assert_eq!(carve(&[(0, 0x2000), (0x1000, 0x3000)], &[]), [(0, 0x2000), (0x2000, 0x2000)]);
    }

    fn area() -> impl Strategy<Value = Area> {
        prop_oneof![(0..0x1_0000_u64, 0..0x1_0000_u64), (any::<u64>(), any::<u64>())]
    }

    proptest! {
        #[test]
        fn parts_are_pages_inside_areas_and_outside_holes(
            areas in prop::collection::vec(area(), 0..5),
            holes in prop::collection::vec((0..0x1_0000_u64, 1..0x3000_u64), 0..4),
        ) {
            let parts = carve(&areas, &holes);
            for (offset, len) in &parts {
                prop_assert!(offset % PAGE == 0 && len % PAGE == 0 && *len > 0);
                let inside = |(at, size): &Area| at <= offset && at.checked_add(*size) >= Some(offset + len);
                prop_assert!(areas.iter().any(inside));
                prop_assert!(holes.iter().all(|(at, size)| at + size <= *offset || offset + len <= *at));
            }
            prop_assert!(parts.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        }
    }
}
