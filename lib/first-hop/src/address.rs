//! The gateway's own addresses on every client's link, and those that nobody may have.

use core::net::{Ipv4Addr, Ipv6Addr};
use packet::ethernet::Mac;

/// Our hardware address on every link.
pub const OUR_MAC: Mac = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
/// Our link-local address on every client's link.
pub const OUR_LINK_LOCAL: Ipv6Addr = packet::ndp::link_local(OUR_MAC);
/// The virtual name servers that every client is told (IPv4).
pub const DNS_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 139, 1, 1), Ipv4Addr::new(10, 139, 1, 2)];
/// The virtual name server that every client is told (IPv6).
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0, 0, 0, 0, 0x53);
/// Where name servers listen.
pub const DNS_PORT: u16 = 53;

/// Whether no packet may be forwarded from or to it: "this network", loopback, groups and the reserved last /4 (RFC
/// 6890); link-local does not pass routers.
#[inline]
#[must_use]
pub const fn is_bad_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 0 || a == 127 || a >= 224 || (a == 169 && b == 254)
}

/// Whether no packet may be forwarded from or to it.
#[inline]
#[must_use]
pub const fn is_bad_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Unspecified, loopback, IPv4-compatible and IPv4-mapped.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => true,
        // Link-local, the former site-local, and groups.
        [first, ..] => first >= 0xfe80,
    }
}

/// The /64 that an address is in.
#[inline]
#[must_use]
pub const fn prefix64(address: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
}

/// The last half of an address.
#[inline]
#[must_use]
pub const fn interface_id(address: Ipv6Addr) -> [u16; 4] {
    let [.., a, b, c, d] = address.segments();
    [a, b, c, d]
}

/// Our own address in a client's /64.
#[inline]
#[must_use]
pub const fn gateway_v6(prefix: Ipv6Addr) -> Ipv6Addr {
    let [a, b, c, d] = prefix64(prefix);
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1)
}
