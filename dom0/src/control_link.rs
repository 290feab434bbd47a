//! The daemon's end of a driver domain's control link: one small thread per domain and epoch.
//!
//! It carries `control` messages both ways and knows nothing of their meaning. What arrives is an allegation:
//! bounded, decoded, handed on at a limited rate; a peer that breaks the link's protocol is reported once.

use crate::region::ControlEnd;
use control::codec;
use control::message::FromDomain;
use link::{Armed, Meta, SendError};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

/// Messages taken in one burst.
const BURST: usize = 32;
/// Pause after a burst that was full, so that a domain cannot keep the daemon busy.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that may wait for a domain: far more than the rules of all clients that it can have.
const MAX_WAITING: usize = 64 << 20;
/// What a message that waits costs besides its bytes.
const MESSAGE_COST: usize = 64;
/// In the count of what waits: something found no room, so that the domain does not know what it should.
const OVERRUN: usize = 1 << (usize::BITS - 1);

/// What comes in over a control link.
#[derive(Debug)]
pub enum Report {
    /// A message.
    Message(Box<FromDomain>),
    /// The domain broke the protocol; nothing more will come.
    Fault(String),
}

/// The sending half; dropping it ends the thread.
#[derive(Debug)]
pub struct ControlLink {
    outbox: Sender<Vec<u8>>,
    wake: Arc<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

impl ControlLink {
    /// Starts the thread. `bell` is what the domain rings; `report` is called for everything that comes in and
    /// returns `false` to end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start<F>(end: ControlEnd, bell: OwnedFd, report: F) -> io::Result<Self>
    where
        F: Fn(Report) -> bool + Send + 'static,
    {
        let (outbox, inbox) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (woken, cost) = (Arc::clone(&wake), Arc::clone(&waiting));
        let worker = Worker { end, bell, wake: woken, inbox, waiting: None, cost };
        std::thread::Builder::new().name("control-link".into()).spawn(move || worker.run(report))?;
        Ok(Self { outbox, wake, waiting })
    }

    /// Sends a message; it waits in memory while the domain is slow. One for which so many wait that it can only be
    /// refusing them is reported as at fault, and told nothing more.
    pub fn send<T: Serialize>(&self, message: &T) {
        let mut buffer = vec![0; codec::MAX_LEN];
        match codec::encode(message, &mut buffer) {
            Ok(bytes) => {
                let cost = bytes.len() + MESSAGE_COST;
                if self.waiting.load(Ordering::Relaxed) + cost <= MAX_WAITING {
                    self.waiting.fetch_add(cost, Ordering::Relaxed);
                    let _ = self.outbox.send(bytes.to_vec());
                } else {
                    self.waiting.fetch_or(OVERRUN, Ordering::Relaxed);
                }
                ring(&self.wake);
            }
            Err(e) => tracing::error!("control message not sent: {e}"),
        }
    }
}

impl Drop for ControlLink {
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.outbox = closed;
        ring(&self.wake);
    }
}

fn ring(eventfd: &OwnedFd) {
    // A full counter wakes as well.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

fn quiet(eventfd: &OwnedFd) {
    let _ = rustix::io::read(eventfd, &mut [0u8; 8]);
}

struct Worker {
    end: ControlEnd,
    bell: OwnedFd,
    wake: Arc<OwnedFd>,
    inbox: Receiver<Vec<u8>>,
    /// A message that found the link full.
    waiting: Option<Vec<u8>>,
    /// What waits altogether.
    cost: Arc<AtomicUsize>,
}

impl Worker {
    fn run(mut self, report: impl Fn(Report) -> bool) {
        let mut buffer = vec![0; link::MAX_PAYLOAD];
        loop {
            match self.burst_in(&mut buffer, &report) {
                Some(taken) if taken == BURST => std::thread::sleep(PAUSE),
                Some(_) => {}
                None => return,
            }
            if !self.burst_out() {
                return;
            }
            if self.cost.load(Ordering::Relaxed) & OVERRUN != 0 {
                report(Report::Fault("it does not take what it is told".to_owned()));
                return;
            }
            if self.end.link.arm() == Armed::Sleep {
                self.sleep();
            }
        }
    }

    /// Takes up to [`BURST`] records; `None` ends the thread.
    fn burst_in(&mut self, buffer: &mut [u8], report: &impl Fn(Report) -> bool) -> Option<usize> {
        for taken in 0..BURST {
            let bytes = match self.end.link.recv(buffer) {
                Ok(None) => return Some(taken),
                Ok(Some((meta, len))) if meta.kind == link::Kind::Message => buffer.get(..len)?,
                Ok(Some(_)) => continue,
                Err(fault) => {
                    report(Report::Fault(fault.as_str().to_owned()));
                    return None;
                }
            };
            let report_more = match codec::decode(bytes) {
                Ok(message) => report(Report::Message(Box::new(message))),
                Err(e) => {
                    report(Report::Fault(e.to_string()));
                    false
                }
            };
            if !report_more {
                return None;
            }
        }
        Some(BURST)
    }

    /// Sends what there is; `false` when the supervisor has let go.
    fn burst_out(&mut self) -> bool {
        loop {
            let message = match self.waiting.take().map_or_else(|| self.inbox.try_recv(), Ok) {
                Ok(message) => message,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            match self.end.link.send(&Meta::MESSAGE, &[&message]) {
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.waiting = Some(message);
                    return true;
                }
                Err(e) => tracing::error!("control message not sent: {e:?}"),
            }
            self.cost.fetch_sub(message.len() + MESSAGE_COST, Ordering::Relaxed);
        }
    }

    fn sleep(&self) {
        let mut fds = [
            PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
        quiet(&self.bell);
        quiet(&self.wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{OwnRegion, create};
    use control::message::{ToFirewall, ToNet};
    use std::sync::mpsc::sync_channel;

    /// The daemon's control link and the domain's raw end of it.
    fn pair() -> (ControlLink, ControlEnd, Receiver<Report>) {
        let (ours, theirs) = (create().unwrap(), create().unwrap());
        let own = OwnRegion::map_and_seal(ours.as_fd()).unwrap();
        let other = OwnRegion::map_and_seal(theirs.as_fd()).unwrap();
        let bell = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (to_domain, to_dom0) = (bell(), bell());
        let end = ControlEnd::new(own, theirs.as_fd(), 1, to_domain).unwrap();
        let domain = ControlEnd::new(other, ours.as_fd(), 1, to_dom0.try_clone().unwrap()).unwrap();
        let (tx, rx) = sync_channel(8);
        let link = ControlLink::start(end, to_dom0, move |r| tx.send(r).is_ok()).unwrap();
        (link, domain, rx)
    }

    fn say(domain: &mut ControlEnd, bytes: &[u8]) {
        domain.link.send(&Meta::MESSAGE, &[bytes]).unwrap();
        domain.link.publish();
    }

    #[test]
    fn messages_pass_both_ways() {
        let (link, mut domain, reports) = pair();
        link.send(&ToNet::Ping { nonce: 9 });
        let mut buffer = [0; 4096];
        let len = loop {
            match domain.link.recv(&mut buffer).unwrap() {
                Some((_, len)) => break len,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(codec::decode::<ToNet>(&buffer[..len]).unwrap(), ToNet::Ping { nonce: 9 });
        let mut buffer = [0; 64];
        let pong = codec::encode(&FromDomain::Pong { nonce: 9 }, &mut buffer).unwrap();
        say(&mut domain, pong);
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(report, Report::Message(m) if *m == FromDomain::Pong { nonce: 9 }));
    }

    #[test]
    fn nonsense_is_a_fault_and_ends_the_thread() {
        let (_link, mut domain, reports) = pair();
        say(&mut domain, &[0xff; 100]);
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(report, Report::Fault(_)), "{report:?}");
        assert!(
            reports.recv_timeout(Duration::from_secs(10)).is_err(),
            "the thread has let go of its sender"
        );
    }

    #[test]
    fn domain_that_takes_nothing_is_at_fault_before_memory_is_short() {
        let (link, _domain, reports) = pair();
        let piece = ToFirewall::rules(2, 1, &[0; 3000]).next().unwrap();
        for _ in 0..MAX_WAITING / 3000 + 1000 {
            link.send(&piece);
        }
        assert!(link.waiting.load(Ordering::Relaxed) & !OVERRUN <= MAX_WAITING);
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(&report, Report::Fault(why) if why.contains("does not take")), "{report:?}");
    }

    #[test]
    fn what_is_taken_does_not_count() {
        let (link, mut domain, _reports) = pair();
        let (mut taken, mut buffer) = (0, [0; 4096]);
        for nonce in 0..1000 {
            link.send(&ToNet::Ping { nonce });
        }
        while taken < 1000 {
            taken += usize::from(domain.link.recv(&mut buffer).unwrap().is_some());
            domain.link.publish();
        }
        let start = std::time::Instant::now();
        while link.waiting.load(Ordering::Relaxed) > 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn dropping_the_link_ends_the_thread() {
        let (link, _domain, reports) = pair();
        drop(link);
        assert!(matches!(
            reports.recv_timeout(Duration::from_secs(10)),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        ));
    }
}
