//! IPv4: DHCP (RFC 2131) and ARP by smoltcp's interface and DHCP socket, which see those frames and no others.
//!
//! A DHCP server is as hostile as the rest of the segment: what it offers is believed only where it can do no
//! more harm than any router could.

use crate::{
    address::{earlier, is_host_v4, is_reserved_v4, same_segment_v4},
    counters::{Counter, Counters},
    frames::{Frame, FrameQueue, MAX_FRAME},
    neighbours::Neighbours,
};
use alloc::vec::Vec;
use control::message::{V4, V4Config};
use core::net::{IpAddr, Ipv4Addr};
use packet::{
    arp::{Arp, Operation},
    ethernet::{self, Ethernet, HEADER_LEN, Mac},
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, DeviceCapabilities, Medium},
    socket::dhcpv4,
    time::{Duration, Instant},
    wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr},
};

/// Frames that wait for the stack, or from it for the card.
const QUEUE: usize = 16;
/// Prefixes shorter than this make too much of the Internet a neighbour to be believed.
const SHORTEST_PREFIX: u8 = 8;
/// A lease is renewed at least twice a day, whatever the server says.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 3600);
/// After an offer that was not believed, and for how long an address is kept after the cable came back.
const PATIENCE_US: u64 = 10_000_000;

/// The IPv4 side of the uplink.
pub(crate) struct V4Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    device: Queues,
    mode: V4Config,
    current: Option<V4>,
    /// Start over at this time: the last offer was no good.
    restart_at_us: Option<u64>,
    /// The lease is gone from the client's view, but the address is kept until then.
    keep_until_us: Option<u64>,
}

impl V4Stack {
    /// A stack that has not got an address yet; `mac` names one station, `seed` is fresh randomness.
    pub(crate) fn new(mac: Mac, seed: u64) -> Self {
        let mut device = Queues { rx: FrameQueue::new(QUEUE), tx: FrameQueue::new(QUEUE) };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let interface = Interface::new(config, &mut device, Instant::ZERO);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let mut socket = dhcpv4::Socket::new();
        socket.set_max_lease_duration(Some(LONGEST_LEASE));
        let dhcp = sockets.add(socket);
        Self {
            interface,
            sockets,
            dhcp,
            device,
            mode: V4Config::default(),
            current: None,
            restart_at_us: None,
            keep_until_us: None,
        }
    }

    /// Changes how the address is got; an address got otherwise is given up.
    pub(crate) fn configure(&mut self, mode: &V4Config) {
        if *mode == self.mode {
            return;
        }
        self.mode = mode.clone();
        (self.restart_at_us, self.keep_until_us) = (None, None);
        self.socket().reset();
        let fixed = if let V4Config::Static(v4) = mode { Some(v4.clone()) } else { None };
        self.set(fixed);
    }

    /// The cable was plugged in: this may be another network. The address is kept while DHCP asks.
    pub(crate) fn restart(&mut self, now_us: u64) {
        if self.mode == V4Config::Dhcp {
            self.keep_until_us = self.current.as_ref().map(|_| now_us.saturating_add(PATIENCE_US));
            self.socket().reset();
        }
    }

    /// The address in force.
    pub(crate) fn current(&self) -> Option<&V4> {
        self.current.as_ref()
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
            if let Some((hop, mac)) = arp_answer(&frame) {
                neighbours.learn(hop, mac, now_us);
            }
            if self.mode != V4Config::Off && !self.device.rx.push_frame(frame) {
                counters.count(Counter::KeptFull);
            }
        }
        if self.restart_at_us.is_some_and(|at| at <= now_us) {
            self.restart_at_us = None;
            self.socket().reset();
        }
        let now = instant(now_us);
        if self.mode == V4Config::Dhcp || !self.device.rx.is_empty() {
            self.run(now);
        }
        if self.mode == V4Config::Dhcp {
            self.lease(now_us, counters);
        }
    }

    fn run(&mut self, now: Instant) {
        // Bounded by the queues: a turn handles at most one frame and sends at most a few.
        if self.mode == V4Config::Dhcp {
            self.interface.poll(now, &mut self.device, &mut self.sockets);
        } else {
            self.interface.poll(now, &mut self.device, &mut SocketSet::new(Vec::new()));
        }
    }

    /// Takes over what the DHCP client has reached.
    fn lease(&mut self, now_us: u64, counters: &mut Counters) {
        let offer = match self.socket().poll() {
            None => None,
            Some(dhcpv4::Event::Configured(config)) => Some(Some(believe(&config, counters))),
            Some(dhcpv4::Event::Deconfigured) => Some(None),
        };
        match offer {
            None => {}
            Some(Some(Some(v4))) => {
                self.keep_until_us = None;
                self.set(Some(v4));
            }
            Some(Some(None)) => {
                counters.count(Counter::BadOffer);
                self.restart_at_us = Some(now_us.saturating_add(PATIENCE_US));
                self.set(None);
            }
            Some(None) if self.keep_until_us.is_none() => self.set(None),
            Some(None) => {}
        }
        if self.keep_until_us.is_some_and(|until| until <= now_us) {
            self.keep_until_us = None;
            self.set(None);
        }
    }

    /// Puts an address in force, for ARP and for the rest of netvm.
    fn set(&mut self, v4: Option<V4>) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(v4) = &v4 {
                // The list has room for one address at least.
                let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(v4.address, v4.prefix.min(32))));
            }
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = v4.as_ref().and_then(|v4| v4.gateway) {
            // The table has room for one route at least; without it, renewals go by broadcast later.
            let _ = routes.add_default_ipv4_route(gateway);
        }
        self.current = v4;
    }

    /// The next frame for the card.
    pub(crate) fn outgoing(&mut self) -> Option<Frame> {
        self.device.tx.pop()
    }

    /// When [`Self::poll`] has something to do again.
    pub(crate) fn next_us(&mut self, now_us: u64) -> Option<u64> {
        let own = earlier(self.restart_at_us, self.keep_until_us);
        if self.mode != V4Config::Dhcp {
            return own;
        }
        let stack = self.interface.poll_at(instant(now_us), &self.sockets);
        earlier(own, stack.map(|at| u64::try_from(at.total_micros()).unwrap_or(0)))
    }

    fn socket(&mut self) -> &mut dhcpv4::Socket<'static> {
        self.sockets.get_mut(self.dhcp)
    }
}

fn instant(now_us: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_us).unwrap_or(i64::MAX))
}

/// The answer that an ARP reply gives.
fn arp_answer(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    if Ethernet::parse(header).ethertype != ethernet::ARP {
        return None;
    }
    let arp = Arp::parse(body).ok()?;
    (arp.operation == Operation::Reply).then_some((IpAddr::V4(arp.sender), arp.sender_mac))
}

/// What of a lease is believed; `None` when its address is none that a host can have.
fn believe(config: &dhcpv4::Config<'_>, counters: &mut Counters) -> Option<V4> {
    let (address, prefix) = (config.address.address(), config.address.prefix_len());
    let usable = is_host_v4(address) && !address.is_link_local() && !is_reserved_v4(address, prefix);
    if !usable || prefix < SHORTEST_PREFIX {
        return None;
    }
    let is_neighbour = |gateway: &Ipv4Addr| {
        same_segment_v4(*gateway, address, prefix)
            && *gateway != address
            && is_host_v4(*gateway)
            && !is_reserved_v4(*gateway, prefix)
    };
    let gateway = config.router.filter(is_neighbour);
    if gateway.is_none() && config.router.is_some() {
        counters.count(Counter::BadGateway);
    }
    let dns = config.dns_servers.iter().copied().filter(|dns| is_host_v4(*dns) && *dns != address);
    Some(V4 { address, prefix, gateway, dns: dns.take(3).collect() })
}

/// The stack's view of the card: two short queues.
#[derive(Debug)]
struct Queues {
    rx: FrameQueue,
    tx: FrameQueue,
}

impl phy::Device for Queues {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        if self.tx.is_full() {
            return None;
        }
        Some((RxToken(self.rx.pop()?), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        (!self.tx.is_full()).then_some(TxToken(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1500 + HEADER_LEN;
        capabilities
    }
}

struct RxToken(Frame);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct TxToken<'a>(&'a mut FrameQueue);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = Frame::new();
        // The stack never asks for more than the capabilities allow; if it did, the frame would be cut short.
        let _ = frame.resize(len.min(MAX_FRAME), 0);
        let result = f(&mut frame);
        // There is room: the token was given out only then.
        let _ = self.0.push_frame(frame);
        result
    }
}
