//! What the networks know, without any link.

use super::{
    counters::{Count, Counters},
    guest::{CONNECTIONS_OF_CLIENT, Guest},
    links::{UPLINK, Way},
    random::Random,
    stream::{Event, Owner, Stream},
    table::{Object, SOCKETS, Slot, Table},
    tcp::{Buffers, Setup, Tcp},
    timers::Timers,
    uplink::Uplink,
};
use abi::link_device::MAX_PORTS;
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::net::{IpAddr, SocketAddr};

/// A client's connection's buffers.
pub(super) const CLIENT_BUFFERS: Buffers = Buffers { receive: 64 * 1024, send: 64 * 1024 };
/// A relay's connection's buffers: few connections carry everything, far away.
pub(super) const RELAY_BUFFERS: Buffers = Buffers { receive: 1024 * 1024, send: 256 * 1024 };
/// The same when [`LARGE_RELAYS`] have theirs already.
pub(super) const SMALL_RELAY_BUFFERS: Buffers = Buffers { receive: 192 * 1024, send: 128 * 1024 };
/// Connections to relays with large buffers.
pub(super) const LARGE_RELAYS: usize = 3;
/// Connections to relays at most.
pub(super) const RELAYS: usize = 16;
/// Connections of clients at most.
pub(super) const CLIENT_CONNECTIONS: usize = 256;
/// Connections to which a client has a right, whatever others do.
const RIGHT: usize = 16;
/// Microseconds after which an idle client is asked whether it is still there.
const KEEP_ALIVE_US: u64 = 120_000_000;

// All buffers together stay within what the memory of the domain leaves for them.
const _: () = assert!(
    CLIENT_BUFFERS.total() * CLIENT_CONNECTIONS
        + RELAY_BUFFERS.total() * LARGE_RELAYS
        + SMALL_RELAY_BUFFERS.total() * (RELAYS - LARGE_RELAYS)
        <= 40 * 1024 * 1024
);

/// The state.
pub(super) struct Core {
    /// The time.
    pub(super) now_us: u64,
    /// Clients by port.
    pub(super) guests: Vec<Option<Box<Guest>>>,
    /// What we are on the uplink.
    pub(super) uplink: Option<Uplink>,
    /// All sockets.
    pub(super) table: Table,
    /// Who listens, by port.
    pub(super) listeners: Vec<(u16, Slot)>,
    /// Who hears questions.
    pub(super) resolver: Option<Slot>,
    /// When to look at whom.
    pub(super) timers: Timers,
    /// Who may have something to send.
    pub(super) listed: VecDeque<Slot>,
    /// Whether somebody was listed since the last time that all of them were served.
    pub(super) pending: bool,
    /// What happened how often.
    pub(super) counters: Counters,
    /// For ports and sequence numbers.
    pub(super) random: Random,
    /// Living connections to relays, and how many of them have large buffers.
    pub(super) relays: (usize, usize),
    /// Living connections of clients.
    pub(super) connections: usize,
    /// When clients are told next who their router is.
    pub(super) advertise_us: u64,
}

impl Core {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self {
            now_us: 0,
            guests: (0..MAX_PORTS).map(|_| None).collect(),
            uplink: None,
            table: Table::new(),
            listeners: Vec::new(),
            resolver: None,
            timers: Timers::new(SOCKETS),
            listed: VecDeque::with_capacity(usize::from(SOCKETS)),
            pending: false,
            counters: Counters::default(),
            random: Random::new(seed),
            relays: (0, 0),
            connections: 0,
            advertise_us: 0,
        }
    }

    /// The client behind a port.
    pub(super) fn guest(&self, port: u8) -> Option<&Guest> {
        self.guests.get(usize::from(port))?.as_deref()
    }

    /// The client behind a port.
    pub(super) fn guest_mut(&mut self, port: u8) -> Option<&mut Guest> {
        self.guests.get_mut(usize::from(port))?.as_deref_mut()
    }

    /// Whether there is a client that has to be told of a router.
    pub(super) fn has_v6(&self) -> bool {
        self.guests.iter().flatten().any(|guest| guest.client.v6_prefix.is_some())
    }

    /// Who listens on a port.
    pub(super) fn listener(&self, port: u16) -> Option<Slot> {
        self.listeners.iter().find_map(|(at, slot)| (*at == port).then_some(*slot))
    }

    /// Where a connection's packets go.
    pub(super) fn way(&self, slot: Slot) -> Option<Way> {
        let stream = self.table.stream(slot)?;
        let (port, cut, ends) = (stream.port, stream.cut, (stream.local, stream.peer));
        if port == UPLINK {
            let uplink =
                self.uplink.as_ref().filter(|uplink| IpAddr::V4(uplink.address) == stream.local.ip())?;
            let (source, destination, mtu) = (uplink.mac, uplink.neighbour, uplink.mtu);
            return Some(Way { port, source, destination, mtu, cut: None, ends });
        }
        let client = &self.guest(port)?.client;
        let source = first_hop::address::OUR_MAC;
        Some(Way { port, source, destination: Some(client.mac), mtu: client.mtu, cut, ends })
    }

    /// How many connections a client may have now: what the others have not, or have a right to.
    fn share(&self, port: u8) -> usize {
        let present = self.guests.iter().flatten().count().max(1);
        let right = RIGHT.min(CLIENT_CONNECTIONS / present);
        let others = (0u8..).zip(&self.guests).filter(|(other, _)| *other != port);
        let theirs = others.filter_map(|(_, guest)| Some(guest.as_ref()?.connections.max(right)));
        CLIENT_CONNECTIONS.saturating_sub(theirs.sum()).min(CONNECTIONS_OF_CLIENT)
    }

    /// A client's connections that a listener has, and the program has not.
    pub(super) fn unaccepted(&self, port: u8, listener: Slot) -> usize {
        let of = |stream: &Stream| {
            stream.port == port
                && matches!(stream.owner, Owner::Opening(l) | Owner::Waiting(l) if l == listener)
        };
        (0..SOCKETS).filter(|slot| self.table.stream(*slot).is_some_and(of)).count()
    }

    /// How a client's connection to `local` begins; `None`: there are enough of them.
    pub(super) fn client_setup(&mut self, port: u8, local: SocketAddr) -> Option<Setup> {
        let seed = self.random.next_u64();
        let share = self.share(port);
        let guest = self.guest(port).filter(|guest| guest.connections < share)?;
        let (mtu, keep_alive_us) = (guest.client.mtu, Some(KEEP_ALIVE_US));
        Some(Setup { local, mtu, seed, buffers: CLIENT_BUFFERS, keep_alive_us, ack_at_once: false })
    }

    /// How a connection to a relay begins; `None`: there are enough of them.
    pub(super) fn relay_setup(&mut self, local: SocketAddr, mtu: u16) -> Option<Setup> {
        let (all, large) = self.relays;
        let buffers = if large < LARGE_RELAYS { RELAY_BUFFERS } else { SMALL_RELAY_BUFFERS };
        let seed = self.random.next_u64();
        (all < RELAYS).then_some(Setup { local, mtu, seed, buffers, keep_alive_us: None, ack_at_once: false })
    }

    /// Takes a connection in; `None`: there is no place.
    pub(super) fn add(
        &mut self,
        port: u8,
        ends: (SocketAddr, SocketAddr),
        owner: Owner,
        tcp: Tcp,
    ) -> Option<Slot> {
        let stream = Stream::new(port, ends, owner, tcp, self.now_us);
        let key = stream.key();
        let slot = self.table.add(Object::Stream(Box::new(stream)))?;
        self.table.connect(key, slot);
        self.use_buffers(slot);
        Some(slot)
    }

    /// Counts the buffers of a connection that was just made.
    pub(super) fn use_buffers(&mut self, slot: Slot) {
        let Some((port, large)) = self.table.stream_mut(slot).map(|stream| (stream.port, stream.count()))
        else {
            return;
        };
        if port == UPLINK {
            self.relays.0 += 1;
            self.relays.1 += usize::from(large);
        } else {
            self.connections += 1;
            if let Some(guest) = self.guest_mut(port) {
                guest.connections += 1;
            }
        }
    }

    /// Counts no more the buffers of a connection that has let go of them.
    fn free_buffers(&mut self, port: u8, large: bool) {
        if port == UPLINK {
            self.relays.0 = self.relays.0.saturating_sub(1);
            self.relays.1 = self.relays.1.saturating_sub(usize::from(large));
        } else {
            self.connections = self.connections.saturating_sub(1);
            if let Some(guest) = self.guest_mut(port) {
                guest.connections = guest.connections.saturating_sub(1);
            }
        }
    }

    /// Remembers that a connection may have something to send.
    pub(super) fn list(&mut self, slot: Slot) {
        if let Some(stream) = self.table.stream_mut(slot).filter(|stream| !stream.listed) {
            stream.listed = true;
            self.listed.push_back(slot);
        }
        self.pending = true;
    }

    /// Does what follows from an event of a connection, and lets go of what it needs no more.
    pub(super) fn settle(&mut self, slot: Slot, event: Event) {
        let Some(stream) = self.table.stream_mut(slot) else { return };
        let (key, owner, port) = (stream.key(), stream.owner, stream.port);
        if let Some(large) = stream.uncount() {
            self.free_buffers(port, large);
        }
        match (event, owner) {
            (Event::Nothing, _) => {}
            (Event::Established, Owner::Opening(listener)) => self.establish(slot, listener),
            (Event::Established, _) => {}
            (Event::Gone, owner) => {
                self.table.disconnect(&key, slot);
                self.timers.set(slot, None);
                if matches!(owner, Owner::Opening(_) | Owner::Nobody) {
                    self.table.remove(slot);
                }
            }
        }
    }

    /// A client's connection may be taken by the program now.
    fn establish(&mut self, slot: Slot, listener: Slot) {
        let Some(hearer) = self.table.listener_mut(listener) else { return };
        hearer.waiting.push_back(slot);
        hearer.edges = hearer.edges.wrapping_add(1);
        if let Some(stream) = self.table.stream_mut(slot) {
            stream.owner = Owner::Waiting(listener);
        }
        self.counters.add(Count::Accepted);
    }

    /// Looks at a connection whose deadline has come.
    pub(super) fn expire(&mut self, slot: Slot) {
        let now_us = self.now_us;
        let Some(stream) = self.table.stream_mut(slot) else { return };
        if stream.expire(now_us) {
            self.counters.add(Count::TimedOut);
        }
        self.after(slot, Reset::No);
        self.list(slot);
    }

    /// Notices what became of a connection.
    pub(super) fn after(&mut self, slot: Slot, reset: Reset) {
        let now_us = self.now_us;
        let Some(stream) = self.table.stream_mut(slot) else { return };
        let event = stream.notice(reset == Reset::Yes, now_us);
        self.settle(slot, event);
    }

    /// The program wants no more of a connection.
    pub(super) fn orphan(&mut self, slot: Slot) {
        let now_us = self.now_us;
        if let Some(stream) = self.table.stream_mut(slot) {
            stream.orphan(now_us);
        }
        self.after(slot, Reset::No);
        self.list(slot);
    }

    /// Resets every connection that `which` says. Its owner is told.
    pub(super) fn reset(&mut self, which: impl Fn(&Stream) -> bool) {
        let now_us = self.now_us;
        for slot in 0..SOCKETS {
            let Some(stream) = self.table.stream_mut(slot).filter(|stream| which(stream)) else { continue };
            stream.abort(now_us);
            self.after(slot, Reset::Yes);
            self.list(slot);
        }
    }

    /// Ends every connection that `which` says without a word to its peer. Its owner is told.
    pub(super) fn drop_silently(&mut self, which: impl Fn(&Stream) -> bool) {
        for slot in 0..SOCKETS {
            let Some(stream) = self.table.stream_mut(slot).filter(|stream| which(stream)) else { continue };
            stream.fail(crate::errno::Errno::CONNRESET);
            self.settle(slot, Event::Gone);
        }
    }
}

/// Whether the peer reset the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// It did.
    Yes,
    /// It did not.
    No,
}
