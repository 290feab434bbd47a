//! What an object is ready for, as `epoll` and `poll` ask.

use crate::sockets::Readiness;

/// Readiness, with the edges of the two directions apart, where they are known apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// As in [`Readiness::bits`].
    pub bits: u32,
    /// Counts what would wake a reader.
    pub incoming: u32,
    /// Counts what would wake a writer.
    pub outgoing: u32,
}

impl Ready {
    /// Something that never changes.
    #[must_use]
    pub fn always(bits: u32) -> Self {
        Self { bits, ..Self::default() }
    }
}

impl From<Readiness> for Ready {
    fn from(from: Readiness) -> Self {
        Self { bits: from.bits, incoming: from.edges, outgoing: from.edges }
    }
}
