//! The uplink's addresses: fixed, by DHCP, from router advertisements. Everything about addresses on the
//! segment ends here: DHCP, ARP and neighbour discovery are answered by netvm and never reach firewallvm.

mod advertisement;
mod dhcp6;
pub(crate) mod discovery;
mod v4;
mod v6;

pub(crate) use v4::V4Stack;
pub(crate) use v6::V6Stack;

use core::net::{Ipv4Addr, Ipv6Addr};

/// Whether an IPv4 address can be that of a host on the Internet or a segment.
pub(crate) fn is_host_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Whether an address is the network's own or its broadcast address; a /31 and a /32 have none (RFC 3021).
pub(crate) fn is_reserved_v4(address: Ipv4Addr, prefix: u8) -> bool {
    let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let host = address.to_bits() & host_bits;
    prefix < 31 && (host == 0 || host == host_bits)
}

/// Whether two addresses share a prefix of this length.
pub(crate) fn same_segment_v4(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) & !u32::MAX.checked_shr(prefix.into()).unwrap_or(0) == 0
}

/// Whether two addresses share a prefix of this length.
pub(crate) fn same_segment_v6(a: Ipv6Addr, b: Ipv6Addr, prefix: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) & !u128::MAX.checked_shr(prefix.into()).unwrap_or(0) == 0
}

/// Whether an IPv6 address can be that of a host beyond its link: 2000::/3 or fc00::/7.
pub(crate) fn is_host_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.octets();
    first & 0xE0 == 0x20 || first & 0xFE == 0xFC
}

/// Keeps the earlier of two times.
pub(crate) fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
