//! Block device (virtio 1.2, section 5.2).
//!
//! Here: the device's configuration, its thread and its counters. `disk` is the storage, `volatile` the
//! private changes of a run, `request` one request. Data goes through a private buffer, so that no
//! reference into guest memory exists while the host reads or writes.

pub mod disk;
pub mod request;
pub mod volatile;

use super::chain::Chain;
use super::config_space::ConfigSpace;
use super::counters::{Counter, Registry};
use super::device::{Device, Kind};
use super::queue::QueueFault;
use super::worker::{Backend, Next, Ready, Stage, Worker, notifiers};
use disk::Disk;
use request::{Job, MAX_RANGE_SECTORS, MAX_RANGES, Outcome, PIECE};
use std::io;
use std::sync::Arc;
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES,
};

const QUEUE_SIZE: u16 = 256;
/// Data pieces at most in one request; header and status come on top.
const SEG_MAX: u32 = 126;
/// Requests at most between two looks at the mailbox.
const BUDGET: usize = 8;
const SERIAL_LEN: usize = VIRTIO_BLK_ID_BYTES as usize;

/// Makes the device and its thread. `name` is also the answer to the guest's question for a serial number.
///
/// # Errors
/// No descriptors or no thread to be had.
pub fn device(name: &str, disk: Disk, registry: &Registry) -> io::Result<Device> {
    let notify = notifiers(1)?;
    let mut features = 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_FLUSH;
    features |= if disk.is_read_only() {
        1 << VIRTIO_BLK_F_RO
    } else {
        1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
    };
    let config = Arc::new(ConfigSpace::new(config_bytes(disk.sectors())));
    let worker = Worker::spawn(name, &notify, registry, Blk::new(name, disk, registry))?;
    Ok(Device { kind: Kind::Block, features, queue_sizes: vec![QUEUE_SIZE], config, notify, control: worker })
}

/// `struct virtio_blk_config` up to the write-zeroes fields.
fn config_bytes(sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[0..8].copy_from_slice(&sectors.to_le_bytes());
    bytes[12..16].copy_from_slice(&SEG_MAX.to_le_bytes());
    bytes[36..40].copy_from_slice(&MAX_RANGE_SECTORS.to_le_bytes());
    bytes[40..44].copy_from_slice(&MAX_RANGES.to_le_bytes());
    // Discards are best aligned to the blocks that an overlay or a file system gives back.
    bytes[44..48].copy_from_slice(&8u32.to_le_bytes());
    bytes[48..52].copy_from_slice(&MAX_RANGE_SECTORS.to_le_bytes());
    bytes[52..56].copy_from_slice(&MAX_RANGES.to_le_bytes());
    bytes[56] = 1;
    bytes
}

struct Blk {
    disk: Disk,
    chain: Chain,
    buffer: Vec<u8>,
    serial: [u8; SERIAL_LEN],
    counters: Counters,
}

struct Counters {
    requests: Counter,
    bytes_read: Counter,
    bytes_written: Counter,
    failed: Counter,
    unsupported: Counter,
    overlay_bytes: Counter,
}

impl Blk {
    fn new(name: &str, disk: Disk, registry: &Registry) -> Self {
        let mut serial = [0; SERIAL_LEN];
        let len = name.len().min(SERIAL_LEN);
        serial[..len].copy_from_slice(&name.as_bytes()[..len]);
        let counter = |what| registry.counter(name, what);
        let counters = Counters {
            requests: counter("requests"),
            bytes_read: counter("bytes_read"),
            bytes_written: counter("bytes_written"),
            failed: counter("failed"),
            unsupported: counter("unsupported"),
            overlay_bytes: counter("overlay_bytes"),
        };
        Self { disk, chain: Chain::with_room(), buffer: vec![0; PIECE], serial, counters }
    }

    fn count(&self, outcome: Outcome) {
        self.counters.requests.bump();
        match outcome {
            Outcome::Read(len) => self.counters.bytes_read.add(len as u64),
            Outcome::Written(len) => self.counters.bytes_written.add(len as u64),
            Outcome::Done => {}
            Outcome::Failed => self.counters.failed.bump(),
            Outcome::Unsupported => self.counters.unsupported.bump(),
        }
        self.counters.overlay_bytes.set(self.disk.overlay_bytes());
    }
}

impl Backend for Blk {
    type Command = ();

    fn command(&mut self, (): (), _stage: &mut Stage) {}

    fn run(&mut self, stage: &mut Stage, _ready: &[Ready]) -> Result<Next, QueueFault> {
        let Some(session) = stage.session.as_mut() else { return Ok(Next::Wait) };
        let Some(Some(queue)) = session.queues.first_mut() else { return Ok(Next::Wait) };
        queue.mute()?;
        for _ in 0..BUDGET {
            if !queue.pop(&mut self.chain)? {
                break;
            }
            let job = Job {
                chain: &self.chain,
                memory: queue.memory(),
                disk: &mut self.disk,
                buffer: &mut self.buffer,
                serial: &self.serial,
            };
            let (outcome, used) = job.run()?;
            queue.push(self.chain.head(), used)?;
            self.count(outcome);
            // Requests are slow compared with an interrupt: the driver hears of each at once.
            if queue.wants_interrupt()? {
                session.interrupt.queue(0);
            }
        }
        Ok(if queue.listen()? { Next::Again } else { Next::Wait })
    }
}

#[cfg(test)]
mod tests;
