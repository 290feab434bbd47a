//! Numbers that nobody outside can guess: a keyed hash of a counter (SipHash-2-4), as for sequence numbers in RFC 6528.

use core::hash::Hasher as _;
use siphasher::sip::SipHasher;

/// A sequence of unpredictable numbers.
#[derive(Debug)]
pub(super) struct Random {
    keys: (u64, u64),
    counter: u64,
}

impl Random {
    /// Begins with a secret.
    pub(super) const fn new(seed: [u64; 2]) -> Self {
        Self { keys: (seed[0], seed[1]), counter: 0 }
    }

    /// The next number.
    pub(super) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = SipHasher::new_with_keys(self.keys.0, self.keys.1);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// A port out of those that nobody is given for good (RFC 6335 §6).
    pub(super) fn port(&mut self) -> u16 {
        const FIRST: u16 = 32_768;
        let [low, high, ..] = self.next_u64().to_le_bytes();
        FIRST | u16::from_le_bytes([low, high])
    }
}
