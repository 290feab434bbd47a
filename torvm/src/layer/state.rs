//! `/state`, which outlives the domain: the whole of it is one piece in the [store](crate::store), written when a file
//! below it was renamed, closed after writing, or synced. A program that does so all the time does not wear the disk
//! out: after a number of savings at once, the next ones come together, a little later.

use super::Layer;
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::content::Content;
use crate::files::{Body, Files, NodeId};
use crate::processor::Processor;
use crate::sockets::Sockets;
use crate::store::{Found, LONGEST, StoreFault};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

const STATE: &[u8] = b"/state";
const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
/// Bytes of a record before its path.
const HEAD: usize = 19;
/// Deepest directory that is stored.
const DEEPEST: usize = 16;

/// Savings at once.
const BURST: u64 = 32;
/// Microseconds between savings, on average.
const INTERVAL_US: u64 = 500_000;

/// When the state is to be saved.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    /// Something changed that is not saved yet.
    is_due: bool,
    /// When all savings so far would have been due at the average rate.
    at_us: u64,
}

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// Takes what was stored.
    pub(super) fn restore(&mut self) {
        let (found, bytes) = self.store.load();
        self.counters.store_found = Some(found);
        match found {
            Found::NoDisk => log::warn!("no disk: the state will not last"),
            Found::Older => log::warn!("the state stored last is damaged; an older one is used"),
            Found::Damaged => log::warn!("the stored state is damaged; beginning with none"),
            Found::Blank | Found::Newest => {}
        }
        if unpack(&mut self.files, &bytes).is_err() {
            log::warn!("a part of the stored state could not be used");
            self.counters.store_failures += 1;
        }
    }

    /// What was on the disk at the start.
    pub fn store_found(&self) -> Option<Found> {
        self.counters.store_found
    }

    /// Stores the state, now or soon, if `node` belongs to it.
    pub(crate) fn changed_below(&mut self, node: NodeId) {
        let state = self.files.lookup(self.files.root(), STATE);
        if state.is_ok_and(|state| self.files.is_below(node, state)) {
            self.saving.is_due = true;
            self.save_if_time();
        }
    }

    /// Stores what changed, unless that has been done too often lately; returns when it can be done then
    /// (microseconds).
    pub(crate) fn save_if_time(&mut self) -> Option<u64> {
        if !self.saving.is_due {
            return None;
        }
        let at_us = self.saving.at_us.max(self.now.us);
        let early_us = at_us.saturating_sub(BURST * INTERVAL_US);
        if early_us > self.now.us {
            return Some(early_us);
        }
        self.saving.at_us = at_us.saturating_add(INTERVAL_US);
        self.save();
        None
    }

    /// Stores what changed, if anything did.
    pub(crate) fn save(&mut self) {
        if !core::mem::take(&mut self.saving.is_due) {
            return;
        }
        let mut bytes = Vec::new();
        let state = self.files.lookup(self.files.root(), STATE);
        let packed = state.and_then(|state| pack(&self.files, state, &mut vec![], &mut bytes));
        match packed.map_err(|_| StoreFault::TooLong).and_then(|()| self.store.save(&bytes)) {
            Ok(stored) => self.counters.stored += u64::from(stored),
            Err(fault) => {
                // What the disk did not do now it may do later; what is too long stays so until something changes.
                self.saving.is_due = fault == StoreFault::Disk;
                self.counters.store_failures += 1;
                if self.counters.store_failures.is_power_of_two() {
                    let times = self.counters.store_failures;
                    log::warn!("the state is not stored: {fault} ({times} times)");
                }
            }
        }
    }
}

/// Writes what is below a directory: kind, permissions, time, lengths, path relative to `/state`, bytes.
fn pack(files: &Files, directory: NodeId, path: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Errno> {
    let Body::Directory(entries) = &files.node(directory)?.body else { return Err(Errno::NOTDIR) };
    if path.iter().filter(|byte| **byte == b'/').count() >= DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for (name, id) in entries {
        let node = files.node(*id)?;
        let before = path.len();
        path.push(b'/');
        path.extend_from_slice(name);
        let (kind, len) = match &node.body {
            Body::Directory(_) => (DIRECTORY, 0),
            Body::File(content) => (FILE, usize::try_from(content.len()).unwrap_or(usize::MAX)),
            Body::Device(_) => return Err(Errno::INVAL),
        };
        let record = len.saturating_add(path.len() + HEAD);
        if record.saturating_add(out.len()) > LONGEST {
            return Err(Errno::FBIG);
        }
        out.try_reserve(record).map_err(|_| Errno::NOMEM)?;
        out.push(kind);
        out.extend(node.mode.to_le_bytes());
        out.extend(node.modified_ns.to_le_bytes());
        out.extend(u16::try_from(path.len()).map_err(|_| Errno::NAMETOOLONG)?.to_le_bytes());
        out.extend(u32::try_from(len).map_err(|_| Errno::FBIG)?.to_le_bytes());
        out.extend_from_slice(path);
        let start = out.len();
        out.resize(start + len, 0);
        if kind == DIRECTORY {
            pack(files, *id, path, out)?;
        } else {
            files.read(*id, 0, out.get_mut(start..).unwrap_or_default())?;
        }
        path.truncate(before);
    }
    Ok(())
}

/// Makes the files that were packed, as far as they are sound.
fn unpack(files: &mut Files, bytes: &[u8]) -> Result<(), Errno> {
    let state = files.lookup(files.root(), STATE)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let head: &[u8; HEAD] = rest.first_chunk().ok_or(Errno::INVAL)?;
        let [kind, m0, m1, m2, m3, time @ .., p0, p1, l0, l1, l2, l3] = *head;
        let path_len = usize::from(u16::from_le_bytes([p0, p1]));
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| Errno::INVAL)?;
        let path =
            rest.get(HEAD..HEAD + path_len).and_then(|path| path.strip_prefix(b"/")).ok_or(Errno::INVAL)?;
        let start = HEAD + path_len;
        let end = start.checked_add(len).ok_or(Errno::INVAL)?;
        let content = rest.get(start..end).ok_or(Errno::INVAL)?;
        let body = match kind {
            DIRECTORY => Body::Directory(BTreeMap::new()),
            FILE => Body::File(Content::default()),
            _ => return Err(Errno::INVAL),
        };
        let id = files.make(files.find(state, path)?, body, u32::from_le_bytes([m0, m1, m2, m3]), 0)?;
        if kind == FILE {
            files.replace(id, content, 0)?;
        }
        files.node_mut(id)?.modified_ns = u64::from_le_bytes(time);
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(())
}
