//! Takes a frame from one client's link; refuses a source that is not the client's own. What is IPv6's own is in `v6`.
//!
//! What is answered here ends here: ARP, DHCP, neighbour discovery. TCP goes to the program's listeners, questions to name
//! servers to its datagram socket. Nothing goes anywhere else.

mod v6;

use super::{
    arrival,
    counters::Count,
    datagrams::{QUESTION_MAX, QUESTION_MIN},
    links::{Links, headers as headers_len, long_packet},
    state::{Core, Reset},
    stream::Owner,
    table::Key,
    tcp::{State, Tcp},
    to_client,
};
use crate::frames::Frames;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use first_hop::{
    Client,
    address::{DNS_PORT, OUR_MAC, gateway_v6, is_bad_v4},
    arp, dhcp,
};
use link::Meta;
use packet::{
    Fault,
    arp::Arp,
    ethernet::{self, Ethernet, HEADER_LEN},
    headers::{Frame, Headers, Network, Transport, parse},
    ipv4::Ipv4,
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
    /// From whom to whom.
    addresses: (IpAddr, IpAddr),
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
        Ok(Frame::Ip(headers)) => {
            let addresses = match headers.network {
                Network::V4(ip) => (ip.source.into(), ip.destination.into()),
                Network::V6(ip) => (ip.source.into(), ip.destination.into()),
            };
            let arrived = Arrived { port, meta, frame, headers: &headers, addresses };
            match headers.network {
                Network::V4(ip) => v4(core, links, arrived, &ip),
                Network::V6(ip) => v6::take(core, links, arrived, &ip),
            }
        }
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

fn v4<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    mut arrived: Arrived<'_>,
    ip: &Ipv4,
) -> Result<(), Count> {
    let Arrived { port, headers, .. } = arrived;
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
    let Arrived { port, headers, addresses: (source, server), .. } = *arrived;
    let message = arrived.frame.get(headers.payload_at..headers.end).ok_or(Count::Internal)?;
    if !(QUESTION_MIN..=QUESTION_MAX).contains(&message.len()) {
        return Err(Count::DnsLength);
    }
    let now_us = core.now_us;
    let resolver = core.resolver.and_then(|slot| core.table.datagrams_mut(slot)).ok_or(Count::DnsQueue)?;
    // The client's name, whichever of its addresses asked.
    let guest = core.guests.get_mut(usize::from(port)).and_then(Option::as_mut).ok_or(Count::LinkDown)?;
    if !resolver.put(port, SocketAddrV4::new(guest.client.v4, source_port), message) {
        return Err(Count::DnsQueue);
    }
    guest.questions.add(source_port, (server, source), message, now_us);
    core.counters.add(Count::Questions);
    Ok(())
}

/// A TCP segment.
fn segment<F: Frames>(core: &mut Core, links: &mut Links<F>, arrived: &mut Arrived<'_>) -> Result<(), Count> {
    let (port, headers, (source, destination)) = (arrived.port, arrived.headers, arrived.addresses);
    let Transport::Tcp(tcp) = headers.transport else { return Err(Count::Internal) };
    let ends = (SocketAddr::new(destination, tcp.destination_port), SocketAddr::new(source, tcp.source_port));
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
        let len = headers_len(destination);
        let size = u16::from_be_bytes(*option).max(if long { long_packet(len) - len } else { MIN_MSS });
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
    ends: (SocketAddr, SocketAddr),
    mss: Option<u16>,
) -> Result<u16, Count> {
    let client = &core.guest(port).ok_or(Count::LinkDown)?.client;
    let len = headers_len(ends.0.ip());
    let (client_v4, gateway, longest) = (client.v4, client.v4_gateway, client.mtu.saturating_sub(len));
    let heard_at = if is_ours(client, ends.0.ip()) { ends.0.port() } else { TRANSPARENT };
    let cuts = links.get(port).is_some_and(|frames| frames.finishes_checksums());
    let cut = mss.filter(|_| cuts).map(|mss| mss.clamp(MIN_MSS, longest));
    let listener = core.listener(heard_at).ok_or(Count::NoListener)?;
    let backlog = core.table.listener_mut(listener).map_or(0, |listener| listener.backlog);
    if core.unaccepted(port, listener) >= backlog {
        return Err(Count::Backlog);
    }
    let mut setup = core.client_setup(port, ends.0).ok_or(Count::Quota)?;
    if cut.is_some() {
        // TCP makes long segments, of which it would wait for two before it acknowledges.
        setup.mtu = long_packet(len);
        setup.ack_at_once = true;
    }
    let tcp = Tcp::accept(&setup).ok_or(Count::Quota)?;
    let slot = core.add(port, ends, Owner::Opening(listener), tcp).ok_or(Count::Quota)?;
    if let Some(stream) = core.table.stream_mut(slot) {
        stream.names = (SocketAddrV4::new(gateway, heard_at), SocketAddrV4::new(client_v4, ends.1.port()));
        stream.cut = cut;
    }
    Ok(slot)
}

/// Whether an address is our own on a client's link.
fn is_ours(client: &Client, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == client.v4_gateway,
        IpAddr::V6(address) => client.v6_prefix.is_some_and(|prefix| address == gateway_v6(prefix)),
    }
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

/// A packet that carries neither TCP, UDP nor ICMP.
fn other_protocol<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    port: u8,
    frame: &[u8],
) -> Result<(), Count> {
    let (ethernet, body) = frame.split_first_chunk().ok_or(Count::Truncated)?;
    let ethernet = Ethernet::parse(ethernet);
    if ethernet.ethertype != ethernet::IPV4 {
        return v6::other_protocol(core, links, port, frame);
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
