//! Takes a frame from one client's link; refuses a source that is not the client's own.
//!
//! What is answered here ends here: ARP, DHCP, neighbour discovery. TCP goes to the program's listeners, questions to name
//! servers to its datagram socket. Nothing goes anywhere else.

use super::{
    arrival,
    counters::Count,
    datagrams::{QUESTION_MAX, QUESTION_MIN},
    links::{LONG_PACKET, Links},
    state::{Core, Reset},
    stream::Owner,
    table::Key,
    tcp::{State, Tcp},
    to_client,
};
use crate::frames::Frames;
use core::net::{Ipv4Addr, SocketAddrV4};
use first_hop::{
    address::{DNS_PORT, OUR_LINK_LOCAL, OUR_MAC, is_bad_v4, prefix64},
    arp, dhcp, nd,
};
use link::Meta;
use packet::{
    Fault,
    arp::Arp,
    ethernet::{self, Ethernet, HEADER_LEN},
    headers::{Frame, Headers, Network, Transport, parse},
    ipv4::Ipv4,
    ipv6::Ipv6,
    tcp::{ACK, RST, SYN},
};

/// The listener's port for everything that is not addressed to us.
pub const TRANSPARENT: u16 = 9040;
/// Smallest segment size that a client is believed to need (RFC 9293 §3.7.1).
const MIN_MSS: u16 = 536;

/// A frame of a client, taken apart.
struct Arrived<'a> {
    port: u8,
    meta: &'a Meta,
    frame: &'a mut [u8],
    headers: &'a Headers,
    ip: Ipv4,
}

/// Deals with one frame.
///
/// # Errors
/// The counter of what it was not taken for.
pub(super) fn take<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    (port, meta): (u8, &Meta),
    frame: &mut [u8],
) -> Result<(), Count> {
    arrival::check_kind(meta)?;
    check_macs(core, port, frame)?;
    match parse(frame) {
        Ok(Frame::Arp(_, body)) => take_arp(core, links, port, &body),
        Ok(Frame::Ip(headers)) => match headers.network {
            Network::V4(ip) => v4(core, links, Arrived { port, meta, frame, headers: &headers, ip }),
            Network::V6(ip) => v6(core, links, (port, frame), &headers, &ip),
        },
        Err(Fault::Protocol) => other_protocol(core, links, port, frame),
        Err(fault) => Err(fault.into()),
    }
}

/// The client's own hardware address as source; ours or a group as destination.
fn check_macs(core: &Core, port: u8, frame: &[u8]) -> Result<(), Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let header = Ethernet::parse(frame.first_chunk().ok_or(Count::Truncated)?);
    if header.source != client.mac {
        return Err(Count::SourceMac);
    }
    if header.destination != OUR_MAC && !ethernet::is_group(header.destination) {
        return Err(Count::DestinationMac);
    }
    Ok(())
}

fn take_arp<F: Frames>(core: &Core, links: &mut Links<F>, port: u8, body: &Arp) -> Result<(), Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    match arp::answer(client, body).map_err(|_| Count::Arp)? {
        Some(reply) => links.send_own(port, &reply.emit(client.mac)),
        None => Ok(()),
    }
}

fn v4<F: Frames>(core: &mut Core, links: &mut Links<F>, mut arrived: Arrived<'_>) -> Result<(), Count> {
    let Arrived { port, ip, headers, .. } = arrived;
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let is_dhcp = dhcp::is_request(headers);
    if ip.source != client.v4 && !(is_dhcp && ip.source.is_unspecified() && ip.destination.is_broadcast()) {
        return Err(Count::Spoofed);
    }
    let gateway = client.v4_gateway;
    if is_dhcp && (ip.destination.is_broadcast() || ip.destination == gateway) {
        return take_dhcp(core, links, &arrived);
    }
    check_destination(core, port, ip.destination, headers.ethernet.destination)?;
    match headers.transport {
        Transport::Tcp(_) => {
            arrival::check_transport(arrived.meta, arrived.frame, headers)?;
            segment(core, links, &mut arrived)
        }
        Transport::Udp(udp) if udp.destination_port == DNS_PORT => {
            arrival::check_transport(arrived.meta, arrived.frame, headers)?;
            question(core, &arrived, udp.source_port)
        }
        Transport::Udp(_) => to_client::prohibit(core, links, port, (arrived.frame, headers.end), Count::Udp),
        // Never in answer to an error, nor to a later fragment (RFC 1122 §3.2.2).
        Transport::Icmp(message) if message.is_error() => Err(Count::Icmp),
        Transport::Icmp(_) => {
            to_client::prohibit(core, links, port, (arrived.frame, headers.end), Count::Icmp)
        }
        Transport::Fragment(fragment) if fragment.offset == 0 => {
            to_client::prohibit(core, links, port, (arrived.frame, headers.end), Count::Fragment)
        }
        Transport::Fragment(_) => Err(Count::Fragment),
        Transport::Icmpv6(_) => Err(Count::Protocol),
    }
}

/// Everything but groups, addresses that nobody may have, and neighbours on the link, of whom there are none.
fn check_destination(core: &Core, port: u8, destination: Ipv4Addr, mac: ethernet::Mac) -> Result<(), Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let neighbour = client.covers_v4(destination) && destination != client.v4_gateway;
    if destination.is_multicast() || destination.is_broadcast() || neighbour {
        return Err(Count::Multicast);
    }
    if mac != OUR_MAC {
        return Err(Count::DestinationMac);
    }
    if is_bad_v4(destination) { Err(Count::Destination) } else { Ok(()) }
}

fn take_dhcp<F: Frames>(core: &Core, links: &mut Links<F>, arrived: &Arrived<'_>) -> Result<(), Count> {
    arrival::check_transport(arrived.meta, arrived.frame, arrived.headers)?;
    let client = &core.guest(arrived.port).ok_or(Count::LinkDown)?.client;
    let payload =
        arrived.frame.get(arrived.headers.payload_at..arrived.headers.end).ok_or(Count::Internal)?;
    let mut out = [0; to_client::ROOM];
    let len = dhcp::answer(&mut out, client, payload, client.mtu).map_err(|_| Count::Dhcp)?;
    links.send_own(arrived.port, out.get(..len).ok_or(Count::Internal)?)
}

/// A question to a name server.
fn question(core: &mut Core, arrived: &Arrived<'_>, source_port: u16) -> Result<(), Count> {
    let Arrived { port, headers, ip, .. } = *arrived;
    let message = arrived.frame.get(headers.payload_at..headers.end).ok_or(Count::Internal)?;
    if !(QUESTION_MIN..=QUESTION_MAX).contains(&message.len()) {
        return Err(Count::DnsLength);
    }
    let now_us = core.now_us;
    let resolver = core.resolver.and_then(|slot| core.table.datagrams_mut(slot)).ok_or(Count::DnsQueue)?;
    if !resolver.put(port, SocketAddrV4::new(ip.source, source_port), message) {
        return Err(Count::DnsQueue);
    }
    let guest = core.guest_mut(port).ok_or(Count::LinkDown)?;
    guest.questions.add(source_port, ip.destination, message, now_us);
    core.counters.add(Count::Questions);
    Ok(())
}

/// A TCP segment.
fn segment<F: Frames>(core: &mut Core, links: &mut Links<F>, arrived: &mut Arrived<'_>) -> Result<(), Count> {
    let (port, headers, ip) = (arrived.port, arrived.headers, arrived.ip);
    let Transport::Tcp(tcp) = headers.transport else { return Err(Count::Internal) };
    let ends = (
        SocketAddrV4::new(ip.destination, tcp.destination_port),
        SocketAddrV4::new(ip.source, tcp.source_port),
    );
    let opens = tcp.flags & (SYN | ACK | RST) == SYN;
    let mut known = core.table.find(&Key::new(port, ends.0, ends.1));
    let begun = |slot| {
        core.table.stream(slot).is_some_and(|s| !matches!(s.state(), State::Listen | State::SynReceived))
    };
    if opens && known.is_some_and(begun) {
        // The client begins anew, so it knows nothing of the old one: it has ended it, or was itself begun anew. Nobody
        // else is on its link who could say so.
        core.drop_silently(|stream| stream.key() == Key::new(port, ends.0, ends.1));
        known = None;
    }
    let slot = match known {
        Some(slot) => slot,
        None if opens => match open(core, links, port, ends, mss(arrived.frame, headers)) {
            Err(Count::NoListener) => {
                return to_client::refuse(core, links, port, headers, Count::NoListener);
            }
            other => other?,
        },
        None => return to_client::refuse(core, links, port, headers, Count::NoConnection),
    };
    if let Some(option) = mss_option(arrived.frame, headers).filter(|_| opens) {
        let long = core.table.stream(slot).is_some_and(|stream| stream.cut.is_some());
        let size = u16::from_be_bytes(*option).max(if long { LONG_PACKET - 40 } else { MIN_MSS });
        *option = size.to_be_bytes();
    }
    let reset = if tcp.flags & RST == 0 { Reset::No } else { Reset::Yes };
    let packet = arrived.frame.get(HEADER_LEN..headers.end).ok_or(Count::Internal)?;
    super::feed(core, links, slot, packet, reset);
    Ok(())
}

/// Makes a connection of a client's first segment, which offers this segment size.
fn open<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    ends: (SocketAddrV4, SocketAddrV4),
    mss: Option<u16>,
) -> Result<u16, Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let (gateway, longest) = (client.v4_gateway, client.mtu.saturating_sub(40));
    let cuts = links.get(port).is_some_and(|frames| frames.finishes_checksums());
    let cut = mss.filter(|_| cuts).map(|mss| mss.clamp(MIN_MSS, longest));
    let heard_at = if *ends.0.ip() == gateway { ends.0.port() } else { TRANSPARENT };
    let listener = core.listener(heard_at).ok_or(Count::NoListener)?;
    let backlog = core.table.listener_mut(listener).map_or(0, |listener| listener.backlog);
    if core.unaccepted(port, listener) >= backlog {
        return Err(Count::Backlog);
    }
    let mut setup = core.client_setup(port, ends.0).ok_or(Count::Quota)?;
    if cut.is_some() {
        // TCP makes long segments, of which it would wait for two before it acknowledges.
        setup.mtu = LONG_PACKET;
        setup.ack_at_once = true;
    }
    let tcp = Tcp::accept(&setup).ok_or(Count::Quota)?;
    let slot = core.add(port, ends, Owner::Opening(listener), tcp).ok_or(Count::Quota)?;
    if let Some(stream) = core.table.stream_mut(slot) {
        stream.name = SocketAddrV4::new(gateway, heard_at);
        stream.cut = cut;
    }
    Ok(slot)
}

/// The segment size that a first segment offers, to be read and changed: the checksum was looked at already, and nobody
/// looks again.
fn mss_option<'a>(frame: &'a mut [u8], headers: &Headers) -> Option<&'a mut [u8; 2]> {
    let from = headers.transport_at + packet::tcp::HEADER_LEN;
    let mut options = frame.get_mut(from..headers.payload_at)?;
    // 40 bytes of options hold at most 40 of them.
    for _ in 0..40 {
        match options {
            [1, rest @ ..] => options = rest,
            [2, 4, size @ ..] => return size.first_chunk_mut(),
            [kind, len, ..] if *kind != 0 && *len >= 2 => {
                let len = usize::from(*len);
                options = options.get_mut(len..)?;
            }
            _ => return None,
        }
    }
    None
}

/// The segment size that a first segment offers.
fn mss(frame: &mut [u8], headers: &Headers) -> Option<u16> {
    mss_option(frame, headers).map(|size| u16::from_be_bytes(*size))
}

/// An IPv4 packet that carries neither TCP, UDP nor ICMP; or an IPv6 packet of that kind.
fn other_protocol<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    frame: &[u8],
) -> Result<(), Count> {
    let (ethernet, body) = frame.split_first_chunk().ok_or(Count::Truncated)?;
    let ethernet = Ethernet::parse(ethernet);
    if ethernet.ethertype != ethernet::IPV4 {
        return Err(Count::Ipv6);
    }
    let ip = Ipv4::parse(body.first_chunk().ok_or(Count::Truncated)?)?;
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    if ip.source != client.v4 {
        return Err(Count::Spoofed);
    }
    check_destination(core, port, ip.destination, ethernet.destination)?;
    let end = HEADER_LEN + usize::from(ip.total_len);
    to_client::prohibit(core, links, port, (frame, end), Count::Protocol)
}

/// IPv6 goes nowhere: no router is advertised. What the link itself needs is answered, and who sends more is told.
fn v6<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    (port, frame): (u8, &[u8]),
    headers: &Headers,
    ip: &Ipv6,
) -> Result<(), Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let on_link = prefix64(ip.source) == [0xfe80, 0, 0, 0] && ip.source != OUR_LINK_LOCAL;
    let known = on_link || client.owns_v6(ip.source);
    if let Transport::Icmpv6(message) = headers.transport {
        match message.kind {
            nd::FIRST..=nd::LAST if known || ip.source.is_unspecified() => {
                let asked = nd::read(frame, headers, &message, None).map_err(|_| Count::Neighbour)?;
                let nd::Asked::Neighbour(target) = asked else { return Ok(()) };
                let mut out = [0; packet::ndp::MAX_FRAME_LEN];
                let len = nd::answer(&mut out, client, ip.source, target).ok_or(Count::Internal)?;
                return links.send_own(port, out.get(..len).ok_or(Count::Internal)?);
            }
            nd::MLD_QUERY..=nd::MLD_DONE | nd::MLD_REPORT_V2 if ip.destination.is_multicast() => {
                return Ok(());
            }
            _ => {}
        }
    }
    if !known {
        return Err(Count::Spoofed);
    }
    if ip.destination.is_multicast() {
        return Err(Count::Multicast);
    }
    let later = matches!(headers.transport, Transport::Fragment(fragment) if fragment.offset != 0);
    let error = matches!(headers.transport, Transport::Icmpv6(message) if message.is_error());
    if headers.ethernet.destination != OUR_MAC || later || error {
        return Err(Count::Ipv6);
    }
    to_client::prohibit_v6(core, links, port, (frame, headers.end), ip.source)
}
