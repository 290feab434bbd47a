//! IPv6: an address and a router from router advertisements (RFC 4862, RFC 8106), or fixed ones.
//!
//! One router is followed at a time, until its lifetime ends; others are not listened to meanwhile. The interface
//! identifier is derived from the hardware address (RFC 4291 appendix A): netvm keeps nothing across restarts,
//! and an address that changed at every restart would cost the connections that restarts must not cost.

use crate::{
    address::{
        advertisement::{RaOption, options},
        dhcp6::Dhcp6,
        discovery::{self, Heard, Speaker},
        earlier, is_host_v6,
    },
    counters::{Counter, Counters},
    frames::{Frame, FrameQueue},
    neighbours::Neighbours,
};
use control::message::{V6, V6Config};
use core::net::{IpAddr, Ipv6Addr};
use heapless::Vec;
use packet::{ethernet::Mac, ndp};
use smoltcp::wire::{
    NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags, RawHardwareAddress,
};

/// Router solicitations, and the time between them (RFC 4861 §10).
const SOLICITATIONS: u8 = 3;
const SOLICITATION_US: u64 = 4_000_000;
/// How long nobody must claim a new address (RFC 4862 §5.4).
const PROBE_US: u64 = 1_000_000;
/// When an address that someone else has is tried again.
const DUPLICATE_US: u64 = 60_000_000;
/// Advertisements cannot shorten a lifetime below this (RFC 4862 §5.5.3 e).
const TWO_HOURS_US: u64 = 2 * 3600 * 1_000_000;
/// Frames that wait for the card.
const QUEUE: usize = 16;
const MIN_MTU: u32 = 1280;

/// The IPv6 side of the uplink.
#[derive(Debug)]
pub(crate) struct V6Stack {
    mac: Mac,
    mode: V6Config,
    out: FrameQueue,
    solicitations: u8,
    solicit_at_us: u64,
    router: Option<Router>,
    own: Option<Own>,
    dns: Vec<(Ipv6Addr, u64), 3>,
    mtu: Option<u16>,
    dhcp: Dhcp6,
}

#[derive(Clone, Copy, Debug)]
struct Router {
    address: Ipv6Addr,
    until_us: u64,
    is_default: bool,
}

/// The address that netvm made for itself or was given.
#[derive(Clone, Copy, Debug)]
struct Own {
    address: Ipv6Addr,
    prefix: u8,
    until_us: u64,
    state: Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// To be probed at this time.
    Due(u64),
    /// Probed; it is ours at this time if nobody objects.
    Waiting(u64),
    Ours,
}

impl V6Stack {
    /// A stack that has not got an address yet; `seed` is fresh randomness.
    pub(crate) fn new(mac: Mac, seed: u64) -> Self {
        Self {
            mac,
            mode: V6Config::default(),
            out: FrameQueue::new(QUEUE),
            solicitations: 0,
            solicit_at_us: 0,
            router: None,
            own: None,
            dns: Vec::new(),
            mtu: None,
            dhcp: Dhcp6::new(mac, seed),
        }
    }

    /// Changes how the address is got; an address got otherwise is given up.
    pub(crate) fn configure(&mut self, mode: &V6Config) {
        if *mode != self.mode {
            self.mode = mode.clone();
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.router, self.own, self.mtu) = (None, None, None);
        self.dns.clear();
        self.dhcp.stop();
        (self.solicitations, self.solicit_at_us) = (0, 0);
    }

    /// The cable was plugged in: this may be another network. Routers are asked for; lifetimes do the rest.
    pub(crate) fn restart(&mut self) {
        (self.solicitations, self.solicit_at_us) = (0, 0);
    }

    /// Our address on the link itself.
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        ndp::link_local(self.mac)
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Option<V6> {
        if let V6Config::Static(v6) = &self.mode {
            return Some(v6.clone());
        }
        let own = self.own.filter(|own| own.state == Probe::Ours)?;
        let gateway = self.router.filter(|router| router.is_default).map(|router| router.address);
        let dns = self.dns.iter().map(|(server, _)| *server).chain(self.dhcp.dns().iter().copied());
        let mut servers = Vec::new();
        for server in dns {
            // No more than three are passed on.
            let _ = servers.push(server);
        }
        Some(V6 { address: own.address, prefix: own.prefix, gateway, dns: servers })
    }

    /// The address in force.
    pub(crate) fn address(&self) -> Option<Ipv6Addr> {
        match &self.mode {
            V6Config::Static(v6) => Some(v6.address),
            _ => self.own.filter(|own| own.state == Probe::Ours).map(|own| own.address),
        }
    }

    /// The MTU that the router announced, if it did.
    pub(crate) fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// Works through what came in; what goes out is then in [`Self::outgoing`].
    pub(crate) fn poll(
        &mut self,
        now_us: u64,
        incoming: &mut FrameQueue,
        neighbours: &mut Neighbours,
        counters: &mut Counters,
    ) {
        while let Some(frame) = incoming.pop() {
            if self.mode == V6Config::Off {
                continue;
            }
            if let Some(heard) = discovery::hear(&frame) {
                self.hear(&heard, now_us, neighbours, counters);
            } else if self.dhcp.is_answer(&frame) {
                if let Some(lease) = self.dhcp.hear(&frame, now_us) {
                    self.adopt(lease.address, 128, lease.valid_us, now_us);
                }
            } else {
                counters.count(Counter::Malformed);
            }
        }
        if self.mode == V6Config::Auto {
            self.expire(now_us);
            self.ask(now_us);
        }
    }

    fn hear(&mut self, heard: &Heard<'_>, now_us: u64, neighbours: &mut Neighbours, counters: &mut Counters) {
        match heard.message {
            NdiscRepr::RouterAdvert { .. } if self.mode == V6Config::Auto => {
                self.advertised(heard, now_us, counters);
            }
            NdiscRepr::NeighborSolicit { target_addr, .. } => {
                self.solicited(target_addr, heard, now_us, counters)
            }
            NdiscRepr::NeighborAdvert { target_addr, lladdr, .. } => {
                if self.is_tentative(target_addr) && heard.mac != self.mac {
                    self.duplicate(now_us, counters);
                } else if let Some(mac) = lladdr.and_then(mac) {
                    neighbours.learn(IpAddr::V6(target_addr), mac, now_us);
                }
            }
            _ => {}
        }
    }

    /// Somebody asks for one of our addresses, or tries one that we are trying.
    fn solicited(&mut self, target: Ipv6Addr, heard: &Heard<'_>, now_us: u64, counters: &mut Counters) {
        if self.is_tentative(target) {
            if heard.source.is_unspecified() && heard.mac != self.mac {
                self.duplicate(now_us, counters);
            }
        } else if target == self.link_local() || Some(target) == self.address() {
            self.send(discovery::advertise(self.speaker(target), heard.mac, heard.source));
        }
    }

    fn is_tentative(&self, address: Ipv6Addr) -> bool {
        self.own.is_some_and(|own| own.address == address && own.state != Probe::Ours)
    }

    fn duplicate(&mut self, now_us: u64, counters: &mut Counters) {
        counters.count(Counter::DuplicateAddress);
        if let Some(own) = &mut self.own {
            own.state = Probe::Due(now_us.saturating_add(DUPLICATE_US));
        }
    }

    fn advertised(&mut self, heard: &Heard<'_>, now_us: u64, counters: &mut Counters) {
        let NdiscRepr::RouterAdvert { flags, router_lifetime, .. } = heard.message else { return };
        if !heard.source.is_unicast_link_local()
            || self.router.is_some_and(|router| router.address != heard.source)
        {
            counters.count(Counter::Discovery);
            return;
        }
        self.solicitations = SOLICITATIONS;
        let lifetime_us = router_lifetime.total_micros();
        // Who is no default router can still announce a prefix; it is followed as long as that lasts.
        let is_default = lifetime_us > 0;
        let until_us = now_us.saturating_add(if is_default { lifetime_us } else { TWO_HOURS_US });
        self.router = Some(Router { address: heard.source, until_us, is_default });
        for option in options(heard.options) {
            match option {
                RaOption::Prefix(prefix) => self.prefix(&prefix, now_us, counters),
                RaOption::Mtu(mtu) => {
                    let usable = u16::try_from(mtu).ok().filter(|_| (MIN_MTU..=1500).contains(&mtu));
                    self.mtu = usable.or(self.mtu);
                }
                RaOption::Dns(body) => self.name_servers(body, now_us),
            }
        }
        if flags.contains(NdiscRouterFlags::MANAGED) {
            self.dhcp.start_stateful(now_us);
        } else if flags.contains(NdiscRouterFlags::OTHER) {
            self.dhcp.start_stateless(now_us);
        }
    }

    /// Makes an address from an announced prefix, or prolongs it (RFC 4862 §5.5.3).
    fn prefix(&mut self, prefix: &NdiscPrefixInformation, now_us: u64, counters: &mut Counters) {
        if !prefix.flags.contains(NdiscPrefixInfoFlags::ADDRCONF) {
            return;
        }
        if prefix.prefix_len != 64
            || prefix.preferred_lifetime > prefix.valid_lifetime
            || !is_host_v6(prefix.prefix)
        {
            counters.count(Counter::BadOffer);
            return;
        }
        let high = prefix.prefix.to_bits() & !u128::from(u64::MAX);
        let address = Ipv6Addr::from_bits(high | (self.link_local().to_bits() & u128::from(u64::MAX)));
        let valid_us = prefix.valid_lifetime.total_micros();
        let on_link = prefix.flags.contains(NdiscPrefixInfoFlags::ON_LINK);
        match &mut self.own {
            Some(own) if own.address == address => {
                let left = own.until_us.saturating_sub(now_us);
                if valid_us > TWO_HOURS_US || valid_us > left {
                    own.until_us = now_us.saturating_add(valid_us);
                } else if left > TWO_HOURS_US {
                    own.until_us = now_us.saturating_add(TWO_HOURS_US);
                }
            }
            // One address is enough; the first one stays.
            Some(_) => {}
            None if valid_us > 0 => self.adopt(address, if on_link { 64 } else { 128 }, valid_us, now_us),
            None => {}
        }
    }

    /// Takes an address on probation.
    fn adopt(&mut self, address: Ipv6Addr, prefix: u8, valid_us: u64, now_us: u64) {
        let until_us = now_us.saturating_add(valid_us);
        match &mut self.own {
            Some(own) if own.address == address => own.until_us = until_us,
            Some(_) => {}
            None => self.own = Some(Own { address, prefix, until_us, state: Probe::Due(now_us) }),
        }
    }

    fn name_servers(&mut self, body: &[u8], now_us: u64) {
        let Some((head, servers)) = body.split_first_chunk::<6>() else { return };
        let [_, _, a, b, c, d] = *head;
        let until_us = now_us.saturating_add(u64::from(u32::from_be_bytes([a, b, c, d])) * 1_000_000);
        for octets in servers.as_chunks::<16>().0 {
            let server = Ipv6Addr::from(*octets);
            self.dns.retain(|(known, _)| *known != server);
            if until_us > now_us && is_host_v6(server) {
                // A fourth server is not used.
                let _ = self.dns.push((server, until_us));
            }
        }
    }

    fn expire(&mut self, now_us: u64) {
        self.dns.retain(|(_, until_us)| *until_us > now_us);
        if self.own.is_some_and(|own| own.until_us <= now_us) {
            self.own = None;
        }
        if self.router.is_some_and(|router| router.until_us <= now_us) {
            self.router = None;
            self.dhcp.stop();
            self.restart();
        }
        if let Some(own) = &mut self.own
            && let Probe::Waiting(until_us) = own.state
            && until_us <= now_us
        {
            own.state = Probe::Ours;
        }
    }

    /// Sends the questions that are due.
    fn ask(&mut self, now_us: u64) {
        if self.solicitations < SOLICITATIONS && self.router.is_none() && self.solicit_at_us <= now_us {
            self.solicitations += 1;
            self.solicit_at_us = now_us.saturating_add(SOLICITATION_US);
            self.send(discovery::solicit_routers(self.speaker(self.link_local())));
        }
        if let Some(own) = &mut self.own
            && let Probe::Due(at_us) = own.state
            && at_us <= now_us
        {
            own.state = Probe::Waiting(now_us.saturating_add(PROBE_US));
            let target = own.address;
            self.send(discovery::solicit_neighbour(self.speaker(Ipv6Addr::UNSPECIFIED), target, None));
        }
        if let Some(question) = self.dhcp.ask(now_us, self.link_local()) {
            self.send(Some(question));
        }
    }

    /// Who we are when we ask for a next hop.
    pub(crate) fn speaker_to(&self, hop: Ipv6Addr) -> Speaker {
        let own = self.address().filter(|_| !hop.is_unicast_link_local());
        self.speaker(own.unwrap_or_else(|| self.link_local()))
    }

    fn speaker(&self, address: Ipv6Addr) -> Speaker {
        Speaker { mac: self.mac, address }
    }

    fn send(&mut self, frame: Option<Frame>) {
        if let Some(frame) = frame {
            // A full queue means that answers are asked for faster than they can leave: some are not given.
            let _ = self.out.push_frame(frame);
        }
    }

    /// The next frame for the card.
    pub(crate) fn outgoing(&mut self) -> Option<Frame> {
        self.out.pop()
    }

    /// When [`Self::poll`] has something to do again.
    pub(crate) fn next_us(&self) -> Option<u64> {
        if self.mode != V6Config::Auto {
            return None;
        }
        let soliciting = self.solicitations < SOLICITATIONS && self.router.is_none();
        let own = self.own.map(|own| match own.state {
            Probe::Due(at) | Probe::Waiting(at) => at.min(own.until_us),
            Probe::Ours => own.until_us,
        });
        let dns = self.dns.iter().map(|(_, until_us)| *until_us).min();
        [
            soliciting.then_some(self.solicit_at_us),
            self.router.map(|router| router.until_us),
            own,
            dns,
            self.dhcp.next_us(),
        ]
        .into_iter()
        .fold(None, earlier)
    }
}

fn mac(address: RawHardwareAddress) -> Option<Mac> {
    address.as_bytes().first_chunk().copied()
}
