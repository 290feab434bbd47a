//! What can go wrong: with the peer ([`PeerFault`]), with our own request ([`SendError`]), at start ([`BadGeometry`]).

use core::fmt;

/// The peer broke the protocol. This end takes nothing more from the link; only a new epoch revives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The region has the right epoch but is of another kind or version.
    Identity,
    /// It claims to have produced more than the ring holds, less than before, or a broken multiple.
    Produced,
    /// It claims to have consumed what was not yet there, or less than before.
    Consumed,
    /// A record ends beyond what was published, beyond the ring, or beyond the longest allowed.
    Overrun,
    /// A wrap record where none can be.
    Wrap,
    /// A record's kind, flags or segmentation type mean nothing, or point outside its payload.
    Record,
}

impl PeerFault {
    /// Plain English, for the log and for dom0.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "region of another kind or version",
            Self::Produced => "impossible produced index",
            Self::Consumed => "impossible consumed index",
            Self::Overrun => "record longer than allowed",
            Self::Wrap => "wrap record out of place",
            Self::Record => "malformed record header",
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for PeerFault {}

/// Why a record was not staged. Nothing of it is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room now; `arm` also waits for room. A link whose peer was at fault is full for ever: `recv` tells.
    Full,
    /// Longer than any record on this link may be.
    TooLong,
    /// The metadata points outside the payload; the peer would call it a fault.
    BadMeta,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "link is full",
            Self::TooLong => "record too long for the link",
            Self::BadMeta => "checksum or segmentation metadata point outside the payload",
        })
    }
}

impl core::error::Error for SendError {}

/// The ring's size is no power of two, out of range, or larger than a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGeometry;

impl fmt::Display for BadGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("link geometry: ring size is no power of two, out of range or larger than its region")
    }
}

impl core::error::Error for BadGeometry {}
