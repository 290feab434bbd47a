//! Next hop → hardware address, for frames on their way out (RFC 826, RFC 4861 §7).
//!
//! Bounded in every direction: entries, frames that wait, questions per second, and what is believed. Only an
//! answer to a question that was asked changes an entry, so nobody can fill the table or move a hop unasked.

use crate::{
    counters::{Counter, Counters},
    frames::{Frame, MAX_FRAME},
    nic::Offload,
};
use alloc::collections::VecDeque;
use core::net::IpAddr;
use heapless::Vec;
use packet::ethernet::{self, Mac};

/// Hops that are known or asked for.
const MAX_HOPS: usize = 64;
/// Frames that wait for answers, all hops together.
const MAX_PENDING: usize = 32;
/// Frames that wait for one hop.
const MAX_PENDING_PER_HOP: usize = 8;
/// An answer is believed without asking again for this long.
const FRESH_US: u64 = 30_000_000;
/// Time between two questions for the same hop.
const RETRY_US: u64 = 1_000_000;
/// Questions before a hop is given up.
const TRIES: u8 = 3;

/// A frame that waits for its next hop.
#[derive(Debug)]
pub(crate) struct Pending {
    hop: IpAddr,
    pub(crate) frame: Frame,
    pub(crate) offload: Offload,
}

#[derive(Debug)]
struct Entry {
    hop: IpAddr,
    /// The last answer.
    mac: Option<Mac>,
    /// When the next question is due; only then while the hop is in use.
    ask_at_us: u64,
    /// Questions since the last answer.
    asked: u8,
    /// A frame wanted this hop since the last answer.
    wanted: bool,
    used_us: u64,
}

/// A question that is due: for whom, and whom to ask (everybody, if nobody is known).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) hop: IpAddr,
    pub(crate) last_known: Option<Mac>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Neighbours {
    entries: Vec<Entry, MAX_HOPS>,
    pending: VecDeque<Pending>,
    /// Where the last hop was found: bursts go to one hop.
    last: usize,
}

impl Neighbours {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), pending: VecDeque::with_capacity(MAX_PENDING), last: 0 }
    }

    /// The hop's hardware address, as far as known; otherwise starts asking.
    #[inline]
    pub(crate) fn resolve(&mut self, hop: IpAddr, now_us: u64) -> Option<Mac> {
        if self.entries.get(self.last).is_none_or(|entry| entry.hop != hop) {
            self.last = match self.entries.iter().position(|entry| entry.hop == hop) {
                Some(index) => index,
                None => self.insert(hop, now_us),
            };
        }
        let entry = self.entries.get_mut(self.last)?;
        entry.used_us = now_us;
        entry.wanted = true;
        entry.mac
    }

    /// Makes an entry, at the cost of the least used one if the table is full.
    #[cold]
    fn insert(&mut self, hop: IpAddr, now_us: u64) -> usize {
        let entry = Entry { hop, mac: None, ask_at_us: now_us, asked: 0, wanted: true, used_us: now_us };
        if let Err(entry) = self.entries.push(entry) {
            // Hops that never answered go first: asking for many does not push out those that work.
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, e)| (e.mac.is_some(), e.used_us));
            let index = oldest.map_or(0, |(index, _)| index);
            if let Some(slot) = self.entries.get_mut(index) {
                *slot = entry;
            }
            return index;
        }
        self.entries.len().saturating_sub(1)
    }

    /// Lets a frame wait for its hop.
    ///
    /// # Errors
    /// [`Counter::PendingFull`] when too many wait, or the frame is too long to.
    pub(crate) fn wait(&mut self, hop: IpAddr, frame: &[u8], offload: Offload) -> Result<(), Counter> {
        let for_hop = self.pending.iter().filter(|pending| pending.hop == hop).count();
        if self.pending.len() >= MAX_PENDING || for_hop >= MAX_PENDING_PER_HOP || frame.len() > MAX_FRAME {
            return Err(Counter::PendingFull);
        }
        let frame = Frame::from_slice(frame).map_err(|_| Counter::PendingFull)?;
        self.pending.push_back(Pending { hop, frame, offload });
        Ok(())
    }

    /// Takes an answer. Answers to nothing, and those that name a group, are ignored.
    pub(crate) fn learn(&mut self, hop: IpAddr, mac: Mac, now_us: u64) {
        if ethernet::is_group(mac) || mac == [0; 6] {
            return;
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.hop == hop && entry.asked > 0) {
            entry.mac = Some(mac);
            entry.ask_at_us = now_us.saturating_add(FRESH_US);
            entry.asked = 0;
            entry.wanted = false;
        }
    }

    /// Takes a frame whose hop is known by now.
    pub(crate) fn take_ready(&mut self) -> Option<(Mac, Pending)> {
        let known = |pending: &Pending| {
            self.entries.iter().find(|entry| entry.hop == pending.hop).and_then(|entry| entry.mac)
        };
        let (index, mac) =
            self.pending.iter().enumerate().find_map(|(index, pending)| Some((index, known(pending)?)))?;
        Some((mac, self.pending.remove(index)?))
    }

    /// Gives the next question that is due, if any; gives up hops that do not answer, and what waits for them.
    pub(crate) fn due(&mut self, now_us: u64, counters: &mut Counters) -> Option<Question> {
        let silent = |entry: &Entry| entry.asked >= TRIES && entry.ask_at_us <= now_us;
        self.entries.retain(|entry| !silent(entry));
        let before = self.pending.len();
        let entries = &self.entries;
        self.pending.retain(|pending| entries.iter().any(|entry| entry.hop == pending.hop));
        counters.add(Counter::HopSilent, (before - self.pending.len()) as u64);
        let entry = self.entries.iter_mut().find(|entry| entry.wanted && entry.ask_at_us <= now_us)?;
        entry.asked += 1;
        entry.ask_at_us = now_us.saturating_add(RETRY_US);
        Some(Question { hop: entry.hop, last_known: entry.mac })
    }

    /// When [`Self::due`] has something to say again.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.entries.iter().filter(|entry| entry.wanted).map(|entry| entry.ask_at_us).min()
    }

    /// Forgets everything: the uplink is another one.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.pending.clear();
        self.last = 0;
    }
}
