//! Does for a card without offloads what its offloads would: completes checksums, cuts long packets.

use core::ops::Range;
use link::{Gso, GsoKind};
use packet::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::HEADER_LEN,
    headers::{self, Frame, Headers, Network, Transport},
    ipv4, tcp, udp,
};

/// Smallest segment that netvm cuts: less would be an attack on the segment, not a packet size.
const MIN_SIZE: u16 = 64;
/// TCP flags that belong to the last segment alone, and to the first alone (RFC 3168 §6.1.2).
const LAST_ONLY: u8 = tcp::FIN | tcp::PSH;
const CWR: u8 = 0x80;
/// Offset of the flags in a TCP header.
const TCP_FLAGS_AT: usize = 13;

/// Completes a partial checksum; `None` when it does not lie in the frame.
pub(crate) fn complete_checksum(frame: &mut [u8], start: u16, offset: u16) -> Option<()> {
    let sum = Sum::new().bytes(frame.get(usize::from(start)..)?).finish();
    let at = usize::from(start) + usize::from(offset);
    // A UDP checksum of 0 would mean "none" (RFC 768); for TCP both forms of zero are the same.
    let sum = if sum == 0 { 0xFFFF } else { sum };
    frame.get_mut(at..)?.first_chunk_mut().map(|field| *field = sum.to_be_bytes())
}

/// How a long packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    headers: Headers,
    size: usize,
    /// How many segments there are.
    pub(crate) count: usize,
}

impl Plan {
    /// Checks that the metadata describe the frame; `None` when they do not.
    pub(crate) fn new(frame: &[u8], gso: &Gso, mtu: u16) -> Option<Self> {
        let Ok(Frame::Ip(headers)) = headers::parse(frame) else { return None };
        let fits = matches!(
            (gso.kind, &headers.network, &headers.transport),
            (GsoKind::Tcp4, Network::V4(_), Transport::Tcp(_))
                | (GsoKind::Tcp6, Network::V6(_), Transport::Tcp(_))
                | (GsoKind::Udp, _, Transport::Udp(_))
        );
        let size = usize::from(gso.size);
        let longest = headers.payload_at - HEADER_LEN + size;
        let sane = gso.size >= MIN_SIZE && longest <= usize::from(mtu) && headers.payload_len() > 0;
        if !fits || !sane || usize::from(gso.header_len) != headers.payload_at {
            return None;
        }
        Some(Self { headers, size, count: headers.payload_len().div_ceil(size) })
    }

    /// Whether a card that segments TCP can do it: no extension headers between IP and TCP.
    pub(crate) fn is_plain_tcp(&self) -> bool {
        let ip_len = match self.headers.network {
            Network::V4(_) => ipv4::HEADER_LEN,
            Network::V6(_) => packet::ipv6::HEADER_LEN,
        };
        matches!(self.headers.transport, Transport::Tcp(_))
            && self.headers.transport_at == HEADER_LEN + ip_len
    }

    /// Writes segment `index` to `out` and returns its length; `None` beyond the last.
    pub(crate) fn cut(&self, frame: &[u8], index: usize, out: &mut [u8]) -> Option<usize> {
        let Headers { payload_at, end, transport_at, .. } = self.headers;
        let from = payload_at.checked_add(index.checked_mul(self.size)?)?;
        if from >= end {
            return None;
        }
        let to = end.min(from + self.size);
        let len = payload_at + to - from;
        let out = out.get_mut(..len)?;
        let (head, body) = out.split_at_mut_checked(payload_at)?;
        head.copy_from_slice(frame.get(..payload_at)?);
        body.copy_from_slice(frame.get(from..to)?);
        self.fix_network(out, index)?;
        let position = Position { bytes: from - payload_at, first: index == 0, last: to == end };
        self.fix_transport(out, transport_at..len, &position)?;
        Some(len)
    }

    fn fix_network(&self, out: &mut [u8], index: usize) -> Option<()> {
        let ip_len = out.len() - HEADER_LEN;
        let header = out.get_mut(HEADER_LEN..)?;
        match self.headers.network {
            Network::V4(ip) => {
                let header = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
                let id = u16::try_from(index).ok()?.wrapping_add(ip.identification);
                [header[2], header[3]] = u16::try_from(ip_len).ok()?.to_be_bytes();
                [header[4], header[5]] = id.to_be_bytes();
                [header[10], header[11]] = [0, 0];
                [header[10], header[11]] = Sum::new().bytes(header).finish().to_be_bytes();
            }
            Network::V6(_) => {
                let header = header.first_chunk_mut::<{ packet::ipv6::HEADER_LEN }>()?;
                let payload = ip_len.checked_sub(packet::ipv6::HEADER_LEN)?;
                [header[4], header[5]] = u16::try_from(payload).ok()?.to_be_bytes();
            }
        }
        Some(())
    }

    fn fix_transport(&self, out: &mut [u8], range: Range<usize>, position: &Position) -> Option<()> {
        let segment = out.get_mut(range)?;
        let len = u32::try_from(segment.len()).ok()?;
        let (protocol, checksum_at) = match self.headers.transport {
            Transport::Tcp(tcp) => {
                let sequence = tcp.sequence.wrapping_add(u32::try_from(position.bytes).ok()?);
                *segment.get_mut(4..)?.first_chunk_mut()? = sequence.to_be_bytes();
                let flags = segment.get_mut(TCP_FLAGS_AT)?;
                if !position.last {
                    *flags &= !LAST_ONLY;
                }
                if !position.first {
                    *flags &= !CWR;
                }
                (ipv4::TCP, tcp::CHECKSUM_AT)
            }
            _ => {
                *segment.get_mut(4..)?.first_chunk_mut()? = u16::try_from(len).ok()?.to_be_bytes();
                (ipv4::UDP, udp::CHECKSUM_AT)
            }
        };
        *segment.get_mut(checksum_at..)?.first_chunk_mut()? = [0; 2];
        let pseudo = match self.headers.network {
            Network::V4(ip) => pseudo_v4(ip.source, ip.destination, protocol, len),
            Network::V6(ip) => pseudo_v6(ip.source, ip.destination, protocol, len),
        };
        let sum = pseudo.bytes(segment).finish();
        let sum = if sum == 0 { 0xFFFF } else { sum };
        *segment.get_mut(checksum_at..)?.first_chunk_mut()? = sum.to_be_bytes();
        Some(())
    }
}

/// Where a segment lies in the packet's payload.
struct Position {
    bytes: usize,
    first: bool,
    last: bool,
}
