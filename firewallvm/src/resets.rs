//! Resets for clients whose TCP connections rules have ended: nobody gives up an established connection because an
//! ICMP error says that it is forbidden, and who only listens would wait for ever.
//!
//! A reset counts only with the exact sequence number (RFC 5961 §3.2). One made of what the tracker knows may miss it
//! while data is in flight; the client then answers with an acknowledgement, and the reset made of that does not.

use crate::{
    address::Address,
    flows::{Flow, tcp::Direction},
    ports::Ports,
    state::Core,
    verdict::DropReason,
};
use alloc::collections::VecDeque;
use core::net::IpAddr;
use first_hop::address::OUR_MAC;
use link::{Doorbell, Meta};
use packet::{
    checksum::{pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet},
    ipv4::{self, Ipv4},
    ipv6::Ipv6,
    tcp::{self, Tcp},
};

/// Resets that wait at most: more than one burst and one look at flows make.
const WAITING: usize = 512;
/// Bytes of a reset's TCP header.
const LEN: u16 = 20;
/// Hops that a reset may go.
const HOPS: u8 = 64;

/// A reset for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The client's port of the link device.
    pub link: u8,
    /// Whom it seems to come from.
    pub source: (IpAddr, u16),
    /// The client's address and port.
    pub destination: (IpAddr, u16),
    /// What the client expects next.
    pub sequence: u32,
    /// What the client sent last, where that is needed.
    pub acknowledgement: Option<u32>,
}

impl Reset {
    /// The one that ends a flow for its client.
    #[must_use]
    pub fn near<A: Address>(flow: &Flow<A>) -> Self {
        Self {
            link: flow.link,
            source: (flow.destination.into(), flow.remote_port),
            destination: (flow.client.into(), flow.client_port),
            sequence: flow.tracker.sent_to(Direction::Inward),
            acknowledgement: Some(flow.tracker.sent_to(Direction::Outward)),
        }
    }

    /// The one that ends a flow between clients for the other one.
    #[must_use]
    pub fn far<A: Address>(flow: &Flow<A>) -> Self {
        Self {
            link: flow.peer,
            source: (flow.client.into(), flow.client_port),
            destination: (flow.remote.into(), flow.remote_port),
            sequence: flow.tracker.sent_to(Direction::Outward),
            acknowledgement: Some(flow.tracker.sent_to(Direction::Inward)),
        }
    }

    /// The one that answers a segment (RFC 9293 §3.10.7.1); `None` for what is not to be answered.
    #[must_use]
    pub fn answer(link: u8, segment: &Tcp, (source, destination): (IpAddr, IpAddr)) -> Option<Self> {
        (segment.flags & (tcp::RST | tcp::ACK) == tcp::ACK).then_some(Self {
            link,
            source: (destination, segment.destination_port),
            destination: (source, segment.source_port),
            sequence: segment.acknowledgement,
            acknowledgement: None,
        })
    }

    fn send<D: Doorbell>(&self, ports: &mut Ports<D>, mac: ethernet::Mac) -> Result<(), DropReason> {
        let ((from, source_port), (to, destination_port)) = (self.source, self.destination);
        let tcp = Tcp {
            source_port,
            destination_port,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement.unwrap_or(0),
            flags: if self.acknowledgement.is_some() { tcp::RST | tcp::ACK } else { tcp::RST },
            window: 0,
        };
        let ethernet = |ethertype| Ethernet { destination: mac, source: OUR_MAC, ethertype }.emit();
        match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let segment = tcp.emit(pseudo_v4(source, destination, ipv4::TCP, u32::from(LEN)));
                let ip = Ipv4 {
                    source,
                    destination,
                    ttl: HOPS,
                    protocol: ipv4::TCP,
                    total_len: LEN + 20,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    identification: 0,
                };
                ports.send(self.link, &Meta::default(), &[&ethernet(ethernet::IPV4), &ip.emit(), &segment])
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let segment = tcp.emit(pseudo_v6(source, destination, ipv4::TCP, u32::from(LEN)));
                let ip = Ipv6 { source, destination, hop_limit: HOPS, next: ipv4::TCP, payload_len: LEN };
                ports.send(self.link, &Meta::default(), &[&ethernet(ethernet::IPV6), &ip.emit(), &segment])
            }
            _ => Err(DropReason::Internal),
        }
    }
}

/// Resets that wait to be sent.
#[derive(Debug)]
pub struct Resets(VecDeque<Reset>);

impl Resets {
    /// Room for all that may wait; `None` when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut waiting = VecDeque::new();
        waiting.try_reserve_exact(WAITING).ok()?;
        Some(Self(waiting))
    }

    /// Notes a reset; one too many is forgotten, as if it had been lost on the way.
    pub fn push(&mut self, reset: Reset) {
        if self.0.len() < WAITING {
            self.0.push_back(reset);
        }
    }
}

/// Sends the resets that wait.
pub fn send<D: Doorbell>(core: &mut Core, ports: &mut Ports<D>) {
    while let Some(reset) = core.common.resets.0.pop_front() {
        let Some(mac) = core.client(reset.link).map(|client| client.mac) else { continue };
        if let Err(reason) = reset.send(ports, mac) {
            core.drops.count(reason);
        }
    }
}
