//! Any sequence of operations at both ends against two plain queues.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::{Armed, Csum, Geometry, Kind, Meta, SendError, host, link::Link};

#[derive(Clone, Debug)]
enum Op {
    Send { meta: Meta, len: usize, split: usize },
    Publish,
    Recv,
    Release,
    Arm,
}

fn meta() -> impl Strategy<Value = Meta> {
    prop_oneof![
        Just(Meta::default()),
        Just(Meta::MESSAGE),
        Just(Meta { csum: Csum::Verified, ..Meta::default() }),
        (0_u16..40, 0_u16..20).prop_map(|(start, offset)| Meta {
            kind: Kind::Frame,
            csum: Csum::Partial { start, offset },
            gso: None
        }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (meta(), prop_oneof![0_usize..200, 0_usize..2100], any::<prop::sample::Index>())
            .prop_map(|(meta, len, split)| Op::Send { meta, len, split: split.index(len + 1) }),
        2 => Just(Op::Publish),
        5 => Just(Op::Recv),
        2 => Just(Op::Release),
        1 => Just(Op::Arm),
    ]
}

/// What one end sent and its peer has not yet received, and what that peer asked for.
#[derive(Default)]
struct Way {
    staged: VecDeque<(Meta, Vec<u8>)>,
    shown: VecDeque<(Meta, Vec<u8>)>,
    /// Records that were received but whose room was not given back.
    held: usize,
    /// The receiver went to sleep and nothing was shown since.
    asleep: bool,
    /// The receiver took a record since it last armed: it is awake.
    awake: bool,
    next: u8,
}

struct Ends {
    links: [Link<host::CountBell>; 2],
    ways: [Way; 2],
}

impl Ends {
    fn send(&mut self, side: usize, meta: Meta, len: usize, split: usize) {
        let (link, way) = (&mut self.links[side], &mut self.ways[side]);
        let bytes: Vec<u8> = (0_u8..=255).cycle().skip(way.next.into()).take(len).collect();
        let (head, tail) = bytes.split_at(split);
        let idle = way.staged.is_empty() && way.shown.is_empty() && way.held == 0;
        match link.send(&meta, &[head, &[], tail]) {
            Ok(()) => {
                way.next = way.next.wrapping_add(13);
                way.staged.push_back((meta, bytes));
            }
            Err(SendError::Full) => assert!(!idle, "an empty link takes any record"),
            Err(SendError::TooLong) => assert!(len > 2032),
            Err(SendError::BadMeta) => assert!(!meta.fits(len)),
        }
    }

    fn shown(&mut self, side: usize, rings_before: u64) {
        let rang = self.links[side].counters().rings - rings_before;
        let way = &mut self.ways[side];
        if way.staged.is_empty() {
            return;
        }
        assert!(!way.asleep || rang >= 1, "a sleeper was not rung");
        assert!(!way.awake || rang == 0, "an awake reader was rung");
        way.asleep = false;
        let staged = &mut way.staged;
        way.shown.append(staged);
    }

    fn recv(&mut self, side: usize) {
        let mut buffer = [0xEE; 2032];
        let got = self.links[side].recv(&mut buffer).expect("an honest peer is never at fault");
        let way = &mut self.ways[1 - side];
        match (got, way.shown.pop_front()) {
            (None, None) => {}
            (Some((meta, len)), Some((expected, bytes))) => {
                assert_eq!((meta, &buffer[..len]), (expected, &bytes[..]));
                assert!(buffer[len..].iter().all(|byte| *byte == 0xEE), "nothing is written past the record");
                way.held += 1;
                way.awake = true;
            }
            (got, expected) => panic!("got {got:?} where {expected:?} was due"),
        }
    }

    fn apply(&mut self, side: usize, op: &Op) {
        let rings = self.links[side].counters().rings;
        match *op {
            Op::Send { meta, len, split } => self.send(side, meta, len, split),
            Op::Publish => {
                self.links[side].publish();
                self.shown(side, rings);
            }
            Op::Recv => self.recv(side),
            Op::Release => {
                self.links[side].release();
                self.ways[1 - side].held = 0;
            }
            Op::Arm => {
                let full = self.links[side].counters().full;
                let armed = self.links[side].arm();
                if self.ways[1 - side].held == 0 {
                    self.shown(side, rings);
                } else {
                    // `arm` also released; that ring may have been for room, so only the move is checked.
                    let way = &mut self.ways[side];
                    let staged = &mut way.staged;
                    way.asleep &= staged.is_empty();
                    way.shown.append(staged);
                }
                let way = &mut self.ways[1 - side];
                way.held = 0;
                way.awake = false;
                way.asleep = armed == Armed::Sleep;
                assert!(armed == Armed::Pending || way.shown.is_empty(), "slept on a record");
                assert!(armed == Armed::Sleep || !way.shown.is_empty() || full > 0, "woke for nothing");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_two_queues(ops in prop::collection::vec((0_usize..2, op()), 1..400)) {
        let (a, b) = host::pair(Geometry { data_len: 4096 }, 1).unwrap();
        let mut ends = Ends { links: [a, b], ways: [Way::default(), Way::default()] };
        for (side, op) in ops {
            ends.apply(side, &op);
        }
    }

    #[test]
    fn every_length_arrives_unchanged(len in 0_usize..=crate::MAX_PAYLOAD, cut in any::<prop::sample::Index>()) {
        let (mut a, mut b) = host::pair(Geometry::DEFAULT, 1).unwrap();
        let bytes: Vec<u8> = (0_u8..251).cycle().take(len).collect();
        let (head, tail) = bytes.split_at(cut.index(len + 1));
        a.send(&Meta::default(), &[head, tail]).unwrap();
        a.publish();
        let mut buffer = vec![0xEE; crate::MAX_PAYLOAD];
        prop_assert_eq!(b.recv(&mut buffer), Ok(Some((Meta::default(), len))));
        prop_assert_eq!(&buffer[..len], &bytes[..]);
        prop_assert!(buffer[len..].iter().all(|byte| *byte == 0xEE));
    }
}
