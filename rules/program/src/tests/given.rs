//! Policies and questions with every feature, drawn from few values so that they meet, corner values among them.

use crate::{
    policy::{Action, Direction, Policy, Ports, Protocols, Rate, Rule, Target},
    question::{Peer, Question, Transport},
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::{collection::vec, option, prelude::*};
use std::{format, string::String, vec::Vec};

pub(super) const NAMES: u16 = 5;
pub(super) const DOMAINS: u16 = 3;

/// A question that owns its names.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    direction: Direction,
    peer: Peer,
    remote: IpAddr,
    names: Vec<u16>,
    transport: Transport,
}

impl Asked {
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            direction: self.direction,
            peer: self.peer,
            remote: self.remote,
            names: &self.names,
            transport: self.transport,
        }
    }
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![4 => Just(Direction::Outward), 1 => Just(Direction::Inward)]
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    let near = (0u32..4, 0u32..4, 0u32..300).prop_map(|(a, b, c)| 0x0A00_0000 + (a << 22) + (b << 12) + c);
    prop_oneof![
        8 => near,
        1 => prop_oneof![Just(0), Just(1), Just(u32::MAX), Just(u32::MAX - 1), Just(1 << 31), Just((1 << 31) - 1)],
        1 => any::<u32>(),
    ]
    .prop_map(Ipv4Addr::from_bits)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let near = (0u128..4, 0u128..4, 0u128..40)
        .prop_map(|(a, b, c)| 0x2001_0DB8_0000_0000_0000_0000_0000_0000 + (a << 80) + (b << 62) + c);
    prop_oneof![
        8 => near,
        1 => prop_oneof![Just(0), Just(1), Just(u128::MAX), Just(1 << 127), Just((1 << 127) - 1)],
        1 => any::<u128>(),
    ]
    .prop_map(Ipv6Addr::from_bits)
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => prop_oneof![Just(0), Just(1), Just(52), Just(53), Just(54), Just(80), Just(443), Just(255), Just(256)],
        2 => prop_oneof![Just(1023), Just(1024), Just(u16::MAX - 1), Just(u16::MAX)],
        1 => any::<u16>(),
        1 => 1000u16..1100,
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = |(a, b): (u16, u16)| Ports { first: a.min(b), last: a.max(b) };
    prop_oneof![
        2 => Just(Ports::ALL),
        2 => port().prop_map(|port| Ports { first: port, last: port }),
        1 => (port(), port()).prop_map(range),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let len4 = prop_oneof![4 => 8u8..=32, 1 => 0u8..=8, 2 => Just(32)];
    let len6 = prop_oneof![4 => 32u8..=128, 1 => 0u8..=32, 2 => Just(128)];
    prop_oneof![
        8 => (v4(), len4).prop_map(|(net, len)| Target::V4(Ipv4Net::new(net, len).unwrap())),
        4 => (v6(), len6).prop_map(|(net, len)| Target::V6(Ipv6Net::new(net, len).unwrap())),
        1 => Just(Target::AnyV4),
        1 => Just(Target::AnyV6),
        2 => (0..NAMES).prop_map(Target::Name),
        2 => (0..DOMAINS).prop_map(Target::Domain),
        2 => Just(Target::Dns),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Accept),
        2 => Just(Action::Drop),
        1 => Just(Action::Reject),
        1 => option::of(any::<u16>()).prop_map(|to_port| Action::Forward { to_port }),
    ]
}

fn kind() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(8), Just(128), Just(255), any::<u8>()]
}

fn rule() -> impl Strategy<Value = Rule> {
    let protocols = prop_oneof![
        2 => Just(Protocols::ALL),
        3 => (0u8..16).prop_map(|bits| Protocols::from_bits(bits).unwrap()),
        3 => prop_oneof![Just(Protocols::TCP), Just(Protocols::UDP)],
    ];
    let rate = (1u32..9, 1u32..9, 1u32..9);
    let rate = rate.prop_map(|(count, per_seconds, burst)| Rate { count, per_seconds, burst });
    let source = prop_oneof![3 => Just(Ports::ALL), 1 => ports()];
    (
        (direction(), action(), vec(target(), 0..4), protocols, ports(), source),
        (option::weighted(0.1, kind()), option::weighted(0.15, rate), option::weighted(0.1, any::<u32>())),
        (any::<bool>(), any::<u32>()),
    )
        .prop_map(|(match_on, limits, about)| {
            let (direction, action, targets, protocols, destination_ports, source_ports) = match_on;
            let ((icmp_type, rate, connections), (log, line)) = (limits, about);
            Rule {
                direction,
                action,
                targets,
                protocols,
                destination_ports,
                source_ports,
                icmp_type,
                rate,
                connections,
                log,
                line,
            }
        })
}

pub(super) fn policy(rules: core::ops::Range<usize>) -> impl Strategy<Value = Policy> {
    vec(rule(), rules).prop_map(|rules| Policy {
        rules,
        names: (0..NAMES).map(|nth| format!("host-{nth}.example")).collect(),
        domains: (0..DOMAINS).map(|nth| format!("Domain_{nth}")).collect::<Vec<String>>(),
    })
}

/// A question about an address anywhere.
pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let peer = prop_oneof![
        8 => Just(Peer::Net),
        3 => Just(Peer::Dns),
        3 => option::of(0..DOMAINS + 1).prop_map(Peer::Domain),
    ];
    let transport = prop_oneof![
        3 => (port(), port()).prop_map(|(source, destination)| Transport::Tcp { source, destination }),
        3 => (port(), port()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        1 => kind().prop_map(|kind| Transport::Icmp { kind }),
        1 => kind().prop_map(|kind| Transport::Icmpv6 { kind }),
    ];
    let remote = prop_oneof![2 => v4().prop_map(IpAddr::V4), 1 => v6().prop_map(IpAddr::V6)];
    let name = prop_oneof![8 => 0..NAMES, 1 => Just(NAMES), 1 => Just(u16::MAX)];
    let names = prop_oneof![1 => Just(Vec::new()), 1 => vec(name, 0..4)];
    (direction(), peer, remote, names, transport).prop_map(|(direction, peer, remote, names, transport)| {
        Asked { direction, peer, remote, names, transport }
    })
}

/// Questions that lie at the edges of what the rules say: first and last addresses and ports, and their neighbours.
pub(super) fn edges(policy: &Policy, nth: usize, asked: &Asked) -> Asked {
    let Some(rule) = policy.rules.get(nth % policy.rules.len().max(1)) else { return asked.clone() };
    let mut asked = asked.clone();
    let step = |at: u32| -> i64 { [0, -1, 1][at as usize % 3] };
    let (pick, way) = ((nth / 7).is_multiple_of(2), step((nth / 3) as u32));
    if let Some(target) = rule.targets.get(nth / 5 % rule.targets.len().max(1)) {
        match target {
            Target::V4(net) => {
                let edge = if pick { net.network() } else { net.broadcast() };
                asked.remote = Ipv4Addr::from_bits(edge.to_bits().wrapping_add_signed(way as i32)).into();
            }
            Target::V6(net) => {
                let edge = if pick { net.network() } else { net.broadcast() };
                asked.remote = Ipv6Addr::from_bits(edge.to_bits().wrapping_add_signed(way.into())).into();
            }
            Target::Domain(domain) => asked.peer = Peer::Domain(Some(*domain)),
            _ => {}
        }
    }
    let edge = |ports: Ports| (if pick { ports.first } else { ports.last }).wrapping_add_signed(way as i16);
    if let Transport::Tcp { source, destination } | Transport::Udp { source, destination } =
        &mut asked.transport
    {
        *destination = edge(rule.destination_ports);
        if !nth.is_multiple_of(4) {
            *source = edge(rule.source_ports);
        }
    }
    asked.direction = rule.direction;
    asked
}
