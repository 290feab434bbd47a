//! The loop: takes bursts of frames from every link, has them judged, carries the verdicts out.
//!
//! A burst is received as a whole and looked up as a whole before the first verdict, so that the cache misses of its
//! packets overlap; plain packets of known flows take the lane of `fast`, all others the long way. Frames of clients
//! are taken only while the uplink has room for the longest one: a client that sends more than the uplink takes is
//! slowed down by its own full link. An uplink that takes nothing for a second is not waited for any more. Towards
//! clients there is no such brake, as one that does not read must not hold up the others: what finds a client's link
//! full is dropped and counted.

mod burst;
mod carrier;

use crate::{
    answer,
    control_plane::{self, Asked},
    fast::{Inward, Lane, Outward, Way},
    ports::Ports,
    resets,
    state::{Core, Setup, SetupError},
    to_client,
    verdict::DropReason,
};
use abi::link_device::Role;
use alloc::boxed::Box;
use burst::{Burst, Received};
use carrier::Carrier;
use control::message::FromDomain;
use first_hop::nd;
use link::{Armed, Doorbell, Kind, Link, MAX_PAYLOAD, Meta};
use packet::{
    ndp,
    plain::{self, HEAD},
};

/// Microseconds without work for which the loop stays awake: about what going to sleep and waking up costs.
const LINGER_US: u64 = 8;

/// Microseconds for which clients wait for an uplink that takes nothing. Then it is not slow but stands still, and what
/// goes on between clients goes on.
const PATIENCE_US: u64 = 1_000_000;

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

/// The firewall with its links.
#[derive(Debug)]
pub struct Firewall<D> {
    core: Core,
    ports: Ports<D>,
    /// The burst in hand.
    burst: Burst,
    out: Box<[u8; answer::ROOM]>,
    /// The port that is served first in the next round.
    first: u32,
    /// Ports whose client is to be sent a router advertisement.
    advertise: u32,
    next_advertisement_us: u64,
    last_work_us: u64,
    /// Since when the uplink has had no room, as far as it was looked at.
    full_since_us: Option<u64>,
    stop: bool,
    /// Tests close the lane to compare it with the long way.
    lane_is_open: bool,
    /// Records that took the long way.
    long: u64,
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
            burst: Burst::new()?,
            out: Box::new([0; answer::ROOM]),
            first: 0,
            advertise: 0,
            next_advertisement_us: nd::INTERVAL_US,
            last_work_us: 0,
            full_since_us: None,
            stop: false,
            lane_is_open: true,
            long: 0,
        })
    }

    /// The state, for whoever wants to look.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// Records that took the long way so far: messages, and packets that the fast lane left to it.
    #[must_use]
    pub const fn long_way(&self) -> u64 {
        self.long
    }

    /// Sends every packet the long way from now on.
    #[cfg(test)]
    pub(crate) const fn close_lane(&mut self) {
        self.lane_is_open = false;
    }

    /// Puts a link in place. Nothing else is forgotten: flows outlive the uplink's link and a client's.
    pub fn attach(&mut self, port: u8, role: Role, link: Link<D>) {
        if !self.ports.attach(port, role, link) {
            return;
        }
        match role {
            Role::Dom0 => {
                self.core.common.policy.interrupt();
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
        // From the port whose turn it is upwards, then round.
        let mut waiting = self.ports.in_use().rotate_right(self.first);
        while waiting != 0 {
            let turn = waiting.trailing_zeros();
            waiting &= waiting - 1;
            worked |= u8::try_from((turn + self.first) % 32).is_ok_and(|port| self.serve(port));
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
        let room = self.is_worth_it(room);
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
        let patience = self.full_since_us.filter(|_| !room).map(|since| since + PATIENCE_US);
        Next::Idle { until_us: [due, advertisement, patience].into_iter().flatten().min() }
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

    /// Whether clients are to be served: there is room on the uplink, or it has been waited for long enough.
    #[inline]
    fn is_worth_it(&mut self, room: bool) -> bool {
        if room {
            self.full_since_us = None;
            return true;
        }
        let now_us = self.core.common.now_us;
        now_us - *self.full_since_us.get_or_insert(now_us) >= PATIENCE_US
    }

    /// Serves one link with one burst; `true` if there was something.
    #[inline]
    fn serve(&mut self, port: u8) -> bool {
        let Some(place) = self.ports.get(port) else { return false };
        let role = place.role;
        // Nothing that comes from a port is looked at before dom0 said who is there.
        if (role == Role::Downstream && self.core.client(port).is_none()) || !place.link.ready() {
            return false;
        }
        match role {
            Role::Upstream => self.burst::<Inward>(port, role, burst::BYTES),
            Role::Downstream | Role::Dom0 => {
                let bytes = if role == Role::Downstream { self.uplink_room() } else { burst::BYTES };
                self.burst::<Outward>(port, role, bytes)
            }
        }
    }

    /// Bytes of a burst after which the uplink may be full; the frame that begins before them still has room.
    #[inline]
    fn uplink_room(&mut self) -> usize {
        // Room for a whole burst is the rule.
        let steps = [burst::BYTES, burst::BYTES / 4, burst::BYTES / 16, 1];
        let bytes = steps.into_iter().find(|bytes| self.uplink_has_room(*bytes));
        if self.is_worth_it(bytes.is_some()) { bytes.unwrap_or(burst::BYTES) } else { 0 }
    }

    /// Receives and judges a burst; `false` if there was none.
    #[inline(never)]
    fn burst<W: Way>(&mut self, port: u8, role: Role, bytes: usize) -> bool {
        let lane = Lane::open(&self.core, &self.ports, port, role).filter(|_| self.lane_is_open);
        let Self { core, ports, burst, .. } = self;
        let Some(link) = ports.get(port).map(|port| &mut port.link) else { return false };
        if let Err(fault) = burst.receive::<W, D>(link, &core.v4.flows, lane.as_ref(), bytes) {
            self.give_up(port, fault);
        }
        if self.burst.len() == 0 {
            return false;
        }
        self.burst.look_up(&self.core.v4.flows);
        self.judge::<W>(port, role, lane);
        resets::send(&mut self.core, &mut self.ports);
        if let Some(port) = self.ports.get(port) {
            port.link.release();
        }
        self.ports.publish();
        true
    }

    /// Has the burst judged, packet by packet in the order in which they came.
    #[inline(never)]
    fn judge<W: Way>(&mut self, port: u8, role: Role, mut lane: Option<Lane>) {
        for number in 0..self.burst.len() {
            let Self { core, ports, burst, .. } = self;
            let Some(received) = burst.get(number) else { return };
            let passed = match &lane {
                Some(lane) => lane.pass::<W, D>(core, ports, received.frame, (received.flow, received.meta)),
                None => None,
            };
            match passed {
                Some(Ok(())) => {}
                Some(Err(reason)) => core.drops.count(reason),
                None => {
                    if self.handle(port, role, number) == Kind::Message {
                        // It may have changed what the lane was opened with.
                        lane = None;
                    }
                }
            }
        }
    }

    /// Has one record judged the long way and carries the verdict out; says what it was.
    #[inline(never)]
    fn handle(&mut self, port: u8, role: Role, number: usize) -> Kind {
        self.long += 1;
        let Self { core, ports, burst, out, advertise, stop, lane_is_open, .. } = self;
        let Some(Received { frame, len, meta, hash, .. }) = burst.get(number) else { return Kind::Frame };
        let none = Meta::default();
        let meta = meta.unwrap_or(&none);
        if let Some(hash) = hash
            && let Some(headers) = frame.first_chunk().and_then(plain::udp_headers)
        {
            let mut carrier = Carrier { core, ports, out, port, role };
            // Only what the headers cover is looked at, but the head as a whole.
            let frame = frame.get_mut(..len.max(HEAD)).unwrap_or_default();
            if let Err(reason) = carrier.plain(frame, meta, &headers, hash) {
                carrier.core.drops.count(reason);
            }
            return Kind::Frame;
        }
        let (len, open) = (len.min(frame.len()), *lane_is_open);
        let done = match (meta.kind, role) {
            (Kind::Message, _) => {
                let bytes = frame.get(..len).unwrap_or_default();
                control_plane::take(core, ports, (port, role), bytes).map(|asked| match asked {
                    Asked::Nothing => {}
                    Asked::Advertise(which) => *advertise |= which,
                    Asked::Stop => *stop = true,
                })
            }
            (Kind::Frame, Role::Dom0) => Err(DropReason::Message),
            (Kind::Frame, _) => {
                let mut carrier = Carrier { core, ports, out, port, role };
                carrier.frame(frame, (len, open), meta)
            }
        };
        if let Err(reason) = done {
            core.drops.count(reason);
        }
        meta.kind
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
        let clients = self.core.common.clients.iter();
        for (port, client) in clients.filter(|(port, _)| which & (1 << (port % 32)) != 0) {
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

#[cfg(test)]
mod tests;
