//! Checksum and segmentation metadata: an allegation of the peer, accepted only where the headers bear it out.

use crate::verdict::DropReason;
use link::{Csum, Gso, GsoKind, Meta};
use packet::{
    headers::{Headers, Network, Transport},
    rewrite::Field,
    tcp, udp,
};

/// Segments that one frame may stand for; 64 KiB of a path with a 536-byte MSS has 123.
const MAX_SEGMENTS: usize = 256;

/// Metadata that was checked against the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// What the checksum field holds.
    pub field: Field,
    /// Payload bytes of each segment, when the frame stands for several.
    pub segment: Option<u16>,
    /// The sender checked the checksum. Believed of netvm only, and passed on to the client, whose own loss it is.
    pub verified: bool,
}

impl Offload {
    /// A plain frame.
    pub const NONE: Self = Self { field: Field::Complete, segment: None, verified: false };

    /// Checks what came with a frame.
    ///
    /// # Errors
    /// [`DropReason::Offload`].
    #[inline]
    pub fn check(meta: &Meta, headers: &Headers) -> Result<Self, DropReason> {
        if meta.gso.is_none() && meta.csum == Csum::None {
            return Ok(Self::NONE);
        }
        Self::check_claims(meta, headers)
    }

    fn check_claims(meta: &Meta, headers: &Headers) -> Result<Self, DropReason> {
        let verified = meta.csum == Csum::Verified;
        let field = match meta.csum {
            Csum::None | Csum::Verified => Field::Complete,
            Csum::Partial { start, offset } => {
                let expected = checksum_at(&headers.transport).ok_or(DropReason::Offload)?;
                if usize::from(start) != headers.transport_at || usize::from(offset) != expected {
                    return Err(DropReason::Offload);
                }
                Field::Partial
            }
        };
        let segment = match meta.gso {
            None => None,
            Some(gso) => segment(gso, headers, field)?,
        };
        Ok(Self { field, segment, verified })
    }

    /// The metadata of the frame that leaves, made from the headers alone.
    #[inline]
    #[must_use]
    pub fn meta(&self, headers: &Headers) -> Meta {
        if *self == Self::NONE {
            return Meta::default();
        }
        let csum = match (self.field, checksum_at(&headers.transport)) {
            (Field::Partial, Some(offset)) => {
                Csum::Partial { start: short(headers.transport_at), offset: short(offset) }
            }
            _ if self.verified => Csum::Verified,
            _ => Csum::None,
        };
        let gso =
            self.segment.map(|size| Gso { kind: kind(headers), size, header_len: short(headers.payload_at) });
        Meta { csum, gso, ..Meta::default() }
    }

    /// Length of the longest IP packet that the frame stands for.
    #[inline]
    #[must_use]
    pub fn longest(&self, headers: &Headers) -> usize {
        match self.segment {
            None => headers.ip_len(),
            Some(size) => headers.ip_len() - headers.payload_len() + usize::from(size),
        }
    }
}

/// Where the checksum is in the transport header, for the two protocols whose checksum may be left to others.
const fn checksum_at(transport: &Transport) -> Option<usize> {
    match transport {
        Transport::Tcp(_) => Some(tcp::CHECKSUM_AT),
        Transport::Udp(_) => Some(udp::CHECKSUM_AT),
        _ => None,
    }
}

/// Offsets within headers, which are far shorter than 64 KiB.
fn short(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(0)
}

/// The kind of segmentation that fits the headers.
const fn kind(headers: &Headers) -> GsoKind {
    match (&headers.transport, &headers.network) {
        (Transport::Udp(_), _) => GsoKind::Udp,
        (_, Network::V4(_)) => GsoKind::Tcp4,
        (_, Network::V6(_)) => GsoKind::Tcp6,
    }
}

/// Checks a claim that the frame stands for several. One segment is a plain frame.
fn segment(gso: Gso, headers: &Headers, field: Field) -> Result<Option<u16>, DropReason> {
    let segmentable = match headers.network {
        Network::V4(_) => true,
        // Cards do not cut behind extension headers.
        Network::V6(ip) => matches!(ip.next, packet::ipv4::TCP | packet::ipv4::UDP),
    };
    let payload = headers.payload_len();
    let size = usize::from(gso.size);
    let plausible = segmentable
        && field == Field::Partial
        && matches!(headers.transport, Transport::Tcp(_) | Transport::Udp(_))
        && gso.kind == kind(headers)
        && size != 0
        && payload.div_ceil(size) <= MAX_SEGMENTS;
    if !plausible {
        return Err(DropReason::Offload);
    }
    Ok((payload > size).then_some(gso.size))
}
