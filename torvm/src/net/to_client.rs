//! What we say to a client ourselves: that something is forbidden, that a connection is not there, a name server's answer.
//! Connections speak through `links`.

use super::{
    counters::Count,
    links::{self, Links},
    state::Core,
};
use crate::{errno::Errno, frames::Frames};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use first_hop::{
    address::{DNS_PORT, OUR_LINK_LOCAL, OUR_MAC},
    nd,
};
use packet::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
    headers::{Headers, Network, Transport},
    icmp, icmpv6,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    tcp::{self, ACK, FIN, RST, SYN, Tcp},
    udp::{self, Udp},
};

/// Room for everything that is said here, answers of name servers aside.
pub(super) const ROOM: usize = 1536;
/// Everything before a datagram's payload, at most.
const DATAGRAM_HEADERS: usize = HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;
/// A reset, at most.
const RESET: usize = HEADER_LEN + ipv6::HEADER_LEN + tcp::HEADER_LEN;

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
/// Always: `reason`, for the packet went nowhere.
pub(super) fn prohibit_v6<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    ((frame, end), to): ((&[u8], usize), Ipv6Addr),
    reason: Count,
) -> Result<(), Count> {
    let now_us = core.now_us;
    let client = &mut core.guest_mut(port).ok_or(Count::LinkDown)?.client;
    let Some(quoted) = frame.get(HEADER_LEN..end).filter(|_| client.may_be_told(now_us)) else {
        return Err(reason);
    };
    let error = icmpv6::Error { kind: icmpv6::UNREACHABLE, code: icmpv6::CODE_PROHIBITED, mtu: 0 };
    let mut out = [0; ROOM];
    let (head, body) = out.split_first_chunk_mut().ok_or(Count::Internal)?;
    let len = icmpv6::emit_error(body, OUR_LINK_LOCAL, to, error, quoted).ok_or(Count::Internal)?;
    *head = Ethernet { destination: client.mac, source: OUR_MAC, ethertype: ethernet::IPV6 }.emit();
    links.send_own(port, out.get(..HEADER_LEN + len).ok_or(Count::Internal)?)?;
    core.counters.add(Count::Prohibited);
    Err(reason)
}

/// Says to a client with a prefix who its router is: to one of its addresses, or to everybody there is.
///
/// # Errors
/// [`Count::LinkDown`] when there is no link, or no room.
pub(super) fn advertise<F: Frames>(
    core: &Core,
    links: &mut Links<F>,
    port: u8,
    to: Ipv6Addr,
) -> Result<(), Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    if client.v6_prefix.is_none() {
        return Ok(());
    }
    let offer = nd::Offer { router: true, resolver: true, mtu: client.mtu };
    let mut out = [0; packet::ndp::MAX_FRAME_LEN];
    let len = nd::advertise(&mut out, client, to, offer).ok_or(Count::Internal)?;
    links.send_own(port, out.get(..len).ok_or(Count::Internal)?)
}

/// Says so to everybody when it is time to.
pub(super) fn advertise_all<F: Frames>(core: &mut Core, links: &mut Links<F>) {
    if core.advertise_us > core.now_us {
        return;
    }
    core.advertise_us = core.now_us.saturating_add(nd::INTERVAL_US);
    for port in (links::UPLINK + 1..).take(core.guests.len()) {
        // Who has no link, or no room on it, asks for it, or hears it the next time.
        let _ = advertise(core, links, port, packet::ndp::ALL_NODES);
    }
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
    let Transport::Tcp(asked) = &headers.transport else { return Err(Count::Internal) };
    if asked.flags & RST != 0 {
        return Err(reason);
    }
    // Back to where it came from.
    let addresses = match &headers.network {
        Network::V4(ip) => (ip.destination.into(), ip.source.into()),
        Network::V6(ip) => (ip.destination.into(), ip.source.into()),
    };
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let pseudo = pseudo(addresses, ipv4::TCP, 20).ok_or(Count::Internal)?;
    let segment = reset(asked, headers.payload_len()).emit(pseudo);
    let mut out = [0; RESET];
    let len = compose(&mut out, (client.mac, addresses), ipv4::TCP, &[&segment]).ok_or(Count::Internal)?;
    links.send_own(port, out.get(..len).ok_or(Count::Internal)?)?;
    core.counters.add(Count::ResetTold);
    Err(reason)
}

/// The reset in answer to a segment with so many bytes of payload.
fn reset(asked: &Tcp, payload: usize) -> Tcp {
    let taken = u32::try_from(payload).unwrap_or(0)
        + u32::from(asked.flags & SYN != 0)
        + u32::from(asked.flags & FIN != 0);
    let (flags, sequence, acknowledgement) = match asked.flags & ACK {
        0 => (RST | ACK, 0, asked.sequence.wrapping_add(taken)),
        _ => (RST, asked.acknowledgement, 0),
    };
    Tcp {
        source_port: asked.destination_port,
        destination_port: asked.source_port,
        sequence,
        acknowledgement,
        flags,
        window: 0,
    }
}

/// The pseudo header between two addresses; `None` when they are of different families.
fn pseudo(addresses: (IpAddr, IpAddr), protocol: u8, len: u32) -> Option<Sum> {
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Some(pseudo_v4(source, destination, protocol, len)),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Some(pseudo_v6(source, destination, protocol, len)),
        _ => None,
    }
}

/// Writes a frame of ours: IP between two addresses, which carries `parts`; gives its length, `None` when it is too long.
fn compose(
    out: &mut [u8],
    (mac, addresses): (Mac, (IpAddr, IpAddr)),
    protocol: u8,
    parts: &[&[u8]],
) -> Option<usize> {
    let len = u16::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).ok()?;
    let (v4, v6);
    let (ethertype, ip): (u16, &[u8]) = match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            v4 = header(source, destination, protocol, len.checked_add(20)?).emit();
            (ethernet::IPV4, &v4)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            v6 = Ipv6 { source, destination, hop_limit: 64, next: protocol, payload_len: len }.emit();
            (ethernet::IPV6, &v6)
        }
        _ => return None,
    };
    let ethernet = Ethernet { destination: mac, source: OUR_MAC, ethertype }.emit();
    let all = HEADER_LEN + ip.len() + usize::from(len);
    let bytes = ethernet.iter().chain(ip).chain(parts.iter().copied().flatten());
    for (to, from) in out.get_mut(..all)?.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(all)
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
    let Some(ends) = guest.questions.answer(peer.port(), message, now_us) else {
        core.counters.add(Count::AnswerStale);
        return Err(Errno::HOSTUNREACH);
    };
    if !links.compose(port, |out| datagram(out, (mac, ends), peer.port(), message)) {
        return Err(Errno::AGAIN);
    }
    core.counters.add(Count::Answers);
    Ok(message.len())
}

/// Writes the frame of a name server's answer to a port; gives its length, `None` when it is too long.
fn datagram(
    out: &mut [u8],
    (mac, addresses): (Mac, (IpAddr, IpAddr)),
    port: u16,
    payload: &[u8],
) -> Option<usize> {
    let len = u16::try_from(udp::HEADER_LEN + payload.len()).ok()?;
    let mut udp = Udp { source_port: DNS_PORT, destination_port: port, len, checksum: 0 };
    let pseudo = pseudo(addresses, ipv4::UDP, u32::from(len))?;
    udp.checksum = match pseudo.bytes(&udp.emit()).bytes(payload).finish() {
        0 => 0xFFFF,
        sum => sum,
    };
    compose(out, (mac, addresses), ipv4::UDP, &[&udp.emit(), payload])
}
