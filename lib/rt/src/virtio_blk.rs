//! A virtio disk: whole sectors in and out by copy, one request at a time, waiting for each.
//!
//! For the few kilobytes that must outlive a domain. What the device says is bounded: a capacity is believed only as a
//! limit, and a request that is answered wrongly, or not in time, is a fault; the device is not used again.

use crate::machine::Machine;
use crate::pci::Function;
use crate::timer::Clock;
use crate::virtio::{self, Memory, Transport};
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{Ordering, fence};
use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport as _;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Most bytes of one request; longer ones are cut.
const REQUEST_MAX: usize = 16 * SECTOR;
/// How long the device may take for one request.
const PATIENCE_US: u64 = 10_000_000;

/// Features (virtio 1.2 §5.2.3): read-only, and flush.
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;

/// Why the disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Not whole sectors, or beyond the end.
    OutOfRange,
    /// The disk cannot be written to.
    ReadOnly,
    /// The device reports that it failed.
    Failed,
    /// The device broke the protocol or did not answer; from then on always.
    Broken,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "not whole sectors of the disk",
            Self::ReadOnly => "the disk is read-only",
            Self::Failed => "the disk failed",
            Self::Broken => "the virtio disk broke the protocol",
        })
    }
}

impl core::error::Error for DiskError {}

/// Request types (virtio 1.2 §5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read = 0,
    Write = 1,
    Flush = 4,
}

/// Memory that the device reads and writes: there for ever, so that a late answer changes nothing else.
struct Buffers {
    header: [u8; 16],
    data: [u8; REQUEST_MAX],
    status: [u8; 1],
}

/// A virtio disk.
pub struct VirtioBlk {
    transport: Transport,
    requests: VirtQueue<Memory, 4>,
    buffers: &'static mut Buffers,
    sectors: u64,
    features: u64,
    broken: bool,
}

impl fmt::Debug for VirtioBlk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioBlk").field("sectors", &self.sectors).finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens the first virtio disk; `None` when there is none that works.
    #[must_use]
    pub fn virtio_blk(&self) -> Option<VirtioBlk> {
        self.pci().iter().filter(|f| virtio::is(f, virtio::TYPE_BLOCK)).find_map(VirtioBlk::open)
    }
}

impl VirtioBlk {
    /// Takes `function` over.
    #[must_use]
    pub fn open(function: &Function) -> Option<Self> {
        let mut transport = Transport::open(function, None)?;
        let Some(features) = virtio::negotiate(&mut transport, Feature::VERSION_1.bits(), READ_ONLY | FLUSH)
        else {
            log::error!("virtio disk {}: too old", function.address());
            return None;
        };
        let [low, high]: [u32; 2] = transport.read_consistent(|| transport.read_config_space(0)).ok()?;
        let sectors = u64::from(high) << 32 | u64::from(low);
        let mut requests = VirtQueue::new(&mut transport, 0, false, false).ok()?;
        requests.set_dev_notify(false);
        transport.finish_init();
        let buffers = Box::leak(Box::new(Buffers { header: [0; 16], data: [0; REQUEST_MAX], status: [0] }));
        Some(Self { transport, requests, buffers, sectors, features, broken: false })
    }

    /// Number of sectors, as the device says.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether writes are refused.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.features & READ_ONLY != 0
    }

    /// Reads whole sectors from sector `first` on.
    ///
    /// # Errors
    /// [`DiskError`]; `out` may have been filled in part.
    pub fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check(first, out.len())?;
        for (sector, part) in (first..).step_by(REQUEST_MAX / SECTOR).zip(out.chunks_mut(REQUEST_MAX)) {
            self.request(Kind::Read, sector, part.len())?;
            part.copy_from_slice(&self.buffers.data[..part.len()]);
        }
        Ok(())
    }

    /// Writes whole sectors from sector `first` on. They last after [`VirtioBlk::flush`].
    ///
    /// # Errors
    /// [`DiskError`]; some of them may have been written.
    pub fn write(&mut self, first: u64, data: &[u8]) -> Result<(), DiskError> {
        self.check(first, data.len())?;
        if self.is_read_only() {
            return Err(DiskError::ReadOnly);
        }
        for (sector, part) in (first..).step_by(REQUEST_MAX / SECTOR).zip(data.chunks(REQUEST_MAX)) {
            self.buffers.data[..part.len()].copy_from_slice(part);
            self.request(Kind::Write, sector, part.len())?;
        }
        Ok(())
    }

    /// Returns when everything written lasts. A device without this request writes at once.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn flush(&mut self) -> Result<(), DiskError> {
        if self.features & FLUSH == 0 {
            return if self.broken { Err(DiskError::Broken) } else { Ok(()) };
        }
        self.request(Kind::Flush, 0, 0)
    }

    fn check(&self, first: u64, len: usize) -> Result<(), DiskError> {
        let end = first.checked_add((len / SECTOR) as u64).filter(|&end| end <= self.sectors);
        if end.is_none() || !len.is_multiple_of(SECTOR) { Err(DiskError::OutOfRange) } else { Ok(()) }
    }

    /// Makes one request with the first `len` bytes of the data buffer.
    fn request(&mut self, kind: Kind, sector: u64, len: usize) -> Result<(), DiskError> {
        if self.broken {
            return Err(DiskError::Broken);
        }
        let answer = self.ask(kind, sector, len);
        self.broken = answer.is_none();
        match answer {
            Some(0) => Ok(()),
            Some(_) => Err(DiskError::Failed),
            None => Err(DiskError::Broken),
        }
    }

    /// The status that the device answers with (0 for success); `None` when it answers wrongly or not at all.
    fn ask(&mut self, kind: Kind, sector: u64, len: usize) -> Option<u8> {
        /// No status; tells an answer from none.
        const UNTOUCHED: u8 = 0xFF;
        let Buffers { header, data, status } = &mut *self.buffers;
        header[..4].copy_from_slice(&(kind as u32).to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        status[0] = UNTOUCHED;
        let data = &mut data[..len];
        let (read, written): (&mut [u8], &[u8]) = match kind {
            Kind::Read => (data, &[]),
            Kind::Write => (&mut [], data),
            Kind::Flush => (&mut [], &[]),
        };
        let answered = read.len() + 1;
        // Empty parts are left out: the queue wants none.
        let inputs = [&header[..], written];
        let inputs = &inputs[..1 + usize::from(!written.is_empty())];
        let from = usize::from(read.is_empty());
        let mut outputs = [read, &mut status[..]];
        let outputs = &mut outputs[from..];
        // SAFETY: the buffers live for ever, and are not touched before `pop_used`; after a device that did not answer
        // they are never used again.
        let token = unsafe { self.requests.add(inputs, outputs) }.ok()?;
        fence(Ordering::SeqCst);
        if self.requests.should_notify() {
            self.transport.notify(0);
        }
        let deadline = Clock.us().saturating_add(PATIENCE_US);
        while !self.requests.can_pop() {
            if Clock.us() > deadline {
                return None;
            }
            core::hint::spin_loop();
        }
        // SAFETY: the same buffers as in `add`, whose token this is.
        let len = unsafe { self.requests.pop_used(token, inputs, outputs) }.ok()?;
        let status = self.buffers.status[0];
        (len as usize >= answered && status != UNTOUCHED).then_some(status)
    }
}
