//! The domain: one card, one firewallvm, one dom0, and a step that does what there is to do.
//!
//! Order in a step: frames in, frames out, then netvm's own affairs, each bounded; a step in which nothing
//! happened asks all doorbells to ring, looks once more, and lets the domain sleep.

use crate::{
    address::{V4Stack, V6Stack, discovery, earlier},
    classify::Local,
    counters::{Counter, Counters},
    firewall_to_nic::{Outward, ToNic, send_own, send_pending},
    frames::FrameQueue,
    manager::{self, Order},
    neighbours::Neighbours,
    nic::{Nic, NicGone},
    nic_to_firewall::{self, Kept},
    uplink::Announcer,
};
use control::message::Uplink;
use core::net::IpAddr;
use link::{Armed, Doorbell, Link, PeerFault};
use packet::{ethernet, ndp};

/// Frames for netvm itself that are looked at in one step, per IP version: a flood of them is dropped early.
const KEPT: usize = 16;
/// Time between two looks at the card's slow path.
const SERVICE_US: u64 = 1_000_000;
/// Longest sleep while a frame waits for room at the card.
const BLOCKED_US: u64 = 10_000;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to do at once.
    Busy,
    /// Nothing to do until an interrupt, or until this time.
    Idle {
        /// Microseconds of the caller's clock.
        until_us: u64,
    },
    /// dom0 wants the domain to end.
    Stop,
}

/// The card's hardware address is not one that a station can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMac;

impl core::fmt::Display for BadMac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the network card has no usable hardware address")
    }
}

impl core::error::Error for BadMac {}

/// A link and the port of the link device that it is on.
#[derive(Debug)]
struct Port<B> {
    port: u8,
    link: Link<B>,
}

/// The domain.
pub struct Netvm<N, B> {
    nic: N,
    local: Local,
    firewall: Option<Port<B>>,
    dom0: Option<Port<B>>,
    /// A fault that dom0 has not been told of.
    fault: Option<(u8, PeerFault)>,
    to_nic: ToNic,
    kept_v4: FrameQueue,
    kept_v6: FrameQueue,
    v4: V4Stack,
    v6: V6Stack,
    neighbours: Neighbours,
    announcer: Announcer,
    counters: Counters,
    link_up: bool,
    service_at_us: u64,
    /// When netvm's own affairs are due, if nothing happens before.
    own_due_us: u64,
    slept: bool,
    stop: bool,
}

impl<N: Nic, B: Doorbell> Netvm<N, B> {
    /// A domain that owns `nic`; `seed` is fresh randomness. Takes all its memory here.
    ///
    /// # Errors
    /// [`BadMac`].
    pub fn new(nic: N, seed: u64) -> Result<Self, BadMac> {
        let mac = nic.mac();
        if ethernet::is_group(mac) || mac == [0; 6] {
            return Err(BadMac);
        }
        let v6 = V6Stack::new(mac, seed.rotate_left(32));
        let mut netvm = Self {
            local: Local { mac, v4: None, v6: None, link_local: v6.link_local() },
            nic,
            firewall: None,
            dom0: None,
            fault: None,
            to_nic: ToNic::new(),
            kept_v4: FrameQueue::new(KEPT),
            kept_v6: FrameQueue::new(KEPT),
            v4: V4Stack::new(mac, seed),
            v6,
            neighbours: Neighbours::new(),
            announcer: Announcer::default(),
            counters: Counters::default(),
            link_up: false,
            service_at_us: 0,
            own_due_us: 0,
            slept: false,
            stop: false,
        };
        netvm.join_groups();
        Ok(netvm)
    }

    /// firewallvm stands behind `port` now.
    pub fn attach_firewall(&mut self, port: u8, link: Link<B>) {
        self.to_nic.clear();
        self.firewall = Some(Port { port, link });
        self.announcer.firewall_attached();
        self.own_due_us = 0;
    }

    /// dom0 stands behind `port` now.
    pub fn attach_dom0(&mut self, port: u8, mut link: Link<B>) {
        manager::greet(&mut link);
        self.dom0 = Some(Port { port, link });
        self.announcer.dom0_attached();
    }

    /// Nobody stands behind `port` any more.
    pub fn detach(&mut self, port: u8) {
        self.firewall.take_if(|firewall| firewall.port == port);
        self.dom0.take_if(|dom0| dom0.port == port);
    }

    /// The uplink as it is now.
    pub fn uplink(&self) -> &Uplink {
        self.announcer.current()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The card.
    pub fn nic(&mut self) -> &mut N {
        &mut self.nic
    }

    /// Does what there is to do at this time.
    ///
    /// # Errors
    /// [`NicGone`]: without its card the domain has no purpose.
    pub fn step(&mut self, now_us: u64) -> Result<Progress, NicGone> {
        let received = self.inward();
        let sent = self.outward(now_us);
        if now_us >= self.service_at_us || (self.slept && received + sent == 0) {
            self.service(now_us)?;
        }
        let ordered = self.orders();
        let own = self.own_affairs(now_us);
        if self.stop {
            return Ok(Progress::Stop);
        }
        self.slept = false;
        if received + sent + ordered > 0 || own || !self.arm() {
            return Ok(Progress::Busy);
        }
        let until_us = self.next_us(now_us);
        self.slept = until_us > now_us;
        Ok(if self.slept { Progress::Idle { until_us } } else { Progress::Busy })
    }

    fn inward(&mut self) -> usize {
        let kept = Kept { v4: &mut self.kept_v4, v6: &mut self.kept_v6 };
        let link = self.firewall.as_mut().map(|firewall| &mut firewall.link);
        nic_to_firewall::burst(&mut self.nic, link, &self.local, kept, &mut self.counters)
    }

    fn outward(&mut self, now_us: u64) -> usize {
        let Some(firewall) = &mut self.firewall else { return 0 };
        let mut out = Outward {
            local: &self.local,
            uplink: self.announcer.current(),
            neighbours: &mut self.neighbours,
            counters: &mut self.counters,
            now_us,
        };
        match self.to_nic.burst(&mut firewall.link, &mut self.nic, &mut out) {
            Ok(seen) => seen,
            Err(fault) => {
                self.fault = Some((firewall.port, fault));
                self.counters.count(Counter::PeerFaults);
                log::error!("link to firewallvm: {fault}");
                self.firewall = None;
                0
            }
        }
    }

    /// The card's slow path, and what follows from a cable that was plugged in.
    fn service(&mut self, now_us: u64) -> Result<(), NicGone> {
        self.nic.service()?;
        self.service_at_us = now_us.saturating_add(SERVICE_US);
        let up = self.nic.link_up();
        if up && !self.link_up {
            self.v4.restart(now_us);
            self.v6.restart();
        }
        if up != self.link_up {
            self.own_due_us = 0;
        }
        self.link_up = up;
        Ok(())
    }

    /// Reads dom0's messages.
    fn orders(&mut self) -> usize {
        let Some(dom0) = &mut self.dom0 else { return 0 };
        if let Some((port, fault)) = self.fault.take() {
            manager::report_fault(&mut dom0.link, port, fault);
        }
        self.announcer.tell_dom0(&mut dom0.link);
        let link = self.firewall.as_ref().map(|firewall| firewall.link.counters()).unwrap_or_default();
        let totals = [
            ("link_rings", link.rings),
            ("link_rings_suppressed", link.rings_suppressed),
            ("link_full", link.full),
        ];
        match manager::serve(&mut dom0.link, &totals, &mut self.counters) {
            Ok((seen, orders)) => {
                for order in orders {
                    match order {
                        Order::Configure(nic) => {
                            self.v4.configure(&nic.v4);
                            self.v6.configure(&nic.v6);
                            self.own_due_us = 0;
                        }
                        Order::Stop => self.stop = true,
                    }
                }
                seen
            }
            Err(fault) => {
                self.counters.count(Counter::PeerFaults);
                log::error!("link to dom0: {fault}");
                self.dom0 = None;
                0
            }
        }
    }

    /// Addresses, next hops, announcements, when there is a reason; `true` when a frame was sent.
    fn own_affairs(&mut self, now_us: u64) -> bool {
        let asked = !self.kept_v4.is_empty() || !self.kept_v6.is_empty();
        let due = self.neighbours.next_us().is_some_and(|at| at <= now_us) || self.own_due_us <= now_us;
        if !asked && !due {
            return false;
        }
        if self.link_up {
            self.v4.poll(now_us, &mut self.kept_v4, &mut self.neighbours, &mut self.counters);
            self.v6.poll(now_us, &mut self.kept_v6, &mut self.neighbours, &mut self.counters);
        } else {
            // Nobody can be asked, and nothing expires before it could be asked for again.
            self.kept_v4.clear();
            self.kept_v6.clear();
        }
        self.refresh_uplink();
        let sent = self.send_own_frames(now_us);
        let mut out = Outward {
            local: &self.local,
            uplink: self.announcer.current(),
            neighbours: &mut self.neighbours,
            counters: &mut self.counters,
            now_us,
        };
        let sent = sent | send_pending(&mut self.nic, &mut out);
        let retry = self.announcer.is_waiting().then(|| now_us.saturating_add(BLOCKED_US));
        let stacks = earlier(self.v4.next_us(now_us), self.v6.next_us()).filter(|_| self.link_up);
        self.own_due_us = earlier(stacks, retry).unwrap_or(u64::MAX);
        sent
    }

    /// Compares what is known of the uplink with what was last said.
    fn refresh_uplink(&mut self) {
        let mtu = self.v6.mtu().unwrap_or(u16::MAX).min(self.nic.mtu());
        let (v4, v6) = (self.v4.current().cloned(), self.v6.current());
        let now = Uplink { link_up: self.link_up, mac: self.local.mac, mtu, v4, v6 };
        let before = self.announcer.current();
        let moved = now.link_up != before.link_up || now.v4 != before.v4 || now.v6 != before.v6;
        if moved {
            self.neighbours.clear();
        }
        self.local.v4 = now.v4.as_ref().map(|v4| v4.address);
        if self.local.v6 != self.v6.address() {
            self.local.v6 = self.v6.address();
            self.join_groups();
        }
        if self.announcer.update(now) {
            log::info!("uplink: {}", Shown(self.announcer.current()));
        }
        if let Some(firewall) = &mut self.firewall {
            self.announcer.tell_firewall(&mut firewall.link);
        }
    }

    /// Has the card pass what neighbour discovery is sent to.
    fn join_groups(&mut self) {
        let address = self.local.v6.unwrap_or(self.local.link_local);
        let groups =
            [ndp::ALL_NODES, ndp::solicited_node(self.local.link_local), ndp::solicited_node(address)];
        self.nic.set_groups(&groups.map(ndp::multicast_mac));
    }

    /// Sends what the stacks and the neighbour table want sent.
    fn send_own_frames(&mut self, now_us: u64) -> bool {
        let mut sent = false;
        // Bounded: the stacks' queues are short, and a hop is asked for at most once at one time.
        while let Some(frame) = self.v4.outgoing().or_else(|| self.v6.outgoing()) {
            send_own(&mut self.nic, &frame, &mut self.counters);
            sent = true;
        }
        while let Some(question) = self.neighbours.due(now_us, &mut self.counters) {
            let frame = match question.hop {
                IpAddr::V4(hop) => self
                    .local
                    .v4
                    .and_then(|us| discovery::ask_arp(self.local.mac, us, hop, question.last_known)),
                IpAddr::V6(hop) => {
                    discovery::solicit_neighbour(self.v6.speaker_to(hop), hop, question.last_known)
                }
            };
            if let Some(frame) = frame {
                send_own(&mut self.nic, &frame, &mut self.counters);
                sent = true;
            }
        }
        if sent {
            self.nic.flush();
        }
        sent
    }

    /// Asks every doorbell to ring; `true` when the domain may sleep.
    fn arm(&mut self) -> bool {
        let sleeps =
            |port: &mut Option<Port<B>>| port.as_mut().is_none_or(|port| port.link.arm() == Armed::Sleep);
        // While a frame waits for the card, more from firewallvm is no reason to stay awake.
        let quiet = sleeps(&mut self.dom0) && (self.to_nic.is_blocked() || sleeps(&mut self.firewall));
        self.nic.arm() && quiet
    }

    fn next_us(&self, now_us: u64) -> u64 {
        let blocked = self.to_nic.is_blocked().then(|| now_us.saturating_add(BLOCKED_US));
        let own = self.own_due_us.min(self.service_at_us);
        [self.neighbours.next_us(), blocked].into_iter().fold(Some(own), earlier).unwrap_or(own)
    }
}

/// An uplink for the log.
struct Shown<'a>(&'a Uplink);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.link_up { "cable connected" } else { "no cable" })?;
        if let Some(v4) = &self.0.v4 {
            write!(f, ", {}/{}", v4.address, v4.prefix)?;
            if let Some(gateway) = v4.gateway {
                write!(f, " by {gateway}")?;
            }
        }
        if let Some(v6) = &self.0.v6 {
            write!(f, ", {}/{}", v6.address, v6.prefix)?;
            if let Some(gateway) = v6.gateway {
                write!(f, " by {gateway}")?;
            }
        }
        write!(f, ", MTU {}", self.0.mtu)
    }
}
