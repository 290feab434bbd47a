//! TCP: connections that the gateway opened, to a relay's address and port, beginning with TLS.

use super::{Cable, Way};
use pnet_packet::Packet;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::tcp::{self, TcpFlags, TcpPacket};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Length of a header without options.
const HEADER: usize = 20;
/// A TLS handshake record of any version: how every connection to a relay begins.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];
/// Options apart from those of a SYN: end, nothing, selective acknowledgements.
const LATER_OPTIONS: [u8; 3] = [0, 1, 5];

/// Source and destination of a packet.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    from: Ipv4Addr,
    to: Ipv4Addr,
}

impl Ends {
    pub(super) fn of(packet: &Ipv4Packet<'_>) -> Self {
        Self { from: packet.get_source(), to: packet.get_destination() }
    }
}

/// The connections that were opened so far.
#[derive(Default)]
pub(super) struct Connections {
    /// Our port and the relay → our first sequence number.
    open: BTreeMap<(u16, SocketAddrV4), u32>,
    count: usize,
}

impl Connections {
    pub(super) fn opened(&self) -> usize {
        self.count
    }
}

/// Explains a segment by the relay at its other end.
pub(super) fn explain(
    cable: &Cable,
    way: Way,
    ends: Ends,
    bytes: &[u8],
    connections: &mut Connections,
) -> Result<SocketAddrV4, String> {
    let segment = TcpPacket::new(bytes).ok_or("TCP header cut short")?;
    let begin = usize::from(segment.get_data_offset()) * 4;
    if begin < HEADER || bytes.len() < begin {
        return Err(format!("TCP header of {begin} bytes in {}", bytes.len()));
    }
    // Zero has two forms (RFC 1071 §1), and network cards write either.
    if segment.get_checksum() % 0xffff != tcp::ipv4_checksum(&segment, &ends.from, &ends.to) % 0xffff {
        return Err("wrong TCP checksum".to_owned());
    }
    let (from, to) = (segment.get_source(), segment.get_destination());
    let (own, own_port, relay) = match way {
        Way::Out => (ends.from, from, SocketAddrV4::new(ends.to, to)),
        Way::In => (ends.to, to, SocketAddrV4::new(ends.from, from)),
    };
    let flags = segment.get_flags();
    let named = format!("TCP [{}] from {}:{from} to {}:{to}", letters(flags), ends.from, ends.to);
    if own != cable.address {
        return Err(format!("{named}: not the card's address"));
    }
    if !cable.relays.contains(&relay) {
        return Err(format!("{named}: not a relay"));
    }
    if segment.get_reserved() != 0 || segment.get_urgent_ptr() != 0 || !is_sound(way, flags) {
        return Err(format!("{named}: strange flags"));
    }
    let key = (own_port, relay);
    if way == Way::Out {
        options(cable, flags, &bytes[HEADER..begin]).map_err(|why| format!("{named}: {why}"))?;
        if flags == TcpFlags::SYN {
            if bytes.len() != begin {
                return Err(format!("{named}: a SYN with data"));
            }
            if connections.open.insert(key, segment.get_sequence()) != Some(segment.get_sequence()) {
                connections.count += 1;
            }
            return Ok(relay);
        }
    }
    let first =
        connections.open.get(&key).ok_or_else(|| format!("{named}: nobody opened this connection"))?;
    let at_begin = segment.get_sequence() == first.wrapping_add(1);
    if way == Way::Out && at_begin && bytes.len() > begin && !segment.payload().starts_with(&TLS_HANDSHAKE) {
        return Err(format!("{named}: does not begin with a TLS handshake"));
    }
    Ok(relay)
}

/// Whether these flags occur together in a connection that we opened.
fn is_sound(way: Way, flags: u8) -> bool {
    let push = flags & !TcpFlags::PSH;
    let plain = push == TcpFlags::ACK
        || push == TcpFlags::FIN | TcpFlags::ACK
        || flags == TcpFlags::RST
        || flags == TcpFlags::RST | TcpFlags::ACK;
    match way {
        Way::Out => plain || flags == TcpFlags::SYN,
        Way::In => plain || flags == TcpFlags::SYN | TcpFlags::ACK,
    }
}

/// The kinds of the options: those of the gateway's stack, and never a timestamp.
fn options(cable: &Cable, flags: u8, mut options: &[u8]) -> Result<(), String> {
    let mut kinds = Vec::new();
    while let [kind, rest @ ..] = options {
        kinds.push(*kind);
        options = match *kind {
            0 if rest.iter().all(|byte| *byte == 0) => &[],
            1 => rest,
            0 => return Err("bytes behind the last option".to_owned()),
            _ => {
                let length = rest.first().map_or(0, |length| usize::from(*length));
                options
                    .get(length..)
                    .filter(|_| fits(*kind, length))
                    .ok_or("a TCP option of a strange length")?
            }
        };
    }
    let ours = if flags == TcpFlags::SYN {
        kinds == cable.syn_options
    } else {
        kinds.iter().all(|kind| LATER_OPTIONS.contains(kind))
    };
    if ours { Ok(()) } else { Err(format!("TCP options of another stack: {kinds:?}")) }
}

/// Whether an option of this kind is as long as it can be.
fn fits(kind: u8, length: usize) -> bool {
    match kind {
        2 => length == 4,
        3 => length == 3,
        4 => length == 2,
        5 => length > 2 && length % 8 == 2,
        _ => length >= 2,
    }
}

fn letters(flags: u8) -> String {
    let names = ["F", "S", "R", "P", "A", "U", "E", "C"];
    names.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, name)| *name).collect()
}
