//! All clients, by the port that each is on, and a quick test for what is on no client's link.

use crate::{address::Address, flows::PORTS};
use alloc::boxed::Box;
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::Client;

/// The clients. They are only read, but for [`Clients::set`]: the covers follow from them.
#[derive(Debug)]
pub struct Clients {
    by_port: [Option<Box<Client>>; PORTS],
    v4: Cover,
    v6: Cover,
}

/// Bits that the addresses on all links have in common. Others may have them too.
#[derive(Clone, Copy, Debug, Default)]
struct Cover {
    bits: u64,
    mask: u64,
}

impl Cover {
    /// The cover of prefixes, each as an address and its mask; with none of them it covers everything.
    fn of(mut prefixes: impl Iterator<Item = (u64, u64)>) -> Self {
        let Some((bits, mask)) = prefixes.next() else { return Self::default() };
        Self { bits, mask: prefixes.fold(mask, |common, (other, mask)| common & mask & !(bits ^ other)) }
    }

    #[inline]
    const fn has(self, address: u64) -> bool {
        (address ^ self.bits) & self.mask == 0
    }
}

impl Clients {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self { by_port: [const { None }; PORTS], v4: Cover::default(), v6: Cover::default() }
    }

    /// The client on a port.
    #[inline]
    #[must_use]
    pub fn get(&self, port: u8) -> Option<&Client> {
        self.by_port.get(usize::from(port)).and_then(Option::as_deref)
    }

    /// All of them by port.
    #[must_use]
    pub const fn by_port(&self) -> &[Option<Box<Client>>; PORTS] {
        &self.by_port
    }

    /// All of them, with their ports.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Client)> {
        (0..).zip(&self.by_port).filter_map(|(port, client)| Some((port, client.as_deref()?)))
    }

    /// Puts a client on a port, or nobody.
    pub fn set(&mut self, port: u8, client: Option<Box<Client>>) {
        if let Some(place) = self.by_port.get_mut(usize::from(port)) {
            *place = client;
        }
        let clients = || self.by_port.iter().filter_map(Option::as_deref);
        self.v4 = Cover::of(clients().map(|client| (client.v4.to_bits().into(), client.v4_mask().into())));
        let prefixes = clients().filter_map(|client| client.v6_prefix);
        self.v6 = Cover::of(prefixes.map(|prefix| (upper(prefix), u64::MAX)));
    }

    /// Takes one error from the allowance of the client on a port; `false` when it is used up.
    pub fn may_be_told(&mut self, port: u8, now_us: u64) -> bool {
        let client = self.by_port.get_mut(usize::from(port)).and_then(Option::as_deref_mut);
        client.is_some_and(|client| client.may_be_told(now_us))
    }

    /// Whose link an address is on, and whether it is one that the client may call itself by.
    #[inline]
    #[must_use]
    pub fn on_link<A: Address>(&self, address: A) -> Option<(u8, bool)> {
        // The network's addresses are mostly far from the clients': only near them each is asked.
        if address.may_be_on_link(self) { self.search(address) } else { None }
    }

    #[inline(never)]
    fn search<A: Address>(&self, address: A) -> Option<(u8, bool)> {
        let (link, client) = self.iter().find(|(_, client)| address.is_on_link(client))?;
        Some((link, address.is_of(client)))
    }

    /// Whether an address may be on a client's link; if not, it is on none.
    #[inline]
    #[must_use]
    pub fn may_cover_v4(&self, address: Ipv4Addr) -> bool {
        self.v4.has(address.to_bits().into())
    }

    /// Whether an address may be on a client's link; if not, it is on none.
    #[inline]
    #[must_use]
    pub fn may_cover_v6(&self, address: Ipv6Addr) -> bool {
        self.v6.has(upper(address))
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

/// An address's upper half.
#[inline]
const fn upper(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Random;
    use control::message;

    fn client(random: &mut Random, near: u32) -> Option<Client> {
        let at = random.next_u64();
        let v4 = Ipv4Addr::from_bits(near ^ u32::try_from(at & 0xFFFF).unwrap());
        let v6_prefix = (at >> 63 == 0)
            .then(|| Ipv6Addr::from_bits(u128::from(0x2001_0db8_0000_0000 | at >> 24 & 0xFF_FFFF) << 64));
        Client::new(message::Client {
            name: "c".try_into().unwrap(),
            mac: [2, 0, 0, 0, 0, 1],
            v4,
            v4_gateway: Ipv4Addr::from_bits(v4.to_bits() ^ 1),
            v4_prefix: 8 + u8::try_from(at >> 32 & 0xF).unwrap() + u8::try_from(at >> 40 & 0x7).unwrap(),
            v6_prefix,
            mtu: 1500,
        })
    }

    /// The quick test never hides a client's address, whoever comes and goes.
    #[test]
    fn finds_whoever_asking_each_would_find() {
        let mut random = Random::new([3, 5]);
        let (mut found, mut passed) = (0, 0);
        for round in 0..200 {
            let mut clients = Clients::new();
            for step in 0..40 {
                let near = if round % 2 == 0 { 0x0A89_0000 } else { u32::try_from(step).unwrap() << 24 };
                let new = client(&mut random, near).filter(|_| step % 3 != 2);
                clients.set(u8::try_from(random.next_u64() % 32).unwrap(), new.map(Box::new));
                for _ in 0..20 {
                    let bits = random.next_u64();
                    let some = clients.iter().nth(usize::try_from(bits % 40).unwrap());
                    let (v4, v6) = some.map_or((0, 0), |(_, client)| {
                        (client.v4.to_bits(), client.v6_prefix.map_or(0, Ipv6Addr::to_bits))
                    });
                    let flip = 1 << (bits >> 32 & 0x1F);
                    same(&clients, Ipv4Addr::from_bits(v4 ^ flip), &mut found);
                    same(&clients, Ipv6Addr::from_bits(v6 ^ 1 << (bits >> 40 & 0x7F)), &mut found);
                    let other = Ipv4Addr::from_bits(u32::try_from(bits >> 32).unwrap());
                    same(&clients, other, &mut found);
                    passed += u32::from(!clients.may_cover_v4(other));
                }
            }
        }
        assert!(found > 10_000 && passed > 10_000, "{found} {passed}");
    }

    fn same<A: Address>(clients: &Clients, address: A, found: &mut u32) {
        assert_eq!(clients.on_link(address), clients.search(address), "{address:?} {clients:?}");
        *found += u32::from(clients.on_link(address).is_some());
    }
}
