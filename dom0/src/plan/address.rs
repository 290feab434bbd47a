//! The address plan: what a client number means. Pure arithmetic.
//!
//! Client n has the /30 `10.137.0.0 + 4n` (gateway .1, client .2), the /64 `fd09:24ef:4179:n::`, and the
//! hardware address `02:62:6b:00:` + n. The numbers are the same on every machine, so a domain keeps its
//! address when it is given a fixed `id`.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Client numbers; 0 would give the network's own address away.
pub const NUMBERS: RangeInclusive<u16> = 1..=4095;
/// Prefix length announced to a client.
pub const V4_PREFIX: u8 = 30;
/// Largest IP packet on a client's link.
pub const MTU: u16 = 1500;

/// Where all clients' IPv4 addresses are.
pub const INSIDE_V4: Ipv4Net = Ipv4Net::new_assert(V4_BASE, 18);
/// Where all clients' IPv6 addresses are.
pub const INSIDE_V6: Ipv6Net = Ipv6Net::new_assert(V6_BASE, 48);

const V4_BASE: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 0);
const V6_BASE: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0, 0, 0, 0, 0);

/// firewallvm's address on the link of client `number`.
#[must_use]
pub const fn gateway(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(V4_BASE.to_bits() + 4 * number as u32 + 1)
}

/// Address of client `number`.
#[must_use]
pub const fn client(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(V4_BASE.to_bits() + 4 * number as u32 + 2)
}

/// The /64 of client `number`.
#[must_use]
pub const fn v6_prefix(number: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits(V6_BASE.to_bits() | (number as u128) << 64)
}

/// The address that a client with this hardware address has in its /64, unless it chooses others (RFC 4291
/// appendix A).
#[must_use]
pub fn stable_v6(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(interface))
}

/// Hardware address of client `number`.
#[must_use]
pub const fn mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x62, 0x6b, 0x00, high, low]
}

/// vsock context identifier of client `number`; 0 to 2 are reserved.
#[must_use]
pub const fn vsock_cid(number: u16) -> u32 {
    2 + number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_client() {
        assert_eq!((gateway(1), client(1)), ([10, 137, 0, 5].into(), [10, 137, 0, 6].into()));
        assert_eq!(client(4095), Ipv4Addr::new(10, 137, 63, 254));
        assert_eq!(v6_prefix(1).to_string(), "fd09:24ef:4179:1::");
        assert_eq!(mac(258), [0x02, 0x62, 0x6b, 0, 1, 2]);
        assert_eq!(vsock_cid(1), 3);
        assert_eq!(stable_v6(v6_prefix(1), mac(1)).to_string(), "fd09:24ef:4179:1:62:6bff:fe00:1");
        assert!(INSIDE_V4.contains(&client(4095)) && INSIDE_V6.contains(&v6_prefix(4095)));
    }
}
