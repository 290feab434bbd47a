//! The pieces of one program, in order and without gaps; one program at a time.

use alloc::vec::Vec;

/// Longest program in bytes.
pub const MAX_LEN: u32 = 3 << 20;
/// There is no memory for the rules.
pub const NO_MEMORY: Refused = Refused::Answer("not enough memory");
/// Nobody is on the port.
pub const NO_CLIENT: Refused = Refused::Answer("no client on this port");
const OUT_OF_ORDER: Refused = Refused::Answer("a piece is missing, came twice or is empty");
const TOO_LONG: Refused = Refused::Answer("longer than a program may be");

/// Why rules were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// dom0 is told this.
    Answer(&'static str),
    /// Dom0 has been told already: a later piece of what was refused.
    Known,
}

/// A piece of a program.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'b> {
    /// Port of the link device that the rules' client is on.
    pub port: u8,
    /// Which set of rules.
    pub generation: u32,
    /// Bytes of the whole program.
    pub total: u32,
    /// Where the piece begins.
    pub offset: u32,
    /// The piece.
    pub bytes: &'b [u8],
}

/// The program in the making.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Port, generation and length.
    of: Option<(u8, u32, u32)>,
    bytes: Vec<u8>,
    /// Port and generation of what was refused last.
    refused: Option<(u8, u32)>,
}

impl Assembly {
    /// Takes a piece; gives the program with the last one.
    ///
    /// # Errors
    /// [`Refused`]: what came so far is forgotten.
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, Refused> {
        let name = (piece.port, piece.generation);
        let added = self.place(piece);
        if added.is_err() {
            *self = Self { refused: Some(name), ..Self::default() };
        }
        added
    }

    fn place(&mut self, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, Refused> {
        let name = (piece.port, piece.generation);
        if self.of.is_none_or(|(port, generation, _)| (port, generation) != name) {
            self.begin(piece)?;
        }
        let (_, _, total) = self.of.ok_or(OUT_OF_ORDER)?;
        let have = u32::try_from(self.bytes.len()).map_err(|_| TOO_LONG)?;
        let len = u32::try_from(piece.bytes.len()).map_err(|_| TOO_LONG)?;
        if piece.total != total || piece.offset != have || len == 0 {
            return Err(OUT_OF_ORDER);
        }
        if len > total - have {
            return Err(TOO_LONG);
        }
        self.bytes.extend_from_slice(piece.bytes);
        if len < total - have {
            return Ok(None);
        }
        self.of = None;
        Ok(Some(core::mem::take(&mut self.bytes)))
    }

    /// Begins anew with this piece.
    fn begin(&mut self, piece: &Piece<'_>) -> Result<(), Refused> {
        if piece.offset != 0 && self.refused == Some((piece.port, piece.generation)) {
            return Err(Refused::Known);
        }
        *self = Self::default();
        if piece.total > MAX_LEN {
            return Err(TOO_LONG);
        }
        let total = usize::try_from(piece.total).map_err(|_| TOO_LONG)?;
        self.bytes.try_reserve_exact(total).map_err(|_| NO_MEMORY)?;
        self.of = Some((piece.port, piece.generation, piece.total));
        Ok(())
    }

    /// Forgets what has come for a port.
    pub fn forget(&mut self, port: u8) {
        if self.of.is_some_and(|(of, ..)| of == port) {
            *self = Self::default();
        }
    }
}
