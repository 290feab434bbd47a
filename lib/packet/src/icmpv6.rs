//! ICMPv6 (RFC 4443): echo and errors. Neighbour discovery is in `ndp`.

use crate::{
    Fault,
    checksum::pseudo_v6,
    ipv6::{self, Ipv6},
};
use core::net::Ipv6Addr;

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Type: packet too big.
pub const TOO_BIG: u8 = 2;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Code of [`UNREACHABLE`]: no route.
pub const CODE_NO_ROUTE: u8 = 0;
/// Code of [`UNREACHABLE`]: forbidden by policy.
pub const CODE_PROHIBITED: u8 = 1;
/// Bytes of an error packet at most, IP header included: the smallest IPv6 MTU.
pub const MAX_ERROR_LEN: usize = 1280;

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6 {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo; upper half of the MTU in "packet too big".
    pub identifier: u16,
    /// Sequence number of an echo; lower half of the MTU in "packet too big".
    pub sequence: u16,
}

impl Icmpv6 {
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
        matches!(self.kind, UNREACHABLE | TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }

    /// The second word as a number: the MTU in "packet too big".
    #[must_use]
    pub const fn mtu(&self) -> u32 {
        (self.identifier as u32) << 16 | self.sequence as u32
    }
}

/// An error to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Second word: the MTU in "packet too big", else 0.
    pub mtu: u32,
}

/// Writes IPv6 header, ICMPv6 header and as much of `quoted` (an IP packet) as an error may carry to the start of
/// `out`; gives the length, `None` when `out` is too short.
#[must_use]
pub fn emit_error(
    out: &mut [u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    error: Error,
    quoted: &[u8],
) -> Option<usize> {
    const HEADERS: usize = ipv6::HEADER_LEN + HEADER_LEN;
    let quoted = quoted.get(..MAX_ERROR_LEN - HEADERS).unwrap_or(quoted);
    let out = out.get_mut(..HEADERS + quoted.len())?;
    let (ip, icmp) = out.split_first_chunk_mut()?;
    icmp.get_mut(HEADER_LEN..)?.copy_from_slice(quoted);
    let mtu = error.mtu.to_be_bytes();
    *icmp.first_chunk_mut()? = [error.kind, error.code, 0, 0, mtu[0], mtu[1], mtu[2], mtu[3]];
    finish(ip, icmp, Ipv6 { source, destination, hop_limit: 64, next: ipv6::ICMPV6, payload_len: 0 })?;
    Some(HEADERS + quoted.len())
}

/// Fills in the checksum of `message` and the header before it; `None` when the message is too long or short.
pub(crate) fn finish(ip: &mut [u8; ipv6::HEADER_LEN], message: &mut [u8], mut header: Ipv6) -> Option<()> {
    header.payload_len = u16::try_from(message.len()).ok()?;
    *ip = header.emit();
    *message.get_mut(2..)?.first_chunk_mut()? = [0; 2];
    let sum = pseudo_v6(header.source, header.destination, ipv6::ICMPV6, u32::from(header.payload_len));
    *message.get_mut(2..)?.first_chunk_mut()? = sum.bytes(message).finish().to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::{Packet as _, icmpv6::Icmpv6Packet, ipv6::Ipv6Packet};

    #[test]
    fn an_error_quotes_and_sums_up() {
        let (a, b) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut out = [0; 1400];
        let error = Error { kind: TOO_BIG, code: 0, mtu: 1400 };
        assert_eq!(emit_error(&mut out, a, b, error, &[0x5A; 1500]), Some(1280));
        let ip = Ipv6Packet::new(&out[..1280]).unwrap();
        let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
        assert_eq!(icmp.get_checksum(), pnet_packet::icmpv6::checksum(&icmp, &a, &b));
        assert_eq!(Icmpv6::parse(ip.payload()).unwrap().mtu(), 1400);
    }
}
