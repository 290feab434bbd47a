//! What we say to a client ourselves: that something is forbidden, that a connection is not there, a name server's answer.
//! Connections speak through `links`.

use super::{counters::Count, links::Links, state::Core};
use crate::{errno::Errno, frames::Frames};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use first_hop::address::{DNS_PORT, OUR_LINK_LOCAL, OUR_MAC};
use packet::{
    checksum::pseudo_v4,
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
    headers::{Headers, Network, Transport},
    icmp, icmpv6,
    ipv4::{self, Ipv4},
    tcp::{self, ACK, FIN, RST, SYN, Tcp},
    udp::{self, Udp},
};

/// Room for everything that is said here, answers of name servers aside.
pub(super) const ROOM: usize = 1536;
/// Everything before a datagram's payload.
const DATAGRAM_HEADERS: usize = HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;

/// Tells the client that its packet is forbidden, unless it was told that too often lately. The frame ends at `end`.
///
/// # Errors
/// Always: `reason`, for the packet went nowhere.
pub(super) fn prohibit<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    (frame, end): (&[u8], usize),
    reason: Count,
) -> Result<(), Count> {
    let now_us = core.now_us;
    let client = &mut core.guest_mut(port).ok_or(Count::LinkDown)?.client;
    let Some(quoted) = frame.get(HEADER_LEN..end).filter(|_| client.may_be_told(now_us)) else {
        return Err(reason);
    };
    let error = icmp::Error { kind: icmp::UNREACHABLE, code: icmp::CODE_PROHIBITED, mtu: 0 };
    let mut out = [0; ROOM];
    let (head, body) = out.split_first_chunk_mut().ok_or(Count::Internal)?;
    let len = icmp::emit_error(body, client.v4_gateway, client.v4, error, quoted).ok_or(Count::Internal)?;
    *head = Ethernet { destination: client.mac, source: OUR_MAC, ethertype: ethernet::IPV4 }.emit();
    links.send_own(port, out.get(..HEADER_LEN + len).ok_or(Count::Internal)?)?;
    core.counters.add(Count::Prohibited);
    Err(reason)
}

/// As [`prohibit`], for IPv6.
///
/// # Errors
/// Always: [`Count::Ipv6`], for the packet went nowhere.
pub(super) fn prohibit_v6<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    (frame, end): (&[u8], usize),
    to: Ipv6Addr,
) -> Result<(), Count> {
    let now_us = core.now_us;
    let client = &mut core.guest_mut(port).ok_or(Count::LinkDown)?.client;
    let Some(quoted) = frame.get(HEADER_LEN..end).filter(|_| client.may_be_told(now_us)) else {
        return Err(Count::Ipv6);
    };
    let error = icmpv6::Error { kind: icmpv6::UNREACHABLE, code: icmpv6::CODE_PROHIBITED, mtu: 0 };
    let mut out = [0; ROOM];
    let (head, body) = out.split_first_chunk_mut().ok_or(Count::Internal)?;
    let len = icmpv6::emit_error(body, OUR_LINK_LOCAL, to, error, quoted).ok_or(Count::Internal)?;
    *head = Ethernet { destination: client.mac, source: OUR_MAC, ethertype: ethernet::IPV6 }.emit();
    links.send_own(port, out.get(..HEADER_LEN + len).ok_or(Count::Internal)?)?;
    core.counters.add(Count::Prohibited);
    Err(Count::Ipv6)
}

/// Answers a segment of no connection with a reset (RFC 9293 §3.10.7.1); a reset is answered by nothing.
///
/// # Errors
/// Always: `reason`, for the segment went nowhere.
pub(super) fn refuse<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    headers: &Headers,
    reason: Count,
) -> Result<(), Count> {
    let (Network::V4(ip), Transport::Tcp(asked)) = (&headers.network, &headers.transport) else {
        return Err(Count::Internal);
    };
    if asked.flags & RST != 0 {
        return Err(reason);
    }
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let out = reset(client.mac, ip, asked, headers.payload_len());
    links.send_own(port, &out)?;
    core.counters.add(Count::ResetTold);
    Err(reason)
}

/// The frame of a reset in answer to a segment with so many bytes of payload.
fn reset(
    mac: Mac,
    asked_ip: &Ipv4,
    asked: &Tcp,
    payload: usize,
) -> [u8; HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN] {
    let taken = u32::try_from(payload).unwrap_or(0)
        + u32::from(asked.flags & SYN != 0)
        + u32::from(asked.flags & FIN != 0);
    let (flags, sequence, acknowledgement) = match asked.flags & ACK {
        0 => (RST | ACK, 0, asked.sequence.wrapping_add(taken)),
        _ => (RST, asked.acknowledgement, 0),
    };
    let (source, destination) = (asked_ip.destination, asked_ip.source);
    let segment = Tcp {
        source_port: asked.destination_port,
        destination_port: asked.source_port,
        sequence,
        acknowledgement,
        flags,
        window: 0,
    };
    let ip = header(source, destination, ipv4::TCP, 40);
    let ethernet = Ethernet { destination: mac, source: OUR_MAC, ethertype: ethernet::IPV4 };
    let segment = segment.emit(pseudo_v4(source, destination, ipv4::TCP, 20));
    let mut out = [0; HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN];
    for (to, from) in out.iter_mut().zip(ethernet.emit().into_iter().chain(ip.emit()).chain(segment)) {
        *to = from;
    }
    out
}

fn header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, total_len: u16) -> Ipv4 {
    Ipv4 {
        source,
        destination,
        ttl: 64,
        protocol,
        total_len,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0,
    }
}

/// Sends the answer `message` to a client's question, from the address that was asked.
///
/// # Errors
/// [`Errno::HOSTUNREACH`] when nobody there asked, [`Errno::MSGSIZE`], [`Errno::AGAIN`] when there is no room now.
pub(super) fn answer<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    message: &[u8],
    peer: SocketAddrV4,
) -> Result<usize, Errno> {
    let now_us = core.now_us;
    let guests =
        (0u8..).zip(core.guests.iter_mut()).filter_map(|(port, guest)| Some((port, guest.as_deref_mut()?)));
    let (port, guest) =
        guests.into_iter().find(|(_, guest)| guest.client.v4 == *peer.ip()).ok_or(Errno::HOSTUNREACH)?;
    let (mac, len) = (guest.client.mac, DATAGRAM_HEADERS + message.len());
    if len - HEADER_LEN > usize::from(guest.client.mtu) {
        return Err(Errno::MSGSIZE);
    }
    if !links.get(port).is_some_and(|frames| frames.has_room(len)) {
        return Err(Errno::AGAIN);
    }
    let Some(server) = guest.questions.answer(peer.port(), message, now_us) else {
        core.counters.add(Count::AnswerStale);
        return Err(Errno::HOSTUNREACH);
    };
    let from = SocketAddrV4::new(server, DNS_PORT);
    if !links.compose(port, |out| datagram(out, mac, (from, peer), message)) {
        return Err(Errno::AGAIN);
    }
    core.counters.add(Count::Answers);
    Ok(message.len())
}

/// Writes the frame of a datagram; gives its length, `None` when it is too long.
fn datagram(
    out: &mut [u8],
    mac: Mac,
    (source, destination): (SocketAddrV4, SocketAddrV4),
    payload: &[u8],
) -> Option<usize> {
    let udp_len = u16::try_from(udp::HEADER_LEN + payload.len()).ok()?;
    let total_len = udp_len.checked_add(u16::try_from(ipv4::HEADER_LEN).ok()?)?;
    let mut udp =
        Udp { source_port: source.port(), destination_port: destination.port(), len: udp_len, checksum: 0 };
    let pseudo = pseudo_v4(*source.ip(), *destination.ip(), ipv4::UDP, u32::from(udp_len));
    udp.checksum = match pseudo.bytes(&udp.emit()).bytes(payload).finish() {
        0 => 0xFFFF,
        sum => sum,
    };
    let ethernet = Ethernet { destination: mac, source: OUR_MAC, ethertype: ethernet::IPV4 };
    let ip = header(*source.ip(), *destination.ip(), ipv4::UDP, total_len);
    let (head, rest) = out.split_first_chunk_mut::<DATAGRAM_HEADERS>()?;
    for (to, from) in head.iter_mut().zip(ethernet.emit().into_iter().chain(ip.emit()).chain(udp.emit())) {
        *to = from;
    }
    rest.get_mut(..payload.len())?.copy_from_slice(payload);
    Some(DATAGRAM_HEADERS + payload.len())
}
