//! What we are on the uplink: one address, one neighbour.

use control::message;
use core::net::Ipv4Addr;
use first_hop::address::is_bad_v4;
use packet::{
    arp::{Arp, Operation},
    ethernet::{Mac, is_group},
};

/// Microseconds between two questions for the neighbour's hardware address.
const ASK_US: u64 = 1_000_000;
/// Smallest MTU that an uplink may have (RFC 791); and the largest that is of use.
const MTU: core::ops::RangeInclusive<u16> = 576..=9000;

/// The uplink.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    /// Our hardware address.
    pub(super) mac: Mac,
    /// Our address.
    pub(super) address: Ipv4Addr,
    /// Who takes everything that leaves.
    pub(super) gateway: Ipv4Addr,
    /// Largest packet.
    pub(super) mtu: u16,
    /// The gateway's hardware address.
    pub(super) neighbour: Option<Mac>,
    /// When to ask for it next, if somebody waits for it.
    pub(super) ask_us: Option<u64>,
    /// Whether somebody has waited for it since it was last asked for.
    wanted: bool,
}

impl Uplink {
    /// Takes dom0's description over; `None` when it makes no sense.
    pub(super) fn new(described: &message::Client) -> Option<Self> {
        let message::Client { mac, v4, v4_gateway, mtu, .. } = *described;
        let sane = !is_group(mac)
            && v4 != v4_gateway
            && !is_bad_v4(v4)
            && !is_bad_v4(v4_gateway)
            && mtu >= *MTU.start();
        let mtu = mtu.min(*MTU.end());
        sane.then_some(Self {
            mac,
            address: v4,
            gateway: v4_gateway,
            mtu,
            neighbour: None,
            ask_us: None,
            wanted: false,
        })
    }

    /// Whether another description means the same station.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.mac, self.address, self.gateway) == (other.mac, other.address, other.gateway)
    }

    /// Somebody needs the neighbour's address, which is not known.
    pub(super) fn want(&mut self, now_us: u64) {
        self.wanted = self.neighbour.is_none();
        if self.wanted && self.ask_us.is_none() {
            self.ask_us = Some(now_us);
        }
    }

    /// The question that is due.
    pub(super) fn question(&mut self, now_us: u64) -> Option<Arp> {
        self.ask_us.filter(|at| *at <= now_us)?;
        self.ask_us = self.wanted.then_some(now_us + ASK_US);
        self.ask_us?;
        self.wanted = false;
        Some(Arp {
            operation: Operation::Request,
            sender_mac: self.mac,
            sender: self.address,
            target_mac: [0; 6],
            target: self.gateway,
        })
    }

    /// Takes in what a neighbour says; gives our answer if it asks for us.
    pub(super) fn hear(&mut self, arp: &Arp) -> Option<Arp> {
        if is_group(arp.sender_mac) || arp.sender_mac == self.mac {
            return None;
        }
        if arp.sender == self.gateway {
            self.neighbour = Some(arp.sender_mac);
            self.ask_us = None;
        }
        let asks = arp.operation == Operation::Request && arp.target == self.address;
        asks.then_some(Arp {
            operation: Operation::Reply,
            sender_mac: self.mac,
            sender: self.address,
            target_mac: arp.sender_mac,
            target: arp.sender,
        })
    }
}
