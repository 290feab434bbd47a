//! Rules as data: what a rule's text means, before it is made fast.
//!
//! A policy is an ordered list; among the rules of a packet's direction the first that matches decides; when none
//! does, the packet is dropped. A rule matches when all of its conditions hold, its limits last of all.

use alloc::{string::String, vec::Vec};
use ipnet::{Ipv4Net, Ipv6Net};

/// Rules in a policy at most.
pub const MAX_RULES: usize = 16_384;
/// Targets of all rules together at most.
pub const MAX_TARGETS: usize = 65_536;
/// Host names in a policy at most.
pub const MAX_NAMES: usize = 1024;
/// Domains that a policy names at most.
pub const MAX_DOMAINS: usize = 32;
/// Rules with a rate or connection limit at most: what bounds the work for one question.
pub const MAX_LIMITED: usize = 256;

/// The rules of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In order, both directions together; a rule's place is its number.
    pub rules: Vec<Rule>,
    /// Host names that rules refer to: lower case, no dot at the end, no duplicates.
    pub names: Vec<String>,
    /// Other domains that rules refer to, no duplicates.
    pub domains: Vec<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which packets it is about.
    pub direction: Direction,
    /// What is done with what it matches.
    pub action: Action,
    /// The other end: any of these. Empty: every address in the network, name servers included, but no domain.
    pub targets: Vec<Target>,
    /// Transport protocols.
    pub protocols: Protocols,
    /// Destination ports; other protocols than TCP and UDP have none and match only [`Ports::ALL`].
    pub destination_ports: Ports,
    /// Source ports, likewise.
    pub source_ports: Ports,
    /// ICMP or ICMPv6 type; `None`: any. Other protocols do not match when there is one.
    pub icmp_type: Option<u8>,
    /// Matches only this often; the limit is asked last, when all else holds.
    pub rate: Option<Rate>,
    /// Matches only while fewer connections that it accepted are alive.
    pub connections: Option<u32>,
    /// Whether its decisions are reported.
    pub log: bool,
    /// Line in the source, from 1; 0: none.
    pub line: u32,
}

impl Rule {
    /// A rule without conditions: about everything in a direction but other domains.
    #[must_use]
    pub const fn any(direction: Direction, action: Action) -> Self {
        Self {
            direction,
            action,
            targets: Vec::new(),
            protocols: Protocols::ALL,
            destination_ports: Ports::ALL,
            source_ports: Ports::ALL,
            icmp_type: None,
            rate: None,
            connections: None,
            log: false,
            line: 0,
        }
    }
}

/// Which way the first packet of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the domain that the rules belong to.
    Outward,
    /// To it.
    Inward,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets it pass.
    Accept,
    /// Drops it silently.
    Drop,
    /// Drops it and tells the sender: administratively prohibited.
    Reject,
    /// Inward, from the network: lets what came to the uplink's own address pass to this domain.
    Forward {
        /// The domain's port; `None`: the same as outside.
        to_port: Option<u16>,
    },
}

/// The other end of a connection: its destination outward, its source inward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// IPv4 addresses in the network.
    V4(Ipv4Net),
    /// IPv6 addresses in the network.
    V6(Ipv6Net),
    /// Every IPv4 address in the network.
    AnyV4,
    /// Every IPv6 address in the network.
    AnyV6,
    /// The addresses of a host name, by its place in [`Policy::names`].
    Name(u16),
    /// Another domain, by its place in [`Policy::domains`].
    Domain(u16),
    /// The name servers: TCP and UDP port 53 of their virtual addresses.
    Dns,
}

/// A set of transport protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocols(u8);

impl Protocols {
    /// TCP.
    pub const TCP: Self = Self(1);
    /// UDP.
    pub const UDP: Self = Self(2);
    /// ICMP of IPv4.
    pub const ICMP: Self = Self(4);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(8);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// Both sets' protocols.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every protocol of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set as four bits in the order of the constants.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// A set of these bits; `None` for bits that mean nothing.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port, not below the first.
    pub last: u16,
}

impl Ports {
    /// Every port: no condition.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// Whether the port is in the range.
    #[inline]
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// How often a rule may match: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Matches in `per_seconds`; not 0.
    pub count: u32,
    /// The time in seconds; not 0.
    pub per_seconds: u32,
    /// Matches that a rested rule allows at once; not 0.
    pub burst: u32,
}
