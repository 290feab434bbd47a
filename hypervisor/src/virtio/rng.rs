//! Entropy device (virtio 1.2, section 5.4): the host's random bytes.

use super::chain::Chain;
use super::config_space::ConfigSpace;
use super::counters::{Counter, Registry};
use super::device::{Device, Kind};
use super::queue::QueueFault;
use super::worker::{Backend, Next, Ready, Stage, Worker, notifiers};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::sync::Arc;

const QUEUE_SIZE: u16 = 64;
/// Bytes at most for one request; the driver asks again if it wants more.
const MOST: usize = 4096;
/// Requests at most between two looks at the mailbox.
const BUDGET: usize = 64;

/// Makes the device and its thread.
///
/// # Errors
/// No descriptors or no thread to be had.
pub fn device(name: &str, registry: &Registry) -> io::Result<Device> {
    let notify = notifiers(1)?;
    let backend = Rng { chain: Chain::with_room(), bytes: registry.counter(name, "bytes") };
    let worker = Worker::spawn(name, &notify, registry, backend)?;
    Ok(Device {
        kind: Kind::Entropy,
        features: 0,
        queue_sizes: vec![QUEUE_SIZE],
        config: Arc::new(ConfigSpace::new(Vec::new())),
        notify,
        control: worker,
    })
}

struct Rng {
    chain: Chain,
    bytes: Counter,
}

impl Rng {
    /// Fills one request; the number of bytes written.
    fn fill(&self, memory: &super::queue::GuestRam) -> Result<usize, QueueFault> {
        let mut bytes = [0; MOST];
        let want = self.chain.writable().len().min(MOST);
        let got = getrandom(&mut bytes[..want], GetRandomFlags::empty()).unwrap_or(0);
        self.chain.write(memory, 0, &bytes[..got])?;
        Ok(got)
    }
}

impl Backend for Rng {
    type Command = ();

    fn command(&mut self, (): (), _stage: &mut Stage) {}

    fn run(&mut self, stage: &mut Stage, _ready: &[Ready]) -> Result<Next, QueueFault> {
        let Some(session) = stage.session.as_mut() else { return Ok(Next::Wait) };
        let Some(Some(queue)) = session.queues.first_mut() else { return Ok(Next::Wait) };
        for _ in 0..BUDGET {
            if !queue.pop(&mut self.chain)? {
                break;
            }
            if self.chain.writable().is_empty() {
                return Err(QueueFault::Direction);
            }
            let got = self.fill(&queue.memory().clone())?;
            self.bytes.add(got as u64);
            queue.push(self.chain.head(), got)?;
        }
        if queue.wants_interrupt()? {
            session.interrupt.queue(0);
        }
        Ok(if queue.listen()? { Next::Again } else { Next::Wait })
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::F_EVENT_IDX;
    use super::super::testing::{Driver, Piece, memory, session, wait_until};
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn fills_requests_until_reset() {
        let memory = memory(0x10_0000);
        let mut driver = Driver::new(&memory, 0, 16);
        let device = device("rng", &Registry::default()).unwrap();
        let (session, signals) = session(&[&driver], F_EVENT_IDX);
        driver.offer(&[Piece::In(0x8000, 100), Piece::In(0x9000, 28)]);
        device.control.start(session);
        assert_eq!(driver.wait_used(1)[0].1, 128);
        assert_ne!(driver.read(0x8000, 100), [0; 100]);
        assert_ne!(driver.read(0x9000, 28), [0; 28]);
        wait_until("interrupt", || signals.queue.load(Ordering::SeqCst) == 1);
        driver.offer(&[Piece::In(0x8000, 10_000)]);
        device.notify[0].write(1).unwrap();
        assert_eq!(driver.wait_used(1)[0].1, 4096);
        device.control.stop();
        driver.offer(&[Piece::In(0x8000, 8)]);
        device.notify[0].write(1).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(driver.used().is_empty());
    }

    #[test]
    fn hostile_request_stops_the_device_until_reset() {
        let memory = memory(0x10_0000);
        let mut driver = Driver::new(&memory, 0, 16);
        let registry = Registry::default();
        let device = device("rng", &registry).unwrap();
        let (first, signals) = session(&[&driver], 0);
        driver.offer(&[Piece::Out(0x8000, 4)]);
        device.control.start(first);
        wait_until("needs reset", || signals.needs_reset.load(Ordering::SeqCst) == 1);
        assert!(registry.snapshot().contains(&("rng.driver_faults".into(), 1)));
        device.control.stop();
        let mut driver = Driver::new(&memory, 0x4_0000, 16);
        driver.offer(&[Piece::In(0x8000, 4)]);
        device.control.start(super::super::testing::session(&[&driver], 0).0);
        assert_eq!(driver.wait_used(1)[0].1, 4);
    }
}
