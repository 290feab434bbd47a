//! ICMP (RFC 792): echo and errors.

use crate::{Fault, checksum::Sum, ipv4::Ipv4};
use core::net::Ipv4Addr;

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Code of [`UNREACHABLE`]: no route.
pub const CODE_NET: u8 = 0;
/// Code of [`UNREACHABLE`]: the packet is too big and may not be fragmented.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`UNREACHABLE`]: forbidden by policy (RFC 1812 §5.2.7.1).
pub const CODE_PROHIBITED: u8 = 13;
/// Bytes of an error packet at most, IP header included (RFC 1812 §4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo; the upper half of the second word in an error.
    pub identifier: u16,
    /// Sequence number of an echo; next-hop MTU in "fragmentation needed".
    pub sequence: u16,
}

impl Icmp {
    /// Reads the fields.
    #[inline]
    #[must_use]
    pub const fn fields(b: &[u8; HEADER_LEN]) -> Self {
        Self {
            kind: b[0],
            code: b[1],
            identifier: u16::from_be_bytes([b[4], b[5]]),
            sequence: u16::from_be_bytes([b[6], b[7]]),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Fault::TransportLength`].
    #[inline]
    pub fn parse(message: &[u8]) -> Result<Self, Fault> {
        message.first_chunk().map(Self::fields).ok_or(Fault::TransportLength)
    }

    /// Whether it is an echo request or reply.
    #[must_use]
    pub const fn is_echo(&self) -> bool {
        matches!(self.kind, ECHO_REQUEST | ECHO_REPLY) && self.code == 0
    }

    /// Whether it reports an error about a packet that it quotes.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// An error to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Next-hop MTU, 0 where it means nothing.
    pub mtu: u16,
}

/// Writes IP header, ICMP header and as much of `quoted` (an IP packet) as an error may carry to the start of
/// `out`; gives the length, `None` when `out` is too short.
#[must_use]
pub fn emit_error(
    out: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    error: Error,
    quoted: &[u8],
) -> Option<usize> {
    const HEADERS: usize = crate::ipv4::HEADER_LEN + HEADER_LEN;
    let quoted = quoted.get(..MAX_ERROR_LEN - HEADERS).unwrap_or(quoted);
    let len = HEADERS + quoted.len();
    let out = out.get_mut(..len)?;
    let header = Ipv4 {
        source,
        destination,
        ttl: 64,
        protocol: crate::ipv4::ICMP,
        total_len: u16::try_from(len).ok()?,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0,
    };
    let (ip, icmp) = out.split_first_chunk_mut()?;
    *ip = header.emit();
    icmp.get_mut(HEADER_LEN..)?.copy_from_slice(quoted);
    let mtu = error.mtu.to_be_bytes();
    *icmp.first_chunk_mut()? = [error.kind, error.code, 0, 0, 0, 0, mtu[0], mtu[1]];
    let checksum = Sum::new().bytes(icmp).finish();
    *icmp.get_mut(2..)?.first_chunk_mut()? = checksum.to_be_bytes();
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::{Packet as _, icmp::IcmpPacket, ipv4::Ipv4Packet};

    #[test]
    fn an_error_quotes_and_sums_up() {
        let quoted = [0x5A; 1400];
        let mut out = [0; 600];
        let error = Error { kind: UNREACHABLE, code: CODE_FRAGMENTATION_NEEDED, mtu: 1400 };
        let len =
            emit_error(&mut out, Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(10, 1, 1, 2), error, &quoted);
        assert_eq!(len, Some(576));
        let ip = Ipv4Packet::new(&out[..576]).unwrap();
        assert_eq!(ip.get_checksum(), pnet_packet::ipv4::checksum(&ip));
        let icmp = IcmpPacket::new(ip.payload()).unwrap();
        assert_eq!(icmp.get_checksum(), pnet_packet::icmp::checksum(&icmp));
        assert_eq!(&icmp.payload()[..4], [0, 0, 5, 120], "unused and MTU");
        assert_eq!(icmp.payload()[4..], quoted[..548]);
        assert_eq!(emit_error(&mut out[..100], ip_a(), ip_a(), error, &quoted), None);
    }

    fn ip_a() -> Ipv4Addr {
        Ipv4Addr::new(1, 1, 1, 1)
    }
}
