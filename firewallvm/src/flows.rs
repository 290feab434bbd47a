//! The connection table: look up, add, expire; bounded in every direction.
//!
//! A flow is one entry (64 bytes for IPv4) that both directions find through an [`index`](index::Index) keyed by a
//! secret. Every client has a guaranteed share of the table and may borrow from a common half; no client can
//! evict another's flow, and a full table refuses new flows instead of dropping old ones. Expiry is a wheel of
//! one-second slots: a packet only writes its flow's deadline, the wheel finds out when it gets there.

mod index;
pub mod tcp;

use crate::{
    address::Address,
    hash::{Key, Sip},
    verdict::DropReason,
};
use alloc::vec::Vec;
use index::Index;
use packet::rewrite::Endpoints;
use tcp::{State, Tracker};

/// Ports of the link device.
pub const PORTS: usize = abi::link_device::MAX_PORTS;
/// Slots of the expiry wheel, one second each.
const SLOTS: usize = 256;
/// The same number as seconds.
const SLOT_SECONDS: u32 = 256;
/// No flow.
const NONE: u32 = u32::MAX;
/// Flows looked at by the wheel per call.
const WHEEL_BUDGET: usize = 64;

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
    /// The client's port or echo identifier.
    pub client_port: u16,
    /// The destination's port, on both sides; 0 for an echo.
    pub remote_port: u16,
    /// Our port or echo identifier on the uplink.
    pub nat_port: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// Port of the link device that the client is on.
    pub link: u8,
    /// State and windows.
    pub tracker: Tracker,
    /// Second at which it expires.
    expires: u32,
    /// Neighbours in the wheel's slot, or the next free entry.
    next: u32,
    previous: u32,
    /// Slot of the wheel.
    slot: u8,
    live: bool,
}

const _: () = {
    assert!(SLOTS == SLOT_SECONDS as usize);
    assert!(size_of::<Flow<core::net::Ipv4Addr>>() <= 64);
    assert!(size_of::<Flow<core::net::Ipv6Addr>>() <= 128);
};

/// An entry on its own cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry<A>(Flow<A>);

impl<A: Address> Flow<A> {
    /// A flow that begins now.
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
            tracker,
            expires: 0,
            next: NONE,
            previous: NONE,
            slot: 0,
            live: true,
        }
    }

    const fn client_key(&self) -> ClientKey<A> {
        ClientKey {
            client: self.client,
            destination: self.destination,
            client_port: self.client_port,
            destination_port: self.remote_port,
            protocol: self.protocol,
            link: self.link,
        }
    }

    const fn net_key(&self) -> NetKey<A> {
        NetKey {
            remote: self.remote,
            remote_port: self.remote_port,
            nat_port: self.nat_port,
            protocol: self.protocol,
        }
    }

    /// Addresses and ports of a packet to the network; `uplink` is our address there.
    #[inline]
    #[must_use]
    pub const fn outward(&self, uplink: A) -> Endpoints<A> {
        Endpoints {
            source: uplink,
            destination: self.remote,
            source_port: self.nat_port,
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

    /// Whether this is the connection that the client means.
    #[inline]
    #[must_use]
    pub fn is_of_client(&self, key: &ClientKey<A>) -> bool {
        self.live & (self.client_key() == *key)
    }

    /// Whether this is the connection that the network means.
    #[inline]
    #[must_use]
    pub fn is_of_net(&self, key: &NetKey<A>) -> bool {
        self.live & (self.net_key() == *key)
    }

    /// Seconds without a packet after which it is forgotten.
    #[inline]
    #[must_use]
    pub const fn timeout(&self) -> u32 {
        match (self.tracker.state(), self.protocol, self.remote_port) {
            // RFC 4787 REQ-5 allows less than two minutes for well-known ports: a name server answers at once.
            (_, packet::ipv4::UDP, crate::address::DNS_PORT) => 30,
            (State::New, packet::ipv4::UDP, _) => 120,
            (State::Replied, packet::ipv4::UDP, _) => 300,
            // RFC 5508 REQ-2.
            (State::New | State::Replied, ..) => 60,
            // RFC 5382 REQ-5.
            (State::Established, ..) => 7440,
            (State::SynSent, ..) => 120,
            (State::SynReceived | State::HalfClosed | State::Closing, ..) => 240,
            (State::Reset, ..) => 10,
        }
    }
}

/// The table of one address family.
#[derive(Debug)]
pub struct Flows<A> {
    entries: Vec<Entry<A>>,
    index: Index,
    key: Key,
    free: u32,
    used: u32,
    per_link: [u32; PORTS],
    /// Flows beyond the guaranteed shares.
    borrowed: u32,
    wheel: [u32; SLOTS],
    /// Second up to which the wheel has turned.
    turned: u32,
    /// The uplink address that the flows are translated to.
    address: Option<A>,
}

impl<A: Address> Flows<A> {
    /// An empty table for `capacity` flows; `None` when there is no memory for it.
    #[must_use]
    pub fn new(capacity: u32, key: Key) -> Option<Self> {
        let count = usize::try_from(capacity).ok()?;
        let blank = ClientKey {
            client: A::UNSPECIFIED,
            destination: A::UNSPECIFIED,
            client_port: 0,
            destination_port: 0,
            protocol: 0,
            link: 0,
        };
        let empty = Flow { live: false, ..Flow::new(&blank, A::UNSPECIFIED, 0, Tracker::default()) };
        let mut entries = Vec::new();
        entries.try_reserve_exact(count).ok()?;
        entries.extend(
            (1..=capacity)
                .map(|next| Entry(Flow { next: if next < capacity { next } else { NONE }, ..empty })),
        );
        Some(Self {
            entries,
            index: Index::new(count * 2)?,
            key,
            free: if capacity == 0 { NONE } else { 0 },
            used: 0,
            per_link: [0; PORTS],
            borrowed: 0,
            wheel: [NONE; SLOTS],
            turned: 0,
            address: None,
        })
    }

    /// The uplink address that the flows are translated to, once there was one.
    #[must_use]
    pub const fn address(&self) -> Option<A> {
        self.address
    }

    /// Notes the uplink address that new flows are translated to.
    pub const fn set_address(&mut self, address: A) {
        self.address = Some(address);
    }

    /// Flows at most.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Flows now.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.used
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Flows of the client on `link`.
    #[must_use]
    pub fn of_link(&self, link: u8) -> u32 {
        self.per_link.get(usize::from(link)).copied().unwrap_or(0)
    }

    /// Flows that every client gets whatever the others do: half the table, shared out.
    #[must_use]
    pub fn guaranteed(&self) -> u32 {
        self.capacity() / 2 / 32
    }

    /// Flows that one client gets at most: its share and a quarter of the common half.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.guaranteed() + self.capacity() / 2 / 4
    }

    /// The flow's entry.
    #[inline]
    #[must_use]
    pub fn get(&self, flow: u32) -> Option<&Flow<A>> {
        self.entries.get(flow as usize).map(|entry| &entry.0)
    }

    /// The flow's entry.
    #[inline]
    pub fn get_mut(&mut self, flow: u32) -> Option<&mut Flow<A>> {
        self.entries.get_mut(flow as usize).map(|entry| &mut entry.0)
    }

    /// Looks a connection up by what its client sends.
    #[inline]
    #[must_use]
    pub fn find_client(&self, key: &ClientKey<A>) -> Option<u32> {
        self.index
            .find(self.client_hash(key), |flow| self.get(flow).is_some_and(|flow| flow.is_of_client(key)))
    }

    /// Looks a connection up by what the network sends.
    #[inline]
    #[must_use]
    pub fn find_net(&self, key: &NetKey<A>) -> Option<u32> {
        self.index.find(self.net_hash(key), |flow| self.get(flow).is_some_and(|flow| flow.is_of_net(key)))
    }

    /// A flow that has this hash, not compared with its key; to be used as a hint.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        self.index.candidate(hash)
    }

    /// Reads something of the places in the index where a hash may be: a stand-in for a prefetch instruction. The
    /// result means nothing but must be used.
    #[inline]
    #[must_use]
    pub fn touch_index(&self, hash: u64) -> u64 {
        self.index.touch(hash)
    }

    /// The same for a flow's entry.
    #[inline]
    #[must_use]
    pub fn touch_entry(&self, flow: u32) -> u64 {
        self.get(flow).map_or(0, |flow| u64::from(flow.expires))
    }

    /// Whether the client on `link` may have one more flow.
    ///
    /// # Errors
    /// [`DropReason::FlowQuota`] and [`DropReason::FlowsFull`].
    pub fn admit(&self, link: u8) -> Result<(), DropReason> {
        let has = self.of_link(link);
        if has >= self.quota() {
            return Err(DropReason::FlowQuota);
        }
        let common = self.capacity() - self.guaranteed() * 32;
        if self.free == NONE || (has >= self.guaranteed() && self.borrowed >= common) {
            return Err(DropReason::FlowsFull);
        }
        Ok(())
    }

    /// Adds a flow that [`Self::admit`] allowed and whose keys are in no other flow.
    ///
    /// # Errors
    /// [`DropReason::FlowsFull`].
    pub fn insert(&mut self, flow: Flow<A>, now: u32) -> Result<u32, DropReason> {
        let (number, link) = (self.free, flow.link);
        let (client, net) = (self.client_hash(&flow.client_key()), self.net_hash(&flow.net_key()));
        let entry = self.get_mut(number).ok_or(DropReason::FlowsFull)?;
        let next_free = entry.next;
        let timeout = flow.timeout();
        *entry = Flow { expires: now.saturating_add(timeout), ..flow };
        if !self.index.insert(client, number) {
            self.give_back(number, next_free);
            return Err(DropReason::FlowsFull);
        }
        if !self.index.insert(net, number) {
            self.index.remove(client, number);
            self.give_back(number, next_free);
            return Err(DropReason::FlowsFull);
        }
        self.free = next_free;
        self.used += 1;
        let guaranteed = self.guaranteed();
        if let Some(count) = self.per_link.get_mut(usize::from(link)) {
            self.borrowed += u32::from(*count >= guaranteed);
            *count += 1;
        }
        self.link(number, now);
        Ok(number)
    }

    /// Undoes what [`Self::insert`] did to the entry.
    fn give_back(&mut self, number: u32, next: u32) {
        if let Some(entry) = self.get_mut(number) {
            entry.live = false;
            entry.next = next;
        }
    }

    /// Forgets a flow.
    pub fn remove(&mut self, number: u32) {
        let Some(flow) = self.get(number).copied().filter(|flow| flow.live) else { return };
        self.unlink(number);
        self.index.remove(self.client_hash(&flow.client_key()), number);
        self.index.remove(self.net_hash(&flow.net_key()), number);
        self.give_back(number, self.free);
        self.free = number;
        self.used -= 1;
        let guaranteed = self.guaranteed();
        if let Some(count) = self.per_link.get_mut(usize::from(flow.link)) {
            *count -= 1;
            self.borrowed -= u32::from(*count >= guaranteed);
        }
    }

    /// Forgets the flows of one client. Looks at every entry: for control messages only.
    pub fn remove_link(&mut self, link: u8) {
        for number in 0..self.capacity() {
            if self.get(number).is_some_and(|flow| flow.live && flow.link == link) {
                self.remove(number);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for number in 0..self.capacity() {
            self.remove(number);
        }
        self.index.clear();
    }

    /// Notes that a packet of this flow passed.
    #[inline]
    pub fn touch(flow: &mut Flow<A>, now: u32) {
        flow.expires = now.saturating_add(flow.timeout());
    }

    /// Turns the wheel up to `now`, or as far as the budget for one call goes; `true` when it got there.
    pub fn expire(&mut self, now: u32) -> bool {
        if self.used == 0 {
            self.turned = now;
            return true;
        }
        let mut budget = WHEEL_BUDGET;
        // After a long sleep some slots wait for the next round: late by minutes at most, and harmless.
        self.turned = self.turned.max(now.saturating_sub(SLOT_SECONDS / 2));
        while self.turned < now {
            let due = self.turned + 1;
            while let Some(number) = self.head(due) {
                if budget == 0 {
                    return false;
                }
                budget -= 1;
                if self.get(number).is_none_or(|flow| flow.expires <= now) {
                    self.remove(number);
                } else {
                    self.unlink(number);
                    self.link(number, now);
                }
            }
            self.turned = due;
        }
        true
    }

    /// The next second at which the wheel has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u32> {
        (1..=SLOT_SECONDS).map(|ahead| self.turned + ahead).find(|second| self.head(*second).is_some())
    }

    /// The first flow in the slot of a second.
    fn head(&self, second: u32) -> Option<u32> {
        self.wheel.get(second as usize % SLOTS).copied().filter(|head| *head != NONE)
    }

    /// Puts a flow into the slot of its deadline, or into the last one before the wheel comes round if that is
    /// farther.
    fn link(&mut self, number: u32, now: u32) {
        let Some(expires) = self.get(number).map(|flow| flow.expires) else { return };
        let last = self.turned.max(now.saturating_sub(SLOT_SECONDS / 2)) + SLOT_SECONDS - 1;
        let second = expires.clamp(now + 1, last);
        let slot = second.to_le_bytes()[0];
        let Some(head) = self.wheel.get_mut(usize::from(slot)) else { return };
        let next = core::mem::replace(head, number);
        if let Some(flow) = self.get_mut(number) {
            (flow.slot, flow.next, flow.previous) = (slot, next, NONE);
        }
        if let Some(next) = self.get_mut(next) {
            next.previous = number;
        }
    }

    /// Takes a flow out of its slot.
    fn unlink(&mut self, number: u32) {
        let Some((slot, next, previous)) = self.get(number).map(|flow| (flow.slot, flow.next, flow.previous))
        else {
            return;
        };
        match self.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => {
                if let Some(head) = self.wheel.get_mut(usize::from(slot)) {
                    *head = next;
                }
            }
        }
        if let Some(next) = self.get_mut(next) {
            next.previous = previous;
        }
    }

    /// The hash under which a client's packet is looked up.
    #[inline]
    #[must_use]
    pub fn client_hash(&self, key: &ClientKey<A>) -> u64 {
        let ports = [key.client_port, key.destination_port];
        self.hash(key.client, key.destination, ports, [key.protocol, key.link, 0])
    }

    /// The hash under which the network's packet is looked up.
    #[inline]
    #[must_use]
    pub fn net_hash(&self, key: &NetKey<A>) -> u64 {
        self.hash(key.remote, A::UNSPECIFIED, [key.nat_port, key.remote_port], [key.protocol, 0, 1])
    }

    #[inline]
    fn hash(&self, a: A, b: A, [p, q]: [u16; 2], [protocol, link, side]: [u8; 3]) -> u64 {
        let [p0, p1] = p.to_le_bytes();
        let [q0, q1] = q.to_le_bytes();
        let last = u64::from_le_bytes([p0, p1, q0, q1, protocol, link, side, 0]) | (A::PAIR_LEN + 7) << 56;
        A::hash_pair(Sip::new(self.key), a, b).word(last).finish()
    }
}

#[cfg(test)]
mod tests;
