//! Every power cut that could have been: whatever a disk would have held, had it lost power while a machine wrote.

use super::dice::Dice;
use super::disk_log::{Sectors, Written, epochs};
use super::guards::Guards;
use std::path::Path;

/// Disks that are looked at for each flush: as many sectors written, the first ones of them, and any of them.
const SOME: usize = 8;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked {
    /// Flushes of the disk.
    pub(crate) flushes: usize,
    /// Disks as a power cut would have left them.
    pub(crate) disks: usize,
}

/// Judges the disks that a machine could have left, from what was there when it began and the log of what it wrote: each
/// has a store that is whole, with guards that go on with those of before.
pub(crate) fn judge(before: &[u8], log: &Path) -> Looked {
    let mut dice = Dice::new();
    let mut looked = Looked::default();
    let mut lasting = Sectors::new();
    let guards = |newer: &Sectors| Guards::on(Written { before, newer });
    let mut last = guards(&lasting);
    for epoch in epochs(log) {
        for number in 0..2 * SOME {
            let up_to = usize::try_from(dice.throw(epoch.len() as u64 + 1)).unwrap();
            // Sectors that were not flushed may be lost, in whatever order they were written.
            let mask = if number < SOME { u64::MAX } else { dice.throw(u64::MAX) };
            let written = epoch[..up_to].iter().enumerate().filter(|(at, _)| mask >> (at % 64) & 1 == 1);
            let mut newer = lasting.clone();
            newer.extend(written.map(|(_, sector)| *sector));
            follows(guards(&newer).as_ref(), last.as_ref());
            looked.disks += 1;
        }
        lasting.extend(epoch);
        let now = guards(&lasting);
        follows(now.as_ref(), last.as_ref());
        last = now;
        looked.flushes += 1;
    }
    looked
}

fn follows(now: Option<&Guards>, before: Option<&Guards>) {
    let Some(before) = before else { return };
    let now = now.unwrap_or_else(|| panic!("a power cut would have lost the guards {before:#?}"));
    assert!(now.follow(before), "a power cut would have brought other guards:\n{before:#?}\n{now:#?}");
}
