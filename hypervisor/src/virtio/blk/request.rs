//! One block request: read the header, check it, move the data, say how it went.
//!
//! Here: virtio 1.2, section 5.2.6. A request that makes no sense is answered by a status; only a chain
//! without room for header and status is a fault of the driver.

use super::disk::{Disk, SECTOR};
use crate::virtio::chain::Chain;
use crate::virtio::queue::{GuestRam, QueueFault};
use std::io;
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};

const HEADER: usize = 16;
/// Bytes of data at most in one request; a larger one is refused.
pub const MAX_DATA: usize = 32 << 20;
/// Data is moved in pieces of this many bytes.
pub const PIECE: usize = 64 * 1024;
/// Ranges at most in one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 1;
/// Sectors at most in one such range: 64 MiB, because a host without holes has to write them.
pub const MAX_RANGE_SECTORS: u32 = 1 << 17;
const RANGE: usize = 16;

/// How a request ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Bytes read from the disk.
    Read(usize),
    /// Bytes written to the disk.
    Written(usize),
    /// Anything else that went well.
    Done,
    /// The driver was told that it failed.
    Failed,
    /// The driver was told that there is no such request.
    Unsupported,
}

impl Outcome {
    fn status(self) -> u8 {
        let status = match self {
            Self::Read(_) | Self::Written(_) | Self::Done => VIRTIO_BLK_S_OK,
            Self::Failed => VIRTIO_BLK_S_IOERR,
            Self::Unsupported => VIRTIO_BLK_S_UNSUPP,
        };
        u8::try_from(status).unwrap_or(1)
    }
}

/// What one request needs: the request, the guest's memory, the disk and a buffer of [`PIECE`] bytes.
pub struct Job<'a> {
    /// The request.
    pub chain: &'a Chain,
    /// Memory that it points into.
    pub memory: &'a GuestRam,
    /// The disk.
    pub disk: &'a mut Disk,
    /// Private copy of the data while it is moved.
    pub buffer: &'a mut [u8],
    /// Answer to the question for the disk's name.
    pub serial: &'a [u8; VIRTIO_BLK_ID_BYTES as usize],
}

/// Why a request did not succeed.
enum Stop {
    /// The driver broke the rules of the queue.
    Fault(QueueFault),
    /// The request is answered with an error.
    Refused,
}

impl From<QueueFault> for Stop {
    fn from(fault: QueueFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Refused
    }
}

impl Job<'_> {
    /// Carries the request out and writes the status; outcome and used length.
    ///
    /// # Errors
    /// A chain that has no room for header or status, or that names memory that is not there.
    pub fn run(mut self) -> Result<(Outcome, usize), QueueFault> {
        let mut header = [0; HEADER];
        self.chain.read(self.memory, 0, &mut header)?;
        let status_at = self.chain.writable().len().checked_sub(1).ok_or(QueueFault::TooShort)?;
        let outcome = match self.dispatch(le32(&header, 0), le64(&header, 8)) {
            Ok(outcome) => outcome,
            Err(Stop::Refused) => Outcome::Failed,
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        self.chain.write(self.memory, status_at, &[outcome.status()])?;
        // Data, if any, and the status, which is the last byte of the writable part.
        Ok((outcome, if matches!(outcome, Outcome::Read(_)) { status_at + 1 } else { 1 }))
    }

    fn dispatch(&mut self, kind: u32, sector: u64) -> Result<Outcome, Stop> {
        match kind {
            VIRTIO_BLK_T_IN => self.read(sector),
            VIRTIO_BLK_T_OUT => self.write(sector),
            VIRTIO_BLK_T_FLUSH => Ok(self.disk.flush().map(|()| Outcome::Done)?),
            VIRTIO_BLK_T_GET_ID => self.identify(),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES if self.disk.is_read_only() => {
                Err(Stop::Refused)
            }
            VIRTIO_BLK_T_DISCARD => self.ranges(Disk::discard),
            VIRTIO_BLK_T_WRITE_ZEROES => self.ranges(Disk::zero),
            _ => Ok(Outcome::Unsupported),
        }
    }

    fn read(&mut self, sector: u64) -> Result<Outcome, Stop> {
        let len = self.chain.writable().len() - 1;
        let start = self.check(sector, len)?;
        let mut done = 0;
        while done < len {
            let piece = &mut self.buffer[..(len - done).min(PIECE)];
            self.disk.read(start + done as u64, piece)?;
            self.chain.write(self.memory, done, piece)?;
            done += piece.len();
        }
        Ok(Outcome::Read(len))
    }

    fn write(&mut self, sector: u64) -> Result<Outcome, Stop> {
        let len = self.chain.readable().len() - HEADER;
        let start = self.check(sector, len)?;
        let mut done = 0;
        while done < len {
            let piece = &mut self.buffer[..(len - done).min(PIECE)];
            self.chain.read(self.memory, HEADER + done, piece)?;
            self.disk.write(start + done as u64, piece)?;
            done += piece.len();
        }
        Ok(Outcome::Written(len))
    }

    fn check(&self, sector: u64, len: usize) -> Result<u64, Stop> {
        let range = self.disk.range(sector, len as u64).filter(|_| len <= MAX_DATA);
        range.map(|range| range.start).ok_or(Stop::Refused)
    }

    fn identify(&self) -> Result<Outcome, Stop> {
        let room = self.chain.writable().len() - 1;
        let len = room.min(self.serial.len());
        self.chain.write(self.memory, 0, &self.serial[..len])?;
        Ok(Outcome::Read(len))
    }

    fn ranges(
        &mut self,
        act: fn(&mut Disk, std::ops::Range<u64>) -> io::Result<()>,
    ) -> Result<Outcome, Stop> {
        let len = self.chain.readable().len() - HEADER;
        if !len.is_multiple_of(RANGE) || len > RANGE * MAX_RANGES as usize {
            return Err(Stop::Refused);
        }
        for index in 0..len / RANGE {
            let mut bytes = [0; RANGE];
            self.chain.read(self.memory, HEADER + index * RANGE, &mut bytes)?;
            let sectors = le32(&bytes, 8);
            let range = self.disk.range(le64(&bytes, 0), u64::from(sectors) * SECTOR);
            let range = range.filter(|_| sectors <= MAX_RANGE_SECTORS).ok_or(Stop::Refused)?;
            act(self.disk, range)?;
        }
        Ok(Outcome::Done)
    }
}

fn le32(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le64(bytes: &[u8; 16], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}
