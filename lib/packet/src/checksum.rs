//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are kept in 64 bits and folded at the end: 2^16 is 1 modulo 65535, so wider words may be added as they
//! are, and a sum of a whole 64 KiB packet cannot overflow.

/// A one's complement sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes that start at an even offset of what is summed.
    #[inline(always)]
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    /// Adds a 16-bit word.
    #[inline]
    #[must_use]
    pub const fn u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two 16-bit words.
    #[inline]
    #[must_use]
    pub const fn u32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds eight 16-bit words.
    #[inline]
    #[must_use]
    pub const fn u128(self, word: u128) -> Self {
        const LOW: u128 = 0xFFFF_FFFF;
        let sum = (word & LOW) + (word >> 32 & LOW) + (word >> 64 & LOW) + (word >> 96);
        Self(self.0 + (sum & 0x3_FFFF_FFFF) as u64)
    }

    /// The folded sum, not inverted: what a partial checksum field holds for the pseudo header.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xFFFF_FFFF) + (self.0 >> 32);
        let sum = (sum & 0xFFFF) + ((sum >> 16) & 0xFFFF) + (sum >> 32);
        let sum = (sum & 0xFFFF) + (sum >> 16);
        let sum = (sum & 0xFFFF) + (sum >> 16);
        (sum & 0xFFFF) as u16
    }

    /// The checksum: the inverted sum.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether bytes that include their checksum sum up to zero, as they must.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xFFFF
    }
}

/// The pseudo header of IPv4 (RFC 9293 §3.1, RFC 768).
#[inline]
#[must_use]
pub fn pseudo_v4(
    source: core::net::Ipv4Addr,
    destination: core::net::Ipv4Addr,
    protocol: u8,
    len: u32,
) -> Sum {
    Sum::new().u32(source.to_bits()).u32(destination.to_bits()).u16(u16::from(protocol)).u32(len)
}

/// The pseudo header of IPv6 (RFC 8200 §8.1).
#[inline]
#[must_use]
pub fn pseudo_v6(
    source: core::net::Ipv6Addr,
    destination: core::net::Ipv6Addr,
    protocol: u8,
    len: u32,
) -> Sum {
    Sum::new().u128(source.to_bits()).u128(destination.to_bits()).u16(u16::from(protocol)).u32(len)
}

/// What a change of some words does to a checksum over them: `~(~HC + ~m + m')`, RFC 1624 equation 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(Sum);

impl Delta {
    /// No change.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self(Sum::new())
    }

    /// One 16-bit word becomes another.
    #[inline]
    #[must_use]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0.u16(!old).u16(new))
    }

    /// Two 16-bit words become others.
    #[inline]
    #[must_use]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0.u32(!old).u32(new))
    }

    /// Eight 16-bit words become others.
    #[inline]
    #[must_use]
    pub const fn u128(self, old: u128, new: u128) -> Self {
        Self(self.0.u128(!old).u128(new))
    }

    /// The checksum after the change.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        self.0.u16(!checksum).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        let sum = Sum::new().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn rfc_1624_example_does_not_give_minus_zero() {
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn agrees_with_pnet(bytes in proptest::collection::vec(any::<u8>(), 2..2000)) {
            // pnet skips the word at the given index: put a zero there.
            let mut padded = vec![0, 0];
            padded.extend_from_slice(&bytes);
            prop_assert_eq!(Sum::new().bytes(&bytes).finish(), pnet_packet::util::checksum(&padded, 0));
        }

        #[test]
        fn incremental_agrees_with_recomputed(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..80), at in 0usize..10, new: [u8; 16],
        ) {
            let at = at * 2;
            let old: [u8; 16] = bytes[at..at + 16].try_into().unwrap();
            let before = Sum::new().bytes(&bytes).finish();
            bytes[at..at + 16].copy_from_slice(&new);
            let after = Sum::new().bytes(&bytes).finish();
            let delta = Delta::new().u128(u128::from_be_bytes(old), u128::from_be_bytes(new));
            // 0 and 0xffff are the same number; all-zero data alone sums to 0.
            prop_assert_eq!(u32::from(delta.apply(before)) % 0xffff, u32::from(after) % 0xffff);
            let delta = Delta::new()
                .u32(u32::from_be_bytes(old[..4].try_into().unwrap()), u32::from_be_bytes(new[..4].try_into().unwrap()))
                .u16(u16::from_be_bytes([old[4], old[5]]), u16::from_be_bytes([new[4], new[5]]));
            bytes[at + 6..at + 16].copy_from_slice(&old[6..]);
            prop_assert_eq!(u32::from(delta.apply(before)) % 0xffff,
                u32::from(Sum::new().bytes(&bytes).finish()) % 0xffff);
        }
    }
}
