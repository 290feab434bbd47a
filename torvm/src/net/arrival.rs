//! What every frame is asked before anything else: what it is, and whether its metadata and checksum are sound.

use super::counters::Count;
use link::{Csum, GsoKind, Kind, Meta};
use packet::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    headers::{Headers, Network, Transport},
    ipv4, tcp, udp,
};

/// Whether the frame is one at all.
pub(super) fn check_kind(meta: &Meta) -> Result<(), Count> {
    if meta.kind == Kind::Frame { Ok(()) } else { Err(Count::Message) }
}

/// Checks the metadata of a TCP segment or UDP datagram against its headers, and its checksum where that is
/// claimed to be complete.
///
/// A frame that stands for several is as good as one long segment for who ends the connection.
pub(super) fn check_transport(meta: &Meta, frame: &[u8], headers: &Headers) -> Result<(), Count> {
    let is_v4 = matches!(headers.network, Network::V4(_));
    let tcp_kind = if is_v4 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let (protocol, checksum_at, none) = match &headers.transport {
        Transport::Tcp(_) => (ipv4::TCP, tcp::CHECKSUM_AT, false),
        // Over IPv6 every datagram has one (RFC 8200 §8.1).
        Transport::Udp(udp) => (ipv4::UDP, udp::CHECKSUM_AT, udp.checksum == 0 && is_v4),
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
    if meta.gso.is_some_and(|gso| !partial || gso.kind != tcp_kind || protocol != ipv4::TCP) {
        return Err(Count::Offload);
    }
    if partial || none || meta.csum == Csum::Verified {
        return Ok(());
    }
    let transport = frame.get(headers.transport_at..headers.end).unwrap_or_default();
    let len = u32::try_from(transport.len()).unwrap_or(0);
    if pseudo(headers, protocol, len).bytes(transport).is_valid() {
        Ok(())
    } else {
        Err(Count::TransportChecksum)
    }
}

fn pseudo(headers: &Headers, protocol: u8, len: u32) -> Sum {
    match &headers.network {
        Network::V4(ip) => pseudo_v4(ip.source, ip.destination, protocol, len),
        Network::V6(ip) => pseudo_v6(ip.source, ip.destination, protocol, len),
    }
}
