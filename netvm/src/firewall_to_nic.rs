//! Frames in from the link, out on the wire: next hop, hardware addresses, offloads.

use crate::{
    address::{is_host_v4, is_reserved_v4, same_segment_v4, same_segment_v6},
    classify::Local,
    counters::{Counter, Counters},
    frames::MAX_FRAME,
    neighbours::Neighbours,
    nic::{Nic, Offload, TxError},
    nic_to_firewall::BURST,
    segment::{Plan, complete_checksum},
};
use alloc::{boxed::Box, vec};
use control::message::Uplink;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use link::{Csum, Doorbell, Kind, Link, MAX_PAYLOAD, Meta, PeerFault};
use packet::{
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
    ipv4::Ipv4,
    ipv6::Ipv6,
    rewrite,
};

/// What the outward way needs to know and to change.
pub(crate) struct Outward<'a> {
    pub(crate) local: &'a Local,
    pub(crate) uplink: &'a Uplink,
    pub(crate) neighbours: &'a mut Neighbours,
    pub(crate) counters: &'a mut Counters,
    pub(crate) now_us: u64,
}

/// The frame in hand. A card without room leaves it here, and firewallvm's frames stay in the link.
#[derive(Debug)]
pub(crate) struct ToNic {
    buffer: Box<[u8]>,
    scratch: Box<[u8]>,
    held: Option<Held>,
}

/// A frame that is ready, or partly gone.
#[derive(Clone, Copy, Debug)]
struct Held {
    len: usize,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// In one piece.
    Whole(Offload),
    /// Cut here; the next segment to go.
    Cut(Plan, usize),
}

impl ToNic {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; MAX_PAYLOAD].into_boxed_slice(),
            scratch: vec![0; MAX_FRAME].into_boxed_slice(),
            held: None,
        }
    }

    /// Moves one burst; returns how many frames the link had.
    ///
    /// # Errors
    /// The fault that ended the link.
    pub(crate) fn burst<N: Nic, B: Doorbell>(
        &mut self,
        link: &mut Link<B>,
        nic: &mut N,
        out: &mut Outward<'_>,
    ) -> Result<usize, PeerFault> {
        let mut seen = 0;
        while seen < BURST {
            if self.held.is_none() {
                let Some((meta, len)) = link.recv(&mut self.buffer)? else { break };
                seen += 1;
                match self.prepare(&meta, len, nic, out) {
                    Ok(held) => self.held = held,
                    Err(reason) => out.counters.count(reason),
                }
            }
            if !self.push(nic, out.counters) {
                break;
            }
        }
        link.release();
        nic.flush();
        Ok(seen)
    }

    /// Whether a frame waits for room at the card.
    pub(crate) fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Forgets the frame in hand.
    pub(crate) fn clear(&mut self) {
        self.held = None;
    }

    /// Finds out where the frame goes and how. `None` when it waits for its next hop.
    #[inline]
    fn prepare<N: Nic>(
        &mut self,
        meta: &Meta,
        len: usize,
        nic: &N,
        out: &mut Outward<'_>,
    ) -> Result<Option<Held>, Counter> {
        if meta.kind != Kind::Frame {
            return Err(Counter::BadFrame);
        }
        let frame = self.buffer.get_mut(..len).ok_or(Counter::BadFrame)?;
        let hop = next_hop(frame, out.uplink)?;
        let way = plan(frame, meta, nic)?;
        let Some(mac) = out.neighbours.resolve(hop, out.now_us) else {
            return match way {
                Way::Whole(offload) => out.neighbours.wait(hop, frame, offload).map(|()| None),
                Way::Cut(..) => Err(Counter::PendingFull),
            };
        };
        rewrite::macs(frame, mac, out.local.mac).ok_or(Counter::BadFrame)?;
        Ok(Some(Held { len, way }))
    }

    /// Gives the card what is in hand; `false` when it has no room for all of it.
    #[inline]
    fn push<N: Nic>(&mut self, nic: &mut N, counters: &mut Counters) -> bool {
        let Some(held) = &mut self.held else { return true };
        let frame = self.buffer.get(..held.len).unwrap_or(&[]);
        let sent = match &mut held.way {
            Way::Whole(offload) => nic.send(frame, *offload),
            Way::Cut(plan, next) => push_segments(nic, frame, (plan, next), &mut self.scratch),
        };
        match sent {
            Ok(()) => counters.count(Counter::ToNic),
            Err(TxError::Refused) => counters.count(Counter::NicRefused),
            Err(TxError::Full) => {
                // What was queued must leave before there can be room.
                nic.flush();
                return false;
            }
        }
        self.held = None;
        true
    }
}

/// Sends the segments from `next` on. Bounded by the packet's 64 KiB.
fn push_segments<N: Nic>(
    nic: &mut N,
    frame: &[u8],
    (plan, next): (&Plan, &mut usize),
    scratch: &mut [u8],
) -> Result<(), TxError> {
    while *next < plan.count {
        let len = plan.cut(frame, *next, scratch).ok_or(TxError::Refused)?;
        nic.send(scratch.get(..len).unwrap_or(&[]), Offload::None)?;
        *next += 1;
    }
    Ok(())
}

/// Sends what waited for hops that are known by now; returns whether anything was sent.
pub(crate) fn send_pending<N: Nic>(nic: &mut N, out: &mut Outward<'_>) -> bool {
    let mut sent = false;
    // Bounded by what can wait.
    while let Some((mac, mut pending)) = out.neighbours.take_ready() {
        let outcome = match rewrite::macs(&mut pending.frame, mac, out.local.mac) {
            Some(()) => match nic.send(&pending.frame, pending.offload) {
                Ok(()) => Counter::ToNic,
                Err(_) => Counter::NicRefused,
            },
            None => Counter::BadFrame,
        };
        out.counters.count(outcome);
        sent = true;
    }
    if sent {
        nic.flush();
    }
    sent
}

/// Decides who does checksum and segmentation.
#[inline]
fn plan<N: Nic>(frame: &mut [u8], meta: &Meta, nic: &N) -> Result<Way, Counter> {
    let (offloads, mtu) = (nic.offloads(), nic.mtu());
    if let Some(gso) = &meta.gso {
        let plan = Plan::new(frame, gso, mtu).ok_or(Counter::BadFrame)?;
        let by_card = offloads.tcp_segmentation && plan.is_plain_tcp();
        return Ok(if by_card { Way::Whole(Offload::Segment { size: gso.size }) } else { Way::Cut(plan, 0) });
    }
    if frame.len() > usize::from(mtu) + HEADER_LEN {
        return Err(Counter::TooLong);
    }
    match meta.csum {
        Csum::Partial { start, offset } if offloads.checksum => {
            Ok(Way::Whole(Offload::Checksum { start, offset }))
        }
        Csum::Partial { start, offset } => {
            complete_checksum(frame, start, offset).ok_or(Counter::BadFrame)?;
            Ok(Way::Whole(Offload::None))
        }
        Csum::None | Csum::Verified => Ok(Way::Whole(Offload::None)),
    }
}

/// Whom the frame is handed to on the segment.
#[inline]
fn next_hop(frame: &[u8], uplink: &Uplink) -> Result<IpAddr, Counter> {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().ok_or(Counter::BadFrame)?;
    match Ethernet::parse(header).ethertype {
        ethernet::IPV4 => {
            let ip = Ipv4::fields(body.first_chunk().ok_or(Counter::BadFrame)?);
            next_hop_v4(&ip, uplink).map(IpAddr::V4)
        }
        ethernet::IPV6 => {
            let ip = Ipv6::fields(body.first_chunk().ok_or(Counter::BadFrame)?);
            next_hop_v6(&ip, uplink).map(IpAddr::V6)
        }
        _ => Err(Counter::BadFrame),
    }
}

#[inline]
fn next_hop_v4(ip: &Ipv4, uplink: &Uplink) -> Result<Ipv4Addr, Counter> {
    let v4 = uplink.v4.as_ref().filter(|v4| v4.address == ip.source).ok_or(Counter::ForeignSource)?;
    let to = ip.destination;
    if !is_host_v4(to) || to == v4.address {
        return Err(Counter::Unroutable);
    }
    if !same_segment_v4(to, v4.address, v4.prefix) {
        return v4.gateway.ok_or(Counter::NoGateway);
    }
    if is_reserved_v4(to, v4.prefix) { Err(Counter::Unroutable) } else { Ok(to) }
}

#[inline]
fn next_hop_v6(ip: &Ipv6, uplink: &Uplink) -> Result<Ipv6Addr, Counter> {
    let v6 = uplink.v6.as_ref().filter(|v6| v6.address == ip.source).ok_or(Counter::ForeignSource)?;
    let to = ip.destination;
    if to.is_multicast()
        || to.is_unspecified()
        || to.is_loopback()
        || to.is_unicast_link_local()
        || to == v6.address
    {
        return Err(Counter::Unroutable);
    }
    if same_segment_v6(to, v6.address, v6.prefix) { Ok(to) } else { v6.gateway.ok_or(Counter::NoGateway) }
}

/// Sends one of netvm's own frames.
pub(crate) fn send_own<N: Nic>(nic: &mut N, frame: &[u8], counters: &mut Counters) {
    let outcome = if nic.send(frame, Offload::None).is_ok() { Counter::Own } else { Counter::OwnFull };
    counters.count(outcome);
}

/// An Ethernet header from us.
pub(crate) fn header(destination: Mac, source: Mac, ethertype: u16) -> [u8; HEADER_LEN] {
    Ethernet { destination, source, ethertype }.emit()
}
