//! Takes a frame from the uplink: segments of the program's connections, and what the gateway says about addresses. The
//! rest gets no answer, so that nothing out there learns what is here.

use super::{
    arrival,
    counters::Count,
    links::{Links, UPLINK},
    state::{Core, Reset},
    stream::Owner,
    table::Key,
    tcp::State,
};
use crate::{errno::Errno, frames::Frames};
use core::net::SocketAddr;
use link::Meta;
use packet::{
    arp::Arp,
    ethernet::{HEADER_LEN, Mac},
    headers::{Frame, Headers, Network, Transport, parse},
    icmp::{self, Icmp},
    ipv4::{Ipv4, TCP},
    quoted, rewrite,
    tcp::RST,
};

/// Smallest path MTU that is believed (RFC 1191 §7.1 has none below what every host takes).
const MIN_MTU: u16 = 576;

/// Deals with one frame.
///
/// # Errors
/// The counter of what it was not taken for.
pub(super) fn take<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    meta: &Meta,
    frame: &[u8],
) -> Result<(), Count> {
    arrival::check_kind(meta)?;
    let mac = core.uplink.as_ref().ok_or(Count::UplinkStray)?.mac;
    match parse(frame)? {
        Frame::Arp(ethernet, body) => take_arp(core, links, ethernet.source, &body),
        Frame::Ip(headers) if headers.ethernet.destination == mac => ip(core, links, meta, frame, &headers),
        Frame::Ip(_) => Err(Count::UplinkStray),
    }
}

fn take_arp<F: Frames>(core: &mut Core, links: &mut Links<F>, source: Mac, body: &Arp) -> Result<(), Count> {
    let uplink = core.uplink.as_mut().ok_or(Count::UplinkStray)?;
    if body.sender_mac != source {
        return Err(Count::Arp);
    }
    match uplink.hear(body) {
        Some(reply) => links.send_own(UPLINK, &reply.emit(body.sender_mac)),
        None => Ok(()),
    }
}

fn ip<F: Frames>(
    core: &mut Core,
    links: &mut Links<F>,
    meta: &Meta,
    frame: &[u8],
    headers: &Headers,
) -> Result<(), Count> {
    let address = core.uplink.as_ref().ok_or(Count::UplinkStray)?.address;
    let Network::V4(ip) = headers.network else { return Err(Count::UplinkStray) };
    if ip.destination != address {
        return Err(Count::UplinkStray);
    }
    match headers.transport {
        Transport::Tcp(tcp) => {
            arrival::check_transport(meta, frame, headers)?;
            let local = SocketAddr::new(ip.destination.into(), tcp.destination_port);
            let peer = SocketAddr::new(ip.source.into(), tcp.source_port);
            let slot = core.table.find(&Key::new(UPLINK, local, peer)).ok_or(Count::UplinkStray)?;
            let reset = if tcp.flags & RST == 0 { Reset::No } else { Reset::Yes };
            let packet = frame.get(HEADER_LEN..headers.end).ok_or(Count::Internal)?;
            super::feed(core, links, slot, packet, reset);
            Ok(())
        }
        Transport::Icmp(message) => error(core, frame, headers, (&ip, &message)),
        _ => Err(Count::UplinkStray),
    }
}

/// An ICMP error: it ends a connection that was not answered yet, and shortens packets. It is believed no further (RFC
/// 5927).
fn error(
    core: &mut Core,
    frame: &[u8],
    headers: &Headers,
    (ip, message): (&Ipv4, &Icmp),
) -> Result<(), Count> {
    if message.kind != icmp::UNREACHABLE || !rewrite::icmp_is_valid(frame, headers) {
        return Err(Count::UplinkStray);
    }
    let quoted = frame.get(headers.payload_at..headers.end).and_then(|bytes| quoted::parse_v4(bytes).ok());
    let quoted =
        quoted.filter(|q| q.source == ip.destination && q.protocol == TCP).ok_or(Count::UplinkStray)?;
    let local = SocketAddr::new(quoted.source.into(), quoted.source_port);
    let peer = SocketAddr::new(quoted.destination.into(), quoted.destination_port);
    let slot = core.table.find(&Key::new(UPLINK, local, peer)).ok_or(Count::UplinkStray)?;
    let stream = core.table.stream_mut(slot).ok_or(Count::Internal)?;
    if message.code == icmp::CODE_FRAGMENTATION_NEEDED {
        if let Some(tcp) = stream.tcp.as_mut().filter(|_| message.sequence >= MIN_MTU) {
            tcp.set_mtu(message.sequence);
        }
        core.list(slot);
        return Ok(());
    }
    if stream.state() != State::SynSent || stream.owner != Owner::Program {
        return Err(Count::UplinkStray);
    }
    // `icmp_err_convert` of Linux, as far as it matters.
    stream.fail(match message.code {
        0 | 6 | 11 => Errno::NETUNREACH,
        3 => Errno::CONNREFUSED,
        _ => Errno::HOSTUNREACH,
    });
    core.counters.add(Count::PeerReset);
    core.settle(slot, super::stream::Event::Gone);
    Ok(())
}
