//! Preparing a TCP packet for segmentation (§7.3): find the headers, check them, seed the checksum.

use super::{MAX_FRAME, TxError};
use crate::desc::{Ipv4, TxContext, TxContextKind};

/// Headers are repeated in every segment; the context's HDRLEN has eight bits.
const MAX_HEADERS: usize = 255;
/// Smallest segment payload; less would turn one request into thousands of frames.
const MIN_MSS: u16 = 64;
const ETHERTYPE: usize = 12;
const TCP: u8 = 6;
const TCP_CHECKSUM: usize = 16;

/// A packet whose headers are ready for the card.
pub(super) struct Segmented {
    header: [u8; MAX_HEADERS],
    len: usize,
    context: TxContext,
    ipv4: Ipv4,
}

/// Where the headers are, and the sum that seeds the TCP checksum.
struct Layout {
    ip: usize,
    tcp: usize,
    ipv4: Ipv4,
    seed: u16,
}

impl Segmented {
    /// Reads and completes the headers of a packet of `total` bytes.
    ///
    /// # Errors
    /// [`TxError::Offload`] when it is not a plain TCP packet, or `mss` is out of range for it.
    pub(super) fn new(parts: &[&[u8]], total: usize, mss: u16) -> Result<Self, TxError> {
        let mut header = [0; MAX_HEADERS];
        gather(parts, &mut header);
        let layout = Layout::parse(&header).ok_or(TxError::Offload)?;
        let len = header_len(&header, layout.tcp).filter(|len| *len < total).ok_or(TxError::Offload)?;
        if mss < MIN_MSS || len + usize::from(mss) > MAX_FRAME {
            return Err(TxError::Offload);
        }
        layout.complete(&mut header).ok_or(TxError::Offload)?;
        let context = layout.context(len, total - len, mss).ok_or(TxError::Offload)?;
        Ok(Self { header, len, context, ipv4: layout.ipv4 })
    }

    /// The completed headers.
    pub(super) fn headers(&self) -> &[u8] {
        self.header.get(..self.len).unwrap_or(&[])
    }

    /// The context that goes before the packet.
    pub(super) fn context(&self) -> TxContext {
        self.context
    }

    /// Whether the packet is IPv4.
    pub(super) fn ipv4(&self) -> Ipv4 {
        self.ipv4
    }
}

impl Layout {
    fn parse(header: &[u8]) -> Option<Self> {
        let (ethertype, ip) = match be16(header, ETHERTYPE)? {
            0x8100 | 0x88A8 => (be16(header, ETHERTYPE + 4)?, ETHERTYPE + 6),
            ethertype => (ethertype, ETHERTYPE + 2),
        };
        match ethertype {
            0x0800 => Self::parse_ipv4(header, ip),
            0x86DD => Self::parse_ipv6(header, ip),
            _ => None,
        }
    }

    fn parse_ipv4(header: &[u8], ip: usize) -> Option<Self> {
        let first = *header.get(ip)?;
        let ihl = usize::from(first & 0xF) * 4;
        let fragment = be16(header, ip + 6)? & 0x3FFF;
        if first >> 4 != 4 || ihl < 20 || fragment != 0 || *header.get(ip + 9)? != TCP {
            return None;
        }
        let addresses = header.get(ip + 12..ip + 20)?;
        Some(Self { ip, tcp: ip + ihl, ipv4: Ipv4::Yes, seed: pseudo_header(addresses) })
    }

    fn parse_ipv6(header: &[u8], ip: usize) -> Option<Self> {
        if header.get(ip)? >> 4 != 6 || *header.get(ip + 6)? != TCP {
            return None;
        }
        let addresses = header.get(ip + 8..ip + 40)?;
        Some(Self { ip, tcp: ip + 40, ipv4: Ipv4::No, seed: pseudo_header(addresses) })
    }

    /// The card fills in each segment's IP length and checksum, which must be zero here, and adds the TCP
    /// length to the pseudo-header sum, which must be without it (§7.3, "TCP Segmentation Data Flow").
    fn complete(&self, header: &mut [u8]) -> Option<()> {
        match self.ipv4 {
            Ipv4::Yes => {
                header.get_mut(self.ip + 2..self.ip + 4)?.fill(0);
                header.get_mut(self.ip + 10..self.ip + 12)?.fill(0);
            }
            Ipv4::No => header.get_mut(self.ip + 4..self.ip + 6)?.fill(0),
        }
        let field = header.get_mut(self.tcp + TCP_CHECKSUM..self.tcp + TCP_CHECKSUM + 2)?;
        field.copy_from_slice(&self.seed.to_be_bytes());
        Some(())
    }

    fn context(&self, header: usize, payload: usize, mss: u16) -> Option<TxContext> {
        let v4 = self.ipv4.is_yes();
        Some(TxContext {
            ip_start: u8::try_from(self.ip).ok()?,
            ip_checksum: if v4 { u8::try_from(self.ip + 10).ok()? } else { 0 },
            ip_end: if v4 { u16::try_from(self.tcp - 1).ok()? } else { 0 },
            l4_start: u8::try_from(self.tcp).ok()?,
            l4_checksum: u8::try_from(self.tcp + TCP_CHECKSUM).ok()?,
            kind: TxContextKind::Segment {
                payload: u32::try_from(payload).ok()?,
                header: u8::try_from(header).ok()?,
                mss,
                ipv4: v4,
            },
        })
    }
}

/// Length of all headers, from TCP's data offset.
fn header_len(header: &[u8], tcp: usize) -> Option<usize> {
    let offset = usize::from(header.get(tcp + 12)? >> 4) * 4;
    (offset >= 20 && tcp + offset <= MAX_HEADERS).then_some(tcp + offset)
}

/// Folded ones' complement sum of the addresses and the protocol; the length is left to the card.
fn pseudo_header(addresses: &[u8]) -> u16 {
    let words = addresses.chunks_exact(2).filter_map(|pair| be16(pair, 0));
    let mut sum = words.fold(u32::from(TCP), |sum, word| sum + u32::from(word));
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Copies as many leading bytes of the pieces as fit.
fn gather(parts: &[&[u8]], out: &mut [u8]) {
    let bytes = parts.iter().flat_map(|part| part.iter());
    out.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
}
