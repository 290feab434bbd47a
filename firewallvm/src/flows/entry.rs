//! One connection: who its ends are, what they are called on either side, and what was decided about it.
//!
//! The near side is a client on its link. The far side is the network behind the uplink, where the connection has
//! another address and port, or another client, where it has the same. Either side may have opened it.

use super::{
    NONE,
    tcp::{Direction, State, Tracker},
};
use crate::{address::Address, hash::Universal};
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::rewrite::Endpoints;

/// In the place of a rule's number: no rule decided.
pub const NO_RULE: u16 = u16::MAX;
/// In the place of a link's number: the uplink.
pub const UPLINK: u8 = 0;

/// What a packet says about its connection, and the link that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<A> {
    /// Source address.
    pub source: A,
    /// Destination address; on the uplink unspecified, as it can only be ours.
    pub destination: A,
    /// Source port; an echo request's identifier.
    pub source_port: u16,
    /// Destination port; an echo reply's identifier.
    pub destination_port: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// Port of the link device that it came from; [`UPLINK`] for the uplink, whichever port that is on.
    pub link: u8,
}

/// A connection as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey<A> {
    /// The client's address.
    pub client: A,
    /// The address that the client sends to.
    pub destination: A,
    /// The client's port or echo identifier.
    pub client_port: u16,
    /// The destination's port; 0 for an echo.
    pub destination_port: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// Port of the link device that the client is on.
    pub link: u8,
}

/// A connection as the network sees it; our own address is the uplink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetKey<A> {
    /// The remote address.
    pub remote: A,
    /// The remote port; 0 for an echo.
    pub remote_port: u16,
    /// Our port or echo identifier.
    pub nat_port: u16,
    /// Transport protocol.
    pub protocol: u8,
}

impl<A: Address> Key<A> {
    /// The hash under which it is looked up.
    #[inline]
    #[must_use]
    pub fn hash(&self, function: &Universal) -> u64 {
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let last = ports | u64::from(self.protocol) << 32 | u64::from(self.link) << 40;
        A::hash_pair(function, self.source, self.destination, last)
    }
}

impl<A> From<ClientKey<A>> for Key<A> {
    #[inline]
    fn from(key: ClientKey<A>) -> Self {
        Self {
            source: key.client,
            destination: key.destination,
            source_port: key.client_port,
            destination_port: key.destination_port,
            protocol: key.protocol,
            link: key.link,
        }
    }
}

impl<A: Address> From<NetKey<A>> for Key<A> {
    #[inline]
    fn from(key: NetKey<A>) -> Self {
        Self {
            source: key.remote,
            destination: A::UNSPECIFIED,
            source_port: key.remote_port,
            destination_port: key.nat_port,
            protocol: key.protocol,
            link: UPLINK,
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flow<A> {
    /// The client's address.
    pub client: A,
    /// The address that the client sends to.
    pub destination: A,
    /// The address that it is sent to: another one for virtual name servers.
    pub remote: A,
    // In this order, two neighbours are the ports of either side's packets, read as one number.
    /// Our port or echo identifier on the uplink; between clients the number of the rule that allowed it on
    /// the far side, or [`NO_RULE`].
    pub nat_port: u16,
    /// The destination's port, on both sides; 0 for an echo.
    pub remote_port: u16,
    /// The client's port or echo identifier.
    pub client_port: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// Port of the link device that the client is on.
    pub link: u8,
    /// State and windows.
    pub tracker: Tracker,
    /// The rule that allowed it, or [`NO_RULE`].
    pub rule: u16,
    /// Second at which it expires.
    pub(super) expires: u32,
    /// Neighbours in the wheel's slot, or the next free entry.
    pub(super) next: u32,
    pub(super) previous: u32,
    /// Generation of the rules in which it was last judged.
    pub generation: u16,
    /// Port of the link device that the far side is on, when that is a client; [`UPLINK`] otherwise.
    pub peer: u8,
    /// Slot of the wheel.
    pub(super) slot: u8,
}

const _: () = {
    assert!(size_of::<Flow<Ipv4Addr>>() == 64);
    assert!(size_of::<Flow<Ipv6Addr>>() <= 128);
};

impl<A: Address> Flow<A> {
    /// A flow to or from the uplink that begins now, not judged yet.
    #[inline]
    #[must_use]
    pub fn new(key: &ClientKey<A>, remote: A, nat_port: u16, tracker: Tracker) -> Self {
        Self {
            client: key.client,
            destination: key.destination,
            remote,
            client_port: key.client_port,
            remote_port: key.destination_port,
            nat_port,
            protocol: key.protocol,
            link: key.link,
            tracker: tracker.alive(),
            rule: NO_RULE,
            expires: 0,
            next: NONE,
            previous: NONE,
            generation: 0,
            peer: UPLINK,
            slot: 0,
        }
    }

    /// A flow to the client on `peer`, who has the destination's address.
    #[must_use]
    pub fn between(key: &ClientKey<A>, peer: u8, tracker: Tracker) -> Self {
        Self { peer, ..Self::new(key, key.destination, NO_RULE, tracker) }
    }

    /// Notes the rule that allowed a flow between clients on its far side.
    pub const fn set_far_rule(&mut self, rule: u16) {
        self.nat_port = rule;
    }

    /// The clients whose rules allowed it, and the rules' numbers.
    #[must_use]
    pub const fn rules(&self) -> [Option<(u8, u16)>; 2] {
        let near = if self.rule == NO_RULE { None } else { Some((self.link, self.rule)) };
        let far = if self.peer == UPLINK || self.nat_port == NO_RULE {
            None
        } else {
            Some((self.peer, self.nat_port))
        };
        [near, far]
    }

    /// Our port on the uplink; between clients the client's own.
    #[inline]
    const fn far_port(&self) -> u16 {
        if self.peer == UPLINK { self.nat_port } else { self.client_port }
    }

    /// The same, allowed by a rule (or [`NO_RULE`]) in a generation of the rules.
    #[must_use]
    #[inline]
    pub const fn judged(mut self, rule: u16, generation: u16) -> Self {
        (self.rule, self.generation) = (rule, generation);
        self
    }

    /// Whether the entry is in use.
    #[inline]
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.tracker.is_alive()
    }

    /// What the client's packets say.
    #[inline]
    pub(super) const fn near_key(&self) -> Key<A> {
        Key {
            source: self.client,
            destination: self.destination,
            source_port: self.client_port,
            destination_port: self.remote_port,
            protocol: self.protocol,
            link: self.link,
        }
    }

    /// What the other side's packets say.
    #[inline]
    pub(super) const fn far_key(&self) -> Key<A> {
        Key {
            source: self.remote,
            destination: if self.peer == UPLINK { A::UNSPECIFIED } else { self.client },
            source_port: self.remote_port,
            destination_port: self.far_port(),
            protocol: self.protocol,
            link: self.peer,
        }
    }

    /// Which way a packet with this key goes, if it belongs to this flow.
    #[inline]
    #[must_use]
    pub fn side(&self, key: &Key<A>) -> Option<Direction> {
        if key.link == self.link {
            (self.is_live() & (self.near_key() == *key)).then_some(Direction::Outward)
        } else {
            (self.is_live() & (self.far_key() == *key)).then_some(Direction::Inward)
        }
    }

    /// Addresses and ports of a packet to the far side; `uplink` is our address there.
    #[inline]
    #[must_use]
    pub const fn outward(&self, uplink: A) -> Endpoints<A> {
        Endpoints {
            source: if self.peer == UPLINK { uplink } else { self.client },
            destination: self.remote,
            source_port: self.far_port(),
            destination_port: self.remote_port,
        }
    }

    /// Addresses and ports of a packet to the client.
    #[inline]
    #[must_use]
    pub const fn inward(&self) -> Endpoints<A> {
        Endpoints {
            source: self.destination,
            destination: self.client,
            source_port: self.remote_port,
            destination_port: self.client_port,
        }
    }

    /// Which way its first packet went.
    #[inline]
    #[must_use]
    pub const fn opener(&self) -> Direction {
        self.tracker.opener()
    }

    /// Seconds without a packet after which it is forgotten.
    #[inline]
    #[must_use]
    pub const fn timeout(&self) -> u32 {
        match (self.protocol, self.remote_port) {
            // RFC 4787 REQ-5 allows less than two minutes for well-known ports: a name server answers at once.
            (packet::ipv4::UDP, first_hop::address::DNS_PORT) => 30,
            (packet::ipv4::UDP, _) => self.udp_timeout(),
            _ => self.tracker.state().timeout() as u32,
        }
    }

    #[inline(always)]
    const fn udp_timeout(&self) -> u32 {
        match self.tracker.state() {
            State::Replied => 300,
            _ => 120,
        }
    }

    /// Notes that a packet passed. `now` is far from the end of time: see `Core::set_time`.
    #[inline]
    pub const fn touch(&mut self, now: u32) {
        self.expires = now.wrapping_add(self.timeout());
    }

    /// The same, when it is known to be UDP and not DNS.
    #[inline(always)]
    pub(crate) const fn touch_udp_but_dns(&mut self, now: u32) {
        self.expires = now.wrapping_add(self.udp_timeout());
    }
}
