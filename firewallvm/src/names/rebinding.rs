//! Addresses that no name in the world may lead to.
//!
//! Whoever owns a name decides what it resolves to, also to a place on the inside ("DNS rebinding"): a rule about
//! the name would then open that place. So only addresses that are reachable in the whole Internet are pinned;
//! who wants to reach one of the others writes the address into the rule.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is never pinned; `own`: our addresses on the uplink.
#[must_use]
pub fn is_inside(address: IpAddr, own: &[Option<IpAddr>; 2]) -> bool {
    let is_own = |address: IpAddr| own.contains(&Some(address));
    match address {
        IpAddr::V4(v4) => is_special_v4(v4) || is_own(address),
        IpAddr::V6(v6) => {
            let hidden = embedded(v6).is_some_and(|v4| is_special_v4(v4) || is_own(v4.into()));
            is_special_v6(v6) || hidden || is_own(address)
        }
    }
}

/// Special-purpose IPv4 addresses (RFC 6890); those for documentation are nobody's and do no harm.
const fn is_special_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // "This network"; private; loopback; groups, reserved, broadcast. Our own inner ranges are private ones.
        [0 | 10 | 127 | 224.., ..] => true,
        // Shared with a provider's other customers (RFC 6598).
        [100, b, ..] => b & 0xC0 == 64,
        // Link-local.
        [169, b, ..] => b == 254,
        [172, b, ..] => b & 0xF0 == 16,
        // Private; protocol assignments (RFC 6890 §2.2.2).
        [192, b, c, _] => b == 168 || (b == 0 && c == 0),
        // Benchmarks (RFC 2544).
        [198, b, ..] => b & 0xFE == 18,
        _ => false,
    }
}

/// Special-purpose IPv6 addresses.
const fn is_special_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Unspecified, loopback, IPv4-compatible, IPv4-mapped whatever is in it: nothing goes there natively.
        [0, 0, ..] => true,
        // Translated by the network (RFC 6052), but not by a prefix for local use (RFC 8215).
        [0x64, 0xff9b, c, d, e, f, ..] => c | d | e | f != 0,
        // Discarded (RFC 6666).
        [0x100, 0, 0, 0, ..] => true,
        // Teredo (RFC 4380), ORCHID (RFC 7343).
        [0x2001, 0 | 0x10..=0x2f, ..] => true,
        // Unique local, ours included (RFC 4193); link-local, site-local, groups.
        [a, ..] => a & 0xfe00 == 0xfc00 || a >= 0xfe80,
    }
}

/// The IPv4 address that an IPv6 one stands for: translated (RFC 6052 §2.1), 6to4 (RFC 3056).
const fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, g, h] => (g, h),
        [0x2002, b, c, ..] => (b, c),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits((high as u32) << 16 | low as u32))
}
