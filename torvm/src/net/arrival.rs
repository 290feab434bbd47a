//! What every frame is asked before anything else: what it is, and whether its metadata and checksum are sound.

use super::counters::Count;
use core::net::Ipv4Addr;
use link::{Csum, GsoKind, Kind, Meta};
use packet::{
    checksum::pseudo_v4,
    headers::{Headers, Network, Transport},
    ipv4, tcp, udp,
};

/// Whether the frame is one at all.
pub(super) fn check_kind(meta: &Meta) -> Result<(), Count> {
    if meta.kind == Kind::Frame { Ok(()) } else { Err(Count::Message) }
}

/// Checks the metadata of a TCP segment or UDP datagram over IPv4 against its headers, and its checksum where that is
/// claimed to be complete.
///
/// A frame that stands for several is as good as one long segment for who ends the connection.
pub(super) fn check_transport(meta: &Meta, frame: &[u8], headers: &Headers) -> Result<(), Count> {
    let Network::V4(ip) = &headers.network else { return Err(Count::Internal) };
    let (protocol, checksum_at, none) = match &headers.transport {
        Transport::Tcp(_) => (ipv4::TCP, tcp::CHECKSUM_AT, false),
        Transport::Udp(udp) => (ipv4::UDP, udp::CHECKSUM_AT, udp.checksum == 0),
        _ => return Err(Count::Internal),
    };
    let partial = match meta.csum {
        Csum::Partial { start, offset } => {
            if (usize::from(start), usize::from(offset)) != (headers.transport_at, checksum_at) {
                return Err(Count::Offload);
            }
            true
        }
        Csum::None | Csum::Verified => false,
    };
    if meta.gso.is_some_and(|gso| !partial || gso.kind != GsoKind::Tcp4 || protocol != ipv4::TCP) {
        return Err(Count::Offload);
    }
    if partial || none || meta.csum == Csum::Verified {
        return Ok(());
    }
    let transport = frame.get(headers.transport_at..headers.end).unwrap_or_default();
    verify(ip.source, ip.destination, protocol, transport)
}

fn verify(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, transport: &[u8]) -> Result<(), Count> {
    let len = u32::try_from(transport.len()).unwrap_or(0);
    let valid = pseudo_v4(source, destination, protocol, len).bytes(transport).is_valid();
    if valid { Ok(()) } else { Err(Count::TransportChecksum) }
}
