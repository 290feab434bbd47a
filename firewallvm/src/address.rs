//! Which addresses are whose: our own, the clients', and those that nobody may send from or to.

use crate::{
    clients::Clients,
    hash::{Sip, Universal},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::{
    Client,
    address::{is_bad_v4, is_bad_v6, prefix64},
};

/// What the firewall knows of an address family.
pub trait Address: Copy + Eq + core::fmt::Debug + Into<core::net::IpAddr> + 'static {
    /// `0.0.0.0` or `::`.
    const UNSPECIFIED: Self;

    /// Whether the address belongs to the inside, whether or not somebody has it now: clients and virtual servers.
    fn is_internal(self) -> bool;

    /// Whether no packet may be forwarded from it.
    fn is_bad_source(self) -> bool;

    /// Whether no packet may be forwarded to it.
    fn is_bad_destination(self) -> bool;

    /// Whether the address is on a client's link: the client's or ours.
    fn is_on_link(self, client: &Client) -> bool;

    /// Whether the address may be on a client's link; if not, it is on none.
    fn may_be_on_link(self, clients: &Clients) -> bool;

    /// Whether the client may call itself so.
    fn is_of(self, client: &Client) -> bool;

    /// Where the client takes connections: IPv6 at the address that it makes of its hardware address (RFC 4291,
    /// appendix A).
    fn of_client(client: &Client) -> Option<Self>;

    /// Hashes two addresses and a word.
    fn hash_pair(function: &Universal, a: Self, b: Self, last: u64) -> u64;

    /// Feeds the address to a pseudo-random function.
    fn feed(self, sip: Sip) -> Sip;
}

impl Address for Ipv4Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    fn is_internal(self) -> bool {
        // 10.137.0.0/16 (clients) and 10.139.1.0/24 (virtual servers).
        let [a, b, c, _] = self.octets();
        a == 10 && (b == 137 || (b == 139 && c == 1))
    }

    fn is_bad_source(self) -> bool {
        is_bad_v4(self)
    }

    fn is_bad_destination(self) -> bool {
        self.is_bad_source()
    }

    fn is_on_link(self, client: &Client) -> bool {
        client.covers_v4(self)
    }

    #[inline]
    fn may_be_on_link(self, clients: &Clients) -> bool {
        clients.may_cover_v4(self)
    }

    fn is_of(self, client: &Client) -> bool {
        self == client.v4
    }

    fn of_client(client: &Client) -> Option<Self> {
        Some(client.v4)
    }

    #[inline]
    fn hash_pair(function: &Universal, a: Self, b: Self, last: u64) -> u64 {
        let [a, b] = [a, b].map(|address| u64::from(u32::from_le_bytes(address.octets())));
        function.pair(a | b << 32, last)
    }

    fn feed(self, sip: Sip) -> Sip {
        sip.word(u64::from(self.to_bits()))
    }
}

impl Address for Ipv6Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    fn is_internal(self) -> bool {
        matches!(self.segments(), [0xfd09, 0x24ef, 0x4179, ..])
    }

    fn is_bad_source(self) -> bool {
        is_bad_v6(self)
    }

    fn is_bad_destination(self) -> bool {
        self.is_bad_source()
    }

    fn is_on_link(self, client: &Client) -> bool {
        client.covers_v6(self)
    }

    #[inline]
    fn may_be_on_link(self, clients: &Clients) -> bool {
        clients.may_cover_v6(self)
    }

    fn is_of(self, client: &Client) -> bool {
        client.owns_v6(self)
    }

    fn of_client(client: &Client) -> Option<Self> {
        let [a, b, c, d] = prefix64(client.v6_prefix?);
        let [.., e, f, g, h] = packet::ndp::link_local(client.mac).segments();
        Some(Self::new(a, b, c, d, e, f, g, h))
    }

    #[inline]
    fn hash_pair(function: &Universal, a: Self, b: Self, last: u64) -> u64 {
        let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
        function.five([a0, a1, b0, b1, last])
    }

    fn feed(self, sip: Sip) -> Sip {
        let [low, high] = halves(self);
        sip.word(low).word(high)
    }
}

/// An address as two numbers.
#[inline]
const fn halves(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}
