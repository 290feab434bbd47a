//! The disk of the store, on the runtime's virtio disk.

use rt::VirtioBlk;
use rt::virtio_blk::DiskError;
use torvm::disk::{Disk, DiskFault};

/// A virtio disk.
pub(crate) struct VirtioDisk(pub(crate) VirtioBlk);

fn reported(why: DiskError) -> DiskFault {
    log::error!("store: {why}");
    DiskFault
}

impl Disk for VirtioDisk {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), DiskFault> {
        self.0.read(first, out).map_err(reported)
    }

    fn write(&mut self, first: u64, bytes: &[u8]) -> Result<(), DiskFault> {
        self.0.write(first, bytes).map_err(reported)
    }

    fn flush(&mut self) -> Result<(), DiskFault> {
        self.0.flush().map_err(reported)
    }
}
