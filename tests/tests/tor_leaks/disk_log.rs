//! Everything that a machine wrote to its disk, in order (QEMU's `blklogwrites`, whose format is that of Linux's
//! dm-log-writes), and every disk that a power cut would have left meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use torvm::disk::{Disk, DiskFault, SECTOR};

/// What the log begins with.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// Flags of an entry: the disk's cache is to be flushed before it; it is to be on the disk when it is done.
const FLUSH: u64 = 1;
const THROUGH: u64 = 2;

type Sector = [u8; SECTOR];
/// Sectors by number.
pub(crate) type Sectors = BTreeMap<u64, Sector>;

/// A disk: a content, and sectors that are newer.
pub(crate) struct Written<'d> {
    pub(crate) before: &'d [u8],
    pub(crate) newer: &'d Sectors,
}

impl Disk for Written<'_> {
    fn sectors(&self) -> u64 {
        (self.before.len() / SECTOR) as u64
    }

    fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), DiskFault> {
        for (at, sector) in (first..).zip(out.chunks_mut(SECTOR)) {
            let start = usize::try_from(at).map_err(|_| DiskFault)? * SECTOR;
            let old = self.before.get(start..start + SECTOR).ok_or(DiskFault)?;
            sector.copy_from_slice(self.newer.get(&at).map_or(old, |sector| sector));
        }
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DiskFault> {
        Err(DiskFault)
    }

    fn flush(&mut self) -> Result<(), DiskFault> {
        Err(DiskFault)
    }
}

/// What was written between two flushes, sector by sector, in order.
pub(crate) type Epoch = Vec<(u64, Sector)>;

/// Reads a log, up to where it ends or was cut off.
pub(crate) fn epochs(log: &Path) -> Vec<Epoch> {
    let bytes = std::fs::read(log).unwrap();
    let (sectors, _) = bytes.as_chunks::<SECTOR>();
    let Some(head) = sectors.first() else { return Vec::new() };
    // The head is written at the first flush.
    if *head != [0; SECTOR] {
        assert_eq!(number(head, 0), MAGIC, "a log of writes");
        assert_eq!(u32::from_le_bytes(*head[24..].first_chunk().unwrap()) as usize, SECTOR);
    }
    let (mut epochs, mut epoch, mut at) = (Vec::new(), Epoch::new(), 1);
    while let Some(entry) = sectors.get(at) {
        let [first, length, flags] = [0, 8, 16].map(|field| number(entry, field));
        if (length, flags) == (0, 0) {
            break;
        }
        assert!(flags & !(FLUSH | THROUGH) == 0, "flags {flags:#x}");
        if flags & FLUSH != 0 {
            epochs.push(std::mem::take(&mut epoch));
        }
        let content = at + 1..at + 1 + usize::try_from(length).unwrap();
        at = content.end;
        // The last one may not be whole.
        epoch.extend((first..).zip(sectors.get(content).into_iter().flatten().copied()));
        if flags & THROUGH != 0 {
            epochs.push(std::mem::take(&mut epoch));
        }
    }
    epochs.push(epoch);
    epochs.retain(|epoch| !epoch.is_empty());
    epochs
}

fn number(sector: &Sector, at: usize) -> u64 {
    u64::from_le_bytes(*sector[at..].first_chunk().unwrap())
}
