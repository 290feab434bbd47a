//! The bytes of a program. All numbers are little-endian; nothing is aligned; every byte that means nothing is 0.
//!
//! A program carries rules, not an index: what evaluates is made of the rules by whoever loads them, so it cannot
//! say anything else than what the [listing](crate::listing) says.
//!
//! ```text
//! offset size
//!      0    7  "BHRULES"
//!      7    1  version: 2
//!      8    4  length of the whole program in bytes
//!     12    4  number of rules                   (at most policy::MAX_RULES)
//!     16    4  number of targets                 (MAX_TARGETS)
//!     20    4  number of IPv4 prefixes           (MAX_TARGETS)
//!     24    4  number of IPv6 prefixes           (MAX_TARGETS)
//!     28    4  number of limits                  (MAX_LIMITED)
//!     32    4  number of host names              (MAX_NAMES)
//!     36    4  bytes of host names
//!     40    4  number of domains                 (MAX_DOMAINS)
//!     44    4  bytes of domains
//!     48       the sections, one behind another in the order of their numbers, without gaps:
//!
//! a rule: 20 bytes
//!      0    1  bit 0: inward; bits 1-2: accept 0, drop 1, reject 2, forward 3; bit 3: log;
//!              bits 4-7: TCP, UDP, ICMP, ICMPv6
//!      1    1  what it has: bit 0: an ICMP type, bit 1: a port to forward to, bit 2: a rate, bit 3: a limit of
//!              connections
//!      2    1  ICMP type
//!      3    1  0
//!      4    2  port to forward to (actions other than forward have none)
//!      6    4  first and last destination port, in order
//!     10    4  first and last source port, in order
//!     14    2  number of its targets: the next ones of the targets' section
//!     16    4  line in the source
//!
//! a target: 4 bytes
//!      0    3  place in the section that the kind names; 0 for kinds 0 to 2
//!      3    1  kind: 0 every IPv4 address, 1 every IPv6 address, 2 the name servers, 3 a host name, 4 a domain,
//!              5 an IPv4 prefix, 6 an IPv6 prefix
//!
//! an IPv4 prefix: 8 bytes, ascending by address, then by length, each once
//!      0    4  address as a number; bits behind the prefix are 0
//!      4    1  length: 1 to 32
//!      5    3  0
//!
//! an IPv6 prefix: 20 bytes, likewise
//!      0   16  address as a number
//!     16    1  length: 1 to 128
//!     17    3  0
//!
//! limits: 16 bytes, one for each rule that has a rate or a limit of connections, in the order of the rules
//!      0   12  count, seconds, burst; none of them 0 when there is a rate, else all 0
//!     12    4  connections; 0 when there is no limit of them
//!
//! a host name or domain: 1 + n bytes
//!      0    1  n, not 0
//!      1    n  graphic ASCII; a host name has no capitals
//!
//! last    8  checksum of all bytes before it: against damage, not against intent. From the number of these bytes on,
//!            for each 8 of them as a number, the last filled up with zeros (or 8 zeros): exclusive or, times
//!            0x9E3779B97F4A7C15, rotated left by 29; at last exclusive or with itself shifted right by 32
//! ```

use crate::policy::{Action, Direction, Ports, Protocols, Rate, Rule};

/// The first bytes of a program: its name and its version.
pub(crate) const MAGIC: [u8; 8] = *b"BHRULES\x02";
/// Bytes before the first section.
pub(crate) const HEADER: usize = 48;
/// Bytes of a rule.
pub(crate) const RULE: usize = 20;
/// Bytes of a target.
pub(crate) const TARGET: usize = 4;
/// Bytes of an IPv4 prefix.
pub(crate) const PREFIX4: usize = 8;
/// Bytes of an IPv6 prefix.
pub(crate) const PREFIX6: usize = 20;
/// Bytes of a rule's limits.
pub(crate) const LIMIT: usize = 16;
/// Bytes of the checksum at the end.
pub(crate) const CHECKSUM: usize = 8;

/// A rule without its targets and limits, which stand in sections of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleRecord {
    pub(crate) direction: Direction,
    pub(crate) action: Action,
    pub(crate) log: bool,
    pub(crate) protocols: Protocols,
    pub(crate) icmp_type: Option<u8>,
    pub(crate) destination_ports: Ports,
    pub(crate) source_ports: Ports,
    pub(crate) has_rate: bool,
    pub(crate) has_connections: bool,
    pub(crate) targets: u16,
    pub(crate) line: u32,
}

impl RuleRecord {
    /// The record of a rule with so many targets.
    pub(crate) const fn of(rule: &Rule, targets: u16) -> Self {
        Self {
            direction: rule.direction,
            action: rule.action,
            log: rule.log,
            protocols: rule.protocols,
            icmp_type: rule.icmp_type,
            destination_ports: rule.destination_ports,
            source_ports: rule.source_ports,
            has_rate: rule.rate.is_some(),
            has_connections: rule.connections.is_some(),
            targets,
            line: rule.line,
        }
    }

    /// Whether it stands in the limits' section.
    pub(crate) const fn is_limited(&self) -> bool {
        self.has_rate || self.has_connections
    }

    pub(crate) fn encode(&self) -> [u8; RULE] {
        let (action, to_port) = match self.action {
            Action::Accept => (0, None),
            Action::Drop => (1, None),
            Action::Reject => (2, None),
            Action::Forward { to_port } => (3, to_port),
        };
        let inward = u8::from(self.direction == Direction::Inward);
        let [t0, t1] = to_port.unwrap_or(0).to_le_bytes();
        let [d0, d1] = self.destination_ports.first.to_le_bytes();
        let [d2, d3] = self.destination_ports.last.to_le_bytes();
        let [s0, s1] = self.source_ports.first.to_le_bytes();
        let [s2, s3] = self.source_ports.last.to_le_bytes();
        let [n0, n1] = self.targets.to_le_bytes();
        let [l0, l1, l2, l3] = self.line.to_le_bytes();
        let what = inward | action << 1 | u8::from(self.log) << 3 | self.protocols.bits() << 4;
        let has = u8::from(self.icmp_type.is_some())
            | u8::from(to_port.is_some()) << 1
            | u8::from(self.has_rate) << 2
            | u8::from(self.has_connections) << 3;
        let kind = self.icmp_type.unwrap_or(0);
        [what, has, kind, 0, t0, t1, d0, d1, d2, d3, s0, s1, s2, s3, n0, n1, l0, l1, l2, l3]
    }

    /// The record in these bytes; `None`: they are none.
    pub(crate) fn decode(bytes: &[u8; RULE]) -> Option<Self> {
        let [what, has, kind, zero, t0, t1, d0, d1, d2, d3, s0, s1, s2, s3, n0, n1, line @ ..] = *bytes;
        let port = u16::from_le_bytes([t0, t1]);
        let (has_icmp, has_port) = (has & 1 != 0, has & 2 != 0);
        let to_port = has_port.then_some(port);
        let (action, log) = action(what);
        let action = action.unwrap_or(Action::Forward { to_port });
        let destination_ports =
            Ports { first: u16::from_le_bytes([d0, d1]), last: u16::from_le_bytes([d2, d3]) };
        let source_ports = Ports { first: u16::from_le_bytes([s0, s1]), last: u16::from_le_bytes([s2, s3]) };
        let is_sound = has & !15 == 0
            && zero == 0
            && (has_icmp || kind == 0)
            && (has_port || port == 0)
            && (!has_port || matches!(action, Action::Forward { .. }))
            && destination_ports.first <= destination_ports.last
            && source_ports.first <= source_ports.last;
        is_sound.then_some(())?;
        Some(Self {
            direction: if what & 1 == 0 { Direction::Outward } else { Direction::Inward },
            action,
            log,
            protocols: Protocols::from_bits(what >> 4)?,
            icmp_type: has_icmp.then_some(kind),
            destination_ports,
            source_ports,
            has_rate: has & 4 != 0,
            has_connections: has & 8 != 0,
            targets: u16::from_le_bytes([n0, n1]),
            line: u32::from_le_bytes(line),
        })
    }
}

/// What the first byte of a rule says: its action, unless it forwards, and whether its decisions are reported.
#[inline]
pub(crate) const fn action(what: u8) -> (Option<Action>, bool) {
    let action = match (what >> 1) & 3 {
        0 => Some(Action::Accept),
        1 => Some(Action::Drop),
        2 => Some(Action::Reject),
        _ => None,
    };
    (action, what & 8 != 0)
}

/// A target as it stands in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetRecord {
    AnyV4,
    AnyV6,
    Dns,
    Name(u16),
    Domain(u16),
    /// By its place among the IPv4 prefixes.
    Prefix4(u32),
    /// By its place among the IPv6 prefixes.
    Prefix6(u32),
}

impl TargetRecord {
    pub(crate) fn encode(self) -> [u8; TARGET] {
        let (kind, place) = match self {
            Self::AnyV4 => (0, 0),
            Self::AnyV6 => (1, 0),
            Self::Dns => (2, 0),
            Self::Name(place) => (3, u32::from(place)),
            Self::Domain(place) => (4, u32::from(place)),
            Self::Prefix4(place) => (5, place),
            Self::Prefix6(place) => (6, place),
        };
        (place & 0xFF_FFFF | kind << 24).to_le_bytes()
    }

    /// The target in these bytes; `None`: they are none.
    pub(crate) fn decode(bytes: [u8; TARGET]) -> Option<Self> {
        let word = u32::from_le_bytes(bytes);
        let place = word & 0xFF_FFFF;
        match (word >> 24, place) {
            (0, 0) => Some(Self::AnyV4),
            (1, 0) => Some(Self::AnyV6),
            (2, 0) => Some(Self::Dns),
            (3, _) => Some(Self::Name(u16::try_from(place).ok()?)),
            (4, _) => Some(Self::Domain(u16::try_from(place).ok()?)),
            (5, _) => Some(Self::Prefix4(place)),
            (6, _) => Some(Self::Prefix6(place)),
            _ => None,
        }
    }
}

/// An IPv4 prefix: address and length.
pub(crate) fn prefix4(bytes: &[u8; PREFIX4]) -> Option<(u32, u8)> {
    let [a, b, c, d, len, zeros @ ..] = *bytes;
    let address = u32::from_le_bytes([a, b, c, d]);
    let behind = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    ((1..=32).contains(&len) && address & behind == 0 && zeros == [0; 3]).then_some((address, len))
}

/// An IPv6 prefix: address and length.
pub(crate) fn prefix6(bytes: &[u8; PREFIX6]) -> Option<(u128, u8)> {
    let (address, [len, zeros @ ..]) = bytes.split_first_chunk::<16>()? else { return None };
    let address = u128::from_le_bytes(*address);
    let behind = u128::MAX.checked_shr(u32::from(*len)).unwrap_or(0);
    ((1..=128).contains(len) && address & behind == 0 && zeros == [0; 3]).then_some((address, *len))
}

/// Limits as they stand in a program.
pub(crate) fn encode_limit(rate: Option<Rate>, connections: Option<u32>) -> [u8; LIMIT] {
    let rate = rate.map_or([0; 3], |rate| [rate.count, rate.per_seconds, rate.burst]);
    let [a, b, c] = rate.map(u32::to_le_bytes);
    let mut bytes = [0; LIMIT];
    for (to, from) in bytes.iter_mut().zip([a, b, c, connections.unwrap_or(0).to_le_bytes()].iter().flatten())
    {
        *to = *from;
    }
    bytes
}

/// The limits in these bytes; `None`: they are not those of the rule.
pub(crate) fn limit(rule: &RuleRecord, bytes: &[u8; LIMIT]) -> Option<(Option<Rate>, Option<u32>)> {
    let (words, []) = bytes.as_chunks::<4>() else { return None };
    let &[count, per_seconds, burst, connections] = words else { return None };
    let [count, per_seconds, burst, connections] =
        [count, per_seconds, burst, connections].map(u32::from_le_bytes);
    let rate = [count, per_seconds, burst];
    let is_sound = if rule.has_rate { !rate.contains(&0) } else { rate == [0; 3] };
    (is_sound && (rule.has_connections || connections == 0)).then_some(())?;
    let rate = rule.has_rate.then_some(Rate { count, per_seconds, burst });
    Some((rate, rule.has_connections.then_some(connections)))
}

/// Eight bytes for any number of them. One damaged word changes it for certain: each step can be undone.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let words = words.iter().chain(core::iter::once(&last));
    let sum = words.fold(bytes.len() as u64, |sum, word| {
        (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    });
    sum ^ sum >> 32
}
