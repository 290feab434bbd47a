//! What is asked of the disk that keeps what must outlive the domain.

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// The disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFault;

/// A disk. What it gives back is untrusted.
pub trait Disk {
    /// Number of sectors.
    fn sectors(&self) -> u64;

    /// Reads whole sectors.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), DiskFault>;

    /// Writes whole sectors. They may be lost, or be written in another order, until [`Self::flush`].
    ///
    /// # Errors
    /// [`DiskFault`].
    fn write(&mut self, first: u64, bytes: &[u8]) -> Result<(), DiskFault>;

    /// Returns when everything written lasts.
    ///
    /// # Errors
    /// [`DiskFault`].
    fn flush(&mut self) -> Result<(), DiskFault>;
}
