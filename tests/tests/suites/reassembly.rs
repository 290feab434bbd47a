//! Pieces in any order and any shape, against a model that only compares pieces with each other.

use crate::build::Path;
use crate::world::{World, ways_out};
use proptest::prelude::*;

/// A piece: position in units of eight bytes, length in bytes, whether more follow.
type Piece = (usize, usize, bool);

/// What the model says of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Refused,
    /// The last one missing of a datagram of so many bytes.
    Complete(usize),
}

/// RFC 5722 by the letter: all pieces so far, each compared with each.
#[derive(Debug, Default)]
struct Model {
    pieces: Vec<Piece>,
    dead: bool,
}

impl Model {
    fn take(&mut self, piece: Piece) -> Fate {
        let (_, len, more) = piece;
        if len == 0 || (more && len % 8 != 0) {
            return Fate::Refused;
        }
        self.pieces.push(piece);
        let end = |(at, len, _): &Piece| at * 8 + len;
        let units = |piece: &Piece| piece.0..end(piece).div_ceil(8);
        let last: Vec<usize> = self.pieces.iter().filter(|(_, _, more)| !more).map(end).collect();
        let overlaps = self.pieces.iter().enumerate().any(|(n, one)| {
            let (one, others) = (units(one), &self.pieces[n + 1..]);
            others.iter().map(units).any(|other| one.start < other.end && other.start < one.end)
        });
        let beyond = last.iter().any(|last| self.pieces.iter().any(|piece| end(piece) > *last));
        let two_ends = last.iter().any(|one| *one != last[0]);
        self.dead |= overlaps || beyond || two_ends;
        if self.dead {
            return Fate::Refused;
        }
        let there: usize = self.pieces.iter().map(|piece| units(piece).len()).sum();
        match last.first() {
            Some(total) if there == total.div_ceil(8) => {
                self.pieces.clear();
                Fate::Complete(*total)
            }
            _ => Fate::Kept,
        }
    }
}

/// Mostly pieces that fit together; now and then anything.
fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let fitting = (2usize..7, 1usize..9).prop_flat_map(|(count, tail)| {
        let whole = (0..count).map(|n| (n, if n + 1 == count { tail } else { 8 }, n + 1 < count));
        Just(whole.collect::<Vec<_>>()).prop_shuffle()
    });
    let anything = prop::collection::vec((0usize..8, 0usize..33, any::<bool>()), 1..8);
    let stray = prop::collection::vec((0usize..8, 0usize..33, any::<bool>()), 0..2);
    let mixed = (fitting.clone(), stray).prop_map(|(mut all, stray)| {
        let middle = all.len() / 2;
        all.splice(middle..middle, stray);
        all
    });
    // At the start without more to follow it is no piece but a whole packet.
    prop_oneof![fitting, mixed, anything]
        .prop_map(|all| all.into_iter().filter(|(at, _, more)| *at > 0 || *more).collect())
}

fn check(path: Path, pieces: &[Piece]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    // A datagram may end anywhere, so its checksum cannot be right.
    world.careless = true;
    let body: Vec<u8> = (0..200).collect();
    let ping = path.ping(0, 9, &body);
    let mut model = Model::default();
    for piece in pieces {
        let (at, len, more) = *piece;
        let seen = world
            .client_sends(0, &path.fragment(path.icmp(), 4, (at * 8, more, &ping[at * 8..at * 8 + len])));
        let dropped: u64 = seen.drops.values().sum();
        match model.take(*piece) {
            Fate::Kept => prop_assert_eq!((seen.sent(), dropped), (0, 0), "{:?} of {:?}", piece, pieces),
            Fate::Refused => prop_assert_eq!((seen.sent(), dropped), (0, 1), "{:?} of {:?}", piece, pieces),
            Fate::Complete(total) => {
                prop_assert_eq!((seen.net.len(), dropped), (1, 0), "{:?} of {:?}", piece, pieces);
                prop_assert!(seen.net[0].ends_with(&ping[8..total]));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn reassembly_agrees_with_the_model(pieces in pieces()) {
        for path in ways_out(0) {
            check(path, &pieces)?;
        }
    }
}
