//! dom0's configuration for the gateway program, arriving piece by piece.

use alloc::vec::Vec;

/// Longest configuration in bytes.
pub const MAX_LEN: u32 = 256 * 1024;

/// A piece that does not continue what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

/// What has come of a configuration so far.
#[derive(Debug, Default)]
pub struct Assembly {
    generation: u32,
    total: u32,
    text: Vec<u8>,
}

/// A piece, as the message says.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Which configuration.
    pub generation: u32,
    /// Length of the whole.
    pub total: u32,
    /// Where it belongs.
    pub offset: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Assembly {
    /// Takes a piece; returns the whole when it was the last one.
    ///
    /// # Errors
    /// [`OutOfOrder`]; what came before is forgotten.
    pub fn add(&mut self, piece: Piece<'_>) -> Result<Option<Vec<u8>>, OutOfOrder> {
        if piece.offset == 0 {
            *self = Self { generation: piece.generation, total: piece.total, text: Vec::new() };
        }
        let after = self.text.len() + piece.bytes.len();
        let fits = piece.generation == self.generation
            && piece.total == self.total
            && piece.total <= MAX_LEN
            && usize::try_from(piece.offset) == Ok(self.text.len())
            && after <= self.total as usize
            && self.text.try_reserve(piece.bytes.len()).is_ok();
        if !fits {
            *self = Self::default();
            return Err(OutOfOrder);
        }
        self.text.extend_from_slice(piece.bytes);
        Ok((after == self.total as usize).then(|| core::mem::take(self).text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(generation: u32, total: u32, offset: u32, bytes: &[u8]) -> Piece<'_> {
        Piece { generation, total, offset, bytes }
    }

    #[test]
    fn pieces_in_order_make_the_whole() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(piece(1, 5, 0, b"ab")), Ok(None));
        assert_eq!(assembly.add(piece(1, 5, 2, b"cde")), Ok(Some(b"abcde".to_vec())));
        assert_eq!(assembly.add(piece(2, 0, 0, b"")), Ok(Some(Vec::new())));
    }

    #[test]
    fn a_gap_another_generation_or_too_much_begins_anew() {
        for (second, why) in [
            (piece(1, 5, 3, b"d"), "gap"),
            (piece(2, 5, 2, b"c"), "generation"),
            (piece(1, 6, 2, b"c"), "total"),
            (piece(1, 5, 2, b"cdef"), "too long"),
        ] {
            let mut assembly = Assembly::default();
            assert_eq!(assembly.add(piece(1, 5, 0, b"ab")), Ok(None));
            assert_eq!(assembly.add(second), Err(OutOfOrder), "{why}");
            assert_eq!(assembly.add(piece(1, 5, 2, b"cde")), Err(OutOfOrder), "{why}");
            assert_eq!(assembly.add(piece(1, 2, 0, b"xy")), Ok(Some(b"xy".to_vec())), "{why}");
        }
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(piece(1, MAX_LEN + 1, 0, b"ab")), Err(OutOfOrder));
    }
}
