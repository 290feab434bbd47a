//! One rule of nftables, all jumps followed: what its packets have in common.

use crate::ast::Limit;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rules_program::policy::{Action, Ports, Protocols};

/// What our rules are about in IPv4.
const IN_V4: u8 = Protocols::TCP.bits() | Protocols::UDP.bits() | Protocols::ICMP.bits();
/// What our rules are about in IPv6.
const IN_V6: u8 = Protocols::TCP.bits() | Protocols::UDP.bits() | Protocols::ICMPV6.bits();

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Far {
    /// Any address.
    Any,
    /// One of these.
    Nets(Vec<IpNet>),
    /// The addresses of a host name, in one family.
    Name(String),
    /// Another domain's addresses, in one family.
    Domain(String),
    /// The name servers, in one family.
    Servers,
}

/// What a rule's packets have in common. Never more than what nftables says, but for `loosened`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    /// Protocols in IPv4, of those that our rules are about.
    pub(super) v4: u8,
    /// Protocols in IPv6, likewise.
    pub(super) v6: u8,
    pub(super) far: Far,
    /// Empty: any.
    pub(super) destination_ports: Vec<Ports>,
    /// Empty: any.
    pub(super) source_ports: Vec<Ports>,
    pub(super) icmp_type: Option<u8>,
    /// Only what a forward has turned.
    pub(super) forwarded: bool,
    /// It matches nothing.
    pub(super) never: bool,
    /// Conditions that were left away.
    pub(super) loosened: bool,
    pub(super) limit: Option<Limit>,
    pub(super) connections: Option<u32>,
    pub(super) log: bool,
    pub(super) comment: Option<String>,
}

/// What becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) atom: Atom,
    pub(super) action: Action,
    /// Where the verdict stands: rules that share it share its limits.
    pub(super) verdict: (String, usize),
}

impl Atom {
    pub(super) const fn everything() -> Self {
        Self {
            v4: IN_V4,
            v6: IN_V6,
            far: Far::Any,
            destination_ports: Vec::new(),
            source_ports: Vec::new(),
            icmp_type: None,
            forwarded: false,
            never: false,
            loosened: false,
            limit: None,
            connections: None,
            log: false,
            comment: None,
        }
    }

    /// Whether there is any packet that it is about.
    pub(super) const fn is_empty(&self) -> bool {
        self.never || (self.v4 == 0 && self.v6 == 0)
    }

    /// Whether no packet that our rules are about is left out.
    pub(super) fn is_everything(&self) -> bool {
        let bare = Self { comment: None, log: false, loosened: false, ..self.clone() };
        bare == Self::everything()
    }

    pub(super) const fn only_v4(&mut self) {
        self.v6 = 0;
    }

    pub(super) const fn only_v6(&mut self) {
        self.v4 = 0;
    }

    pub(super) const fn only_protocols(&mut self, set: u8) {
        self.v4 &= set;
        self.v6 &= set;
    }

    /// Only these networks; `false` when it is already about a name.
    pub(super) fn only_nets(&mut self, nets: Vec<IpNet>) -> bool {
        match &self.far {
            Far::Any => self.far = Far::Nets(nets),
            Far::Nets(before) => self.far = Far::Nets(common(before, &nets)),
            Far::Name(_) | Far::Domain(_) | Far::Servers => return false,
        }
        self.never |= self.far == Far::Nets(Vec::new());
        true
    }

    /// Only this; it is in the networks so far.
    pub(super) fn only(&mut self, far: Far) -> bool {
        match &self.far {
            Far::Any | Far::Nets(_) => self.far = far,
            before => return *before == far,
        }
        true
    }

    /// Only these ports of one end.
    pub(super) fn only_ports(&mut self, is_destination: IsDestination, ports: Vec<Ports>) {
        self.only_protocols(Protocols::TCP.and(Protocols::UDP).bits());
        let before = match is_destination {
            IsDestination::Yes => &mut self.destination_ports,
            IsDestination::No => &mut self.source_ports,
        };
        if before.is_empty() {
            *before = ports;
        } else {
            let pairs = before.iter().flat_map(|a| ports.iter().map(move |b| (a, b)));
            let common = pairs.map(|(a, b)| Ports { first: a.first.max(b.first), last: a.last.min(b.last) });
            *before = common.filter(|ports| ports.first <= ports.last).collect();
        }
        self.never |= before.is_empty();
        if before.contains(&Ports::ALL) {
            before.clear();
        }
    }

    pub(super) fn only_icmp_type(&mut self, kind: u8) {
        self.only_protocols(Protocols::ICMP.and(Protocols::ICMPV6).bits());
        self.never |= self.icmp_type.is_some_and(|before| before != kind);
        self.icmp_type = Some(kind);
    }
}

/// Which end a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsDestination {
    Yes,
    No,
}

/// What is in both lists.
fn common(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    let both = pairs.filter_map(|(a, b)| match (a, b) {
        _ if a.contains(b) => Some(*b),
        _ if b.contains(a) => Some(*a),
        _ => None,
    });
    both.collect()
}

pub(super) const ANY_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0));
pub(super) const ANY_V6: IpNet = IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0));
