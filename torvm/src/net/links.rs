//! The ports, and how a connection's packet gets into a frame.

use super::{
    counters::{Count, Counters},
    wire::Outlet,
};
use crate::frames::{Frames, PortFault};
use abi::link_device::MAX_PORTS;
use alloc::{boxed::Box, vec, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use link::{Csum, Gso, GsoKind, Meta};
use packet::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    tcp,
};

/// The port behind which the uplink is.
pub const UPLINK: u8 = 1;
/// Longest packet that is made to be cut: 22 full segments, an eighth of a link.
const LONG_PACKET: u16 = long_packet(40);
/// Room for the longest frame: 64 KiB of packet, and Ethernet.
pub(super) const FRAME_ROOM: usize = HEADER_LEN + 0x1_0000;

/// Headers of a segment without options, to an address.
pub(super) const fn headers(to: IpAddr) -> u16 {
    match to {
        IpAddr::V4(_) => 40,
        IpAddr::V6(_) => 60,
    }
}

/// The longest packet with so many bytes of headers that is made to be cut.
pub(super) const fn long_packet(headers: u16) -> u16 {
    headers + 22 * (1500 - headers)
}

/// All ports.
pub(super) struct Links<F> {
    ports: Vec<Option<F>>,
    scratch: Box<[u8]>,
    faults: heapless::Vec<(u8, PortFault), MAX_PORTS>,
}

/// Where a connection's packets go, and what they must look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The port.
    pub(super) port: u8,
    /// Ethernet's source.
    pub(super) source: Mac,
    /// Ethernet's destination; `None`: not known yet.
    pub(super) destination: Option<Mac>,
    /// Largest IP packet of the link.
    pub(super) mtu: u16,
    /// Payload of a segment that is cut out of a longer one; absent: nothing is longer than the link takes.
    pub(super) cut: Option<u16>,
    /// The connection's ends, ours first.
    pub(super) ends: (SocketAddr, SocketAddr),
}

impl<F: Frames> Links<F> {
    /// No port is there yet.
    pub(super) fn new() -> Self {
        Self {
            ports: (0..MAX_PORTS).map(|_| None).collect(),
            scratch: vec![0; FRAME_ROOM].into_boxed_slice(),
            faults: heapless::Vec::new(),
        }
    }

    /// Puts a link in place of what was there; `false`: there is no such port.
    pub(super) fn attach(&mut self, port: u8, frames: F) -> bool {
        let place = self.ports.get_mut(usize::from(port)).filter(|_| port >= UPLINK);
        place.map(|place| *place = Some(frames)).is_some()
    }

    /// Takes a link away.
    pub(super) fn detach(&mut self, port: u8) -> Option<F> {
        self.ports.get_mut(usize::from(port))?.take()
    }

    /// The link on a port.
    pub(super) fn get(&mut self, port: u8) -> Option<&mut F> {
        self.ports.get_mut(usize::from(port))?.as_mut()
    }

    /// Every link.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut F> {
        self.ports.iter_mut().flatten()
    }

    /// The next frame of a port. A link with a fault is taken away.
    pub(super) fn receive(&mut self, port: u8, buffer: &mut [u8]) -> Option<(Meta, usize)> {
        match self.get(port)?.receive(buffer) {
            Ok(received) => received,
            Err(fault) => {
                self.detach(port);
                // As many places as ports; whoever polls takes them out.
                let _ = self.faults.push((port, fault));
                None
            }
        }
    }

    /// A link that was found faulty.
    pub(super) fn take_fault(&mut self) -> Option<(u8, PortFault)> {
        self.faults.pop()
    }

    /// Sends a frame of our own, without metadata.
    pub(super) fn send_own(&mut self, port: u8, frame: &[u8]) -> Result<(), Count> {
        let sent = self.get(port).is_some_and(|frames| frames.send(&Meta::default(), frame));
        sent.then_some(()).ok_or(Count::LinkDown)
    }

    /// Sends the frame of our own that `write` writes; gives its length. `false`: it could not, or there is no room.
    pub(super) fn compose(&mut self, port: u8, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let Some(len) = write(&mut self.scratch) else { return false };
        let frames = self.ports.get_mut(usize::from(port)).and_then(Option::as_mut);
        match (frames, self.scratch.get(..len)) {
            (Some(frames), Some(frame)) => frames.send(&Meta::default(), frame),
            _ => false,
        }
    }

    /// Where the packets of a connection go.
    pub(super) fn outlet<'a>(&'a mut self, way: Way, counters: &'a mut Counters) -> Station<'a, F> {
        let frames = self.ports.get_mut(usize::from(way.port)).and_then(Option::as_mut);
        Station { frames, scratch: &mut self.scratch, way, counters, sent: 0, bytes: None }
    }
}

/// A port as a connection sees it.
pub(super) struct Station<'a, F> {
    frames: Option<&'a mut F>,
    scratch: &'a mut [u8],
    way: Way,
    counters: &'a mut Counters,
    /// Packets that left.
    pub(super) sent: u32,
    /// Sequence numbers of the bytes in the last one, its first and the one behind its last.
    pub(super) bytes: Option<(u32, u32)>,
}

impl<F: Frames> Outlet for Station<'_, F> {
    fn ready(&mut self) -> bool {
        let longest = if self.way.cut.is_some() { LONG_PACKET } else { self.way.mtu };
        let len = HEADER_LEN + usize::from(longest);
        self.way.destination.is_some() && self.frames.as_mut().is_some_and(|frames| frames.has_room(len))
    }

    fn send<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        // A packet has no more than 64 KiB, for which there is room.
        let Some(frame) = self.scratch.get_mut(..HEADER_LEN + len) else { return write(&mut vec![0; len]) };
        let (header, packet) = frame.split_at_mut(HEADER_LEN);
        let result = write(packet);
        let (Some(destination), Some(frames)) = (self.way.destination, self.frames.as_mut()) else {
            return result;
        };
        if !is_between(packet, self.way.ends) {
            self.counters.add(Count::Internal);
            return result;
        }
        clamp_mss(packet, self.way.mtu);
        let bytes = bytes(packet);
        let gso = self.way.cut.and_then(|size| cut(packet, size));
        let meta = match (frames.finishes_checksums(), gso) {
            (true, gso) => Meta { gso, ..leave_checksum(packet) },
            (false, None) => fill_checksum(packet),
            // The link was another when the connection began; its end will be noticed.
            (false, Some(_)) => return result,
        };
        let ethertype = if self.way.ends.0.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        let ethernet = Ethernet { destination, source: self.way.source, ethertype };
        for (to, from) in header.iter_mut().zip(ethernet.emit()) {
            *to = from;
        }
        if frames.send(&meta, frame) {
            self.sent += 1;
            self.bytes = bytes;
        }
        result
    }
}

/// Whether a packet is TCP from our end of a connection to the other. Nothing else ever leaves, whatever a mistake
/// elsewhere makes of it.
fn is_between(packet: &[u8], (ours, theirs): (SocketAddr, SocketAddr)) -> bool {
    let Some((addresses, protocol)) = network(packet) else { return false };
    let segment = packet.get(network_len(packet)..).and_then(<[u8]>::first_chunk);
    let ports = segment.map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
    protocol == ipv4::TCP
        && addresses == (ours.ip(), theirs.ip())
        && ports == Some((ours.port(), theirs.port()))
}

/// The addresses of a packet whose IP header is as we write it, and what the packet carries.
fn network(packet: &[u8]) -> Option<((IpAddr, IpAddr), u8)> {
    match packet.first()? {
        0x45 => {
            let ip = Ipv4::fields(packet.first_chunk()?);
            Some(((ip.source.into(), ip.destination.into()), ip.protocol))
        }
        0x60 => {
            let ip = Ipv6::fields(packet.first_chunk()?);
            Some(((ip.source.into(), ip.destination.into()), ip.next))
        }
        _ => None,
    }
}

/// Length of the IP header of such a packet.
fn network_len(packet: &[u8]) -> usize {
    if packet.first() == Some(&0x60) { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN }
}

/// The sequence numbers of a segment's bytes, if it has any.
fn bytes(packet: &[u8]) -> Option<(u32, u32)> {
    let at = network_len(packet);
    let header = packet.get(at..)?.first_chunk()?;
    let (tcp, len) = tcp::Tcp::fields(header);
    let payload = u32::try_from(packet.len().checked_sub(at + len)?).ok()?;
    (payload > 0).then_some((tcp.sequence, tcp.sequence.wrapping_add(payload)))
}

/// How a packet is to be cut into segments of `size` bytes; `None`: it is one.
fn cut(packet: &[u8], size: u16) -> Option<Gso> {
    let at = network_len(packet);
    let kind = if at == ipv4::HEADER_LEN { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let headers = at + usize::from(packet.get(at + 12)? >> 4) * 4;
    let header_len = u16::try_from(HEADER_LEN + headers).ok()?;
    (packet.len() > headers + usize::from(size)).then_some(Gso { kind, size, header_len })
}

/// In a first segment: says that we take no longer segments than the link does. TCP itself is told otherwise.
fn clamp_mss(packet: &mut [u8], mtu: u16) {
    let at = network_len(packet);
    let Some((header, options)) = packet.get_mut(at..).and_then(<[u8]>::split_first_chunk_mut) else {
        return;
    };
    let headers = if at == ipv4::HEADER_LEN { 40 } else { 60 };
    let (tcp, _) = tcp::Tcp::fields(header);
    // smoltcp writes this option first.
    if let ([2, 4, high, low, ..], true) = (options, tcp.flags & tcp::SYN != 0) {
        let size = u16::from_be_bytes([*high, *low]).min(mtu.saturating_sub(headers));
        [*high, *low] = size.to_be_bytes();
    }
}

/// The sum of the pseudo header of a TCP segment, and the segment.
fn segment(packet: &mut [u8]) -> Option<(Sum, &mut [u8])> {
    let (addresses, _) = network(packet)?;
    let segment = packet.get_mut(network_len(packet)..)?;
    let len = u32::try_from(segment.len()).ok()?;
    let sum = match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => pseudo_v4(source, destination, ipv4::TCP, len),
        (IpAddr::V6(source), IpAddr::V6(destination)) => pseudo_v6(source, destination, ipv4::TCP, len),
        _ => return None,
    };
    Some((sum, segment))
}

/// How we leave a checksum: behind Ethernet and IP without options.
const LEFT_V4: Csum = Csum::Partial { start: 34, offset: 16 };
const LEFT_V6: Csum = Csum::Partial { start: 54, offset: 16 };
const _: () = assert!(HEADER_LEN + ipv4::HEADER_LEN == 34 && tcp::CHECKSUM_AT == 16);
const _: () = assert!(HEADER_LEN + ipv6::HEADER_LEN == 54);

/// Writes the sum of the pseudo header, for who sends the frame on to complete.
fn leave_checksum(packet: &mut [u8]) -> Meta {
    let csum = if network_len(packet) == ipv4::HEADER_LEN { LEFT_V4 } else { LEFT_V6 };
    if let Some((pseudo, segment)) = segment(packet) {
        put(segment, pseudo.fold());
    }
    Meta { csum, ..Meta::default() }
}

/// Writes the checksum.
fn fill_checksum(packet: &mut [u8]) -> Meta {
    if let Some((pseudo, segment)) = segment(packet) {
        put(segment, 0);
        put(segment, pseudo.bytes(segment).finish());
    }
    Meta::default()
}

fn put(segment: &mut [u8], checksum: u16) {
    let field = segment.get_mut(tcp::CHECKSUM_AT..).and_then(<[u8]>::first_chunk_mut);
    if let Some(field) = field {
        *field = checksum.to_be_bytes();
    }
}
