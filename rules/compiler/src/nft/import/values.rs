//! Right-hand sides: addresses, ports, protocols, as single values, prefixes, ranges and sets.

use super::ruleset::Table;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use rules_program::policy::{Ports, Protocols};
use serde_json::Value;
use std::net::IpAddr;

/// A list's or a set's items, or the value itself; of elements with a timeout or comment the value.
pub(super) fn items<'j>(value: &'j Value, table: &Table<'j>) -> Option<Vec<&'j Value>> {
    if let Some(name) = value.as_str().and_then(|text| text.strip_prefix('@')) {
        return table.sets.get(name).map(|elements| elements.iter().copied().map(bare).collect());
    }
    match value.get("set").unwrap_or(value) {
        Value::Array(list) => Some(list.iter().map(bare).collect()),
        one => Some(vec![bare(one)]),
    }
}

fn bare(element: &Value) -> &Value {
    element.get("elem").and_then(|elem| elem.get("val")).unwrap_or(element)
}

/// Networks; a range is as many as it takes.
pub(super) fn nets(items: &[&Value]) -> Option<Vec<IpNet>> {
    let mut all = Vec::new();
    for item in items {
        all.extend(net(item)?);
    }
    Some(all)
}

fn net(item: &Value) -> Option<Vec<IpNet>> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = item.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        return Some(vec![IpNet::new(address(prefix.get("addr")?)?, length).ok()?.trunc()]);
    }
    if let Some(range) = item.get("range").and_then(Value::as_array) {
        let [first, last] = &range[..] else { return None };
        return Some(match (address(first)?, address(last)?) {
            (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => Ipv4Subnets::new(a, b, 0).map(Into::into).collect(),
            (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => Ipv6Subnets::new(a, b, 0).map(Into::into).collect(),
            _ => return None,
        });
    }
    address(item).map(|address| vec![IpNet::from(address)])
}

/// Services that `nft` writes by name unless told not to.
const SERVICES: [(&str, u16); 12] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap2", 143),
    ("https", 443),
    ("imaps", 993),
    ("pop3s", 995),
];

/// Ranges of ports.
pub(super) fn ports(items: &[&Value]) -> Option<Vec<Ports>> {
    items.iter().map(|item| range_of_ports(item)).collect()
}

fn range_of_ports(item: &Value) -> Option<Ports> {
    if let Some(range) = item.get("range").and_then(Value::as_array) {
        let [first, last] = &range[..] else { return None };
        let ports = Ports { first: port(first)?, last: port(last)? };
        return (ports.first <= ports.last).then_some(ports);
    }
    port(item).map(|port| Ports { first: port, last: port })
}

pub(super) fn port(item: &Value) -> Option<u16> {
    match item {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(name) => {
            let known = SERVICES.iter().find(|(known, _)| known == name);
            known.map(|(_, port)| *port).or_else(|| name.parse().ok())
        }
        _ => None,
    }
}

/// The bits of the protocols that our rules know; others have none.
pub(super) fn protocols(items: &[&Value]) -> Option<u8> {
    let mut bits = 0;
    for item in items {
        bits |= match (item.as_str(), item.as_u64()) {
            (Some("tcp"), _) | (_, Some(6)) => Protocols::TCP.bits(),
            (Some("udp"), _) | (_, Some(17)) => Protocols::UDP.bits(),
            (Some("icmp"), _) | (_, Some(1)) => Protocols::ICMP.bits(),
            (Some("ipv6-icmp" | "icmpv6"), _) | (_, Some(58)) => Protocols::ICMPV6.bits(),
            (Some(_), _) | (_, Some(_)) => 0,
            (None, None) => return None,
        };
    }
    Some(bits)
}

/// Types of ICMP by the names that `nft` has for them.
const ICMP_TYPES: [(&str, u8); 13] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
];

const ICMPV6_TYPES: [(&str, u8); 11] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
];

/// A type of ICMP, or of ICMPv6.
pub(super) fn icmp_type(item: &Value, protocol: Protocols) -> Option<u8> {
    let known = if protocol == Protocols::ICMPV6 { &ICMPV6_TYPES[..] } else { &ICMP_TYPES[..] };
    match item {
        Value::Number(number) => u8::try_from(number.as_u64()?).ok(),
        Value::String(name) => known.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind),
        _ => None,
    }
}
