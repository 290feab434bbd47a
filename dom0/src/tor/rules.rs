//! The firewall rules of a torvm: which relays it may reach, and nothing else.
//!
//! Computed, never written by hand. They do not depend on what the torvm says unless that was verified: a torvm that was
//! taken over reaches relays alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};

/// Hosts in one rule: its line stays far below the language's longest.
const HOSTS: usize = 512;
/// Relays at most: more than the network ever had; the rest is left out.
pub const MAX_RELAYS: usize = 40_000;

/// Rules that let TCP connections to exactly these through. IPv6 is left out: a torvm has none.
#[must_use]
pub fn text(relays: &BTreeSet<SocketAddr>) -> String {
    let mut by_port: BTreeMap<u16, Vec<Ipv4Addr>> = BTreeMap::new();
    for relay in relays.iter().take(MAX_RELAYS) {
        if let SocketAddr::V4(v4) = relay
            && v4.port() != 0
            && is_host(*v4.ip())
        {
            by_port.entry(v4.port()).or_default().push(*v4.ip());
        }
    }
    let mut text = String::new();
    for (port, hosts) in by_port {
        for some in hosts.chunks(HOSTS) {
            let list: Vec<String> = some.iter().map(Ipv4Addr::to_string).collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "accept {} tcp {port}", list.join(","));
        }
    }
    text
}

/// Whether an address can be another machine's.
const fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast() && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    fn set(relays: &[&str]) -> BTreeSet<SocketAddr> {
        relays.iter().map(|r| r.parse().unwrap()).collect()
    }

    #[test]
    fn exactly_the_relays_pass() {
        let relays =
            set(&["192.0.2.1:443", "192.0.2.2:443", "192.0.2.1:9001", "[2001:db8::1]:443", "127.0.0.1:443"]);
        let text = text(&relays);
        assert_eq!(text, "accept 192.0.2.1,192.0.2.2 tcp 443\naccept 192.0.2.1 tcp 9001\n");
        let rules = Rules::compile("tor", Some(&text), 0).unwrap();
        assert_eq!(rules.policy().rules.len(), 2);
    }

    #[test]
    fn without_relays_nothing_passes() {
        assert_eq!(text(&BTreeSet::new()), "");
        assert!(Rules::compile("tor", Some(""), 0).unwrap().is_empty());
    }

    #[test]
    fn the_whole_network_has_room() {
        let relay = |n: u32| {
            let port = if n.is_multiple_of(3) { 9001 } else { u16::try_from(n % 2000 + 1).unwrap() };
            SocketAddr::new(Ipv4Addr::from_bits(0x0b00_0000 + n * 7).into(), port)
        };
        let relays: BTreeSet<SocketAddr> = (0..9_000).map(relay).collect();
        let rules = Rules::compile("tor", Some(&text(&relays)), 0).unwrap();
        let targets: usize = rules.policy().rules.iter().map(|r| r.targets.len()).sum();
        assert!(targets <= relays.len() && targets > 8_900, "{targets}");
        assert!(text(&relays).lines().all(|line| line.len() < 16 * 1024));
    }
}
