//! The storage behind a block device: an image and what happens to writes.
//!
//! Here: capacity, bounds, and the three modes. Not here: virtio. Called by `request`.

use super::volatile::Overlay;
use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use vmm_api::config::DiskMode;

/// Bytes of a sector, the unit of virtio addresses.
pub const SECTOR: u64 = 512;

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another machine has the image open in a way that excludes this one.
    #[error("the image is in use by another machine ({0})")]
    InUse(Errno),
    /// Not a whole number of sectors, or none at all.
    #[error("the image is {0} bytes long: not a whole, positive number of 512-byte sectors")]
    BadLength(u64),
    /// The host refused something.
    #[error("the image cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Where reads and writes end up.
#[derive(Debug)]
enum Writes {
    Refused,
    ToImage,
    ToOverlay(Overlay),
}

/// A disk of fixed size.
#[derive(Debug)]
pub struct Disk {
    image: File,
    len: u64,
    writes: Writes,
}

impl Disk {
    /// Takes an image. One machine alone may write it; any number may read it, volatile ones included.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(image: File, mode: DiskMode) -> Result<Self, DiskError> {
        let lock = match mode {
            DiskMode::ReadWrite => FlockOperation::NonBlockingLockExclusive,
            DiskMode::ReadOnly | DiskMode::Volatile => FlockOperation::NonBlockingLockShared,
        };
        flock(&image, lock).map_err(DiskError::InUse)?;
        // A block device has its length at its end, not in its status.
        let len = seek(&image, SeekFrom::End(0)).map_err(io::Error::from)?;
        if len == 0 || !len.is_multiple_of(SECTOR) {
            return Err(DiskError::BadLength(len));
        }
        let writes = match mode {
            DiskMode::ReadOnly => Writes::Refused,
            DiskMode::ReadWrite => Writes::ToImage,
            DiskMode::Volatile => Writes::ToOverlay(Overlay::new(len)?),
        };
        Ok(Self { image, len, writes })
    }

    /// Size in sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.len / SECTOR
    }

    /// Whether writes are refused.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.writes, Writes::Refused)
    }

    /// Bytes of host memory that hold this run's changes.
    #[must_use]
    pub fn overlay_bytes(&self) -> u64 {
        match &self.writes {
            Writes::ToOverlay(overlay) => overlay.blocks() * super::volatile::BLOCK,
            _ => 0,
        }
    }

    /// Byte range of `len` bytes at a sector, if it is within the disk and whole sectors.
    #[must_use]
    pub fn range(&self, sector: u64, len: u64) -> Option<Range<u64>> {
        let start = sector.checked_mul(SECTOR)?;
        let end = start.checked_add(len)?;
        (len.is_multiple_of(SECTOR) && end <= self.len).then_some(start..end)
    }

    /// Reads bytes; `offset` comes from [`Disk::range`].
    ///
    /// # Errors
    /// What the host says.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.writes {
            Writes::ToOverlay(overlay) => overlay.read(&self.image, offset, into),
            Writes::Refused | Writes::ToImage => self.image.read_exact_at(into, offset),
        }
    }

    /// Writes bytes; `offset` comes from [`Disk::range`].
    ///
    /// # Errors
    /// `ReadOnlyFilesystem` when writes are refused; otherwise what the host says.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        match &mut self.writes {
            Writes::Refused => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Writes::ToImage => self.image.write_all_at(from, offset),
            Writes::ToOverlay(overlay) => overlay.write(&self.image, offset, from),
        }
    }

    /// Makes a range read as zeroes, giving storage back where the host can.
    ///
    /// # Errors
    /// As [`Disk::write`].
    pub fn zero(&mut self, range: Range<u64>) -> io::Result<()> {
        match &mut self.writes {
            Writes::Refused => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Writes::ToOverlay(overlay) => overlay.zero(&self.image, range),
            Writes::ToImage => zero_image(&self.image, range),
        }
    }

    /// Tells the host that a range is not needed; what it reads as afterwards is unspecified.
    ///
    /// # Errors
    /// As [`Disk::write`]; a host that cannot discard is not an error.
    pub fn discard(&mut self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match &mut self.writes {
            Writes::ToImage => {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match fallocate(&self.image, mode, range.start, range.end - range.start) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Writes::Refused | Writes::ToOverlay(_) => self.zero(range),
        }
    }

    /// Returns when everything written has reached stable storage.
    ///
    /// # Errors
    /// What the host says.
    pub fn flush(&self) -> io::Result<()> {
        match self.writes {
            Writes::ToImage => self.image.sync_data(),
            Writes::Refused | Writes::ToOverlay(_) => Ok(()),
        }
    }
}

/// Zeroes a range of an image: a hole where the file system has them, written zeroes where not.
fn zero_image(image: &File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(image, mode, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP) => {}
        other => return other.map_err(io::Error::from),
    }
    let zeroes = [0; 64 * 1024];
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(zeroes.len() as u64);
        image.write_all_at(&zeroes[..usize::try_from(len).unwrap_or(zeroes.len())], at)?;
        at += len;
    }
    Ok(())
}
