//! The loop: takes bursts of frames from every link, has them judged, carries the verdicts out.
//!
//! A burst is received as a whole, parsed as a whole and looked up as a whole before the first verdict, so that the
//! cache misses of its packets overlap. Frames of clients are taken only while the uplink has room for the longest
//! one: a client that sends more than the uplink takes is slowed down by its own full link. Towards clients there
//! is no such brake, as one that does not read must not hold up the others: what finds a client's link full is
//! dropped and counted.

use crate::{
    answer,
    control_plane::{self, Asked},
    decide::{self, Origin, Packet, Tuple},
    flows::{PORTS, tcp::Direction},
    from_client, from_net, nd,
    offload::Offload,
    ports::Ports,
    resets,
    state::{Core, Setup, SetupError},
    to_client, to_net,
    translate::Leaving,
    verdict::{Answer, DropReason, Verdict},
};
use abi::link_device::Role;
use alloc::{boxed::Box, vec::Vec};
use control::message::FromDomain;
use core::net::{Ipv4Addr, Ipv6Addr};
use link::{Armed, Doorbell, Kind, Link, MAX_PAYLOAD, Meta};
use packet::{
    Fault,
    headers::{self, Frame, Headers, Network},
    ndp,
};

/// Frames in a burst at most.
pub const BURST: usize = 32;
/// Bytes after which a burst is complete; one longest frame fits behind.
const BURST_BYTES: usize = 48 * 1024;
/// Where frames start: on a cache line.
const ALIGN: usize = 64;
/// Microseconds without work for which the loop stays awake: about what going to sleep and waking up costs.
const LINGER_US: u64 = 8;

/// What to do after [`Firewall::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again at once.
    Busy,
    /// Every doorbell is armed: call again when one rings, or at this time (microseconds) if there is one.
    Idle {
        /// When something will be due.
        until_us: Option<u64>,
    },
    /// dom0 asked for an orderly end.
    Stop,
}

/// A received record.
#[derive(Clone, Copy, Debug)]
struct Received {
    start: usize,
    len: usize,
    meta: Meta,
    kind: Result<headers::Kind, Fault>,
    headers: Headers,
    hash: Option<u64>,
    hint: Option<u32>,
}

impl Received {
    /// A place that nothing was received into.
    const NOTHING: Self = Self {
        start: 0,
        len: 0,
        meta: Meta::MESSAGE,
        kind: Err(Fault::Truncated),
        headers: Headers::NONE,
        hash: None,
        hint: None,
    };
}

/// The firewall with its links.
#[derive(Debug)]
pub struct Firewall<D> {
    core: Core,
    ports: Ports<D>,
    arena: Box<[u8]>,
    /// The burst in hand, as far as `received` says.
    burst: Box<[Received]>,
    received: usize,
    /// What was read only to have its cache line; means nothing.
    touched: u64,
    out: Box<[u8; answer::ROOM]>,
    /// The port that is served first in the next round.
    first: u8,
    /// Ports whose client is to be sent a router advertisement.
    advertise: u32,
    next_advertisement_us: u64,
    last_work_us: u64,
    stop: bool,
}

impl<D: Doorbell> Firewall<D> {
    /// A firewall without links.
    ///
    /// # Errors
    /// [`SetupError::OutOfMemory`].
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        Ok(Self {
            core: Core::new(setup)?,
            ports: Ports::new(),
            arena: filled(BURST_BYTES + MAX_PAYLOAD + ALIGN, 0).ok_or(SetupError::OutOfMemory)?,
            burst: filled(BURST, Received::NOTHING).ok_or(SetupError::OutOfMemory)?,
            received: 0,
            touched: 0,
            out: Box::new([0; answer::ROOM]),
            first: 0,
            advertise: 0,
            next_advertisement_us: nd::INTERVAL_US,
            last_work_us: 0,
            stop: false,
        })
    }

    /// The state, for whoever wants to look.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// Puts a link in place. Nothing else is forgotten: flows outlive the uplink's link and a client's.
    pub fn attach(&mut self, port: u8, role: Role, link: Link<D>) {
        if !self.ports.attach(port, role, link) {
            return;
        }
        match role {
            Role::Dom0 => {
                let name = |text: &str| text.try_into().unwrap_or_default();
                let hello =
                    FromDomain::Hello { kind: name("firewallvm"), version: name(env!("CARGO_PKG_VERSION")) };
                control_plane::tell(&mut self.ports, port, &hello);
            }
            Role::Upstream => self.core.fragments.open_uplink(port),
            Role::Downstream => self.advertise |= 1 << (port % 32),
        }
        self.ports.publish();
    }

    /// Takes a link away. Flows stay.
    pub fn detach(&mut self, port: u8) {
        self.ports.detach(port);
    }

    /// Serves every link once.
    pub fn poll(&mut self, now_us: u64) -> Next {
        self.core.set_time(now_us);
        let mut worked = false;
        for turn in 0..PORTS {
            let port = (usize::from(self.first) + turn) % PORTS;
            worked |= u8::try_from(port).is_ok_and(|port| self.serve(port));
        }
        self.first = (self.first + 1) % 32;
        worked |= !self.core.expire();
        worked |= !self.core.sweep();
        resets::send(&mut self.core, &mut self.ports);
        control_plane::rules::report(&mut self.core, &mut self.ports);
        self.advertise();
        self.ports.publish();
        if self.stop {
            return Next::Stop;
        }
        if worked {
            self.last_work_us = now_us;
        }
        if worked || now_us.saturating_sub(self.last_work_us) < LINGER_US {
            return Next::Busy;
        }
        self.sleep()
    }

    /// Arms every doorbell and looks once more.
    fn sleep(&mut self) -> Next {
        let room = self.uplink_has_room(0);
        for (number, port) in self.ports.iter() {
            // A client that waits for room on the uplink is served when the uplink's doorbell tells of it. A link
            // that turned out to be at fault (the uplink, by the look for room) is given up in the next round.
            let waits = port.role == Role::Downstream && (!room || self.core.client(number).is_none());
            if !waits && port.link.arm() == Armed::Pending {
                return Next::Busy;
            }
        }
        let due = self.core.next_deadline().map(|second| u64::from(second) * 1_000_000);
        let advertisement = self.core.common.all_clients().next().map(|_| self.next_advertisement_us);
        Next::Idle { until_us: [due, advertisement].into_iter().flatten().min() }
    }

    /// Whether the uplink takes a longest frame behind `staged` bytes; also when waiting would be no use.
    #[inline]
    fn uplink_has_room(&mut self, staged: usize) -> bool {
        match self.ports.uplink().and_then(|port| self.ports.get(port)) {
            Some(uplink) => {
                !uplink.roomy || uplink.link.fault().is_some() || uplink.link.has_room(staged + MAX_PAYLOAD)
            }
            None => true,
        }
    }

    /// Serves one link with one burst; `true` if there was something.
    #[inline]
    fn serve(&mut self, port: u8) -> bool {
        let Some(role) = self.ports.get(port).map(|port| port.role) else { return false };
        // Nothing that comes from a port is looked at before dom0 said who is there.
        if role == Role::Downstream && self.core.client(port).is_none() {
            return false;
        }
        self.receive(port, role);
        if self.received == 0 {
            return false;
        }
        self.look_up(port, role);
        for number in 0..self.received {
            self.handle(port, role, number);
        }
        resets::send(&mut self.core, &mut self.ports);
        if let Some(port) = self.ports.get(port) {
            port.link.release();
        }
        self.ports.publish();
        true
    }

    /// Receives a burst and parses it.
    #[inline]
    fn receive(&mut self, port: u8, role: Role) {
        self.received = 0;
        // Room for a whole burst is the rule; without it every frame asks.
        let brake = role == Role::Downstream && !self.uplink_has_room(BURST_BYTES);
        let mut start = 0;
        while start < BURST_BYTES {
            if brake && !self.uplink_has_room(start) {
                return;
            }
            let Some(place) = self.burst.get_mut(self.received) else { return };
            let Some(link) = self.ports.get(port).map(|port| &mut port.link) else { return };
            let Some(buffer) = self.arena.get_mut(start..) else { return };
            match link.recv(buffer) {
                Ok(Some((meta, len))) => {
                    (place.start, place.len, place.meta, place.hint) = (start, len, meta, None);
                    if let (Kind::Frame, Some(bytes)) = (meta.kind, buffer.get(..len)) {
                        place.kind = headers::parse_into(bytes, &mut place.headers);
                    }
                    self.received += 1;
                    start = (start + len).next_multiple_of(ALIGN);
                }
                Ok(None) => return,
                Err(fault) => {
                    self.give_up(port, fault);
                    return;
                }
            }
        }
    }

    /// Looks the burst's flows up, all before any is needed: hashes, then every line of the index, then every entry,
    /// each in a loop so short that the processor has many cache misses under way at once.
    #[inline]
    fn look_up(&mut self, port: u8, role: Role) {
        let Self { core, burst, received, touched, .. } = self;
        let burst = burst.get_mut(..*received).unwrap_or_default();
        for received in burst.iter_mut() {
            let plain = received.meta.kind == Kind::Frame && received.kind == Ok(headers::Kind::Ip);
            received.hash = if plain { hash(core, &received.headers, port, role) } else { None };
        }
        for Received { headers, hash, .. } in burst.iter() {
            *touched ^= match (hash, &headers.network) {
                (None, _) => 0,
                (Some(hash), Network::V4(_)) => core.v4.flows.touch_index(*hash),
                (Some(hash), Network::V6(_)) => core.v6.flows.touch_index(*hash),
            };
        }
        for Received { headers, hash, hint, .. } in burst.iter_mut() {
            *hint = match (hash, &headers.network) {
                (None, _) => None,
                (Some(hash), Network::V4(_)) => core.v4.flows.candidate(*hash),
                (Some(hash), Network::V6(_)) => core.v6.flows.candidate(*hash),
            };
        }
        for Received { headers, hint, .. } in burst.iter() {
            *touched ^= match (hint, &headers.network) {
                (None, _) => 0,
                (Some(flow), Network::V4(_)) => core.v4.flows.touch_entry(*flow),
                (Some(flow), Network::V6(_)) => core.v6.flows.touch_entry(*flow),
            };
        }
    }

    /// Has one record judged and carries the verdict out.
    #[inline]
    fn handle(&mut self, port: u8, role: Role, number: usize) {
        let Self { core, ports, arena, burst, out, advertise, stop, .. } = self;
        let Some(received) = burst.get(number) else { return };
        let Some(bytes) = arena.get_mut(received.start..received.start + received.len) else { return };
        let done = match (received.meta.kind, role) {
            (Kind::Message, _) => {
                control_plane::take(core, ports, (port, role), bytes).map(|asked| match asked {
                    Asked::Nothing => {}
                    Asked::Advertise(which) => *advertise |= which,
                    Asked::Stop => *stop = true,
                })
            }
            (Kind::Frame, Role::Dom0) => Err(DropReason::Message),
            (Kind::Frame, _) => {
                let mut carrier = Carrier { core, ports, out, port, role };
                carrier.frame(bytes, received)
            }
        };
        if let Err(reason) = done {
            core.drops.count(reason);
        }
    }

    /// Sends the router advertisements that are due.
    fn advertise(&mut self) {
        if self.core.common.now_us >= self.next_advertisement_us {
            self.next_advertisement_us = self.core.common.now_us + nd::INTERVAL_US;
            self.advertise = u32::MAX;
        }
        if self.advertise == 0 {
            return;
        }
        let which = core::mem::take(&mut self.advertise);
        let offer = self.core.offer();
        for (port, client) in (0u8..).zip(&self.core.common.clients) {
            let Some(client) = client.as_deref().filter(|_| which & (1 << (port % 32)) != 0) else {
                continue;
            };
            let len = nd::advertise(&mut *self.out, client, ndp::ALL_NODES, offer);
            if let Some(frame) = len.and_then(|len| self.out.get(..len)) {
                // A client whose link is down or full gets the next one.
                let _ = to_client::send_own(&mut self.ports, port, frame);
            }
        }
    }

    /// The peer broke the link's protocol: nothing more is taken from it, and dom0 is told.
    #[cold]
    fn give_up(&mut self, port: u8, fault: link::PeerFault) {
        self.ports.detach(port);
        let dom0 = self.ports.iter().find(|(_, port)| port.role == Role::Dom0).map(|(number, _)| number);
        if let Some(dom0) = dom0 {
            let what = fault.as_str().try_into().unwrap_or_default();
            control_plane::tell(&mut self.ports, dom0, &FromDomain::PeerFault { port, what });
        }
        log::warn!("port {port}: {fault}");
    }
}

/// The hash under which a packet's flow is looked up, if it can belong to one.
#[inline]
fn hash(core: &Core, headers: &Headers, port: u8, role: Role) -> Option<u64> {
    let direction = if role == Role::Downstream { Direction::Outward } else { Direction::Inward };
    match &headers.network {
        Network::V4(_) => {
            let tuple: Tuple<Ipv4Addr> = decide::tuple(headers, direction)?;
            Some(core.v4.flows.hash(&match direction {
                Direction::Outward => tuple.on_link(port),
                Direction::Inward => tuple.on_uplink(),
            }))
        }
        Network::V6(_) => {
            let tuple: Tuple<Ipv6Addr> = decide::tuple(headers, direction)?;
            Some(core.v6.flows.hash(&match direction {
                Direction::Outward => tuple.on_link(port),
                Direction::Inward => tuple.on_uplink(),
            }))
        }
    }
}

/// Memory for `len` values; `None` when there is not enough.
fn filled<T: Copy>(len: usize, value: T) -> Option<Box<[T]>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize(len, value);
    Some(values.into_boxed_slice())
}

/// Judges a frame and carries the verdict out.
struct Carrier<'a, D> {
    core: &'a mut Core,
    ports: &'a mut Ports<D>,
    out: &'a mut [u8; answer::ROOM],
    port: u8,
    role: Role,
}

impl<D: Doorbell> Carrier<'_, D> {
    #[inline]
    fn frame(&mut self, bytes: &mut [u8], received: &Received) -> Result<(), DropReason> {
        let headers = &received.headers;
        match received.kind {
            Ok(headers::Kind::Ip) => {
                let mut offload = Offload::check(&received.meta, headers)?;
                // What a client says about a checksum is believed by nobody.
                offload.verified &= self.role == Role::Upstream;
                let mut leaving = Leaving { frame: bytes, headers, offload };
                match self.judge(&leaving, Origin::Whole, received.hint) {
                    Verdict::Complete => self.datagram(),
                    verdict => self.carry_out(&mut leaving, verdict),
                }
            }
            Ok(headers::Kind::Arp) => self.arp(bytes),
            Err(fault) => Err(fault.into()),
        }
    }

    fn arp(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let Frame::Arp(ethernet, arp) = headers::parse(bytes)? else { return Err(DropReason::Internal) };
        let verdict = match self.role {
            Role::Downstream => from_client::judge_arp(self.core, &ethernet, &arp, self.port),
            _ => DropReason::Arp.into(),
        };
        match verdict {
            Verdict::Answer(Answer::Arp(reply)) => {
                to_client::send_own(self.ports, self.port, &reply.emit(ethernet.source))
            }
            Verdict::Drop(reason) => Err(reason),
            _ => Ok(()),
        }
    }

    #[inline]
    fn judge(&mut self, leaving: &Leaving<'_>, origin: Origin, hint: Option<u32>) -> Verdict {
        let Leaving { frame, headers, offload } = leaving;
        let packet = Packet { frame, headers, offload: *offload, origin, hint };
        match self.role {
            Role::Downstream => from_client::judge(self.core, &packet, self.port),
            _ => from_net::judge(self.core, &packet, self.port),
        }
    }

    #[inline]
    fn carry_out(&mut self, leaving: &mut Leaving<'_>, verdict: Verdict) -> Result<(), DropReason> {
        let Self { core, ports, out, port, role } = self;
        match verdict {
            Verdict::ToNet(translation) => to_net::send(ports, core, leaving, &translation),
            Verdict::ToClient(to, translation) => to_client::send(ports, core, leaving, (to, &translation)),
            Verdict::Answer(answer) if *role == Role::Downstream => {
                answer::client(ports, core, leaving, (*port, answer), out)
            }
            Verdict::Answer(answer) => answer::net(ports, core, leaving, answer, out),
            Verdict::Absorbed => Ok(()),
            Verdict::Complete => Err(DropReason::Internal),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// Judges a datagram whose last fragment just came.
    #[cold]
    #[inline(never)]
    fn datagram(&mut self) -> Result<(), DropReason> {
        let mut fragments = core::mem::take(&mut self.core.fragments);
        let done = match fragments.take(self.port) {
            Some((buffer, len)) => self.whole(buffer.get_mut(..len).unwrap_or_default()),
            None => Err(DropReason::Internal),
        };
        self.core.fragments = fragments;
        done
    }

    fn whole(&mut self, bytes: &mut [u8]) -> Result<(), DropReason> {
        let headers: Headers = match headers::parse(bytes)? {
            Frame::Ip(headers) => headers,
            Frame::Arp(..) => return Err(DropReason::Internal),
        };
        let mut leaving = Leaving { frame: bytes, headers: &headers, offload: Offload::NONE };
        let verdict = self.judge(&leaving, Origin::Pieces, None);
        self.carry_out(&mut leaving, verdict)
    }
}

#[cfg(test)]
mod tests;
