//! Which addresses a client was told for which names: a fixed number of places for each name, found by address.
//!
//! A name has places of its own, so that no answer can push out what was told about another name.

use super::{Numbers, wanted::MAX_NAMES};
use crate::hash::{Key, Sip};
use alloc::{collections::TryReserveError, vec::Vec};
use core::net::IpAddr;

/// Places that are shared out evenly among few names.
const PLACES: usize = 1024;
/// Most and fewest places of a name, as powers of two.
const QUOTA: (u32, u32) = (3, 6);
/// Pins of one hash that are looked at: an answer's cost has a bound.
const MAX_WALK: usize = 128;
/// No pin.
const NONE: u16 = u16::MAX;

const _: () = assert!(MAX_NAMES << QUOTA.0 < NONE as usize);
const _: () = assert!(1 << QUOTA.1 <= u64::BITS);

/// One address of one name.
#[derive(Clone, Copy, Debug)]
struct Pin {
    /// The address, of IPv4 in mapped form, in halves.
    address: [u64; 2],
    /// Second from which on it opens nothing; 0: the place is free.
    expires: u32,
    /// Neighbours among the pins of the same hash, the one told last first.
    next: u16,
    previous: u16,
}

impl Pin {
    const FREE: Self = Self { address: [0; 2], expires: 0, next: NONE, previous: NONE };
}

/// A client's pins.
#[derive(Debug)]
pub(super) struct Pins {
    key: Key,
    /// The places: those of name 0, those of name 1, and so on.
    places: Vec<Pin>,
    /// The first pin of each hash; as many as places, rounded up to a power of two.
    heads: Vec<u16>,
    /// Places of a name, as a power of two.
    quota: u32,
}

impl Pins {
    /// Room for the pins of this many names.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new(key: Key, names: usize) -> Result<Self, TryReserveError> {
        let names = names.min(MAX_NAMES);
        let share = (PLACES / names.max(1)).max(1).ilog2();
        let quota = share.clamp(QUOTA.0, QUOTA.1);
        let (mut places, mut heads) = (Vec::new(), Vec::new());
        let count = names << quota;
        places.try_reserve_exact(count)?;
        places.resize(count, Pin::FREE);
        heads.try_reserve_exact(count.next_power_of_two())?;
        heads.resize(count.next_power_of_two(), NONE);
        Ok(Self { key, places, heads, quota })
    }

    /// Places that each name has.
    #[must_use]
    pub(super) const fn quota(&self) -> usize {
        1 << self.quota
    }

    /// Notes what one answer told about a name: addresses, and the second at which each expires. The first ones count,
    /// as many as the name has places; of what was told before, what holds least long gives way. Returns how many
    /// were noted.
    pub(super) fn pin(&mut self, name: u16, told: &[(IpAddr, u32)]) -> usize {
        let first = usize::from(name) << self.quota;
        let told = told.get(..self.quota()).unwrap_or(told);
        let mut taken = 0_u64;
        // What is known already stays where it is, before something new may take a place.
        for known in [true, false] {
            for (address, expires) in told.iter().map(|(address, expires)| (halves(*address), *expires)) {
                let (at, expires) = match self.place_of(name, address) {
                    Some((at, pin)) => (at, expires.max(pin.expires)),
                    None if known => continue,
                    None => match self.oldest(first, taken) {
                        Some(at) => (at, expires),
                        None => continue,
                    },
                };
                taken |= 1_u64.checked_shl(u32::try_from(at - first).unwrap_or(0)).unwrap_or(0);
                self.replace(at, address, expires);
            }
        }
        taken.count_ones() as usize
    }

    /// The names of an address whose pins have not expired.
    #[must_use]
    pub(super) fn fresh(&self, address: IpAddr, now: u32) -> Numbers {
        self.find(halves(address), |pin| pin.expires > now)
    }

    /// The names of an address, of expired pins too.
    #[must_use]
    pub(super) fn ever(&self, address: IpAddr) -> Numbers {
        self.find(halves(address), |_| true)
    }

    /// Takes over another table's pins, with the numbers that `number` gives their names.
    pub(super) fn take_over(&mut self, old: &Self, number: impl Fn(u16) -> Option<u16>) {
        for (name, places) in (0..).zip(old.places.chunks_exact(old.quota())) {
            let Some(name) = number(name) else { continue };
            // Fewer places than before: those that hold longest stay.
            let mut order: heapless::Vec<&Pin, { 1 << QUOTA.1 }> =
                places.iter().filter(|pin| pin.expires != 0).collect();
            order.sort_unstable_by_key(|pin| core::cmp::Reverse(pin.expires));
            let first = usize::from(name) << self.quota;
            for (at, pin) in (first..first + self.quota()).zip(order) {
                self.replace(at, pin.address, pin.expires);
            }
        }
    }

    /// Where an address of a name is.
    fn place_of(&self, name: u16, address: [u64; 2]) -> Option<(usize, Pin)> {
        let mut at = self.heads.get(self.head(address)).copied()?;
        for _ in 0..self.places.len() {
            let pin = self.places.get(usize::from(at))?;
            if pin.address == address && at >> self.quota == name {
                return Some((usize::from(at), *pin));
            }
            at = pin.next;
        }
        None
    }

    /// The place of a name, whose first one is `first`, that is free or holds least long, of those not `taken`.
    fn oldest(&self, first: usize, taken: u64) -> Option<usize> {
        let own = (0..).zip(self.places.get(first..first + self.quota())?);
        let (at, _) = own.filter(|(at, _)| taken >> at & 1 == 0).min_by_key(|(_, pin)| pin.expires)?;
        Some(first + at)
    }

    #[inline]
    fn find(&self, address: [u64; 2], counts: impl Fn(&Pin) -> bool) -> Numbers {
        let mut numbers = Numbers::new();
        let mut at = self.heads.get(self.head(address)).copied().unwrap_or(NONE);
        for _ in 0..MAX_WALK {
            let Some(pin) = self.places.get(usize::from(at)) else { break };
            if pin.address == address && counts(pin) && numbers.push(at >> self.quota).is_err() {
                break;
            }
            at = pin.next;
        }
        numbers
    }

    /// Puts an address into a place, whatever was there.
    fn replace(&mut self, at: usize, address: [u64; 2], expires: u32) {
        self.unlink(at);
        let head = self.head(address);
        let Ok(number) = u16::try_from(at) else { return };
        let Some(head) = self.heads.get_mut(head) else { return };
        let Some(place) = self.places.get_mut(at) else { return };
        let next = core::mem::replace(head, number);
        *place = Pin { address, expires, next, previous: NONE };
        if let Some(next) = self.places.get_mut(usize::from(next)) {
            next.previous = number;
        }
    }

    /// Takes the pin in a place, if there is one, out of its hash's chain.
    fn unlink(&mut self, at: usize) {
        let Some(Pin { address, next, previous, .. }) =
            self.places.get(at).copied().filter(|pin| pin.expires != 0)
        else {
            return;
        };
        let head = self.head(address);
        match self.places.get_mut(usize::from(previous)) {
            Some(previous) => previous.next = next,
            None => {
                if let Some(head) = self.heads.get_mut(head) {
                    *head = next;
                }
            }
        }
        if let Some(next) = self.places.get_mut(usize::from(next)) {
            next.previous = previous;
        }
    }

    /// Which head is an address's.
    #[inline]
    fn head(&self, [low, high]: [u64; 2]) -> usize {
        let hash = Sip::new(self.key).word(low).word(high).word(16 << 56).finish();
        let mask = self.heads.len().wrapping_sub(1);
        usize::try_from(hash).unwrap_or(0) & mask
    }
}

/// An address as two words.
#[inline]
fn halves(address: IpAddr) -> [u64; 2] {
    let v6 = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let [low, high] = [v6.to_bits(), v6.to_bits() >> 64].map(|half| half & u128::from(u64::MAX));
    [u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)]
}
