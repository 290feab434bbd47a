//! What is asked of a program, and what it answers.

use crate::policy::{Action, Direction};
use core::net::IpAddr;

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'n> {
    /// Which way it goes.
    pub direction: Direction,
    /// Who is at the other end.
    pub peer: Peer,
    /// The other end's address: the destination outward (of a name server its virtual address), the source inward.
    pub remote: IpAddr,
    /// Names of the program (places in `Policy::names`) that this domain was told `remote` is the address of.
    pub names: &'n [u16],
    /// What it carries, with the fields that rules ask about.
    pub transport: Transport,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A host in the network.
    Net,
    /// The firewall's name servers, behind their virtual addresses.
    Dns,
    /// A domain that the program names, by its place in `Policy::domains`; `None`: one that it does not name.
    Domain(Option<u16>),
}

/// The transport's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP of IPv4.
    Icmp {
        /// Type.
        kind: u8,
    },
    /// ICMPv6.
    Icmpv6 {
        /// Type.
        kind: u8,
    },
}

/// What a program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// What is done.
    pub action: Action,
    /// The rule that says so; `None`: no rule matched, which means [`Action::Drop`].
    pub rule: Option<u16>,
    /// Whether the decision is to be reported.
    pub log: bool,
}

impl Judgement {
    /// What is done when no rule matches.
    pub const NO_RULE: Self = Self { action: Action::Drop, rule: None, log: false };
}

/// Knows whether a rule with limits may match now.
pub trait Gate {
    /// Asked once for each rule with a rate or connection limit whose other conditions hold, in order of the rules,
    /// until one decides. `true`: it matches, and the match is counted.
    fn admits(&mut self, rule: u16) -> bool;
}

/// A gate that is always open: the rules without their limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn admits(&mut self, _rule: u16) -> bool {
        true
    }
}
