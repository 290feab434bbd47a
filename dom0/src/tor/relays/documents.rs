//! The documents that a gateway program uses, put together from its pieces. Nothing looks into them here.

use control::tor::{DOCUMENT_MAX, DocumentKind};

/// Longest certificates in bytes, all together.
const MAX_CERTIFICATES: u32 = 256 << 10;

/// A consensus and the certificates that it is to be verified with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The authorities' certificates.
    pub certificates: Vec<u8>,
    /// The consensus.
    pub consensus: Vec<u8>,
}

/// A piece of a document.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'b> {
    /// Which document.
    pub kind: DocumentKind,
    /// Names the pair.
    pub generation: u32,
    /// Length of the whole.
    pub total: u32,
    /// Where the piece belongs.
    pub offset: u32,
    /// The piece.
    pub bytes: &'b [u8],
}

/// What came so far.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The document in the making: kind, generation and length.
    of: Option<(DocumentKind, u32, u32)>,
    bytes: Vec<u8>,
    /// The last certificates, and their generation.
    certificates: Option<(u32, Vec<u8>)>,
}

/// A piece that does not belong here; its document is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced;

impl Documents {
    /// Takes a piece; gives the pair with the last one of its consensus. Memory grows with what came, never with what is
    /// announced.
    ///
    /// # Errors
    /// [`Misplaced`].
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<Option<Pair>, Misplaced> {
        let done = self.place(piece);
        if done != Ok(false) {
            self.of = None;
        }
        let whole = if done? { std::mem::take(&mut self.bytes) } else { return Ok(None) };
        match piece.kind {
            DocumentKind::AuthorityCertificates => {
                self.certificates = Some((piece.generation, whole));
                Ok(None)
            }
            DocumentKind::Consensus => {
                let certificates = self.certificates.take_if(|(of, _)| *of == piece.generation);
                let (_, certificates) = certificates.ok_or(Misplaced)?;
                Ok(Some(Pair { certificates, consensus: whole }))
            }
        }
    }

    /// Puts a piece behind those before it; `true` when it was the last one.
    fn place(&mut self, piece: &Piece<'_>) -> Result<bool, Misplaced> {
        let most = match piece.kind {
            DocumentKind::AuthorityCertificates => MAX_CERTIFICATES,
            DocumentKind::Consensus => DOCUMENT_MAX,
        };
        let of = (piece.kind, piece.generation, piece.total);
        if piece.offset == 0 {
            (self.of, self.bytes) = (Some(of), Vec::new());
        }
        let have = u32::try_from(self.bytes.len()).map_err(|_| Misplaced)?;
        let len = u32::try_from(piece.bytes.len()).map_err(|_| Misplaced)?;
        let end = have.checked_add(len).ok_or(Misplaced)?;
        if self.of != Some(of) || piece.offset != have || len == 0 || piece.total > most || end > piece.total
        {
            self.bytes = Vec::new();
            return Err(Misplaced);
        }
        self.bytes.extend_from_slice(piece.bytes);
        Ok(end == piece.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DocumentKind::{AuthorityCertificates, Consensus};
    use control::tor::GatewayReport;
    use proptest::prelude::*;

    /// Adds a whole document as the program sends it.
    fn add(
        to: &mut Documents,
        kind: DocumentKind,
        generation: u32,
        bytes: &[u8],
    ) -> Result<Option<Pair>, Misplaced> {
        let mut last = Ok(None);
        for report in GatewayReport::document(kind, generation, bytes) {
            let GatewayReport::Document { kind, generation, total, offset, bytes } = report else { panic!() };
            last = to.add(&Piece { kind, generation, total, offset, bytes: &bytes });
            if last == Err(Misplaced) {
                break;
            }
        }
        last
    }

    #[test]
    fn pairs_come_out_as_they_went_in() {
        let mut documents = Documents::default();
        for generation in 1..4 {
            let (certificates, consensus) = (vec![1; 9000], vec![2; 500_000 + 3840]);
            assert_eq!(add(&mut documents, AuthorityCertificates, generation, &certificates), Ok(None));
            let pair = add(&mut documents, Consensus, generation, &consensus);
            assert_eq!(pair, Ok(Some(Pair { certificates, consensus })));
        }
    }

    #[test]
    fn halves_of_different_pairs_make_none() {
        let mut documents = Documents::default();
        assert_eq!(add(&mut documents, Consensus, 1, b"x"), Err(Misplaced));
        assert_eq!(add(&mut documents, AuthorityCertificates, 1, b"c"), Ok(None));
        assert_eq!(add(&mut documents, Consensus, 2, b"x"), Err(Misplaced));
    }

    #[test]
    fn pieces_out_of_order_or_too_long_are_refused() {
        let piece = |offset, total, bytes| Piece { kind: Consensus, generation: 1, total, offset, bytes };
        let mut documents = Documents::default();
        for wrong in [
            piece(1, 4, b"xx"),
            piece(0, 4, b""),
            piece(0, 4, b"xxxxx"),
            piece(0, DOCUMENT_MAX + 1, b"x"),
            Piece { kind: AuthorityCertificates, ..piece(0, MAX_CERTIFICATES + 1, b"x") },
        ] {
            assert_eq!(documents.add(&wrong), Err(Misplaced), "{wrong:?}");
        }
        assert_eq!(documents.add(&piece(0, 4, b"xx")), Ok(None));
        for wrong in [piece(1, 4, b"xx"), piece(2, 5, b"xx"), piece(2, 4, b"xxx")] {
            let mut documents = documents.clone();
            assert_eq!(documents.add(&wrong), Err(Misplaced), "{wrong:?}");
            assert_eq!(documents.add(&piece(2, 4, b"xx")), Err(Misplaced), "its document is forgotten");
        }
    }

    proptest! {
        #[test]
        fn memory_is_bounded_by_what_came(pieces in prop::collection::vec(
            (any::<bool>(), 0u32..3, 0u32..20, 0u32..20, prop::collection::vec(any::<u8>(), 0..8)), 0..60)) {
            let mut documents = Documents::default();
            let mut came = 0;
            for (is_consensus, generation, total, offset, bytes) in pieces {
                let kind = if is_consensus { Consensus } else { AuthorityCertificates };
                came += bytes.len();
                let pair = documents.add(&Piece { kind, generation, total, offset, bytes: &bytes });
                if let Ok(Some(pair)) = pair {
                    prop_assert!(pair.certificates.len() < 20 && pair.consensus.len() < 20);
                    prop_assert!(pair.certificates.len() + pair.consensus.len() <= came);
                }
            }
        }
    }
}
