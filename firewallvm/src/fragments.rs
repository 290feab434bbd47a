//! Puts datagrams together before they are judged: no fragment is ever forwarded.
//!
//! Every link has its own buffers, made when the link's client becomes known, so one sender's fragments cannot
//! take room from another's. Any overlap ends a datagram (RFC 5722), also in IPv4; a datagram has a bounded number
//! of fragments and a bounded time. The whole datagram is then judged like any other frame.

use crate::{
    decide::{Origin, Packet},
    verdict::{DropReason, Drops, Verdict},
};
use alloc::{boxed::Box, vec::Vec};
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::{
    checksum::Sum,
    ethernet,
    headers::{Fragment, Headers, Network},
    ipv4, ipv6,
};

/// Longest IPv4 packet, and longest payload of an IPv6 packet.
const LONGEST: usize = 65_535;
/// A buffer: Ethernet header and the longest packet.
const BUFFER: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + LONGEST;
/// One bit for every eight bytes of payload.
const BITS: usize = 65_536 / 8 / 64;
/// Fragments of one datagram at most: 64 KiB on a path with an MTU of 296, the smallest that RFC 1191 §7.1 names for
/// a link in use, has 241.
const MAX_FRAGMENTS: u16 = 256;
/// Seconds for the last fragment to come (RFC 8200 §4.5; RFC 1122 §3.3.2 for IPv4).
const TIMEOUT: u32 = 60;
/// Datagrams in the making from one client.
const PER_CLIENT: usize = 2;
/// Datagrams in the making from the uplink, which is everybody's.
const PER_UPLINK: usize = 8;
/// Links: those of the machine.
const LINKS: usize = crate::flows::PORTS;

/// Which datagram a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    V4(Ipv4Addr, Ipv4Addr, u32, u8),
    // RFC 8200 leaves the protocol out of the name.
    V6(Ipv6Addr, Ipv6Addr, u32),
}

/// A datagram in the making.
#[derive(Debug)]
struct Datagram {
    name: Option<Name>,
    /// Set by an overlap: what still comes is dropped until the time is over.
    dead: bool,
    expires: u32,
    count: u16,
    /// Bytes of payload, once the last fragment came.
    total: Option<usize>,
    /// Units of eight bytes that are there.
    units: usize,
    have: [u64; BITS],
    /// Where the payload starts in `buffer`.
    payload_at: usize,
    buffer: Box<[u8]>,
}

/// The buffers of every link.
#[derive(Debug)]
pub struct Fragments {
    links: [Vec<Datagram>; LINKS],
    /// Datagrams in the making, everywhere.
    busy: u32,
}

impl Fragments {
    /// No buffers: fragments are dropped until [`Self::open_client`] or [`Self::open_uplink`].
    #[must_use]
    pub const fn new() -> Self {
        Self { links: [const { Vec::new() }; LINKS], busy: 0 }
    }

    /// Makes the buffers of a client's link. Without memory for them its fragments are dropped.
    pub fn open_client(&mut self, link: u8) {
        self.open(link, PER_CLIENT);
    }

    /// Makes the buffers of the uplink.
    pub fn open_uplink(&mut self, link: u8) {
        self.open(link, PER_UPLINK);
    }

    fn open(&mut self, link: u8, count: usize) {
        let Some(datagrams) = self.links.get_mut(usize::from(link)) else { return };
        while datagrams.len() < count {
            let mut buffer = Vec::new();
            if buffer.try_reserve_exact(BUFFER).is_err() || datagrams.try_reserve(1).is_err() {
                return;
            }
            buffer.resize(BUFFER, 0);
            datagrams.push(Datagram::new(buffer.into_boxed_slice()));
        }
    }

    /// Gives the buffers of a link back.
    pub fn close(&mut self, link: u8) {
        if let Some(datagrams) = self.links.get_mut(usize::from(link)) {
            let busy = datagrams.iter().filter(|datagram| datagram.name.is_some()).count();
            self.busy -= u32::try_from(busy).unwrap_or(0);
            *datagrams = Vec::new();
        }
    }

    /// Takes a fragment of the packet in; its sender's address was checked.
    pub fn add(&mut self, link: u8, packet: &Packet<'_>, fragment: &Fragment, now: u32) -> Verdict {
        let Packet { frame, headers, .. } = packet;
        let name = match headers.network {
            Network::V4(ip) => {
                Name::V4(ip.source, ip.destination, fragment.identification, fragment.protocol)
            }
            Network::V6(ip) => Name::V6(ip.source, ip.destination, fragment.identification),
        };
        // What was put together holds no further fragments.
        if packet.origin == Origin::Pieces {
            return DropReason::FragmentShape.into();
        }
        let Some(datagrams) = self.links.get_mut(usize::from(link)) else {
            return DropReason::FragmentQuota.into();
        };
        let Some(place) = place(datagrams, name) else { return DropReason::FragmentQuota.into() };
        let Some(datagram) = datagrams.get_mut(place) else { return DropReason::Internal.into() };
        if datagram.name != Some(name) {
            self.busy += u32::from(datagram.name.is_none());
            datagram.begin(name, now);
        }
        match datagram.add(frame, headers, fragment) {
            Ok(true) => Verdict::Complete,
            Ok(false) => Verdict::Absorbed,
            Err(reason) => {
                datagram.dead = true;
                reason.into()
            }
        }
    }

    /// Hands out the frame of a datagram that [`Self::add`] called complete: its buffer and the frame's length. The
    /// buffer is free for the next datagram at the next call of [`Self::add`].
    pub fn take(&mut self, link: u8) -> Option<(&mut [u8], usize)> {
        let datagrams = self.links.get_mut(usize::from(link))?;
        let datagram = datagrams.iter_mut().find(|datagram| datagram.is_complete())?;
        datagram.name = None;
        self.busy -= 1;
        let len = datagram.finish()?;
        Some((&mut datagram.buffer, len))
    }

    /// Gives up datagrams whose time is over.
    pub fn expire(&mut self, now: u32, drops: &mut Drops) {
        if self.busy == 0 {
            return;
        }
        for datagram in self.links.iter_mut().flatten() {
            if datagram.name.is_some() && datagram.expires <= now {
                datagram.name = None;
                self.busy -= 1;
                if !datagram.dead {
                    drops.count(DropReason::FragmentTimeout);
                }
            }
        }
    }

    /// When the next one is given up.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u32> {
        if self.busy == 0 {
            return None;
        }
        self.links
            .iter()
            .flatten()
            .filter(|datagram| datagram.name.is_some())
            .map(|datagram| datagram.expires)
            .min()
    }
}

/// Where a datagram is or may begin. One that an overlap ended yields its buffer to the next if no other is free:
/// who sends such does not lock out what follows.
fn place(datagrams: &[Datagram], name: Name) -> Option<usize> {
    let find = |wanted: &dyn Fn(&Datagram) -> bool| datagrams.iter().position(wanted);
    find(&|datagram| datagram.name == Some(name))
        .or_else(|| find(&|datagram| datagram.name.is_none()))
        .or_else(|| find(&|datagram| datagram.dead))
}

impl Default for Fragments {
    fn default() -> Self {
        Self::new()
    }
}

impl Datagram {
    fn new(buffer: Box<[u8]>) -> Self {
        Self {
            name: None,
            dead: false,
            expires: 0,
            count: 0,
            total: None,
            units: 0,
            have: [0; BITS],
            payload_at: 0,
            buffer,
        }
    }

    fn begin(&mut self, name: Name, now: u32) {
        let payload_at = ethernet::HEADER_LEN
            + match name {
                Name::V4(..) => ipv4::HEADER_LEN,
                Name::V6(..) => ipv6::HEADER_LEN,
            };
        (self.name, self.dead, self.expires, self.payload_at) =
            (Some(name), false, now.saturating_add(TIMEOUT), payload_at);
        (self.count, self.total, self.units, self.have) = (0, None, 0, [0; BITS]);
    }

    /// Longest payload, by what the length field of the whole datagram can say.
    const fn longest(&self) -> usize {
        match self.name {
            Some(Name::V4(..)) => LONGEST - ipv4::HEADER_LEN,
            _ => LONGEST,
        }
    }

    /// Whether every byte is there.
    fn is_complete(&self) -> bool {
        self.name.is_some() && !self.dead && self.total.is_some_and(|total| self.units == total.div_ceil(8))
    }

    /// Takes a fragment in; `true` when it was the last one missing.
    fn add(&mut self, frame: &[u8], headers: &Headers, fragment: &Fragment) -> Result<bool, DropReason> {
        if self.dead {
            return Err(DropReason::FragmentOverlap);
        }
        self.count += 1;
        if self.count > MAX_FRAGMENTS {
            return Err(DropReason::FragmentCount);
        }
        let payload = frame.get(headers.transport_at..headers.end).ok_or(DropReason::Internal)?;
        let offset = usize::from(fragment.offset);
        let end = offset + payload.len();
        if end > self.longest() {
            return Err(DropReason::FragmentShape);
        }
        if !fragment.more && self.total.replace(end).is_some_and(|total| total != end) {
            return Err(DropReason::FragmentOverlap);
        }
        // Nothing may lie beyond the end, whichever came first.
        if self.total.is_some_and(|total| end > total || self.reaches_beyond(total)) {
            return Err(DropReason::FragmentOverlap);
        }
        self.mark(offset / 8, end.div_ceil(8))?;
        let at = self.payload_at + offset;
        let room = self.buffer.get_mut(at..at + payload.len()).ok_or(DropReason::FragmentShape)?;
        room.copy_from_slice(payload);
        if offset == 0 {
            self.keep_headers(frame, headers, fragment)?;
        }
        Ok(self.is_complete())
    }

    /// Whether a unit at or beyond `total` bytes is already there.
    fn reaches_beyond(&self, total: usize) -> bool {
        let first = total.div_ceil(8);
        self.have.iter().enumerate().skip(first / 64).any(|(word, bits)| {
            let kept = if word == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
            bits & kept != 0
        })
    }

    /// Marks units as there; an overlap if one already was.
    fn mark(&mut self, from: usize, to: usize) -> Result<(), DropReason> {
        for (word, bits) in self.have.iter_mut().enumerate().take(to.div_ceil(64)).skip(from / 64) {
            let low = from.saturating_sub(word * 64).min(64);
            let high = (to - word * 64).min(64);
            let mask = ones(high) & !ones(low);
            if *bits & mask != 0 {
                return Err(DropReason::FragmentOverlap);
            }
            *bits |= mask;
        }
        self.units += to - from;
        Ok(())
    }

    /// Keeps the first fragment's headers for the whole datagram, the fragment's marks taken away.
    fn keep_headers(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        fragment: &Fragment,
    ) -> Result<(), DropReason> {
        // Headers before the fragment header apply to every fragment alone; nobody needs them.
        let plain = match headers.network {
            Network::V4(_) => true,
            Network::V6(ip) => ip.next == ipv6::FRAGMENT,
        };
        if !plain {
            return Err(DropReason::ExtensionHeader);
        }
        if matches!(headers.network, Network::V6(_)) {
            let payload = frame.get(headers.transport_at..headers.end).ok_or(DropReason::Internal)?;
            has_whole_chain(fragment.protocol, payload)?;
        }
        let kept = frame.get(..self.payload_at).ok_or(DropReason::Internal)?;
        self.buffer.get_mut(..self.payload_at).ok_or(DropReason::Internal)?.copy_from_slice(kept);
        let ip = self.buffer.get_mut(ethernet::HEADER_LEN..).ok_or(DropReason::Internal)?;
        match headers.network {
            Network::V4(_) => {
                let header: &mut [u8; ipv4::HEADER_LEN] = ip.first_chunk_mut().ok_or(DropReason::Internal)?;
                // May be fragmented again; no more fragments; offset 0.
                [header[6], header[7]] = [0, 0];
            }
            Network::V6(_) => {
                let header: &mut [u8; ipv6::HEADER_LEN] = ip.first_chunk_mut().ok_or(DropReason::Internal)?;
                header[6] = fragment.protocol;
            }
        }
        Ok(())
    }

    /// Writes the lengths of the whole datagram; gives the frame's length.
    fn finish(&mut self) -> Option<usize> {
        let total = self.total?;
        let end = self.payload_at + total;
        let ip = self.buffer.get_mut(ethernet::HEADER_LEN..end)?;
        if self.payload_at == ethernet::HEADER_LEN + ipv4::HEADER_LEN {
            let header: &mut [u8; ipv4::HEADER_LEN] = ip.first_chunk_mut()?;
            [header[2], header[3]] = u16::try_from(total + ipv4::HEADER_LEN).ok()?.to_be_bytes();
            [header[10], header[11]] = [0, 0];
            [header[10], header[11]] = Sum::new().bytes(header).finish().to_be_bytes();
        } else {
            let header: &mut [u8; ipv6::HEADER_LEN] = ip.first_chunk_mut()?;
            [header[4], header[5]] = u16::try_from(total).ok()?.to_be_bytes();
        }
        Some(end)
    }
}

/// The first fragment holds all headers up to the transport's (RFC 7112 §5).
fn has_whole_chain(next: u8, payload: &[u8]) -> Result<(), DropReason> {
    let chain = ipv6::walk(next, payload)?;
    let transport = match chain.protocol {
        ipv4::TCP => packet::tcp::HEADER_LEN,
        ipv4::UDP => packet::udp::HEADER_LEN,
        ipv6::ICMPV6 => packet::icmpv6::HEADER_LEN,
        _ => 0,
    };
    if payload.len() < chain.len + transport { Err(DropReason::ExtensionHeader) } else { Ok(()) }
}

/// A word whose lowest `count` bits (up to 64) are set.
const fn ones(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}
