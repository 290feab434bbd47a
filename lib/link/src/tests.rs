//! One end against the other, within a process.

use crate::{Armed, Csum, Geometry, Gso, GsoKind, Kind, MAX_PAYLOAD, Meta, SendError, host};

const SMALL: Geometry = Geometry { data_len: 4096 };

#[test]
fn carries_a_burst_and_rings_once() {
    let (mut a, mut b) = host::pair(Geometry::DEFAULT, 7).unwrap();
    let mut buffer = vec![0; MAX_PAYLOAD];
    assert_eq!(b.arm(), Armed::Sleep);
    a.send(&Meta::default(), &[b"hello, ", b"world"]).unwrap();
    a.send(&Meta::MESSAGE, &[b"!"]).unwrap();
    assert_eq!(b.recv(&mut buffer), Ok(None), "nothing is visible before publish");
    a.publish();
    assert_eq!(a.counters().rings, 1);
    assert_eq!(b.recv(&mut buffer), Ok(Some((Meta::default(), 12))));
    assert_eq!(&buffer[..12], b"hello, world");
    assert_eq!(b.recv(&mut buffer), Ok(Some((Meta::MESSAGE, 1))));
    assert_eq!(b.recv(&mut buffer), Ok(None));
    b.release();
    a.send(&Meta::default(), &[b"awake"]).unwrap();
    a.publish();
    assert_eq!((a.counters().rings, a.counters().rings_suppressed), (1, 1), "an awake reader is not rung");
    assert_eq!(b.arm(), Armed::Pending);
}

#[test]
fn carries_every_kind_of_metadata() {
    let (mut a, mut b) = host::pair(SMALL, 1).unwrap();
    let csums = [Csum::None, Csum::Verified, Csum::Partial { start: 34, offset: 16 }];
    let gso = |kind| Some(Gso { kind, size: 1448, header_len: 54 });
    let gsos = [None, gso(GsoKind::Tcp4), gso(GsoKind::Tcp6), gso(GsoKind::Udp)];
    for kind in [Kind::Frame, Kind::Message] {
        for csum in csums {
            for gso in gsos {
                let meta = Meta { kind, csum, gso };
                a.send(&meta, &[&[1; 60]]).unwrap();
                a.publish();
                assert_eq!(b.recv(&mut [0; 60]), Ok(Some((meta, 60))));
                b.release();
            }
        }
    }
}

#[test]
fn refuses_what_the_peer_would_call_a_fault() {
    let (mut a, _b) = host::pair(SMALL, 1).unwrap();
    let partial = Meta { csum: Csum::Partial { start: 50, offset: 9 }, ..Meta::default() };
    assert_eq!(a.send(&partial, &[&[0; 60]]), Err(SendError::BadMeta));
    let gso = Gso { kind: GsoKind::Tcp4, size: 0, header_len: 54 };
    assert_eq!(a.send(&Meta { gso: Some(gso), ..Meta::default() }, &[&[0; 60]]), Err(SendError::BadMeta));
    assert_eq!(a.send(&Meta::default(), &[&[0; 2033]]), Err(SendError::TooLong));
    a.send(&Meta::default(), &[&[0; 2032]]).unwrap();
}

#[test]
fn wakes_a_blocked_sender_when_half_the_ring_is_free() {
    let (mut a, mut b) = host::pair(SMALL, 1).unwrap();
    let record = [0; 1008];
    for _ in 0..4 {
        a.send(&Meta::default(), &[&record]).unwrap();
    }
    assert_eq!(a.send(&Meta::default(), &[&record]), Err(SendError::Full));
    assert_eq!(a.arm(), Armed::Sleep);
    let mut buffer = [0; 1008];
    for expected_rings in [0, 1, 1, 1] {
        assert_eq!(b.recv(&mut buffer), Ok(Some((Meta::default(), 1008))));
        b.release();
        assert_eq!(b.counters().rings, expected_rings);
    }
    assert_eq!(a.arm(), Armed::Pending, "the awaited room came");
    assert_eq!(a.arm(), Armed::Sleep, "once is enough: who gave the record up may sleep");
}

#[test]
fn refuses_unusable_geometry() {
    for data_len in [0, 1, 2048, 4097, 3 << 20, 1 << 29, u32::MAX] {
        assert!(host::pair(Geometry { data_len }, 1).is_err(), "{data_len}");
    }
    assert!(Geometry::of_region(4096).is_err());
    assert!(Geometry::of_region(0).is_err());
    assert_eq!(Geometry::of_region(4096 + 256 * 1024), Ok(Geometry::DEFAULT));
    assert_eq!(Geometry::DEFAULT.max_payload(), MAX_PAYLOAD);
    assert_eq!(SMALL.max_payload(), 2032);
}

mod hostile;
mod model;
