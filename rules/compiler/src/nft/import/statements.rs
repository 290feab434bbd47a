//! One statement of a rule: what it takes away from the packets that the rule is about, or what it does with them.

use super::{
    atom::{Atom, Far, IsDestination},
    ruleset::Table,
    values::{icmp_type, items, nets, port, ports, protocols},
};
use crate::ast::{Limit, Unit};
use rules_program::policy::{Action, Protocols};
use serde_json::Value;

/// What comes after a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'j> {
    /// The next statement.
    Next,
    /// It is decided.
    Decide(Action),
    /// The rule is about packets of no connection: they never reach our rules.
    Implied,
    /// The rule is about connections that were accepted: they never reach our rules either.
    Established,
    /// Another chain, and back.
    Jump(&'j str),
    /// Another chain, and not back.
    Goto(&'j str),
    /// Back to where this chain was jumped to from.
    Return,
}

/// Why a statement cannot be said, and whether packets are taken away by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsayable {
    /// A condition.
    Condition(String),
    /// Something done in passing.
    Act(String),
}

/// Where the statement stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'t, 'j> {
    pub(super) table: &'t Table<'j>,
    /// The field of addresses that are the other end's.
    pub(super) far: &'static str,
    /// A chain that translates addresses.
    pub(super) translates: bool,
    /// A table that we exported.
    pub(super) own: bool,
}

fn condition<T>(what: impl Into<String>) -> Result<T, Unsayable> {
    Err(Unsayable::Condition(what.into()))
}

/// Takes a statement into account.
pub(super) fn statement<'j>(
    statement: &'j Value,
    atom: &mut Atom,
    place: &Place<'_, 'j>,
) -> Result<Step<'j>, Unsayable> {
    let Some((kind, body)) = statement.as_object().and_then(|object| object.iter().next()) else {
        return condition("a statement that is none");
    };
    let target = || body.get("target").and_then(Value::as_str).unwrap_or_default();
    match kind.as_str() {
        "match" => return matched(body, atom, place),
        "vmap" => return connection_states(body),
        "accept" => return Ok(Step::Decide(Action::Accept)),
        "drop" => return Ok(Step::Decide(Action::Drop)),
        "reject" => return Ok(Step::Decide(Action::Reject)),
        "jump" => return Ok(Step::Jump(target())),
        "goto" => return Ok(Step::Goto(target())),
        "return" => return Ok(Step::Return),
        "dnat" if place.translates => return forward(body),
        "counter" | "continue" => {}
        "log" => atom.log = true,
        "limit" => atom.limit = Some(rate(body)?),
        "ct count" => atom.connections = Some(connections(body)?),
        "mangle" | "notrack" | "set" | "flow" | "ct helper" | "meter" | "dup" => {
            return Err(Unsayable::Act(format!("`{kind}`")));
        }
        other => return condition(format!("`{other}`")),
    }
    Ok(Step::Next)
}

/// To which port of the domain.
fn forward<'j>(body: &Value) -> Result<Step<'j>, Unsayable> {
    let to_port = match body.get("port") {
        None => None,
        Some(value) => match port(value) {
            Some(port) => Some(port),
            None => return condition("`dnat` to several ports"),
        },
    };
    Ok(Step::Decide(Action::Forward { to_port }))
}

fn connections(body: &Value) -> Result<u32, Unsayable> {
    let val = body.get("val").and_then(Value::as_u64).and_then(|val| u32::try_from(val).ok());
    match (val, body.get("inv").and_then(Value::as_bool).unwrap_or(false)) {
        (Some(most @ 1..=1_000_000), false) => Ok(most),
        _ => condition("`ct count` over a limit"),
    }
}

fn rate(body: &Value) -> Result<Limit, Unsayable> {
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let packets = body.get("rate_unit").and_then(Value::as_str).is_none_or(|unit| unit == "packets");
    if !packets || body.get("inv").and_then(Value::as_bool).unwrap_or(false) {
        return condition("`limit` of bytes, or over a limit");
    }
    let per = body.get("per").and_then(Value::as_str).unwrap_or("second");
    let count = number("rate").unwrap_or(0);
    let (count, unit) = match (per, Unit::ALL.into_iter().find(|unit| unit.word() == per)) {
        (_, Some(unit)) => (count, unit),
        ("week", None) if count % 7 == 0 => (count / 7, Unit::Day),
        _ => return condition(format!("`limit` per {per}")),
    };
    // nft's own default is 5.
    let burst = number("burst").filter(|burst| *burst > 0).unwrap_or(5);
    let small = |number: u64| u32::try_from(number).ok().filter(|number| (1..=1_000_000).contains(number));
    match (small(count), small(burst)) {
        (Some(count), Some(burst)) => Ok(Limit { count, unit, burst: Some(burst) }),
        _ => condition("a `limit` of that size"),
    }
}

/// `ct state vmap`: only what it does with new connections matters.
fn connection_states<'j>(body: &'j Value) -> Result<Step<'j>, Unsayable> {
    let is_state = body.get("key").is_some_and(|key| key.pointer("/ct/key") == Some(&Value::from("state")));
    let pairs = body.pointer("/data/set").and_then(Value::as_array).filter(|_| is_state);
    let Some(pairs) = pairs else { return condition("`vmap`") };
    let of = |state: &str| {
        let pairs = pairs.iter().filter_map(Value::as_array);
        pairs.filter(|pair| pair.len() == 2).find(|pair| pair[0] == state).map(|pair| &pair[1])
    };
    let is_dropped = |state: &str| of(state).is_some_and(|verdict| verdict.get("drop").is_some());
    if is_dropped("established") || is_dropped("related") {
        return condition("`vmap`");
    }
    let Some(verdict) = of("new") else { return Ok(Step::Next) };
    let target = |kind: &str| verdict.pointer(&format!("/{kind}/target")).and_then(Value::as_str);
    match (target("jump"), target("goto"), verdict.get("accept"), verdict.get("drop")) {
        (Some(chain), ..) => Ok(Step::Jump(chain)),
        (_, Some(chain), ..) => Ok(Step::Goto(chain)),
        (_, _, Some(_), _) => Ok(Step::Decide(Action::Accept)),
        (_, _, _, Some(_)) => Ok(Step::Decide(Action::Drop)),
        _ => condition("`vmap`"),
    }
}

fn matched<'j>(body: &'j Value, atom: &mut Atom, place: &Place<'_, 'j>) -> Result<Step<'j>, Unsayable> {
    let op = body.get("op").and_then(Value::as_str).unwrap_or("==");
    let (Some(left), Some(right)) = (body.get("left"), body.get("right")) else {
        return condition("a `match` without two sides");
    };
    let text = |pointer: &str| left.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let what = describe(left);
    if text("/ct/key") == "state" {
        return states(right, op);
    }
    if !matches!(op, "==" | "in" | "!=") {
        return condition(format!("{what} with `{op}`"));
    }
    let is = op != "!=";
    if let "l4proto" | "nfproto" = text("/meta/key") {
        protocol_or_family(text("/meta/key"), right, (atom, is), place)?;
        return Ok(Step::Next);
    }
    if !is {
        return condition(format!("{what} with `!=`"));
    }
    match (text("/ct/key"), text("/payload/protocol"), text("/payload/field")) {
        ("status", ..) if right == "dnat" => atom.forwarded = true,
        ("proto-dst", ..) if text("/ct/dir") == "original" => {
            only_ports(right, (atom, IsDestination::Yes), place)?;
        }
        ("proto-src", ..) if text("/ct/dir") == "original" => {
            only_ports(right, (atom, IsDestination::No), place)?
        }
        (_, header @ ("tcp" | "udp" | "th"), side @ ("sport" | "dport")) => {
            match header {
                "tcp" => atom.only_protocols(Protocols::TCP.bits()),
                "udp" => atom.only_protocols(Protocols::UDP.bits()),
                _ => {}
            }
            let side = if side == "dport" { IsDestination::Yes } else { IsDestination::No };
            only_ports(right, (atom, side), place)?;
        }
        (_, header @ ("ip" | "ip6"), field) => network(header, field, right, (atom, place))?,
        (_, header @ ("icmp" | "icmpv6"), "type") => {
            let protocol = if header == "icmp" { Protocols::ICMP } else { Protocols::ICMPV6 };
            atom.only_protocols(protocol.bits());
            only_icmp_type(right, atom, protocol)?;
        }
        _ if is_first_byte(left) => only_icmp_type(right, atom, Protocols::ICMP)?,
        _ if place.translates && (text("/fib/result") == "type" || text("/meta/key") == "iifname") => {}
        _ => return condition(what),
    }
    Ok(Step::Next)
}

/// The type of ICMP by its place in the header, as we export it.
fn is_first_byte(left: &Value) -> bool {
    let raw = |name: &str| left.pointer(&format!("/payload/{name}"));
    raw("base") == Some(&Value::from("th"))
        && raw("offset") == Some(&Value::from(0))
        && raw("len") == Some(&Value::from(8))
}

/// A left-hand side in a few words.
fn describe(left: &Value) -> String {
    let words: Vec<&str> = match left.as_object().and_then(|object| object.iter().next()) {
        Some((kind, body)) => {
            let parts = ["protocol", "name", "key", "field", "result", "dir"];
            let parts = parts.iter().filter_map(|part| body.get(*part).and_then(Value::as_str));
            let first = Some(kind.as_str()).filter(|kind| *kind != "payload");
            first.into_iter().chain(parts).collect()
        }
        None => vec!["an expression"],
    };
    let text: String =
        words.join(" ").chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(60).collect();
    format!("`{text}`")
}

/// `ct state`: connections that were accepted, and packets of none, never reach our rules.
fn states<'j>(right: &Value, op: &str) -> Result<Step<'j>, Unsayable> {
    let list = match right.get("set").unwrap_or(right) {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    let known = ["new", "established", "related", "invalid"];
    if list.is_empty() || list.iter().any(|state| !known.contains(state)) {
        return condition("`ct state`");
    }
    let is = op != "!=";
    Ok(match (list.contains(&"new") == is, is && list == ["invalid"]) {
        (true, _) => Step::Next,
        (false, true) => Step::Implied,
        (false, false) => Step::Established,
    })
}

fn protocol_or_family(
    key: &str,
    right: &Value,
    (atom, is): (&mut Atom, bool),
    place: &Place<'_, '_>,
) -> Result<(), Unsayable> {
    if key == "nfproto" {
        match (right.as_str(), is) {
            (Some("ipv4"), true) | (Some("ipv6"), false) => atom.only_v4(),
            (Some("ipv6"), true) | (Some("ipv4"), false) => atom.only_v6(),
            _ => return condition("`meta nfproto`"),
        }
        return Ok(());
    }
    let bits = items_as_str(right, place).and_then(|items| protocols(&items));
    let Some(bits) = bits else { return condition("`meta l4proto`") };
    atom.only_protocols(if is { bits } else { !bits });
    Ok(())
}

fn items_as_str<'j>(right: &'j Value, place: &Place<'_, 'j>) -> Option<Vec<&'j Value>> {
    items(right, place.table)
}

fn only_ports<'j>(
    right: &'j Value,
    (atom, side): (&mut Atom, IsDestination),
    place: &Place<'_, 'j>,
) -> Result<(), Unsayable> {
    match items(right, place.table).and_then(|items| ports(&items)) {
        Some(ports) => atom.only_ports(side, ports),
        None => return condition("ports that are no numbers"),
    }
    Ok(())
}

fn only_icmp_type(right: &Value, atom: &mut Atom, protocol: Protocols) -> Result<(), Unsayable> {
    let one = match right.get("set").unwrap_or(right) {
        Value::Array(list) if list.len() == 1 => list.first(),
        Value::Array(_) => None,
        one => Some(one),
    };
    match one.and_then(|one| icmp_type(one, protocol)) {
        Some(kind) => atom.only_icmp_type(kind),
        None => return condition("several types of ICMP"),
    }
    Ok(())
}

/// A field of the IP header.
fn network<'j>(
    header: &str,
    field: &str,
    right: &'j Value,
    (atom, place): (&mut Atom, &Place<'_, 'j>),
) -> Result<(), Unsayable> {
    let what = format!("`{header} {field}`");
    if header == "ip" {
        atom.only_v4()
    } else {
        atom.only_v6()
    }
    if matches!((header, field), ("ip", "protocol") | ("ip6", "nexthdr")) {
        let bits = items(right, place.table).and_then(|items| protocols(&items));
        let Some(bits) = bits else { return condition(what) };
        atom.only_protocols(bits);
        return Ok(());
    }
    if field != place.far {
        return condition(what);
    }
    let digit = if header == "ip" { '4' } else { '6' };
    let reference = right.as_str().filter(|_| place.own);
    let known = |kind: &str| reference?.strip_prefix('@')?.strip_prefix(kind)?.strip_prefix(digit);
    let far = match (known("name").and_then(dotted), known("domain").and_then(dotted), known("name-servers"))
    {
        (Some(name), ..) => Some(Far::Name(name.to_owned())),
        (_, Some(domain), _) => Some(Far::Domain(domain.to_owned())),
        (_, _, Some("")) => Some(Far::Servers),
        _ => None,
    };
    let taken = match far {
        Some(far) => atom.only(far),
        None => match items(right, place.table).and_then(|items| nets(&items)) {
            Some(nets) => atom.only_nets(nets),
            None => return condition(what),
        },
    };
    if taken { Ok(()) } else { condition(what) }
}

/// What is behind the dot of `name4.www.example.org`.
fn dotted(rest: &str) -> Option<&str> {
    rest.strip_prefix('.')
}
