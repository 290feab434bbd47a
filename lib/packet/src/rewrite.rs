//! In-place edits of a parsed frame. May not decide anything.
//!
//! Every function takes the [`Headers`] that `headers::parse` gave for the same frame and answers `None` when the
//! frame is shorter than they say, which only a caller's mistake can bring about; the frame is then not to be sent.

use crate::{
    checksum::{Delta, Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Mac},
    headers::{Headers, Network, Transport},
    icmp, icmpv6,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    quoted::Quoted,
    tcp, udp,
};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Addresses and ports of one direction; for an echo, `source_port` is the identifier going out and
/// `destination_port` coming back, the other is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// What a frame's transport checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A checksum: it is updated, so that a wrong one stays wrong.
    Complete,
    /// The sum of the pseudo header, to be completed by who puts the frame on a wire: it is written afresh.
    Partial,
}

/// Sets the Ethernet addresses.
#[inline]
pub fn macs(frame: &mut [u8], destination: Mac, source: Mac) -> Option<()> {
    let header = frame.first_chunk_mut::<{ ethernet::HEADER_LEN }>()?;
    let [d, s] = [destination, source];
    let kept = [header[12], header[13]];
    *header = [d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5], kept[0], kept[1]];
    Some(())
}

/// Gives an IPv4 packet new addresses and ports and takes one hop off its TTL.
#[inline]
pub fn v4(frame: &mut [u8], headers: &Headers, to: &Endpoints<Ipv4Addr>, field: Field) -> Option<()> {
    let Network::V4(ip) = &headers.network else { return None };
    let (head, rest) = frame.split_at_mut_checked(headers.transport_at)?;
    v4_header(head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?, ip, to, ip.ttl.saturating_sub(1));
    let addresses = Delta::new()
        .u32(ip.source.to_bits(), to.source.to_bits())
        .u32(ip.destination.to_bits(), to.destination.to_bits());
    let pseudo = || pseudo_v4(to.source, to.destination, ip.protocol, transport_len(headers)).fold();
    let partial = (field == Field::Partial).then(pseudo);
    transport(rest, &headers.transport, [to.source_port, to.destination_port], addresses, partial)
}

/// Gives an IPv6 packet new addresses and ports and takes one hop off its hop limit.
#[inline]
pub fn v6(frame: &mut [u8], headers: &Headers, to: &Endpoints<Ipv6Addr>, field: Field) -> Option<()> {
    let Network::V6(ip) = &headers.network else { return None };
    let (head, rest) = frame.split_at_mut_checked(headers.transport_at)?;
    v6_header(head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?, to, ip.hop_limit.saturating_sub(1));
    let addresses = Delta::new()
        .u128(ip.source.to_bits(), to.source.to_bits())
        .u128(ip.destination.to_bits(), to.destination.to_bits());
    let protocol = match headers.transport {
        Transport::Tcp(_) => ipv4::TCP,
        Transport::Udp(_) => ipv4::UDP,
        _ => ipv6::ICMPV6,
    };
    let pseudo = || pseudo_v6(to.source, to.destination, protocol, transport_len(headers)).fold();
    let partial = (field == Field::Partial).then(pseudo);
    transport(rest, &headers.transport, [to.source_port, to.destination_port], addresses, partial)
}

/// Length of transport header and payload.
#[inline]
fn transport_len(headers: &Headers) -> u32 {
    u32::try_from(headers.end.saturating_sub(headers.transport_at)).unwrap_or(0)
}

#[inline]
fn v4_header(header: &mut [u8; ipv4::HEADER_LEN], ip: &Ipv4, to: &Endpoints<Ipv4Addr>, ttl: u8) {
    let delta = Delta::new()
        .u32(ip.source.to_bits(), to.source.to_bits())
        .u32(ip.destination.to_bits(), to.destination.to_bits())
        .u16(u16::from_be_bytes([ip.ttl, ip.protocol]), u16::from_be_bytes([ttl, ip.protocol]));
    header[8] = ttl;
    [header[10], header[11]] = delta.apply(u16::from_be_bytes([header[10], header[11]])).to_be_bytes();
    [header[12], header[13], header[14], header[15]] = to.source.octets();
    [header[16], header[17], header[18], header[19]] = to.destination.octets();
}

#[inline]
fn v6_header(header: &mut [u8; ipv6::HEADER_LEN], to: &Endpoints<Ipv6Addr>, hop_limit: u8) {
    header[7] = hop_limit;
    if let ([source, destination], _) = header.split_at_mut(8).1.as_chunks_mut::<16>() {
        *source = to.source.octets();
        *destination = to.destination.octets();
    }
}

/// Sets ports (or the identifier) and brings the checksum up to date; `partial` is what the field holds instead
/// when the checksum is completed later.
#[inline]
fn transport(
    bytes: &mut [u8],
    was: &Transport,
    [source_port, destination_port]: [u16; 2],
    addresses: Delta,
    partial: Option<u16>,
) -> Option<()> {
    match was {
        Transport::Tcp(t) => {
            let b = bytes.first_chunk_mut::<{ tcp::HEADER_LEN }>()?;
            let delta = addresses.u16(t.source_port, source_port).u16(t.destination_port, destination_port);
            [b[0], b[1]] = source_port.to_be_bytes();
            [b[2], b[3]] = destination_port.to_be_bytes();
            let new = partial.unwrap_or_else(|| delta.apply(u16::from_be_bytes([b[16], b[17]])));
            [b[16], b[17]] = new.to_be_bytes();
        }
        Transport::Udp(u) => {
            let b = bytes.first_chunk_mut::<{ udp::HEADER_LEN }>()?;
            let delta = addresses.u16(u.source_port, source_port).u16(u.destination_port, destination_port);
            let new = match (partial, u.checksum) {
                (Some(pseudo), _) => pseudo,
                (None, 0) => 0,
                (None, old) => match delta.apply(old) {
                    0 => 0xFFFF,
                    new => new,
                },
            };
            *b = udp::Udp { source_port, destination_port, len: u.len, checksum: new }.emit();
        }
        Transport::Icmp(i) => {
            echo(bytes.first_chunk_mut()?, i.identifier, source_port | destination_port, Delta::new());
        }
        Transport::Icmpv6(i) => {
            echo(bytes.first_chunk_mut()?, i.identifier, source_port | destination_port, addresses);
        }
        Transport::Fragment(_) => return None,
    }
    Some(())
}

#[inline]
fn echo(b: &mut [u8; icmp::HEADER_LEN], old: u16, new: u16, addresses: Delta) {
    [b[4], b[5]] = new.to_be_bytes();
    [b[2], b[3]] = addresses.u16(old, new).apply(u16::from_be_bytes([b[2], b[3]])).to_be_bytes();
}

/// Turns an ICMP error into one for another network: outer addresses, then addresses and ports of the packet that
/// it quotes. The ICMP checksum is computed afresh, so the caller has verified the old one.
#[must_use]
pub fn error_v4(
    frame: &mut [u8],
    headers: &Headers,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    quoted: &Quoted<Ipv4Addr>,
    inner: &Endpoints<Ipv4Addr>,
) -> Option<()> {
    let Network::V4(ip) = &headers.network else { return None };
    let (head, message) = error_parts(frame, headers)?;
    let to = Endpoints { source, destination, source_port: 0, destination_port: 0 };
    v4_header(head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?, ip, &to, ip.ttl.saturating_sub(1));
    let (inner_ip, inner_transport) =
        message.get_mut(icmp::HEADER_LEN..)?.split_at_mut_checked(quoted.transport_at)?;
    let header = inner_ip.first_chunk_mut()?;
    let was = Ipv4::fields(header);
    v4_header(header, &was, inner, was.ttl);
    let addresses = Delta::new()
        .u32(quoted.source.to_bits(), inner.source.to_bits())
        .u32(quoted.destination.to_bits(), inner.destination.to_bits());
    quoted_transport(inner_transport, quoted, inner, addresses)?;
    finish_error(message, Sum::new())
}

/// The same for ICMPv6.
#[must_use]
pub fn error_v6(
    frame: &mut [u8],
    headers: &Headers,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    quoted: &Quoted<Ipv6Addr>,
    inner: &Endpoints<Ipv6Addr>,
) -> Option<()> {
    let Network::V6(ip) = &headers.network else { return None };
    let (head, message) = error_parts(frame, headers)?;
    let to = Endpoints { source, destination, source_port: 0, destination_port: 0 };
    v6_header(head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?, &to, ip.hop_limit.saturating_sub(1));
    let (inner_ip, inner_transport) =
        message.get_mut(icmpv6::HEADER_LEN..)?.split_at_mut_checked(quoted.transport_at)?;
    let header = inner_ip.first_chunk_mut()?;
    let was = Ipv6::fields(header);
    v6_header(header, inner, was.hop_limit);
    let addresses = Delta::new()
        .u128(quoted.source.to_bits(), inner.source.to_bits())
        .u128(quoted.destination.to_bits(), inner.destination.to_bits());
    quoted_transport(inner_transport, quoted, inner, addresses)?;
    let len = u32::try_from(message.len()).ok()?;
    finish_error(message, pseudo_v6(source, destination, ipv6::ICMPV6, len))
}

/// The headers before an ICMP message, and the message without padding.
fn error_parts<'f>(frame: &'f mut [u8], headers: &Headers) -> Option<(&'f mut [u8], &'f mut [u8])> {
    frame.get_mut(..headers.end)?.split_at_mut_checked(headers.transport_at)
}

/// Ports (or identifier) and, where it was quoted, the checksum of a quoted transport header.
fn quoted_transport<A>(bytes: &mut [u8], was: &Quoted<A>, to: &Endpoints<A>, addresses: Delta) -> Option<()> {
    let ports = addresses.u16(was.source_port, to.source_port).u16(was.destination_port, to.destination_port);
    match was.protocol {
        ipv4::TCP | ipv4::UDP => {
            let at = if was.protocol == ipv4::TCP { tcp::CHECKSUM_AT } else { udp::CHECKSUM_AT };
            if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
                let old = u16::from_be_bytes(*field);
                // Over UDP 0 means "no checksum" and stays.
                if was.protocol == ipv4::TCP || old != 0 {
                    *field = ports.apply(old).to_be_bytes();
                }
            }
            let b = bytes.first_chunk_mut::<4>()?;
            [b[0], b[1]] = to.source_port.to_be_bytes();
            [b[2], b[3]] = to.destination_port.to_be_bytes();
        }
        other => {
            let addresses = if other == ipv6::ICMPV6 { addresses } else { Delta::new() };
            let new = to.source_port | to.destination_port;
            echo(bytes.first_chunk_mut()?, was.source_port | was.destination_port, new, addresses);
        }
    }
    Some(())
}

/// Computes the checksum of an ICMP message afresh.
fn finish_error(message: &mut [u8], pseudo: Sum) -> Option<()> {
    *message.get_mut(2..)?.first_chunk_mut()? = [0; 2];
    let checksum = pseudo.bytes(message).finish();
    *message.get_mut(2..)?.first_chunk_mut()? = checksum.to_be_bytes();
    Some(())
}

/// Whether the checksum of a whole ICMP or ICMPv6 message is right.
#[must_use]
pub fn icmp_is_valid(frame: &[u8], headers: &Headers) -> bool {
    let Some(message) = frame.get(headers.transport_at..headers.end) else { return false };
    match &headers.network {
        Network::V4(_) => Sum::new().bytes(message).is_valid(),
        Network::V6(ip) => pseudo_v6(ip.source, ip.destination, ipv6::ICMPV6, transport_len(headers))
            .bytes(message)
            .is_valid(),
    }
}

/// Computes the checksum of a TCP segment or UDP datagram afresh: for a frame whose checksum was left to the card,
/// before it is cut.
pub fn complete(frame: &mut [u8], headers: &Headers) -> Option<()> {
    let (protocol, at) = match headers.transport {
        Transport::Tcp(_) => (ipv4::TCP, tcp::CHECKSUM_AT),
        Transport::Udp(_) => (ipv4::UDP, udp::CHECKSUM_AT),
        _ => return None,
    };
    let (head, bytes) = frame.get_mut(..headers.end)?.split_at_mut_checked(headers.transport_at)?;
    let ip = head.get(ethernet::HEADER_LEN..)?;
    let pseudo = match &headers.network {
        Network::V4(_) => {
            let ip = Ipv4::fields(ip.first_chunk()?);
            pseudo_v4(ip.source, ip.destination, protocol, transport_len(headers))
        }
        Network::V6(_) => {
            let ip = Ipv6::fields(ip.first_chunk()?);
            pseudo_v6(ip.source, ip.destination, protocol, transport_len(headers))
        }
    };
    *bytes.get_mut(at..)?.first_chunk_mut()? = [0; 2];
    let checksum = match pseudo.bytes(bytes).finish() {
        0 if protocol == ipv4::UDP => 0xFFFF,
        sum => sum,
    };
    *bytes.get_mut(at..)?.first_chunk_mut()? = checksum.to_be_bytes();
    Some(())
}

/// Turns an echo request to us into our reply, in place: addresses swapped, type changed.
#[must_use]
pub fn echo_reply(frame: &mut [u8], headers: &Headers) -> Option<()> {
    const HOPS: u8 = 64;
    let (head, rest) = frame.split_at_mut_checked(headers.transport_at)?;
    let message = rest.first_chunk_mut::<{ icmp::HEADER_LEN }>()?;
    let (old, new) = match &headers.network {
        Network::V4(ip) => {
            let header = head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?;
            let to = Endpoints {
                source: ip.destination,
                destination: ip.source,
                source_port: 0,
                destination_port: 0,
            };
            v4_header(header, ip, &to, HOPS);
            (icmp::ECHO_REQUEST, icmp::ECHO_REPLY)
        }
        Network::V6(ip) => {
            let header = head.get_mut(ethernet::HEADER_LEN..)?.first_chunk_mut()?;
            let to = Endpoints {
                source: ip.destination,
                destination: ip.source,
                source_port: 0,
                destination_port: 0,
            };
            v6_header(header, &to, HOPS);
            (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY)
        }
    };
    let delta = Delta::new().u16(u16::from(old) << 8, u16::from(new) << 8);
    message[0] = new;
    [message[2], message[3]] = delta.apply(u16::from_be_bytes([message[2], message[3]])).to_be_bytes();
    Some(())
}

#[cfg(test)]
#[path = "rewrite/tests.rs"]
mod tests;
