//! A burst: records copied out of one link, and what was found out about them before the first is judged.

use crate::{
    fast::{Lane, Way},
    flows::Flows,
    state::SetupError,
};
use alloc::{boxed::Box, vec::Vec};
use core::net::Ipv4Addr;
use link::{Doorbell, Kind, Link, MAX_PAYLOAD, Meta, PeerFault};

/// Frames in a burst at most.
const RECORDS: usize = 32;
/// Bytes after which a burst is complete; one longest frame fits behind.
pub(super) const BYTES: usize = 48 * 1024;
/// Where frames start: on a cache line.
const ALIGN: usize = 64;
/// No flow was found in advance.
const NO_FLOW: u32 = u32::MAX;

/// A received record.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Of a plain packet: its flow's hash.
    hash: u64,
    start: u32,
    len: u32,
    /// The flow that a plain packet probably belongs to.
    flow: u32,
    /// Whether the packet is plain.
    plain: bool,
    /// Whether it came with metadata.
    marked: bool,
}

/// A burst.
#[derive(Debug)]
pub(super) struct Burst {
    arena: Box<[u8]>,
    records: Box<[Record]>,
    /// Metadata of those records that came with some.
    metas: Box<[Meta]>,
    count: usize,
    /// What was read only to have its cache line; means nothing.
    touched: u64,
}

/// A record of a burst.
#[derive(Debug)]
pub(super) struct Received<'b> {
    /// The record, and what of the arena follows.
    pub(super) frame: &'b mut [u8],
    /// The record's length.
    pub(super) len: usize,
    /// Its metadata; `None`: a frame without.
    pub(super) meta: Option<&'b Meta>,
    /// For a plain packet: the flow that it probably belongs to; else a number that no flow has.
    pub(super) flow: u32,
    /// For a plain packet: its flow's hash.
    pub(super) hash: Option<u64>,
}

impl Burst {
    /// An empty one.
    ///
    /// # Errors
    /// [`SetupError::OutOfMemory`].
    pub(super) fn new() -> Result<Self, SetupError> {
        let nothing = Record { hash: 0, start: 0, len: 0, flow: NO_FLOW, plain: false, marked: false };
        Ok(Self {
            arena: filled(BYTES + MAX_PAYLOAD + ALIGN, 0).ok_or(SetupError::OutOfMemory)?,
            records: filled(RECORDS, nothing).ok_or(SetupError::OutOfMemory)?,
            metas: filled(RECORDS, Meta::default()).ok_or(SetupError::OutOfMemory)?,
            count: 0,
            touched: 0,
        })
    }

    /// Records in it.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Receives until there is nothing more, or a frame began at `bytes` or behind, and finds out which packets are
    /// plain.
    ///
    /// # Errors
    /// What the peer did wrong; what came before is in the burst.
    #[inline(never)]
    pub(super) fn receive<W: Way, D: Doorbell>(
        &mut self,
        link: &mut Link<D>,
        flows: &Flows<Ipv4Addr>,
        lane: Option<&Lane>,
        bytes: usize,
    ) -> Result<(), PeerFault> {
        let Self { arena, records, metas, count, .. } = self;
        *count = 0;
        let (mut start, mut received) = (0, 0);
        for (record, place) in records.iter_mut().zip(metas.iter_mut()) {
            let Some(buffer) = arena.get_mut(start..).filter(|_| start < bytes) else { break };
            let (len, marked) = match link.recv_plain(buffer) {
                Some(len) => (len, false),
                None => match link.recv(buffer) {
                    Ok(Some((meta, len))) => {
                        *place = meta;
                        (len, meta != Meta::default())
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        *count = received;
                        return Err(fault);
                    }
                },
            };
            let eligible = !marked || (place.kind == Kind::Frame && place.gso.is_none());
            let hash = match (lane, buffer.first_chunk()) {
                (Some(lane), Some(head)) if eligible => lane.hash::<W>(flows, head, len),
                _ => None,
            };
            (record.start, record.len) = (short(start), short(len));
            (record.plain, record.marked) = (hash.is_some(), marked);
            record.hash = hash.unwrap_or(0);
            received += 1;
            start = (start + len).next_multiple_of(ALIGN);
        }
        *count = received;
        Ok(())
    }

    /// Looks the flows of plain packets up, all before any is needed: every line of the index, then every entry, each
    /// in a loop so short that the processor has many cache misses under way at once.
    #[inline(never)]
    pub(super) fn look_up(&mut self, flows: &Flows<Ipv4Addr>) {
        let records = self.records.get_mut(..self.count).unwrap_or_default();
        let mut touched = 0;
        for record in &*records {
            touched ^= flows.touch_index(record.hash);
        }
        for record in &mut *records {
            let found = if record.plain { flows.candidate(record.hash) } else { None };
            record.flow = found.unwrap_or(NO_FLOW);
        }
        for record in records {
            touched ^= flows.touch_entry(record.flow);
        }
        self.touched ^= touched;
    }

    /// A record.
    #[inline(always)]
    pub(super) fn get(&mut self, number: usize) -> Option<Received<'_>> {
        let record = self.records.get(number)?;
        let frame = self.arena.get_mut(record.start as usize..)?;
        let meta = if record.marked { self.metas.get(number) } else { None };
        let hash = record.plain.then_some(record.hash);
        Some(Received { frame, len: record.len as usize, meta, flow: record.flow, hash })
    }
}

/// An offset in the arena or a length, which are far below 2³².
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bounded by the arena's length")]
const fn short(number: usize) -> u32 {
    number as u32
}

/// Memory for `len` values; `None` when there is not enough.
fn filled<T: Copy>(len: usize, value: T) -> Option<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize(len, value);
    Some(values.into_boxed_slice())
}
