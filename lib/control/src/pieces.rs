//! What is longer than a message travels in pieces: cut by who sends it, put together by who receives it.

use alloc::vec::Vec;

/// The pieces of `whole` in order, each with the offset of its first byte, and none but the last shorter than `N`.
pub(crate) fn pieces<const N: usize>(whole: &[u8]) -> impl Iterator<Item = (u32, heapless::Vec<u8, N>)> {
    (0..).zip(whole.chunks(N)).map(|(number, piece): (u32, _)| {
        let before = u32::try_from(N).unwrap_or(u32::MAX).saturating_mul(number);
        (before, piece.iter().copied().collect())
    })
}

/// A piece, as a message brings it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'b, N> {
    /// What it is a piece of.
    pub of: N,
    /// Bytes of the whole.
    pub total: u32,
    /// Where the piece begins.
    pub offset: u32,
    /// The piece.
    pub bytes: &'b [u8],
}

/// Why a piece was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It does not continue what came before it, or it is empty.
    OutOfOrder,
    /// The whole is longer than it may be, or the piece goes beyond its end.
    TooLong,
    /// There is no memory for the whole.
    NoMemory,
}

/// Puts pieces together: in order and without gaps, one whole at a time. A piece at offset 0 begins anew.
#[derive(Clone, Debug)]
pub struct Assembly<N>(Option<Begun<N>>);

/// What has come so far. Room for all of it was reserved at the beginning, so that what was begun can be finished.
#[derive(Clone, Debug)]
struct Begun<N> {
    of: N,
    total: u32,
    bytes: Vec<u8>,
}

impl<N> Default for Assembly<N> {
    fn default() -> Self {
        Self(None)
    }
}

impl<N: Copy + PartialEq> Assembly<N> {
    /// Takes a piece of a whole that has `most` bytes at the most; gives the whole with its last one.
    ///
    /// # Errors
    /// [`Misfit`]; what came so far is forgotten.
    pub fn add(&mut self, piece: &Piece<'_, N>, most: u32) -> Result<Option<Vec<u8>>, Misfit> {
        let before = self.0.take();
        let begun = if piece.offset == 0 { Some(Begun::new(piece, most)?) } else { before };
        let mut begun = begun.ok_or(Misfit::OutOfOrder)?;
        if begun.append(piece)? {
            return Ok(Some(begun.bytes));
        }
        self.0 = Some(begun);
        Ok(None)
    }

    /// What the last piece was one of, if more are to come.
    #[must_use]
    pub fn of(&self) -> Option<N> {
        self.0.as_ref().map(|begun| begun.of)
    }
}

impl<N: Copy + PartialEq> Begun<N> {
    fn new(piece: &Piece<'_, N>, most: u32) -> Result<Self, Misfit> {
        let &Piece { of, total, .. } = piece;
        let room = usize::try_from(total).ok().filter(|_| total <= most).ok_or(Misfit::TooLong)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).map_err(|_| Misfit::NoMemory)?;
        Ok(Self { of, total, bytes })
    }

    /// Puts a piece behind those before it; `true` when it was the last one.
    fn append(&mut self, piece: &Piece<'_, N>) -> Result<bool, Misfit> {
        let have = u32::try_from(self.bytes.len()).map_err(|_| Misfit::TooLong)?;
        let len = u32::try_from(piece.bytes.len()).map_err(|_| Misfit::TooLong)?;
        if (piece.of, piece.total, piece.offset) != (self.of, self.total, have) || len == 0 {
            return Err(Misfit::OutOfOrder);
        }
        let rest =
            self.total.checked_sub(have).and_then(|rest| rest.checked_sub(len)).ok_or(Misfit::TooLong)?;
        self.bytes.extend_from_slice(piece.bytes);
        Ok(rest == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: u32 = 1000;

    fn piece(of: u8, total: u32, offset: u32, bytes: &[u8]) -> Piece<'_, u8> {
        Piece { of, total, offset, bytes }
    }

    #[test]
    fn what_does_not_fit_is_forgotten_with_all_before_it() {
        for (wrong, why) in [
            (piece(1, 5, 3, b"d"), Misfit::OutOfOrder),
            (piece(1, 5, 1, b"b"), Misfit::OutOfOrder),
            (piece(1, 5, 2, b""), Misfit::OutOfOrder),
            (piece(2, 5, 2, b"c"), Misfit::OutOfOrder),
            (piece(1, 6, 2, b"c"), Misfit::OutOfOrder),
            (piece(1, 5, 2, b"cdef"), Misfit::TooLong),
        ] {
            let mut assembly = Assembly::default();
            assert_eq!(assembly.add(&piece(1, 5, 0, b"ab"), MOST), Ok(None));
            assert_eq!(assembly.of(), Some(1));
            assert_eq!(assembly.add(&wrong, MOST), Err(why), "{wrong:?}");
            assert_eq!(assembly.of(), None);
            assert_eq!(assembly.add(&piece(1, 5, 2, b"cde"), MOST), Err(Misfit::OutOfOrder), "{wrong:?}");
        }
    }

    #[test]
    fn a_first_piece_begins_anew() {
        let mut assembly = Assembly::default();
        for of in [1, 1, 2] {
            assert_eq!(assembly.add(&piece(of, 3, 0, b"x"), MOST), Ok(None));
        }
        assert_eq!(assembly.add(&piece(2, 3, 1, b"yz"), MOST), Ok(Some(b"xyz".to_vec())));
        assert_eq!(assembly.of(), None);
    }

    #[test]
    fn no_more_is_begun_than_may_be() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(&piece(1, MOST + 1, 0, b"x"), MOST), Err(Misfit::TooLong));
        assert_eq!(assembly.add(&piece(1, MOST, 0, b"x"), MOST), Ok(None));
        assert_eq!(assembly.add(&piece(1, 0, 0, b""), MOST), Err(Misfit::OutOfOrder));
        assert_eq!(assembly.add(&piece(1, 0, 0, b"x"), MOST), Err(Misfit::TooLong));
        assert_eq!(assembly.add(&piece(1, 1, 0, b"xy"), MOST), Err(Misfit::TooLong));
    }

    proptest! {
        #[test]
        fn what_was_cut_is_put_together(whole in prop::collection::vec(any::<u8>(), 1..1000)) {
            let (mut assembly, mut got) = (Assembly::default(), None);
            let total = u32::try_from(whole.len()).unwrap();
            for (offset, bytes) in pieces::<64>(&whole) {
                prop_assert_eq!(got.take(), None);
                got = assembly.add(&piece(1, total, offset, &bytes), MOST).unwrap();
            }
            prop_assert_eq!(got, Some(whole));
        }

        #[test]
        fn pieces_of_any_kind_make_no_more_than_came(said in prop::collection::vec(
            (0u8..2, 0u32..20, 0u32..20, prop::collection::vec(any::<u8>(), 0..8)), 0..60)) {
            let (mut assembly, mut came) = (Assembly::default(), 0);
            for (of, total, offset, bytes) in said {
                came += bytes.len();
                if let Ok(Some(whole)) = assembly.add(&piece(of, total, offset, &bytes), 15) {
                    prop_assert!(whole.len() == total as usize && total <= 15 && whole.len() <= came);
                    came = 0;
                }
            }
        }
    }
}
