//! What the builder needs to know of a rule.

use crate::{
    format::RuleRecord,
    policy::{Direction, Ports, Protocols},
    question::Transport,
};

/// What a table is for: a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Tcp = 0,
    Udp = 1,
    Icmp = 2,
    Icmpv6 = 3,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmpv6];

    const fn protocol(self) -> Protocols {
        match self {
            Self::Tcp => Protocols::TCP,
            Self::Udp => Protocols::UDP,
            Self::Icmp => Protocols::ICMP,
            Self::Icmpv6 => Protocols::ICMPV6,
        }
    }

    const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    /// Class, destination port or ICMP type, source port or 0.
    #[inline]
    pub(crate) fn of(transport: Transport) -> (Self, u16, u16) {
        let class = match transport {
            Transport::Tcp { .. } => Self::Tcp,
            Transport::Udp { .. } => Self::Udp,
            Transport::Icmp { .. } => Self::Icmp,
            Transport::Icmpv6 { .. } => Self::Icmpv6,
        };
        match transport {
            Transport::Tcp { source, destination } | Transport::Udp { source, destination } => {
                (class, destination, source)
            }
            Transport::Icmp { kind } | Transport::Icmpv6 { kind } => (class, kind.into(), 0),
        }
    }
}

/// A rule's conditions besides its targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) direction: Direction,
    protocols: Protocols,
    destination: Ports,
    source: Ports,
    icmp_type: Option<u8>,
    /// Its place among the rules with limits; [`Conditions::UNLIMITED`]: it has none.
    pub(crate) limit: u16,
}

impl Conditions {
    pub(crate) const UNLIMITED: u16 = u16::MAX;

    pub(crate) const fn of(rule: &RuleRecord, limit: u16) -> Self {
        Self {
            direction: rule.direction,
            protocols: rule.protocols,
            destination: rule.destination_ports,
            source: rule.source_ports,
            icmp_type: rule.icmp_type,
            limit,
        }
    }

    /// The destination ports or ICMP types that it matches among packets of a class; `None`: it matches none.
    pub(crate) fn range(&self, class: Class) -> Option<Ports> {
        let range = match self.icmp_type {
            _ if class.has_ports() => self.icmp_type.is_none().then_some(self.destination),
            _ if self.destination != Ports::ALL || self.source != Ports::ALL => None,
            Some(kind) => Some(Ports { first: kind.into(), last: kind.into() }),
            None => Some(Ports::ALL),
        };
        range.filter(|_| self.protocols.contains(class.protocol()))
    }

    /// The source ports that it matches among packets of a class.
    pub(crate) const fn source(&self, class: Class) -> Ports {
        if class.has_ports() { self.source } else { Ports::ALL }
    }

    /// Whether something else than the destination port or ICMP type is asked of a packet of the class.
    pub(crate) fn is_residual(&self, class: Class) -> bool {
        self.limit != Self::UNLIMITED || self.source(class) != Ports::ALL
    }

    /// Whether it matches whatever goes to its targets: no rule behind it can.
    pub(crate) fn is_last(&self) -> bool {
        Class::ALL.iter().all(|class| self.range(*class) == Some(Ports::ALL) && !self.is_residual(*class))
    }

    /// Whether it treats two classes alike.
    pub(crate) fn is_same(&self, one: Class, other: Class) -> bool {
        self.range(one) == self.range(other)
    }
}
