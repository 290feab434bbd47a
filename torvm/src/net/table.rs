//! All sockets, by number; and the living connections by their ends.

use super::{datagrams::Datagrams, listener::Listener, stream::Stream};
use crate::sockets::SocketId;
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::net::{IpAddr, SocketAddr};

/// Sockets at most, those included that the program has closed and that still have something to say.
pub(super) const SOCKETS: u16 = 1024;
const SLOT_BITS: u32 = SOCKETS.trailing_zeros();

/// A socket's place.
pub(super) type Slot = u16;

/// A socket.
pub(super) enum Object {
    /// A stream that is neither connected nor listening; its port, or 0.
    Fresh(u16),
    /// A stream that listens.
    Listener(Box<Listener>),
    /// A connection.
    Stream(Box<Stream>),
    /// A datagram socket.
    Datagrams(Box<Datagrams>),
}

/// A connection's ends: the three ports (of the link device, ours, the peer's), and the two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64, u128, u128);

impl Key {
    /// The key of a connection.
    pub(super) fn new(port: u8, local: SocketAddr, peer: SocketAddr) -> Self {
        // No packet has a mapped address: none is mistaken for IPv4's.
        let bits = |end: SocketAddr| match end.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let ports = u64::from(port) << 32 | u64::from(local.port()) << 16 | u64::from(peer.port());
        Self(ports, bits(local), bits(peer))
    }
}

struct Entry {
    generation: u32,
    object: Option<Object>,
}

/// The sockets.
pub(super) struct Table {
    entries: Vec<Entry>,
    free: VecDeque<Slot>,
    connections: BTreeMap<Key, Slot>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: (0..SOCKETS).map(|_| Entry { generation: 0, object: None }).collect(),
            free: (0..SOCKETS).collect(),
            connections: BTreeMap::new(),
        }
    }

    /// Finds a place for a socket; `None` when there is none.
    pub(super) fn add(&mut self, object: Object) -> Option<Slot> {
        let slot = self.free.pop_front()?;
        let entry = self.entries.get_mut(usize::from(slot))?;
        // Places are used in turn, so a name comes back after 2^32 sockets.
        entry.generation = (entry.generation + 1) & (u32::MAX >> SLOT_BITS);
        entry.object = Some(object);
        Some(slot)
    }

    /// Takes a socket out.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Object> {
        let object = self.entries.get_mut(usize::from(slot))?.object.take()?;
        self.free.push_back(slot);
        Some(object)
    }

    /// The name of the socket in this place.
    pub(super) fn id(&self, slot: Slot) -> SocketId {
        let generation = self.entries.get(usize::from(slot)).map_or(0, |entry| entry.generation);
        SocketId(generation << SLOT_BITS | u32::from(slot))
    }

    /// Where the socket of this name is.
    pub(super) fn slot(&self, id: SocketId) -> Option<Slot> {
        let slot = u16::try_from(id.0 & (u32::from(SOCKETS) - 1)).ok()?;
        let entry = self.entries.get(usize::from(slot))?;
        (entry.object.is_some() && entry.generation == id.0 >> SLOT_BITS).then_some(slot)
    }

    /// The socket in this place.
    pub(super) fn get(&self, slot: Slot) -> Option<&Object> {
        self.entries.get(usize::from(slot))?.object.as_ref()
    }

    /// The socket in this place.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Object> {
        self.entries.get_mut(usize::from(slot))?.object.as_mut()
    }

    /// The connection in this place.
    pub(super) fn stream_mut(&mut self, slot: Slot) -> Option<&mut Stream> {
        match self.get_mut(slot)? {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The connection in this place.
    pub(super) fn stream(&self, slot: Slot) -> Option<&Stream> {
        match self.get(slot)? {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The listener in this place.
    pub(super) fn listener_mut(&mut self, slot: Slot) -> Option<&mut Listener> {
        match self.get_mut(slot)? {
            Object::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    /// The datagram socket in this place.
    pub(super) fn datagrams_mut(&mut self, slot: Slot) -> Option<&mut Datagrams> {
        match self.get_mut(slot)? {
            Object::Datagrams(datagrams) => Some(datagrams),
            _ => None,
        }
    }

    /// Every place that is taken.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..SOCKETS).filter(|slot| self.get(*slot).is_some())
    }

    /// The connection between these ends.
    pub(super) fn find(&self, key: &Key) -> Option<Slot> {
        self.connections.get(key).copied()
    }

    /// Remembers a living connection.
    pub(super) fn connect(&mut self, key: Key, slot: Slot) {
        self.connections.insert(key, slot);
    }

    /// Forgets a connection that lives no more, if it is this one.
    pub(super) fn disconnect(&mut self, key: &Key, slot: Slot) {
        if self.find(key) == Some(slot) {
            self.connections.remove(key);
        }
    }
}
