//! The connection table: look up, add, expire; bounded in every direction.
//!
//! A flow is one entry (64 bytes for IPv4) that both directions find through an index keyed by a
//! secret. Every client has a guaranteed share of the table and may borrow from a common half; no client can
//! evict another's flow, and a full table refuses new flows instead of dropping old ones. When flows expire is the
//! business of `wheel`.

mod crowd;
mod entry;
mod index;
pub mod tcp;
mod wheel;

use crate::{
    address::Address,
    hash::{self, Universal},
    verdict::DropReason,
};
use alloc::vec::Vec;
use crowd::Crowds;
pub use crowd::{FIRST as FIRST_PORT, Free, PORTS as NAT_PORTS};
pub use entry::{ClientKey, Flow, Key, NO_RULE, NetKey, UPLINK};
use index::Index;
use tcp::{Direction, Tracker};
use wheel::Wheel;

/// Ports of the link device.
pub const PORTS: usize = abi::link_device::MAX_PORTS;
/// No flow.
const NONE: u32 = u32::MAX;

/// An entry on its own cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Entry<A>(Flow<A>);

/// The table of one address family.
#[derive(Debug)]
pub struct Flows<A> {
    entries: Vec<Entry<A>>,
    index: Index,
    /// Which ports are free where they are scarce.
    crowds: Crowds<A>,
    function: Universal,
    free: u32,
    used: u32,
    per_link: [u32; PORTS],
    /// Flows beyond the guaranteed shares.
    borrowed: u32,
    wheel: Wheel,
    /// The uplink address that the flows are translated to.
    address: Option<A>,
}

impl<A: Address> Flows<A> {
    /// An empty table for `capacity` flows; `None` when there is no memory for it.
    #[must_use]
    pub fn new(capacity: u32, key: hash::Key) -> Option<Self> {
        let count = usize::try_from(capacity).ok()?;
        let blank = ClientKey {
            client: A::UNSPECIFIED,
            destination: A::UNSPECIFIED,
            client_port: 0,
            destination_port: 0,
            protocol: 0,
            link: 0,
        };
        let mut empty = Flow::new(&blank, A::UNSPECIFIED, 0, Tracker::default());
        empty.tracker.end();
        let mut entries = Vec::new();
        entries.try_reserve_exact(count).ok()?;
        entries.extend(
            (1..=capacity)
                .map(|next| Entry(Flow { next: if next < capacity { next } else { NONE }, ..empty })),
        );
        Some(Self {
            entries,
            index: Index::new(count * 2)?,
            crowds: Crowds::new(count)?,
            function: Universal::new(key),
            free: if capacity == 0 { NONE } else { 0 },
            used: 0,
            per_link: [0; PORTS],
            borrowed: 0,
            wheel: Wheel::new(),
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

    /// The connection that a packet with this key belongs to, and which way the packet goes.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key<A>) -> Option<(u32, Direction)> {
        self.find_hashed(key, self.hash(key))
    }

    /// The same, when the key's hash is known.
    #[inline]
    #[must_use]
    pub fn find_hashed(&self, key: &Key<A>, hash: u64) -> Option<(u32, Direction)> {
        let is_it = |flow| self.get(flow).is_some_and(|flow| flow.side(key).is_some());
        let flow = self.index.find(hash, is_it)?;
        Some((flow, self.get(flow)?.side(key)?))
    }

    /// Looks a connection up by what its client sends.
    #[inline]
    #[must_use]
    pub fn find_client(&self, key: &ClientKey<A>) -> Option<u32> {
        let (flow, direction) = self.find(&(*key).into())?;
        (direction == Direction::Outward).then_some(flow)
    }

    /// A flow that has this hash, not compared with its key; to be used as a hint. `None`: there is none.
    #[inline(always)]
    #[must_use]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        self.index.candidate(hash)
    }

    /// Reads something of the place in the index where a hash probably is: a stand-in for a prefetch instruction. The
    /// result means nothing but must be used.
    #[inline(always)]
    #[must_use]
    pub fn touch_index(&self, hash: u64) -> u64 {
        self.index.touch(hash)
    }

    /// The same for a flow's entry.
    #[inline(always)]
    #[must_use]
    pub fn touch_entry(&self, flow: u32) -> u64 {
        self.get(flow).map_or(0, |flow| u64::from(flow.expires))
    }

    /// Bytes of all tables.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.entries) + self.index.memory() + self.crowds.memory()
    }

    /// Whether the client on `link` may have one more flow.
    ///
    /// # Errors
    /// [`DropReason::FlowQuota`] and [`DropReason::FlowsFull`].
    #[inline]
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
        let hashes = (self.hash(&flow.near_key()), self.hash(&flow.far_key()));
        self.insert_hashed(&flow, hashes, now)
    }

    /// The same, when the hashes of its near and its far key are known.
    ///
    /// # Errors
    /// [`DropReason::FlowsFull`].
    #[inline]
    pub fn insert_hashed(
        &mut self,
        flow: &Flow<A>,
        (near, far): (u64, u64),
        now: u32,
    ) -> Result<u32, DropReason> {
        debug_assert_eq!((near, far), (self.hash(&flow.near_key()), self.hash(&flow.far_key())));
        let (number, link) = (self.free, flow.link);
        let entry = self.get_mut(number).ok_or(DropReason::FlowsFull)?;
        let next_free = entry.next;
        let timeout = flow.timeout();
        *entry = *flow;
        entry.expires = now.saturating_add(timeout);
        if !self.index.insert(near, number) {
            self.give_back(number, next_free);
            return Err(DropReason::FlowsFull);
        }
        if !self.index.insert(far, number) {
            self.index.remove(near, number);
            self.give_back(number, next_free);
            return Err(DropReason::FlowsFull);
        }
        self.free = next_free;
        self.used += 1;
        self.note_port(&flow.far_key());
        let guaranteed = self.guaranteed();
        if let Some(count) = self.per_link.get_mut(usize::from(link)) {
            self.borrowed += u32::from(*count >= guaranteed);
            *count += 1;
        }
        self.link(number, now);
        Ok(number)
    }

    /// The hash of a far key's remote end.
    fn end_hash(&self, key: &Key<A>) -> u64 {
        self.hash(&Key { destination_port: 0, ..*key })
    }

    /// Notes that a port is taken, and finds out about a few others if its remote end is crowded.
    fn note_port(&mut self, key: &Key<A>) {
        let hash = self.end_hash(key);
        if self.crowds.inserted(key, hash) {
            self.look_around(key, hash);
        }
    }

    /// Finds out about a few ports towards a crowded end.
    #[cold]
    #[inline(never)]
    fn look_around(&mut self, key: &Key<A>, hash: u64) {
        for place in self.crowds.unknown(key, hash) {
            let other = Key { destination_port: Crowds::<A>::port(place), ..*key };
            let free = self.find(&other).is_none();
            self.crowds.learned(key, hash, place, free);
        }
    }

    /// A port that is free towards the remote end of a far key, chosen by a random number, if that end is crowded.
    pub fn free_port(&mut self, key: &Key<A>, random: u64) -> Free {
        let hash = self.end_hash(key);
        self.crowds.pick(key, hash, random)
    }

    /// Undoes what [`Self::insert`] did to the entry.
    fn give_back(&mut self, number: u32, next: u32) {
        if let Some(entry) = self.get_mut(number) {
            entry.tracker.end();
            entry.next = next;
        }
    }

    /// Forgets a flow, and gives what it was.
    pub fn remove(&mut self, number: u32) -> Option<Flow<A>> {
        let flow = self.get(number).copied().filter(Flow::is_live)?;
        self.unlink(number);
        self.index.remove(self.hash(&flow.near_key()), number);
        self.index.remove(self.hash(&flow.far_key()), number);
        let far = flow.far_key();
        let end = self.end_hash(&far);
        self.crowds.removed(&far, end);
        self.give_back(number, self.free);
        self.free = number;
        self.used -= 1;
        let guaranteed = self.guaranteed();
        if let Some(count) = self.per_link.get_mut(usize::from(flow.link)) {
            *count -= 1;
            self.borrowed -= u32::from(*count >= guaranteed);
        }
        Some(flow)
    }

    /// Forgets the flows that a client has a part in, and tells of each. Looks at every entry: for control messages
    /// only.
    pub fn remove_link(&mut self, link: u8, mut removed: impl FnMut(&Flow<A>)) {
        for number in 0..self.capacity() {
            let of_link = |flow: &Flow<A>| flow.link == link || (link != UPLINK && flow.peer == link);
            if self.get(number).is_some_and(|flow| flow.is_live() && of_link(flow)) {
                self.remove(number).iter().for_each(&mut removed);
            }
        }
    }

    /// Forgets everything but what is between clients, and tells of each flow.
    pub fn remove_uplink(&mut self, mut removed: impl FnMut(&Flow<A>)) {
        for number in 0..self.capacity() {
            if self.get(number).is_some_and(|flow| flow.is_live() && flow.peer == UPLINK) {
                self.remove(number).iter().for_each(&mut removed);
            }
        }
    }

    /// The same of an IPv4 packet in words: the addresses, then ports, protocol and link.
    #[inline(always)]
    #[must_use]
    pub const fn hash_words(&self, addresses: u64, last: u64) -> u64 {
        self.function.pair(addresses, last)
    }

    /// The hash under which a packet's flow is looked up.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &Key<A>) -> u64 {
        key.hash(&self.function)
    }
}

#[cfg(test)]
mod tests;
