//! Follows an answer from the question's name to its addresses.

use super::wire::{A, AAAA, Data, Header, Malformed, Name, Question, Record};
use crate::hash::Key;
use core::net::IpAddr;
use heapless::Vec;

/// Records of an answer section that are looked at; a datagram of 1,500 bytes has room for 90.
const MAX_RECORDS: u16 = 256;
/// Aliases on the way from a name to its addresses at most.
pub const MAX_LINKS: usize = 16;
/// Addresses that are taken from one answer at most; what comes behind is left.
pub const MAX_ADDRESSES: usize = 64;

/// Labels of all names that are read in one answer; with more it counts as malformed. An honest answer repeats names by
/// pointers, and those are read once.
const MAX_LABELS: usize = 1024;

/// Addresses, and for how many seconds each holds.
pub type Addresses = Vec<(IpAddr, u32), MAX_ADDRESSES>;

/// Reads the addresses of the question's name out of the answer section: the name's own, or those of the name at the
/// end of its chain of aliases, whatever the order of the records. What belongs to other names is passed over. An
/// address holds as long as the shortest-lived link of its chain.
///
/// # Errors
/// [`Malformed`] when a record that counts cannot be read: then nothing of the answer is believed.
pub fn addresses(
    message: &[u8],
    header: &Header,
    question: &Question,
    key: Key,
) -> Result<Addresses, Malformed> {
    let mut hashes = Hashes { message, key, last: None, labels: MAX_LABELS };
    let mut links: Vec<(u64, u64, u32), MAX_LINKS> = Vec::new();
    let mut found: Vec<(u64, IpAddr, u32), MAX_ADDRESSES> = Vec::new();
    let mut at = question.end;
    for _ in 0..header.answers.min(MAX_RECORDS) {
        let record = Record::read(message, at)?;
        match record.data {
            // What does not fit is left: a chain that needs it leads nowhere.
            Data::Alias(target) if !links.is_full() => {
                let (owner, target) = (hashes.of(record.owner)?, hashes.of_data(target, record.end)?);
                let _ = links.push((owner, target, record.ttl));
            }
            Data::Address(address) if is_asked(question.kind, address) && !found.is_full() => {
                let _ = found.push((hashes.of(record.owner)?, address, record.ttl));
            }
            _ => {}
        }
        at = record.end;
    }
    let Some((end, ttl)) = follow(&links, question.name.hash(key)) else { return Ok(Addresses::new()) };
    Ok(found
        .iter()
        .filter(|(owner, ..)| *owner == end)
        .map(|(_, address, own)| (*address, ttl.min(*own)))
        .collect())
}

/// Whether an address is of the type that was asked for.
const fn is_asked(kind: u16, address: IpAddr) -> bool {
    matches!((kind, address), (A, IpAddr::V4(_)) | (AAAA, IpAddr::V6(_)))
}

/// The end of the chain that begins at a name, and how long the whole chain holds; `None` when it leads in a circle.
fn follow(links: &[(u64, u64, u32)], start: u64) -> Option<(u64, u32)> {
    let (mut name, mut ttl) = (start, u32::MAX);
    for _ in 0..=links.len() {
        match links.iter().find(|(owner, ..)| *owner == name) {
            None => return Some((name, ttl)),
            Some((_, target, own)) => (name, ttl) = (*target, ttl.min(*own)),
        }
    }
    None
}

/// Hashes of a message's names; the last one is kept, as most records of an answer have the same owner.
struct Hashes<'m> {
    message: &'m [u8],
    key: Key,
    last: Option<([u8; 2], u64)>,
    /// Labels that may still be read.
    labels: usize,
}

impl Hashes<'_> {
    /// The hash of the name at `at`.
    fn of(&mut self, at: usize) -> Result<u64, Malformed> {
        // The same pointer means the same name, if it was allowed once: what it points to is before both.
        let pointer =
            self.message.get(at..).and_then(<[u8]>::first_chunk).filter(|[first, _]| *first >= 0xC0);
        if let (Some(pointer), Some((last, hash))) = (pointer, self.last)
            && *pointer == last
        {
            return Ok(hash);
        }
        let (hash, _) = self.read(at)?;
        self.last = pointer.map(|pointer| (*pointer, hash)).or(self.last);
        Ok(hash)
    }

    /// The hash of the name that fills a record's data.
    fn of_data(&mut self, at: usize, end: usize) -> Result<u64, Malformed> {
        let (hash, after) = self.read(at)?;
        if after == end { Ok(hash) } else { Err(Malformed) }
    }

    fn read(&mut self, at: usize) -> Result<(u64, usize), Malformed> {
        let (name, after) = Name::read(self.message, at)?;
        self.labels = self.labels.checked_sub(name.labels()).ok_or(Malformed)?;
        Ok((name.hash(self.key), after))
    }
}
