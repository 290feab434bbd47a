//! A peer that breaks the rules: every rule once, then all of them at random while both directions run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    Armed, Geometry, MAX_PAYLOAD, Meta, PeerFault, SendError,
    host::{self, Scribbler},
    layout::{HEADER_LEN, IDENTITY, Word},
    link::Link,
};

const EPOCH: u64 = 9;
const SMALL: Geometry = Geometry { data_len: 4096 };

fn set(peer: &mut Scribbler, word: Word, value: u64) {
    peer.write(word as usize, &value.to_le_bytes());
}

/// An end and a peer that has come up properly so far.
fn greeted() -> (Link<host::CountBell>, Scribbler) {
    let (link, mut peer) = host::scribbled(SMALL, EPOCH).unwrap();
    set(&mut peer, Word::Identity, IDENTITY);
    set(&mut peer, Word::Epoch, EPOCH);
    (link, peer)
}

/// What `recv` says after the peer has published `bytes` bytes of which the first are `header`.
fn verdict(header: [u8; 16], bytes: u64) -> Result<Option<(Meta, usize)>, PeerFault> {
    let (mut link, mut peer) = greeted();
    peer.write(HEADER_LEN, &header);
    set(&mut peer, Word::Produced, bytes);
    let first = link.recv(&mut [0; MAX_PAYLOAD]);
    if let Err(fault) = first {
        assert_eq!(link.recv(&mut []), Err(fault), "a fault stays");
        assert_eq!(link.send(&Meta::default(), &[&[0; 60]]), Err(SendError::Full));
        assert_eq!(link.arm(), Armed::Pending, "nobody sleeps on a dead link");
        assert_eq!((link.fault(), link.counters().faults), (Some(fault), 1));
    }
    first
}

#[test]
fn a_region_of_another_epoch_is_ignored() {
    let (mut link, mut peer) = greeted();
    set(&mut peer, Word::Epoch, EPOCH - 1);
    set(&mut peer, Word::Produced, 0xDEAD_BEEF);
    assert_eq!(link.recv(&mut []), Ok(None));
    assert_eq!(link.arm(), Armed::Sleep);
    assert!(!link.peer_seen());
}

#[test]
fn a_region_of_another_kind_is_a_fault() {
    let (mut link, mut peer) = greeted();
    set(&mut peer, Word::Identity, IDENTITY + (1 << 56));
    assert_eq!(link.recv(&mut []), Err(PeerFault::Identity));
}

#[test]
fn an_impossible_produced_index_is_a_fault() {
    for produced in [1, 8, 4096 + 16, u64::MAX, u64::MAX - 15, 1 << 63] {
        assert_eq!(verdict([0; 16], produced), Err(PeerFault::Produced), "{produced}");
    }
    let (mut link, mut peer) = greeted();
    set(&mut peer, Word::Produced, 32);
    assert_eq!(link.recv(&mut []), Ok(Some((Meta::default(), 0))));
    assert_eq!(link.recv(&mut []), Ok(Some((Meta::default(), 0))));
    set(&mut peer, Word::Produced, 16);
    assert_eq!(link.recv(&mut []), Err(PeerFault::Produced), "it went back");
}

#[test]
fn an_impossible_consumed_index_is_a_fault() {
    for consumed in [8, 16 + 4096, 1 << 40, u64::MAX] {
        let (mut link, mut peer) = greeted();
        for _ in 0..2 {
            link.send(&Meta::default(), &[&[0; 2032]]).unwrap();
        }
        link.publish();
        set(&mut peer, Word::Consumed, consumed);
        assert_eq!(link.send(&Meta::default(), &[&[0; 60]]), Err(SendError::Full));
        assert_eq!(link.recv(&mut []), Err(PeerFault::Consumed), "{consumed}");
    }
}

#[test]
fn what_was_not_published_cannot_be_given_back() {
    let (mut link, mut peer) = greeted();
    link.send(&Meta::default(), &[&[0; 2032]]).unwrap();
    link.publish();
    link.send(&Meta::default(), &[&[0; 2032]]).unwrap();
    set(&mut peer, Word::Consumed, 4096);
    assert_eq!(link.send(&Meta::default(), &[&[0; 60]]), Err(SendError::Full));
    assert_eq!(link.fault(), Some(PeerFault::Consumed));
}

#[test]
fn a_malformed_header_is_a_fault() {
    let plain = |len: u32| {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header
    };
    let with = |at: usize, value: u8| {
        let mut header = plain(60);
        header[at] = value;
        header
    };
    assert_eq!(verdict(plain(60), 80), Ok(Some((Meta::default(), 60))));
    for (header, fault) in [
        (plain(65), PeerFault::Overrun),
        (plain(4096), PeerFault::Overrun),
        (plain(65_569), PeerFault::Overrun),
        (plain(u32::MAX), PeerFault::Overrun),
        (with(4, 3), PeerFault::Record),
        (with(4, 255), PeerFault::Record),
        (with(5, 3), PeerFault::Record),
        (with(5, 4), PeerFault::Record),
        (with(6, 1), PeerFault::Record),
        (with(6, 4), PeerFault::Record),
        (with(7, 1), PeerFault::Record),
        (with(4, 2), PeerFault::Record),
    ] {
        assert_eq!(verdict(header, 80), Err(fault), "{header:?}");
    }
    let mut wrap = [0; 16];
    wrap[4] = 2;
    assert_eq!(verdict(wrap, 4096), Err(PeerFault::Wrap), "a wrap at the start leads nowhere");
    let mut partial = with(5, 1);
    partial[10..14].copy_from_slice(&[59, 0, 0, 0]);
    assert_eq!(verdict(partial, 80), Err(PeerFault::Record), "a checksum field beyond the frame");
}

#[test]
fn a_wrap_must_be_followed_by_a_record() {
    let (mut link, mut peer) = greeted();
    let mut wrap = [0; 16];
    wrap[4] = 2;
    peer.write(HEADER_LEN + 16, &wrap);
    set(&mut peer, Word::Produced, 4096);
    assert_eq!(link.recv(&mut []), Ok(Some((Meta::default(), 0))));
    assert_eq!(link.recv(&mut []), Err(PeerFault::Wrap));
}

#[test]
fn a_window_that_was_taken_away_is_no_fault() {
    let nothing = vec![0xFF; SMALL.region_len()];
    // Between bursts, and with a record still in sight.
    for published in [0, 80] {
        let (mut link, mut peer) = greeted();
        set(&mut peer, Word::Produced, published);
        let record = Some((Meta::default(), 0)).filter(|_| published != 0);
        assert_eq!(link.recv(&mut []), Ok(record));
        peer.write(0, &nothing);
        for _ in 0..2 {
            assert_eq!(link.recv(&mut [0; 64]), Ok(None));
            assert_eq!(link.arm(), Armed::Sleep);
        }
        assert_eq!(link.send(&Meta::default(), &[&[0; 60]]), Err(SendError::Full));
        assert_eq!((link.fault(), link.counters().faults), (None, 0));
    }
    let (mut link, mut peer) = greeted();
    peer.write(HEADER_LEN, &[0xFF; 16]);
    set(&mut peer, Word::Produced, 64);
    assert_eq!(
        link.recv(&mut [0; 64]),
        Err(PeerFault::Overrun),
        "a record of ones in a region that is there"
    );
}

#[test]
fn a_short_buffer_skips_and_counts() {
    let (mut a, mut b) = host::pair(SMALL, EPOCH).unwrap();
    for len in [100, 200, 50] {
        a.send(&Meta::default(), &[&vec![0; len]]).unwrap();
    }
    a.publish();
    assert_eq!(b.recv(&mut [0; 64]), Ok(Some((Meta::default(), 50))));
    assert_eq!((b.counters().oversized, b.counters().received), (2, 1));
}

/// A small generator: the point is haste, not quality.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Scribbles over headers and indices, mostly with values that come close to being right.
fn scribble(peer: &mut Scribbler, noise: &mut Noise, base: &mut u64) {
    let near = base.wrapping_add(noise.next() % 64 * 16);
    match noise.next() % 8 {
        0 => set(peer, Word::Produced, near),
        1 => set(peer, Word::Consumed, near),
        2 => set(peer, Word::DataEvent, noise.next() % 8192),
        3 => set(peer, Word::SpaceEvent, noise.next() % 8192),
        4 => {
            *base += 16;
            set(peer, Word::Produced, *base);
        }
        5 => peer.write(HEADER_LEN + (noise.next() % 4096) as usize, &noise.next().to_le_bytes()),
        _ => {
            let at = HEADER_LEN + (noise.next() % 256) as usize * 16;
            let (len, kind, flags) = (noise.next() % 300, noise.next() % 3, noise.next() % 3);
            let header = [len | (kind << 32) | (flags << 40), noise.next()];
            peer.write(at, &header[0].to_le_bytes());
            peer.write(at + 8, &(header[1] & 0x001F_001F_001F_001F).to_le_bytes());
        }
    }
}

/// One life of a link: until the peer's fault, or for a while.
fn one_life(seed: u64, records: &mut u64) -> Option<PeerFault> {
    let (mut link, mut peer) = greeted();
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let scribbler = std::thread::spawn(move || {
        let (mut noise, mut base) = (Noise(seed | 1), 0);
        while !stop.load(Ordering::Relaxed) {
            scribble(&mut peer, &mut noise, &mut base);
        }
    });
    let mut buffer = [0; 512];
    for turn in 0..20_000_u32 {
        let _ = link.send(&Meta::default(), &[&turn.to_le_bytes(), &[7; 200]]);
        link.publish();
        match link.recv(&mut buffer) {
            Ok(Some((meta, len))) => {
                assert!(len <= buffer.len() && meta.fits(len));
                *records += 1;
            }
            Ok(None) => {
                let _ = link.arm();
            }
            Err(_) => break,
        }
        link.release();
    }
    over.store(true, Ordering::Relaxed);
    scribbler.join().unwrap();
    link.fault()
}

#[test]
fn survives_a_peer_that_scribbles_throughout() {
    let (mut faults, mut records) = (0, 0);
    for seed in 1..=300_u64 {
        faults += u32::from(one_life(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), &mut records).is_some());
    }
    assert!(faults > 0, "the noise never broke a rule: the test tests nothing");
    assert!(records > 0, "no record ever looked right: the test tests little");
}
