//! The documents that a gateway program uses, put together from its pieces. Nothing looks into them here.

use control::pieces::{self, Assembly};
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

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    /// What it is.
    pub kind: DocumentKind,
    /// Names the pair.
    pub generation: u32,
}

/// A piece of a document.
pub type Piece<'b> = pieces::Piece<'b, Which>;

/// What came so far.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The document in the making. What is announced costs addresses, what comes costs memory.
    document: Assembly<Which>,
    /// The last certificates, and their generation.
    certificates: Option<(u32, Vec<u8>)>,
}

/// A piece that does not belong here; its document is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced;

impl Documents {
    /// Takes a piece; gives the pair with the last one of its consensus.
    ///
    /// # Errors
    /// [`Misplaced`].
    pub fn add(&mut self, piece: &Piece<'_>) -> Result<Option<Pair>, Misplaced> {
        let Which { kind, generation } = piece.of;
        let most = match kind {
            DocumentKind::AuthorityCertificates => MAX_CERTIFICATES,
            DocumentKind::Consensus => DOCUMENT_MAX,
        };
        let Some(whole) = self.document.add(piece, most).map_err(|_| Misplaced)? else { return Ok(None) };
        match kind {
            DocumentKind::AuthorityCertificates => {
                self.certificates = Some((generation, whole));
                Ok(None)
            }
            DocumentKind::Consensus => {
                let certificates = self.certificates.take_if(|(of, _)| *of == generation);
                let (_, certificates) = certificates.ok_or(Misplaced)?;
                Ok(Some(Pair { certificates, consensus: whole }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DocumentKind::{AuthorityCertificates, Consensus};
    use control::tor::GatewayReport;

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
            last = to.add(&Piece { of: Which { kind, generation }, total, offset, bytes: &bytes });
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
        let consensus = Which { kind: Consensus, generation: 1 };
        let certificates = Which { kind: AuthorityCertificates, ..consensus };
        let piece = |offset, total, bytes| Piece { of: consensus, total, offset, bytes };
        let mut documents = Documents::default();
        for wrong in [
            piece(1, 4, b"xx"),
            piece(0, 4, b""),
            piece(0, 4, b"xxxxx"),
            piece(0, DOCUMENT_MAX + 1, b"x"),
            Piece { of: certificates, ..piece(0, MAX_CERTIFICATES + 1, b"x") },
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
}
