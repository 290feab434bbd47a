//! Writes a planned translation into a frame, and sends what is longer than a link takes in pieces.

use crate::{
    offload::Offload,
    ports::Ports,
    verdict::{DropReason, Translation},
};
use core::net::Ipv4Addr;
use link::{Doorbell, Meta};
use packet::{
    ethernet::{HEADER_LEN, Mac},
    headers::{Headers, Network},
    ipv4::{self, Ipv4},
    ipv6, plain, quoted,
    rewrite::{self, Endpoints, Field},
};

/// Whom a frame goes to.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    /// Port of the link device.
    pub port: u8,
    /// Hardware address.
    pub mac: Mac,
    /// Longest IP packet on the link.
    pub mtu: u16,
    /// Names the pieces, if it comes to that.
    pub identification: u32,
}

/// A frame that leaves.
#[derive(Debug)]
pub struct Leaving<'f> {
    /// The frame as it came.
    pub frame: &'f mut [u8],
    /// Its headers as they came.
    pub headers: &'f Headers,
    /// Its metadata, checked.
    pub offload: Offload,
    /// Whether it is TCP or UDP over IPv4, and the frame long enough to be rewritten as a plain packet.
    pub plain: bool,
}

/// Translates a frame and stages it for its receiver.
///
/// # Errors
/// Why it could not be.
#[inline]
pub fn send<D: Doorbell>(
    ports: &mut Ports<D>,
    leaving: &mut Leaving<'_>,
    to: &Receiver,
    translation: &Translation,
) -> Result<(), DropReason> {
    if let (true, Translation::V4(ends)) = (leaving.plain, translation)
        && leaving.headers.ip_len() <= usize::from(to.mtu)
    {
        return send_plain(ports, leaving, to, ends);
    }
    let Leaving { frame, headers, offload, .. } = leaving;
    write(frame, headers, offload.field, translation).ok_or(DropReason::Internal)?;
    rewrite::macs(frame, to.mac, first_hop::address::OUR_MAC).ok_or(DropReason::Internal)?;
    if offload.segment.is_none() && headers.ip_len() > usize::from(to.mtu) {
        return send_pieces(ports, leaving, to);
    }
    let packet = frame.get(..headers.end).ok_or(DropReason::Internal)?;
    ports.send(to.port, &offload.meta(headers), &[packet])
}

/// The same for such a packet that fits the link.
#[inline]
fn send_plain<D: Doorbell>(
    ports: &mut Ports<D>,
    leaving: &mut Leaving<'_>,
    to: &Receiver,
    ends: &Endpoints<Ipv4Addr>,
) -> Result<(), DropReason> {
    let Leaving { frame, headers, offload, .. } = leaving;
    let head = frame.first_chunk_mut().ok_or(DropReason::Internal)?;
    plain::rewrite(head, (&to.mac, &first_hop::address::OUR_MAC), plain::Ends::of(ends), offload.field);
    let packet = frame.get(..headers.end).ok_or(DropReason::Internal)?;
    if *offload == Offload::NONE {
        return ports.send_plain(to.port, packet);
    }
    ports.send(to.port, &offload.meta(headers), &[packet])
}

/// Writes the translation.
#[inline]
fn write(frame: &mut [u8], headers: &Headers, field: Field, translation: &Translation) -> Option<()> {
    match translation {
        Translation::V4(to) => rewrite::v4(frame, headers, to, field),
        Translation::V6(to) => rewrite::v6(frame, headers, to, field),
        Translation::Error4(outer, inner) => {
            let quoted = quoted::parse_v4(frame.get(headers.payload_at..headers.end)?).ok()?;
            rewrite::error_v4(frame, headers, *outer, &quoted, inner)
        }
        Translation::Error6(outer, inner) => {
            let quoted = quoted::parse_v6(frame.get(headers.payload_at..headers.end)?).ok()?;
            rewrite::error_v6(frame, headers, *outer, &quoted, inner)
        }
    }
}

/// Sends a translated packet in pieces (RFC 791 §3.2, RFC 8200 §4.5); that it may be cut was decided before.
#[cold]
#[inline(never)]
fn send_pieces<D: Doorbell>(
    ports: &mut Ports<D>,
    leaving: &mut Leaving<'_>,
    to: &Receiver,
) -> Result<(), DropReason> {
    let headers = leaving.headers;
    if leaving.offload.field == Field::Partial {
        rewrite::complete(leaving.frame, headers).ok_or(DropReason::Internal)?;
    }
    let frame = leaving.frame.get(..headers.end).ok_or(DropReason::Internal)?;
    let (ethernet, packet) = frame.split_at_checked(HEADER_LEN).ok_or(DropReason::Internal)?;
    match headers.network {
        Network::V4(_) => pieces_v4(ports, ethernet, packet, to),
        Network::V6(_) => pieces_v6(ports, ethernet, packet, to),
    }
}

fn pieces_v4<D: Doorbell>(
    ports: &mut Ports<D>,
    ethernet: &[u8],
    packet: &[u8],
    to: &Receiver,
) -> Result<(), DropReason> {
    let (header, payload) = packet.split_first_chunk().ok_or(DropReason::Internal)?;
    let whole = Ipv4::fields(header);
    let size = (usize::from(to.mtu) - ipv4::HEADER_LEN) & !7;
    let count = payload.len().div_ceil(size);
    for (number, piece) in payload.chunks(size).enumerate() {
        let header = Ipv4 {
            total_len: u16::try_from(ipv4::HEADER_LEN + piece.len()).map_err(|_| DropReason::TooBig)?,
            more_fragments: number + 1 < count,
            fragment_offset: u16::try_from(number * size).map_err(|_| DropReason::TooBig)?,
            identification: (to.identification & 0xFFFF) as u16,
            ..whole
        };
        ports.send(to.port, &Meta::default(), &[ethernet, &header.emit(), piece])?;
    }
    Ok(())
}

fn pieces_v6<D: Doorbell>(
    ports: &mut Ports<D>,
    ethernet: &[u8],
    packet: &[u8],
    to: &Receiver,
) -> Result<(), DropReason> {
    const HEADERS: usize = ipv6::HEADER_LEN + ipv6::FRAGMENT_HEADER_LEN;
    let (header, payload) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>().ok_or(DropReason::Internal)?;
    let size = (usize::from(to.mtu) - HEADERS) & !7;
    let count = payload.len().div_ceil(size);
    for (number, piece) in payload.chunks(size).enumerate() {
        let mut header = *header;
        let next = core::mem::replace(&mut header[6], ipv6::FRAGMENT);
        let len = u16::try_from(ipv6::FRAGMENT_HEADER_LEN + piece.len()).map_err(|_| DropReason::TooBig)?;
        [header[4], header[5]] = len.to_be_bytes();
        let offset = u16::try_from(number * size).map_err(|_| DropReason::TooBig)?;
        let [o0, o1] = (offset | u16::from(number + 1 < count)).to_be_bytes();
        let [i0, i1, i2, i3] = to.identification.to_be_bytes();
        let fragment = [next, 0, o0, o1, i0, i1, i2, i3];
        ports.send(to.port, &Meta::default(), &[ethernet, &header, &fragment, piece])?;
    }
    Ok(())
}
