//! Which client number and which port of the domain above each AppVM and torvm has; kept from plan to plan.
//!
//! A running domain must not change its address because another file appeared, so a number once given
//! stays until the domain's file is gone or asks for another.

use super::FIRST_CLIENT_PORT;
use super::address::NUMBERS;
use crate::domain::{Domain, Domains, Kind};
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// An AppVM's or torvm's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Client number: address, hardware address, vsock identifier.
    pub number: u16,
    /// Port of the domain above; meaningless without one.
    pub port: u8,
    /// That domain.
    upstream: Option<Name>,
}

/// The seats of all AppVMs and torvms.
#[derive(Clone, Debug, Default)]
pub struct Numbering(BTreeMap<Name, Seat>);

impl Numbering {
    /// The seat of an AppVM or torvm.
    #[must_use]
    pub fn seat(&self, name: &Name) -> Option<&Seat> {
        self.0.get(name)
    }

    /// Forgets domains that are gone and seats those that are new: first those with a fixed number, then by
    /// name with the lowest free one.
    pub(super) fn update(&mut self, domains: &Domains) {
        let seated = |d: &&Domain| matches!(d.kind.value, Kind::Appvm | Kind::Torvm);
        let apps: Vec<&Domain> = domains.values().filter(seated).collect();
        self.0.retain(|name, seat| apps.iter().any(|d| d.name == *name && still_right(d, seat)));
        self.move_those_elsewhere(domains);
        let fixed: BTreeSet<u16> = apps.iter().filter_map(|d| d.id.as_ref().map(|i| i.value)).collect();
        self.0.retain(|name, seat| {
            let own = domains.get(name).and_then(|d| d.id.as_ref()).map(|i| i.value);
            !fixed.contains(&seat.number) || own == Some(seat.number)
        });
        for domain in apps {
            if self.0.contains_key(&domain.name) {
                continue;
            }
            let upstream = domain.netvm.as_ref().map(|n| n.value.clone());
            let number = domain.id.as_ref().map_or_else(|| self.free_number(&fixed), |id| id.value);
            let port = self.free_port(upstream.as_ref());
            self.0.insert(domain.name.clone(), Seat { number, port, upstream });
        }
    }

    /// A domain that has another one above it than before keeps its number, and so its addresses, but not its port.
    fn move_those_elsewhere(&mut self, domains: &Domains) {
        let above = |name: &Name| domains.get(name).and_then(|d| d.netvm.as_ref()).map(|n| n.value.clone());
        let moved: Vec<Name> = self
            .0
            .iter()
            .filter(|(name, seat)| above(name) != seat.upstream)
            .map(|(n, _)| n.clone())
            .collect();
        for name in moved {
            let upstream = above(&name);
            let port = self.free_port(upstream.as_ref());
            if let Some(seat) = self.0.get_mut(&name) {
                (seat.port, seat.upstream) = (port, upstream);
            }
        }
    }

    fn free_number(&self, fixed: &BTreeSet<u16>) -> u16 {
        let taken: BTreeSet<u16> = self.0.values().map(|s| s.number).collect();
        NUMBERS.into_iter().find(|n| !taken.contains(n) && !fixed.contains(n)).unwrap_or(*NUMBERS.end())
    }

    fn free_port(&self, upstream: Option<&Name>) -> u8 {
        let taken: BTreeSet<u8> =
            self.0.values().filter(|s| s.upstream.as_ref() == upstream).map(|s| s.port).collect();
        (FIRST_CLIENT_PORT..u8::MAX).find(|p| !taken.contains(p)).unwrap_or(u8::MAX)
    }
}

fn still_right(domain: &Domain, seat: &Seat) -> bool {
    domain.id.as_ref().is_none_or(|id| id.value == seat.number)
}
