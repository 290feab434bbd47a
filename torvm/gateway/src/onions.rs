//! Addresses that stand for `.onion` names, so that programs which know only addresses reach onion services.
//!
//! Every client has a table of its own: an address means nothing to another client, and no client can push another's
//! names out. Addresses come from 10.192.0.0/10 by a hash whose key is chosen anew at every start, so that an address
//! that a client still remembers from an earlier run leads nowhere rather than to another service.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashlink::LruCache;

/// First address of 10.192.0.0/10.
const FIRST: u32 = 0x0ac0_0000;
/// Addresses of it.
const COUNT: u32 = 1 << 22;
/// Names that a client can have at a time.
const NAMES: usize = 512;
/// Clients that can have names at a time.
const CLIENTS: usize = 256;

/// Whether `address` is of the range whose addresses stand for names: it never leaves for the Tor network.
#[must_use]
pub fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if u32::from(v4).wrapping_sub(FIRST) < COUNT)
}

/// Whether `name` ends in `.onion`, in whatever case, with or without a last dot.
#[must_use]
pub fn is_onion(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("onion")
}

/// Names and their addresses, client by client.
pub struct Onions {
    clients: LruCache<Ipv4Addr, Table>,
    hash: RandomState,
}

/// One client's names, and the way back.
struct Table {
    by_name: LruCache<Arc<str>, Ipv4Addr>,
    by_address: LruCache<Ipv4Addr, Arc<str>>,
}

impl Default for Onions {
    fn default() -> Self {
        Self { clients: LruCache::new(CLIENTS), hash: RandomState::new() }
    }
}

impl Onions {
    /// The address that stands for `name` (lower case, without a last dot) at `client`; the name least used gives way
    /// if there are too many.
    pub fn address(&mut self, client: Ipv4Addr, name: &str) -> Ipv4Addr {
        let hash = &self.hash;
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(&client) {
            self.clients.remove_lru();
        }
        let table = self.clients.entry(client).or_insert_with(Table::new);
        if let Some(&address) = table.by_name.get(name) {
            table.by_address.get(&address);
            return address;
        }
        // At most NAMES of COUNT addresses are taken, so this ends at the first or second try.
        let address = (0_u32..)
            .map(|attempt| nth_address(hash.hash_one((client, name, attempt))))
            .find(|address| !table.by_address.contains_key(address))
            .unwrap_or(Ipv4Addr::from(FIRST));
        table.insert(name.into(), address);
        address
    }

    /// The name that `address` stands for at `client`.
    pub fn name(&mut self, client: Ipv4Addr, address: Ipv4Addr) -> Option<Arc<str>> {
        let table = self.clients.get_mut(&client)?;
        let name = Arc::clone(table.by_address.get(&address)?);
        table.by_name.get(&name);
        Some(name)
    }
}

impl Table {
    fn new() -> Self {
        // One more each: what gives way is chosen here, in both directions at once.
        Self { by_name: LruCache::new(NAMES + 1), by_address: LruCache::new(NAMES + 1) }
    }

    fn insert(&mut self, name: Arc<str>, address: Ipv4Addr) {
        self.by_address.insert(address, Arc::clone(&name));
        self.by_name.insert(name, address);
        if self.by_name.len() > NAMES
            && let Some((_, old)) = self.by_name.remove_lru()
        {
            self.by_address.remove(&old);
        }
    }
}

/// An address of the range, its two ends aside.
fn nth_address(hash: u64) -> Ipv4Addr {
    let n = u32::try_from(hash % u64::from(COUNT - 2)).unwrap_or(0);
    Ipv4Addr::from(FIRST + 1 + n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 1);

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let mut onions = Onions::default();
        let a = onions.address(CLIENT, "a.onion");
        let b = onions.address(CLIENT, "b.onion");
        assert_ne!(a, b);
        assert!(is_mapped(a.into()) && is_mapped(b.into()));
        assert_eq!(onions.address(CLIENT, "a.onion"), a);
        assert_eq!(onions.name(CLIENT, a).as_deref(), Some("a.onion"));
        assert_eq!(onions.name(Ipv4Addr::new(10, 137, 0, 2), a), None, "another client's");
    }

    #[test]
    fn the_name_least_used_gives_way() {
        let mut onions = Onions::default();
        let kept = onions.address(CLIENT, "kept.onion");
        let lost = onions.address(CLIENT, "lost.onion");
        for n in 0..NAMES - 1 {
            onions.address(CLIENT, &format!("{n}.onion"));
            assert!(onions.name(CLIENT, kept).is_some());
        }
        assert_eq!(onions.name(CLIENT, lost), None);
        let table = onions.clients.get(&CLIENT).expect("has names");
        assert_eq!((table.by_name.len(), table.by_address.len()), (NAMES, NAMES));
    }

    #[test]
    fn clients_are_bounded() {
        let mut onions = Onions::default();
        for n in 0..2 * CLIENTS {
            onions.address(Ipv4Addr::from(u32::try_from(n).expect("small")), "a.onion");
        }
        assert_eq!(onions.clients.len(), CLIENTS);
    }

    #[test]
    fn the_range_ends_where_it_says() {
        for inside in ["10.192.0.0", "10.255.255.255"] {
            assert!(is_mapped(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["10.191.255.255", "11.0.0.0", "0.0.0.0", "255.255.255.255", "::ffff:10.192.0.1"] {
            assert!(!is_mapped(outside.parse().expect("an address")), "{outside}");
        }
    }

    #[test]
    fn onion_names_are_known_by_their_last_label() {
        for yes in ["x.onion", "X.ONION.", "onion", "a.b.onion"] {
            assert!(is_onion(yes), "{yes}");
        }
        for no in ["x.onion.example", "xonion", "", ".", "onion.."] {
            assert!(!is_onion(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn both_directions_agree(names in prop::collection::vec("[a-z]{1,3}", 1..1200)) {
            let mut onions = Onions::default();
            let mut latest = HashMap::new();
            for name in &names {
                latest.insert(onions.address(CLIENT, name), name.clone());
            }
            let table = onions.clients.get(&CLIENT).expect("has names");
            prop_assert_eq!(table.by_name.len(), table.by_address.len());
            prop_assert!(table.by_name.len() <= NAMES);
            for (address, name) in latest {
                // Forgotten, or still the same.
                if let Some(found) = onions.name(CLIENT, address) {
                    prop_assert_eq!(&*found, &*name);
                }
            }
        }
    }
}
