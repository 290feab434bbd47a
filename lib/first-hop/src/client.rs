//! A client: one station on one link, and what it may call itself.

use crate::address::{OUR_MAC, gateway_v6, interface_id, is_bad_v4, is_bad_v6, prefix64};
use control::message;
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::ethernet::{Mac, is_group};

/// Smallest MTU that a client's link may have: IPv6 needs it.
const MIN_MTU: u16 = 1280;
/// Errors that a client can be told in a burst.
const ERROR_BURST: u8 = 32;
/// Microseconds in which it earns one more.
const ERROR_INTERVAL_US: u64 = 10_000;

/// A client as dom0 described it, checked.
#[derive(Clone, Debug)]
pub struct Client {
    /// Domain name.
    pub name: message::Name,
    /// Its hardware address.
    pub mac: Mac,
    /// Its address.
    pub v4: Ipv4Addr,
    /// Our address on its link.
    pub v4_gateway: Ipv4Addr,
    /// Length of the prefix on its link.
    pub v4_prefix: u8,
    /// Its /64, if it gets IPv6.
    pub v6_prefix: Option<Ipv6Addr>,
    /// Largest IP packet on its link.
    pub mtu: u16,
    /// How many errors we may still tell it now.
    errors: Budget,
}

impl Client {
    /// Takes dom0's description over; `None` when it contradicts itself.
    #[must_use]
    pub fn new(described: message::Client) -> Option<Self> {
        let message::Client { name, mac, v4, v4_gateway, v4_prefix, v6_prefix, mtu } = described;
        let mask = u32::MAX.checked_shl(32u32.checked_sub(u32::from(v4_prefix))?).unwrap_or(0);
        let sane = !is_group(mac)
            && mac != OUR_MAC
            && v4 != v4_gateway
            && (v4.to_bits() ^ v4_gateway.to_bits()) & mask == 0
            && !is_bad_v4(v4)
            && !is_bad_v4(v4_gateway)
            && v6_prefix.is_none_or(|prefix| interface_id(prefix) == [0; 4] && !is_bad_v6(prefix))
            && mtu >= MIN_MTU;
        sane.then_some(Self {
            name,
            mac,
            v4,
            v4_gateway,
            v4_prefix,
            v6_prefix,
            mtu,
            errors: Budget::default(),
        })
    }

    /// Whether the client may send from this global address.
    #[inline]
    #[must_use]
    pub fn owns_v6(&self, source: Ipv6Addr) -> bool {
        self.v6_prefix.is_some_and(|prefix| {
            // Not the subnet-router anycast address, which is ours like the gateway's.
            prefix64(prefix) == prefix64(source) && source != prefix && source != gateway_v6(prefix)
        })
    }

    /// Whether an address is on this client's link: the client's or ours.
    #[inline]
    #[must_use]
    pub fn covers_v4(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.v4.to_bits()) & self.v4_mask() == 0
    }

    /// The bits that all addresses on its link have in common.
    #[inline]
    #[must_use]
    pub fn v4_mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.v4_prefix.min(32))).unwrap_or(0)
    }

    /// Whether an address is on this client's link: the client's or ours.
    #[inline]
    #[must_use]
    pub fn covers_v6(&self, address: Ipv6Addr) -> bool {
        self.v6_prefix.is_some_and(|prefix| prefix64(prefix) == prefix64(address))
    }

    /// Takes one error from the client's allowance; `false` when it is used up.
    pub fn may_be_told(&mut self, now_us: u64) -> bool {
        self.errors.take(now_us)
    }
}

/// An allowance that refills with time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u8,
    since_us: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: ERROR_BURST, since_us: 0 }
    }
}

impl Budget {
    /// Takes one; `false` when there is none.
    pub fn take(&mut self, now_us: u64) -> bool {
        let earned = now_us.saturating_sub(self.since_us) / ERROR_INTERVAL_US;
        if earned > 0 {
            let earned = u8::try_from(earned).unwrap_or(u8::MAX);
            self.left = self.left.saturating_add(earned).min(ERROR_BURST);
            self.since_us = now_us;
        }
        let any = self.left > 0;
        self.left -= u8::from(any);
        any
    }
}
