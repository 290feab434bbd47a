//! A network device whose other end is a link to the firewall domain.
//!
//! Here: the link as a wire, its attachment and loss at run time, and its sleep. The peer is hostile: what it
//! may do wrong ends this link, is counted, and shows to the guest as a lost carrier until dom0 attaches
//! another one. Neither side ever maps the other's memory.

mod regions;

use super::header::Offloads;
use super::wire::{Refused, Room, Wants, Wire};
use super::{Identity, device};
use crate::link_end::{AttachedLink, LinkEnd, LinkError};
use crate::virtio::counters::{Counter, Registry};
use crate::virtio::device::Device;
use crate::virtio::worker::{Next, OWN, Poller, Worker};
use link::{Armed, Meta, PeerFault};
use regions::Live;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use vmm_sys_util::epoll::EventSet;

/// What the control thread asks of the device's thread.
pub struct Change {
    link: Option<Box<Live>>,
    done: SyncSender<io::Result<()>>,
}

/// The control thread's handle: the end of the link.
pub struct VifEnd {
    worker: Arc<Worker<Change>>,
}

impl VifEnd {
    fn change(&self, link: Option<Box<Live>>) -> io::Result<()> {
        let (done, answer) = sync_channel(1);
        self.worker.command(Change { link, done });
        answer.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl LinkEnd for VifEnd {
    fn attach(&mut self, link: AttachedLink) -> Result<(), LinkError> {
        self.detach();
        let live = Live::new(link).map_err(|bad| LinkError::Other(bad.to_string()))?;
        self.change(Some(Box::new(live))).map_err(|error| LinkError::Other(error.to_string()))
    }

    fn detach(&mut self) {
        // The only error is that the device's thread is gone, and with it the link.
        let _ = self.change(None);
    }
}

/// Makes the device, its thread and the link's end. The guest sees no carrier until a link is attached.
///
/// # Errors
/// No descriptors or no thread to be had.
pub fn new(name: &str, identity: Identity, registry: &Registry) -> io::Result<(Device, VifEnd)> {
    let counter = |what| registry.counter(name, what);
    let wire = Vif {
        name: name.to_owned(),
        live: None,
        totals: link::Counters::default(),
        rings: counter("rings"),
        rings_suppressed: counter("rings_suppressed"),
        full: counter("waits_for_room"),
        peer_faults: counter("peer_faults"),
    };
    let (device, worker) = device(name, identity, wire, registry)?;
    Ok((device, VifEnd { worker }))
}

struct Vif {
    name: String,
    live: Option<Box<Live>>,
    /// Sums of the links before this one.
    totals: link::Counters,
    rings: Counter,
    rings_suppressed: Counter,
    full: Counter,
    peer_faults: Counter,
}

impl Vif {
    fn count(&self) {
        let now = self.live.as_ref().map(|live| live.link.counters()).unwrap_or_default();
        self.rings.set(self.totals.rings + now.rings);
        self.rings_suppressed.set(self.totals.rings_suppressed + now.rings_suppressed);
        self.full.set(self.totals.full + now.full);
    }

    fn drop_link(&mut self, poller: &Poller) {
        if let Some(live) = self.live.take() {
            poller.remove(&live.bell);
            let last = live.link.counters();
            self.totals.rings += last.rings;
            self.totals.rings_suppressed += last.rings_suppressed;
            self.totals.full += last.full;
        }
        self.count();
    }

    fn take_up(&mut self, link: Box<Live>, poller: &Poller) -> io::Result<()> {
        poller.add(&link.bell, EventSet::IN | EventSet::EDGE_TRIGGERED, OWN)?;
        self.live = Some(link);
        Ok(())
    }

    fn fault(&self) -> Option<PeerFault> {
        self.live.as_ref().and_then(|live| live.link.fault())
    }
}

impl Wire for Vif {
    type Command = Change;

    fn guest_takes(&mut self, _offloads: Offloads) {}

    fn command(&mut self, change: Change, poller: &Poller) {
        self.drop_link(poller);
        let result = change.link.map_or(Ok(()), |link| self.take_up(link, poller));
        // An error means that nobody waits for the answer any more.
        let _ = change.done.send(result);
    }

    fn is_up(&self) -> bool {
        self.live.is_some()
    }

    fn room(&mut self, len: usize) -> Room {
        match &mut self.live {
            None => Room::Down,
            Some(live) if live.link.fault().is_some() => Room::Down,
            Some(live) => match live.link.has_room(len) {
                true => Room::Yes,
                false => Room::Later,
            },
        }
    }

    fn send(&mut self, meta: &Meta, frame: &[u8]) -> Result<(), Refused> {
        let live = self.live.as_mut().ok_or(Refused)?;
        live.link.send(meta, &[frame]).map_err(|_| Refused)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Option<(Meta, usize)> {
        // A fault is dealt with before going to sleep.
        self.live.as_mut()?.link.recv(buffer).ok().flatten()
    }

    fn flush(&mut self) {
        if let Some(live) = self.live.as_mut() {
            live.link.publish();
            live.link.release();
        }
    }

    fn arm(&mut self, wants: Wants, poller: &Poller) -> Next {
        let Some(live) = self.live.as_mut() else { return Next::Wait };
        let next = match live.link.arm() {
            Armed::Sleep => Next::Wait,
            // Pending frames are of no use while the guest has no room for the one at hand; room is.
            Armed::Pending if wants.frames => Next::Again,
            Armed::Pending => match wants.room {
                Some(len) if live.link.has_room(len) => Next::Again,
                _ => Next::Wait,
            },
        };
        if let Some(fault) = self.fault() {
            tracing::warn!(device = self.name, %fault, "peer broke a rule: link detached");
            self.peer_faults.bump();
            self.drop_link(poller);
            return Next::Again;
        }
        self.count();
        next
    }
}

#[cfg(test)]
mod tests;
