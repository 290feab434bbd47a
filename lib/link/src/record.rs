//! A record's header: what a sender says about a payload, and what a receiver believes of it.
//!
//! 16 bytes: `len` u32, `kind` u8, `flags` u8, `gso_type` u8, reserved u8, `gso_size` u16, `csum_start` u16,
//! `csum_offset` u16, `hdr_len` u16. Read and written as two words, so that a receiver works on one copy.

use crate::{PeerFault, layout};

/// What a record carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An Ethernet frame.
    #[default]
    Frame,
    /// A message of crate `control`.
    Message,
}

/// State of a frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Csum {
    /// Nothing is claimed: the checksum in the frame counts.
    #[default]
    None,
    /// The checksum field holds the sum of the pseudo header only; who sends the frame on completes it.
    Partial {
        /// First byte that is summed, from the start of the frame.
        start: u16,
        /// Where the checksum is, from `start`.
        offset: u16,
    },
    /// The sender says that it checked the checksum.
    Verified,
}

/// How a long frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either.
    Udp,
}

/// A long frame stands for several packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Which headers are repeated.
    pub kind: GsoKind,
    /// Payload bytes in each packet; never 0.
    pub size: u16,
    /// Bytes of headers, Ethernet's included.
    pub header_len: u16,
}

/// What travels with a payload. The default is a plain frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Frame or message.
    pub kind: Kind,
    /// State of the transport checksum.
    pub csum: Csum,
    /// Set on a frame that is to be cut.
    pub gso: Option<Gso>,
}

impl Meta {
    /// Metadata of a message.
    pub const MESSAGE: Self = Self { kind: Kind::Message, csum: Csum::None, gso: None };

    /// Whether this is a plain frame, the common case.
    #[inline]
    const fn is_plain(&self) -> bool {
        matches!(self, Self { kind: Kind::Frame, csum: Csum::None, gso: None })
    }

    /// Whether every offset lies within a payload of `len` bytes.
    #[inline]
    pub(crate) fn fits(&self, len: usize) -> bool {
        if self.is_plain() {
            return true;
        }
        let csum = match self.csum {
            Csum::Partial { start, offset } => usize::from(start) + usize::from(offset) + 2 <= len,
            Csum::None | Csum::Verified => true,
        };
        csum && self.gso.is_none_or(|gso| gso.size != 0 && usize::from(gso.header_len) <= len)
    }
}

/// A record's header as it lies in the ring.
pub(crate) type Header = [u64; 2];

/// A record, as its header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Payload of `len` bytes follows.
    Data { meta: Meta, len: usize },
    /// The ring goes on at offset 0.
    Wrap,
}

const KIND_FRAME: u8 = 0;
const KIND_MESSAGE: u8 = 1;
const KIND_WRAP: u8 = 2;
const FLAG_PARTIAL: u8 = 1;
const FLAG_VERIFIED: u8 = 2;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 2;
const GSO_UDP: u8 = 3;

/// The header of a wrap record.
pub(crate) const WRAP: Header = [(KIND_WRAP as u64) << 32, 0];

/// Writes the header of a payload of `len` bytes, at most [`layout::MAX_PAYLOAD`].
#[inline]
pub(crate) fn encode(meta: &Meta, len: usize) -> Header {
    if meta.is_plain() {
        return [len as u64, 0];
    }
    let kind = match meta.kind {
        Kind::Frame => KIND_FRAME,
        Kind::Message => KIND_MESSAGE,
    };
    let (flags, start, offset) = match meta.csum {
        Csum::None => (0, 0, 0),
        Csum::Partial { start, offset } => (FLAG_PARTIAL, start, offset),
        Csum::Verified => (FLAG_VERIFIED, 0, 0),
    };
    let (gso_type, size, header_len) = meta.gso.map_or((0, 0, 0), |gso| {
        let gso_type = match gso.kind {
            GsoKind::Tcp4 => GSO_TCP4,
            GsoKind::Tcp6 => GSO_TCP6,
            GsoKind::Udp => GSO_UDP,
        };
        (gso_type, gso.size, gso.header_len)
    });
    let first = len as u64 | u64::from(kind) << 32 | u64::from(flags) << 40 | u64::from(gso_type) << 48;
    let second =
        u64::from(size) | u64::from(start) << 16 | u64::from(offset) << 32 | u64::from(header_len) << 48;
    [first, second]
}

/// The payload's length, if this is the header of a plain frame.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most a payload")]
pub(crate) const fn plain_len(header: Header) -> Option<usize> {
    if header[0] <= layout::MAX_PAYLOAD as u64 { Some(header[0] as usize) } else { None }
}

/// Reads a header; whether the record fits where it lies is for the receiver to judge.
///
/// # Errors
/// [`PeerFault::Record`] for what means nothing, [`PeerFault::Overrun`] for a payload that no link may carry.
#[inline]
pub(crate) fn decode(header: Header) -> Result<Record, PeerFault> {
    let [first, second] = header;
    let [l0, l1, l2, l3, kind, flags, gso_type, reserved] = first.to_le_bytes();
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > layout::MAX_PAYLOAD {
        return Err(PeerFault::Overrun);
    }
    if first >> 32 == 0 {
        return Ok(Record::Data { meta: Meta::default(), len });
    }
    let kind = match kind {
        KIND_FRAME => Kind::Frame,
        KIND_MESSAGE => Kind::Message,
        KIND_WRAP if header == WRAP => return Ok(Record::Wrap),
        _ => return Err(PeerFault::Record),
    };
    let [s0, s1, c0, c1, o0, o1, h0, h1] = second.to_le_bytes();
    let csum = match flags {
        0 => Csum::None,
        FLAG_PARTIAL => {
            Csum::Partial { start: u16::from_le_bytes([c0, c1]), offset: u16::from_le_bytes([o0, o1]) }
        }
        FLAG_VERIFIED => Csum::Verified,
        _ => return Err(PeerFault::Record),
    };
    let gso = gso_kind(gso_type)?.map(|kind| Gso {
        kind,
        size: u16::from_le_bytes([s0, s1]),
        header_len: u16::from_le_bytes([h0, h1]),
    });
    let meta = Meta { kind, csum, gso };
    if reserved == 0 && meta.fits(len) { Ok(Record::Data { meta, len }) } else { Err(PeerFault::Record) }
}

fn gso_kind(gso_type: u8) -> Result<Option<GsoKind>, PeerFault> {
    match gso_type {
        0 => Ok(None),
        GSO_TCP4 => Ok(Some(GsoKind::Tcp4)),
        GSO_TCP6 => Ok(Some(GsoKind::Tcp6)),
        GSO_UDP => Ok(Some(GsoKind::Udp)),
        _ => Err(PeerFault::Record),
    }
}
