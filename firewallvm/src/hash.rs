//! Keyed functions: one that is hard to collide, for the flow tables, and one that is hard to guess, for ports.
//!
//! Clients and remote hosts choose what is hashed. Without the key they can neither pick tuples that collide
//! ([`Universal`]) nor guess the next NAT port ([`Sip`]).

/// A secret key.
pub type Key = [u64; 2];

/// A SipHash-1-3 state.
#[derive(Clone, Copy, Debug)]
pub struct Sip([u64; 4]);

impl Sip {
    /// Starts with a key.
    #[inline]
    #[must_use]
    pub const fn new([k0, k1]: Key) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Takes in eight bytes, the first the least significant. The last word of a message carries the message's
    /// length in its top byte.
    #[inline]
    #[must_use]
    pub const fn word(mut self, word: u64) -> Self {
        self.0[3] ^= word;
        self = self.round();
        self.0[0] ^= word;
        self
    }

    /// The hash.
    #[inline]
    #[must_use]
    pub const fn finish(mut self) -> u64 {
        self.0[2] ^= 0xFF;
        let Self([a, b, c, d]) = self.round().round().round();
        a ^ b ^ c ^ d
    }

    #[inline]
    const fn round(self) -> Self {
        let Self([mut a, mut b, mut c, mut d]) = self;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        Self([a, b, c, d])
    }
}

/// A strongly universal hash: for whoever does not know the key, the hashes of any two different inputs are a pair of
/// independent, uniform 64-bit numbers.
///
/// It is Multilinear-HM (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, theorem 3.1) on 64-bit
/// words in 128-bit arithmetic: the sum of `(k + w)(k' + w')` over pairs of words, plus a key, of which the upper half
/// counts. The proof needs no assumption but a random key; in turn hashes must not be shown to anybody.
#[derive(Clone, Copy, Debug)]
pub struct Universal {
    offset: u128,
    keys: [u128; 6],
}

impl Universal {
    /// A function of the family, chosen by a secret.
    #[must_use]
    pub fn new(key: Key) -> Self {
        let mut random = Random::new(key);
        let mut wide = || u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        Self { offset: wide(), keys: core::array::from_fn(|_| wide()) }
    }

    /// Hashes two words.
    #[inline(always)]
    #[must_use]
    pub const fn pair(&self, first: u64, second: u64) -> u64 {
        let [a, b, ..] = self.keys;
        upper(self.offset.wrapping_add(product(a, first, b, second)))
    }

    /// Hashes five words.
    #[inline]
    #[must_use]
    pub const fn five(&self, [v, w, x, y, z]: [u64; 5]) -> u64 {
        let [a, b, c, d, e, f] = self.keys;
        let sum = product(a, v, b, w).wrapping_add(product(c, x, d, y)).wrapping_add(product(e, z, f, 0));
        upper(self.offset.wrapping_add(sum))
    }
}

#[inline(always)]
const fn product(a: u128, v: u64, b: u128, w: u64) -> u128 {
    a.wrapping_add(v as u128).wrapping_mul(b.wrapping_add(w as u128))
}

/// The upper half.
#[inline(always)]
const fn upper(number: u128) -> u64 {
    (number >> 64) as u64
}

/// Unpredictable numbers: the hash of a counter.
#[derive(Debug)]
pub struct Random {
    key: Key,
    counter: u64,
}

impl Random {
    /// Starts with a secret.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key, counter: 0 }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        Sip::new(self.key).word(self.counter).word(8 << 56).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher as _;

    /// The standard library's `DefaultHasher` is SipHash-1-3 with key 0.
    #[test]
    fn the_standard_library_agrees() {
        let mut std = std::collections::hash_map::DefaultHasher::new();
        let bytes: Vec<u8> = (1..=15).collect();
        std.write(&bytes);
        let mut padded = bytes.clone();
        padded.push(15);
        let words: Vec<u64> =
            padded.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(Sip::new([0, 0]).word(words[0]).word(words[1]).finish(), std.finish());
    }
}
