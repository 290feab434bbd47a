//! Random bytes: ChaCha20, keyed at boot by the host's seed or a virtio entropy source.
//!
//! Every call replaces the key by its own output, so that what leaks later does not tell what was given out
//! before. RDRAND, where there is one, is mixed in and never trusted alone. Without a source the domain stops.

use crate::mmio;
use crate::pci::Function;
use crate::virtio;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use core::cell::Cell;
use critical_section::Mutex;

type Key = [u8; 32];

static KEY: Mutex<Cell<Option<Key>>> = Mutex::new(Cell::new(None));

/// Fills `out` with random bytes fit for keys, ports and sequence numbers.
///
/// # Panics
/// Before boot has found a source, which is before `main`.
pub fn fill(out: &mut [u8]) {
    critical_section::with(|cs| {
        let cell = KEY.borrow(cs);
        let Some(key) = cell.get() else { panic!("random bytes before there is a seed") };
        cell.set(Some(expand(key, out)));
    });
}

/// A random number.
#[must_use]
pub fn u64() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Fills `out` from `key`; returns the key to use next.
fn expand(key: Key, out: &mut [u8]) -> Key {
    let mut stream = ChaCha20Rng::from_seed(key);
    let mut next = [0; 32];
    stream.fill_bytes(&mut next);
    stream.fill_bytes(out);
    next
}

/// Where the key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Seed,
    Device,
    /// Not random at all; tests alone ask for it.
    Insecure,
}

/// Keys the generator from `seed` (the boot record's; all zero means none) or from an entropy device.
pub(crate) fn start(
    seed: Option<&[u8; 64]>,
    functions: &[Function],
    cmdline: &str,
) -> Result<Source, &'static str> {
    let device =
        || functions.iter().filter(|f| virtio::is(f, virtio::TYPE_ENTROPY)).find_map(virtio::random_bytes);
    let insecure = crate::boot::option(cmdline, "entropy") == Some("insecure-test");
    let (mut key, source) = if let Some(key) = seed.and_then(fold) {
        (key, Source::Seed)
    } else if let Some(key) = device() {
        (key, Source::Device)
    } else if insecure {
        let mut key = [0; 32];
        mix(&mut key, 0, mmio::tsc());
        (key, Source::Insecure)
    } else {
        return Err("no random numbers: neither a seed from the monitor nor a virtio entropy device");
    };
    for lane in 0..4 {
        mix(&mut key, lane, mmio::rdrand().unwrap_or(0));
    }
    critical_section::with(|cs| KEY.borrow(cs).set(Some(expand(key, &mut []))));
    Ok(source)
}

/// A key of 32 bytes from a seed of 64; `None` for the seed that says that there is none.
fn fold(seed: &[u8; 64]) -> Option<Key> {
    let (low, high) = seed.split_at(32);
    let mut key = [0; 32];
    for ((byte, a), b) in key.iter_mut().zip(low).zip(high) {
        *byte = a ^ b;
    }
    (*seed != [0; 64]).then_some(key)
}

/// Mixes `value` into the eight bytes of `key` number `lane`.
fn mix(key: &mut Key, lane: usize, value: u64) {
    for (byte, new) in key.iter_mut().skip(8 * lane).zip(value.to_le_bytes()) {
        *byte ^= new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_follows_the_cipher_and_the_key_moves_on() {
        // RFC 8439 §2.4-style keystream for the all-zero key, nonce and counter 0 (RFC 7539 A.1 vector 1):
        // the first 32 bytes become the next key, output begins with byte 32.
        let mut out = [0; 32];
        let next = expand([0; 32], &mut out);
        assert_eq!(next[..8], [0x76, 0xB8, 0xE0, 0xAD, 0xA0, 0xF1, 0x3D, 0x90]);
        assert_eq!(out[..8], [0xDA, 0x41, 0x59, 0x7C, 0x51, 0x57, 0x48, 0x8D]);
        let mut later = [0; 32];
        assert_ne!(expand(next, &mut later), next);
        assert_ne!(later, out);
    }

    #[test]
    fn a_seed_counts_whole_and_zero_is_none() {
        assert_eq!(fold(&[0; 64]), None);
        let mut seed = [0; 64];
        seed[63] = 1;
        assert_eq!(fold(&seed).unwrap()[31], 1);
        seed[0] = 0x80;
        assert_eq!(fold(&seed).unwrap()[0], 0x80);
    }

    #[test]
    fn mixing_touches_its_lane_alone() {
        let mut key = [0xFF; 32];
        mix(&mut key, 2, u64::MAX);
        assert_eq!((key[15], key[16], key[23], key[24]), (0xFF, 0, 0, 0xFF));
        mix(&mut key, 4, u64::MAX);
    }
}
