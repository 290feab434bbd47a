//! The networks: the uplink, where the program's own connections go, and the clients, whose connections end here.
//!
//! A frame's walk: [`Net::poll`] → `net/from_client` or `net/from_uplink` → `net/state` (whose connection?) → `net/tcp`; and
//! back through `net/links`. The program's side is `net/program`. There is no way from one network to the other but
//! through the program: nothing here copies a packet from a port to a port.

mod arrival;
mod congestion;
mod counters;
mod datagrams;
mod from_client;
mod from_uplink;
mod guest;
mod links;
mod listener;
mod network;
mod program;
mod random;
mod state;
mod stream;
mod table;
mod tcp;
mod timers;
mod to_client;
mod to_uplink;
mod uplink;
mod wire;

#[cfg(test)]
mod tests;

pub use counters::{Count, Counters};
pub use from_client::TRANSPARENT;
pub use links::UPLINK;
pub use program::DNS;

use crate::frames::{Frames, PortFault};
use abi::link_device::MAX_PORTS;
use alloc::{boxed::Box, vec};
use control::message::Client;
use core::mem;
use guest::Guest;
use links::{FRAME_ROOM, Links};
use state::{Core, Reset};
use table::Slot;
use uplink::Uplink;

/// Frames taken from a port before the others have their turn.
const BURST: usize = 64;
/// Packets that a connection sends before the others have their turn.
const SEGMENTS: usize = 16;
/// Microseconds after which a connection is asked again that wanted to send and did not.
const AGAIN_US: u64 = 10_000;

/// Both networks, and the program's sockets. Ports are those of the link device: [`UPLINK`], and clients from 2 on.
pub struct Net<F> {
    links: Links<F>,
    core: Core,
    buffer: Box<[u8]>,
}

/// What became of a connection's wish to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// All is said.
    Wholly,
    /// There is more.
    Partly,
    /// There is more, and no room for it.
    Blocked,
}

impl<F: Frames> Net<F> {
    /// No network yet. `seed` is secret: ports and sequence numbers are drawn from it.
    #[must_use]
    pub fn new(seed: [u64; 2]) -> Self {
        Self { links: Links::new(), core: Core::new(seed), buffer: vec![0; FRAME_ROOM].into_boxed_slice() }
    }

    /// Says what we are on the uplink; `false`: the description makes no sense, and nothing was changed. Connections end
    /// when it is another address.
    pub fn set_uplink(&mut self, described: &Client) -> bool {
        let Some(mut new) = Uplink::new(described) else { return false };
        match self.core.uplink.as_ref().filter(|old| old.is_same(&new)) {
            Some(old) => new.neighbour = old.neighbour,
            None => self.core.drop_silently(|stream| stream.port == UPLINK),
        }
        self.core.uplink = Some(new);
        true
    }

    /// Says who is behind a port; `false`: the description makes no sense, or is of another's address, and nothing was
    /// changed. The connections of who was there before are reset.
    pub fn set_client(&mut self, port: u8, described: &Client) -> bool {
        let taken = |(at, guest): (usize, &Option<Box<Guest>>)| {
            guest.as_ref().is_some_and(|guest| at != usize::from(port) && guest.shares_with(described))
        };
        if port <= UPLINK || usize::from(port) >= MAX_PORTS || self.core.guests.iter().enumerate().any(taken)
        {
            return false;
        }
        let Some(new) = Guest::new(described) else { return false };
        if !self.core.guest(port).is_some_and(|old| old.is_same(&new)) {
            self.forget_client(port);
            if let Some(place) = self.core.guests.get_mut(usize::from(port)) {
                *place = Some(Box::new(new));
            }
            self.core.advertise_us = 0;
        } else if let Some(old) = self.core.guest_mut(port) {
            old.client = new.client;
        }
        true
    }

    /// The client is gone for good: its connections are reset.
    pub fn forget_client(&mut self, port: u8) {
        if port <= UPLINK {
            return;
        }
        self.core.reset(|stream| stream.port == port);
        self.serve();
        self.core.drop_silently(|stream| stream.port == port);
        if let Some(datagrams) = self.core.resolver.and_then(|slot| self.core.table.datagrams_mut(slot)) {
            datagrams.forget(port);
        }
        if let Some(place) = self.core.guests.get_mut(usize::from(port)) {
            *place = None;
        }
    }

    /// Puts a link, or a new epoch of one, on a port; `false`: there is no such port. Connections live on.
    pub fn attach(&mut self, port: u8, frames: F) -> bool {
        let attached = self.links.attach(port, frames);
        if let Some(uplink) = self.core.uplink.as_mut().filter(|_| port == UPLINK) {
            uplink.neighbour = None;
        }
        self.core.advertise_us = 0;
        self.core.pending = true;
        attached
    }

    /// Takes the link of a port away. Connections live on, for a while.
    pub fn detach(&mut self, port: u8) -> Option<F> {
        self.links.detach(port)
    }

    /// Takes in what arrived, does what is due and sends what is to be sent, a bounded part of it; whether there was
    /// anything. Call it until there was not, and [`Self::arm`] before sleeping, until [`Self::poll_at`] at most.
    pub fn poll(&mut self, now_us: u64) -> bool {
        self.core.now_us = self.core.now_us.max(now_us);
        let mut worked = self.take_frames();
        for _ in 0..table::SOCKETS {
            let Some(slot) = self.core.timers.pop(self.core.now_us) else { break };
            self.core.expire(slot);
            worked = true;
        }
        worked |= self.serve();
        to_uplink::ask(&mut self.core, &mut self.links);
        to_client::advertise_all(&mut self.core, &mut self.links);
        for frames in self.links.all() {
            frames.flush();
        }
        worked
    }

    /// A link that was found faulty, and taken away.
    pub fn take_fault(&mut self) -> Option<(u8, PortFault)> {
        self.links.take_fault()
    }

    /// When to poll although nothing happens (microseconds); the past means at once.
    #[must_use]
    pub fn poll_at(&self) -> Option<u64> {
        if self.core.pending {
            return Some(0);
        }
        let ask = self.core.uplink.as_ref().and_then(|uplink| uplink.ask_us);
        let advertise = self.core.has_v6().then_some(self.core.advertise_us);
        [self.core.timers.first(), ask, advertise].into_iter().flatten().min()
    }

    /// Asks every port to be woken; `true`: one may sleep.
    pub fn arm(&mut self) -> bool {
        // Every port is asked, also when one has something already.
        let busy = self.links.all().filter_map(|frames| (!frames.arm()).then_some(())).count();
        busy == 0 && !self.core.pending
    }

    /// What was counted, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.core.counters.iter()
    }

    /// How often this happened.
    #[must_use]
    pub fn count(&self, what: Count) -> u64 {
        self.core.counters.get(what)
    }

    /// Takes in a burst of every port.
    fn take_frames(&mut self) -> bool {
        let mut worked = false;
        let mut buffer = mem::take(&mut self.buffer);
        for port in (UPLINK..).take(MAX_PORTS - usize::from(UPLINK)) {
            for _ in 0..BURST {
                let Some((meta, len)) = self.links.receive(port, &mut buffer) else { break };
                worked = true;
                let Some(frame) = buffer.get_mut(..len) else { break };
                let taken = match port {
                    UPLINK => from_uplink::take(&mut self.core, &mut self.links, &meta, frame),
                    _ => from_client::take(&mut self.core, &mut self.links, (port, &meta), frame),
                };
                if let Err(reason) = taken {
                    self.core.counters.add(reason);
                }
            }
        }
        self.buffer = buffer;
        worked
    }

    /// Lets everybody send who may have something to; whether something was sent, or is left that finds room.
    fn serve(&mut self) -> bool {
        let mut worked = false;
        self.core.pending = false;
        for _ in 0..self.core.listed.len() {
            let Some(slot) = self.core.listed.pop_front() else { break };
            let Some(stream) = self.core.table.stream_mut(slot).filter(|stream| stream.listed) else {
                continue;
            };
            stream.listed = false;
            let (served, sent) = serve_one(&mut self.core, &mut self.links, slot);
            worked |= sent;
            if served != Served::Wholly {
                self.core.list(slot);
            }
            // Who is blocked waits for the port to say that there is room.
            worked |= served == Served::Partly;
        }
        self.core.pending = worked;
        worked
    }
}

/// Gives a segment to its connection.
fn feed<F: Frames>(core: &mut Core, links: &mut Links<F>, slot: Slot, packet: &[u8], reset: Reset) {
    let (now_us, way) = (core.now_us, core.way(slot));
    let Core { table, counters, .. } = core;
    let (Some(way), Some(stream)) = (way, table.stream_mut(slot)) else { return };
    let Some(tcp) = stream.tcp.as_mut() else { return };
    let mut outlet = links.outlet(way, counters);
    let queued = tcp.socket().send_queue();
    tcp.feed(now_us, packet, &mut outlet);
    if let Some(congestion) = stream.congestion.as_mut() {
        congestion.acknowledge(queued.saturating_sub(tcp.socket().send_queue()), queued);
    }
    stream.hear(now_us);
    // A reset that counts leaves no connection.
    if reset == Reset::Yes && matches!(stream.state(), tcp::State::Closed | tcp::State::Listen) {
        counters.add(Count::PeerReset);
    }
    core.after(slot, reset);
    core.list(slot);
}

/// Lets a connection send; whether it has sent something.
fn serve_one<F: Frames>(core: &mut Core, links: &mut Links<F>, slot: Slot) -> (Served, bool) {
    let (now_us, way) = (core.now_us, core.way(slot));
    let Core { table, counters, uplink, timers, .. } = core;
    let (Some(way), Some(stream)) = (way, table.stream_mut(slot)) else { return (Served::Wholly, false) };
    let Some(tcp) = stream.tcp.as_mut() else { return (Served::Wholly, false) };
    if let (None, Some(uplink)) = (way.destination, uplink) {
        uplink.want(now_us);
    }
    let mut outlet = links.outlet(way, counters);
    let full = (0..SEGMENTS).all(|_| {
        let more = tcp.drain(now_us, &mut outlet);
        if let (Some(congestion), Some(bytes)) = (stream.congestion.as_mut(), outlet.bytes.take()) {
            congestion.send(bytes);
        }
        more
    });
    let due = tcp.due(now_us);
    let owes = due.is_some_and(|at| at <= now_us);
    let served = match owes {
        true if full => Served::Partly,
        true if !wire::Outlet::ready(&mut outlet) => Served::Blocked,
        _ => Served::Wholly,
    };
    let sent = outlet.sent > 0;
    // Whoever owes something, and has room, and does not say it, is not asked for ever.
    let due = if owes { (served == Served::Wholly).then_some(now_us + AGAIN_US) } else { due };
    timers.set(slot, [due, stream.deadline()].into_iter().flatten().min());
    let retired = if owes { stream::Event::Nothing } else { stream.retire() };
    core.after(slot, Reset::No);
    core.settle(slot, retired);
    (served, sent)
}
