//! A disk that does what it may: until a flush it has done any part of what was written.

use crate::disk::{Disk, DiskFault, SECTOR};
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

#[derive(Debug)]
struct Platter {
    bytes: Vec<u8>,
    /// Written, not flushed: sectors by number.
    cached: BTreeMap<u64, Vec<u8>>,
    /// Requests until every one fails.
    works: usize,
    /// Sectors and flushes before the power goes, and which of the unflushed ones are then lost.
    power: Option<(usize, u64)>,
    cut: bool,
}

/// A disk. Its clones are the same disk.
#[derive(Clone, Debug)]
pub struct FakeDisk(Rc<RefCell<Platter>>);

impl FakeDisk {
    /// A disk of zeros.
    #[must_use]
    pub fn new(sectors: usize) -> Self {
        Self(Rc::new(RefCell::new(Platter {
            bytes: vec![0; sectors * SECTOR],
            cached: BTreeMap::new(),
            works: usize::MAX,
            power: None,
            cut: false,
        })))
    }

    /// Another disk with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new(0);
        copy.0.borrow_mut().bytes.clone_from(&self.0.borrow().bytes);
        copy
    }

    /// Changes a byte.
    pub fn change(&self, at: usize, change: impl FnOnce(u8) -> u8) {
        if let Some(byte) = self.0.borrow_mut().bytes.get_mut(at) {
            *byte = change(*byte);
        }
    }

    /// Lets every request fail after so many.
    pub fn fail_after(&self, requests: usize) {
        self.0.borrow_mut().works = requests;
    }

    /// Lets the power go after so many sectors and flushes; each bit of `lost` is a sector that was not flushed and is lost.
    pub fn cut_after(&self, sectors: usize, lost: u64) {
        self.0.borrow_mut().power = Some((sectors, lost));
    }

    /// Whether the power has gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.borrow().cut
    }

    /// The power comes back.
    pub fn power_on(&self) {
        let mut platter = self.0.borrow_mut();
        if !platter.cut {
            platter.settle(0);
        }
        (platter.power, platter.cut) = (None, false);
    }
}

impl Platter {
    fn request(&mut self) -> Result<(), DiskFault> {
        if self.works == 0 || self.cut {
            return Err(DiskFault);
        }
        self.works -= 1;
        Ok(())
    }

    /// A sector is taken, or what was taken is about to be made to last: the power may go here.
    fn step(&mut self) -> Result<(), DiskFault> {
        match &mut self.power {
            None => Ok(()),
            Some((0, lost)) => {
                let lost = *lost;
                self.settle(lost);
                self.cut = true;
                Err(DiskFault)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Brings what is cached to the platter, but for what is lost.
    fn settle(&mut self, lost: u64) {
        for (index, (sector, bytes)) in core::mem::take(&mut self.cached).into_iter().enumerate() {
            let at = usize::try_from(sector).unwrap_or(usize::MAX).saturating_mul(SECTOR);
            if lost >> (index % 64) & 1 == 0
                && let Some(place) = self.bytes.get_mut(at..at.saturating_add(SECTOR))
            {
                place.copy_from_slice(&bytes);
            }
        }
    }
}

impl Disk for FakeDisk {
    fn sectors(&self) -> u64 {
        (self.0.borrow().bytes.len() / SECTOR) as u64
    }

    fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), DiskFault> {
        let mut platter = self.0.borrow_mut();
        platter.request()?;
        for (sector, place) in (first..).zip(out.chunks_exact_mut(SECTOR)) {
            let at = usize::try_from(sector).map_err(|_| DiskFault)?.checked_mul(SECTOR).ok_or(DiskFault)?;
            let bytes = match platter.cached.get(&sector) {
                Some(bytes) => bytes,
                None => platter.bytes.get(at..at.saturating_add(SECTOR)).ok_or(DiskFault)?,
            };
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write(&mut self, first: u64, bytes: &[u8]) -> Result<(), DiskFault> {
        let mut platter = self.0.borrow_mut();
        platter.request()?;
        if !bytes.len().is_multiple_of(SECTOR) {
            return Err(DiskFault);
        }
        for (sector, piece) in (first..).zip(bytes.chunks_exact(SECTOR)) {
            platter.step()?;
            platter.cached.insert(sector, piece.to_vec());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskFault> {
        let mut platter = self.0.borrow_mut();
        platter.request()?;
        platter.step()?;
        platter.settle(0);
        Ok(())
    }
}
