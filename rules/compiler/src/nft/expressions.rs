//! The pieces that exported rules are made of, spelled as `nft` 1.0.6 reads them.

use ipnet::IpNet;
use nftables::{
    expr::{CT, CTDir, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload},
    expr::{PayloadBase, PayloadField, PayloadRaw, Prefix, Range, SetItem},
    stmt::{JumpTarget, Match, Operator, Statement},
};
use rules_program::policy::{Ports, Protocols};
use std::{collections::HashSet, net::IpAddr};

/// A statement without borrowed parts.
pub(super) type Stmt = Statement<'static>;
type Expr = Expression<'static>;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As the header's name.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// As a digit of a set's name.
    pub(super) const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

pub(super) fn word(text: impl Into<String>) -> Expr {
    Expression::String(text.into().into())
}

pub(super) fn is(left: Expr, right: Expr) -> Stmt {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

pub(super) fn is_not(left: Expr, right: Expr) -> Stmt {
    Statement::Match(Match { left, right, op: Operator::NEQ })
}

/// One of the bits of a flag word is set.
pub(super) fn has(left: Expr, right: Expr) -> Stmt {
    Statement::Match(Match { left, right, op: Operator::IN })
}

pub(super) fn meta(key: MetaKey) -> Expr {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn field(protocol: &'static str, field: &'static str) -> Expr {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

pub(super) fn conntrack(key: &'static str, dir: Option<CTDir>) -> Expr {
    Expression::Named(NamedExpression::CT(CT { key: key.into(), family: None, dir }))
}

/// The address at this end.
pub(super) fn address(family: Family, end: End) -> Expr {
    field(family.header(), if end == End::Source { "saddr" } else { "daddr" })
}

pub(super) fn family_is(family: Family) -> Stmt {
    is(meta(MetaKey::Nfproto), word(if family == Family::V4 { "ipv4" } else { "ipv6" }))
}

/// The packet is for an address of this machine.
pub(super) fn is_local() -> Stmt {
    let fib = Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) };
    is(Expression::Named(NamedExpression::Fib(fib)), word("local"))
}

/// The first byte of the transport header: the type of an ICMP message, whichever the family.
pub(super) fn icmp_type(kind: u8) -> Stmt {
    let first = PayloadRaw { base: PayloadBase::TH, offset: 0, len: 8 };
    is(
        Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(first))),
        Expression::Number(kind.into()),
    )
}

pub(super) fn ports(ports: Ports) -> Expr {
    if ports.first == ports.last {
        return Expression::Number(ports.first.into());
    }
    let range = [ports.first, ports.last].map(|port| Expression::Number(port.into()));
    Expression::Range(Box::new(Range { range }))
}

/// A network as `nft` writes it: hosts without a prefix length.
pub(super) fn network(net: IpNet) -> Expr {
    let address = word(net.network().to_string());
    if net.prefix_len() == net.max_prefix_len() {
        return address;
    }
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(address),
        len: net.prefix_len().into(),
    }))
}

/// One of them; the set is left out around a single one.
pub(super) fn any_of(mut elements: Vec<Expr>) -> Expr {
    match elements.pop() {
        Some(only) if elements.is_empty() => only,
        last => {
            let elements = elements.into_iter().chain(last).map(SetItem::Element).collect();
            Expression::Named(NamedExpression::Set(elements))
        }
    }
}

pub(super) const PROTOCOLS: [(Protocols, &str); 4] = [
    (Protocols::ICMP, "icmp"),
    (Protocols::TCP, "tcp"),
    (Protocols::UDP, "udp"),
    (Protocols::ICMPV6, "ipv6-icmp"),
];

pub(super) fn protocols(set: Protocols) -> Expr {
    any_of(PROTOCOLS.iter().filter(|(one, _)| set.contains(*one)).map(|(_, name)| word(*name)).collect())
}

pub(super) fn jump(chain: &str) -> Stmt {
    Statement::Jump(JumpTarget { target: chain.to_owned().into() })
}

pub(super) fn goto(chain: &str) -> Stmt {
    Statement::Goto(JumpTarget { target: chain.to_owned().into() })
}
