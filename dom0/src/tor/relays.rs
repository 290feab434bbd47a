//! The relays of a Tor network as dom0 knows them: verified by itself, whatever the torvm says of them.
//!
//! A torvm hands over the consensus that it uses ([`documents`]); the program `bulkhead-relays` verifies it in a jail
//! ([`helper`]) against the authorities of the configuration and dom0's clock; dom0 reads lines of addresses
//! ([`answer`]). What was verified is kept on disk, for the next start. Here: pure state; the supervisor does the rest.

pub mod answer;
pub mod documents;
pub mod helper;

use crate::plan::address::INSIDE_V4;
use answer::{Answer, Lines};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// First line of what is kept on disk.
const KEPT: &str = "bulkhead relays 1";
/// Sets at most: a consensus of the public network comes every hour and counts three.
const MAX_SETS: usize = 4;
/// So long before it counts a consensus is believed: clocks are wrong. In seconds; as arti does.
const EARLY: u64 = 24 * 3600;
/// So long after it counted the newest consensus is still used: the authorities may be down. Likewise.
const LATE: u64 = 3 * 24 * 3600;

/// The relays of one verified consensus. Times in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// From when on it counts.
    pub valid_after: u64,
    /// Until when it is the newest.
    pub fresh_until: u64,
    /// Until when it counts.
    pub valid_until: u64,
    /// Addresses and ports of its relays.
    pub relays: BTreeSet<SocketAddr>,
}

/// What is known of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays {
    /// Identities of its authorities in hexadecimal; empty: the public network's.
    authorities: Vec<String>,
    /// What was verified lately, the newest first.
    sets: Vec<Set>,
}

impl Relays {
    /// A network of which nothing is known but its authorities: identities in hexadecimal; none: the public network.
    #[must_use]
    pub const fn new(authorities: Vec<String>) -> Self {
        Self { authorities, sets: Vec::new() }
    }

    /// Identities of its authorities; empty: the public network's.
    #[must_use]
    pub fn authorities(&self) -> &[String] {
        &self.authorities
    }

    /// The newest set, whether it still counts or not.
    #[must_use]
    pub fn newest(&self) -> Option<&Set> {
        self.sets.first()
    }

    /// Takes in what was verified.
    ///
    /// # Errors
    /// When it is older than what is known and does not count any more: nobody goes back.
    pub fn take_in(&mut self, set: Set, now: u64) -> Result<(), Superseded> {
        let newest = self.sets.first().map_or(0, |newest| newest.valid_after);
        if set.valid_after < newest && set.valid_until < now {
            return Err(Superseded { valid_after: set.valid_after, newest });
        }
        self.sets.retain(|known| known.valid_after != set.valid_after);
        self.sets.push(set);
        self.sets.sort_unstable_by_key(|set| std::cmp::Reverse(set.valid_after));
        let mut place = 0;
        self.sets.retain(|set| {
            place += 1;
            place == 1 || now <= set.valid_until
        });
        self.sets.truncate(MAX_SETS);
        Ok(())
    }

    /// Where connections may go at a time: the relays of the newest set, and those of the sets before it as long as
    /// these count, so that no connection is cut because its relay is missing for an hour.
    #[must_use]
    pub fn at(&self, now: u64) -> BTreeSet<SocketAddr> {
        let in_use = self.spans().filter(|(from, until, _)| (*from..=*until).contains(&now));
        let relays = in_use.flat_map(|(.., set)| &set.relays).copied();
        relays.filter(|relay| self.is_plausible(relay.ip())).collect()
    }

    /// When [`at`](Self::at) will say something else, if nothing is verified until then.
    #[must_use]
    pub fn next_change(&self, now: u64) -> Option<u64> {
        let ends = self.spans().flat_map(|(from, until, _)| [from, until.saturating_add(1)]);
        ends.filter(|end| *end > now).min()
    }

    /// Each set with the first and the last second in which its relays may be reached.
    fn spans(&self) -> impl Iterator<Item = (u64, u64, &Set)> {
        (0..).zip(&self.sets).map(|(place, set)| {
            let late = if place == 0 { LATE } else { 0 };
            (set.valid_after.saturating_sub(EARLY), set.valid_until.saturating_add(late), set)
        })
    }

    /// Whether a relay can be there. Authorities would not list such addresses; should they, nothing of this machine's
    /// surroundings becomes reachable.
    fn is_plausible(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else { return true };
        !(is_ours(v4) || self.authorities.is_empty() && is_local(v4))
    }

    /// The text in which it is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{KEPT}\n");
        // Writing to a string does not fail.
        for authority in &self.authorities {
            let _ = writeln!(text, "authority {authority}");
        }
        for set in &self.sets {
            let Set { valid_after, fresh_until, valid_until, relays } = set;
            let _ = writeln!(
                text,
                "verified\nvalid-after {valid_after}\nfresh-until {fresh_until}\nvalid-until {valid_until}"
            );
            for relay in relays {
                let _ = writeln!(text, "{} {relay}", if relay.is_ipv4() { "relay" } else { "relay6" });
            }
            let _ = writeln!(text, "end {}", relays.len());
        }
        text
    }

    /// What a kept text says of the network of these authorities.
    ///
    /// # Errors
    /// When it is no such text, or of another network.
    pub fn of_text(text: &str, authorities: &[String]) -> Result<Self, &'static str> {
        let mut lines = Lines::of(text);
        if lines.next() != Some(KEPT) {
            return Err("is not a list of relays that this version wrote");
        }
        let mut relays = Self::new(lines.values("authority").map(str::to_owned).collect());
        if relays.authorities != authorities {
            return Err("is of another network");
        }
        while !lines.is_empty() {
            match lines.answer() {
                Ok(Answer::Verified(set)) if relays.sets.len() < MAX_SETS => relays.sets.push(set),
                _ => return Err("is damaged"),
            }
        }
        if !relays.sets.is_sorted_by(|one, other| one.valid_after > other.valid_after) {
            return Err("is damaged");
        }
        Ok(relays)
    }
}

/// A set is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Its age.
    pub valid_after: u64,
    /// That of the newest one known.
    pub newest: u64,
}

impl std::fmt::Display for Superseded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { valid_after, newest } = self;
        write!(f, "a consensus of {valid_after} does not count any more, and one of {newest} is known")
    }
}

/// Whether an address is one of a domain's, or of a virtual name server's: no relay's in any network.
fn is_ours(address: Ipv4Addr) -> bool {
    INSIDE_V4.contains(&address) || matches!(address.octets(), [10, 139, 1, _])
}

/// Whether an address means something on the segments around this machine only.
const fn is_local(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && b & 0xC0 == 64;
    let is_reserved = a == 0 || a >= 240;
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || is_shared
        || is_reserved
}

#[cfg(test)]
mod tests;
