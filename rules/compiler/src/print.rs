//! Canonical text: what the parser reads back as the same.

use crate::ast::{File, Host, Limit, OtherEnd, Rule, Set};
use rules_program::policy::{Action, Direction, Ports, Protocols};
use std::fmt::{self, Display, Formatter};

/// Prints the items with commas between them.
fn list<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>, comma: &str) -> fmt::Result {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            f.write_str(comma)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// A range of ports as text: `443`, `8000-8100`.
#[derive(Clone, Copy, Debug)]
pub struct Range(pub Ports);

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ports { first, last } if first == last => write!(f, "{first}"),
            Ports { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// The words of a set of protocols; `icmp` is ICMP and ICMPv6.
pub fn protocols(set: Protocols) -> impl Iterator<Item = &'static str> {
    let icmp = if set.contains(Protocols::ICMP) { "icmp" } else { "icmpv6" };
    let words = [
        ("tcp", set.contains(Protocols::TCP)),
        ("udp", set.contains(Protocols::UDP)),
        (icmp, set.contains(Protocols::ICMP) || set.contains(Protocols::ICMPV6)),
    ];
    words.into_iter().filter(|(_, is_in)| *is_in).map(|(word, _)| word)
}

/// The word of an action.
#[must_use]
pub const fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject => "reject",
        Action::Forward { .. } => "forward",
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(net) if net.prefix_len() == 32 => net.addr().fmt(f),
            Self::V6(net) if net.prefix_len() == 128 => net.addr().fmt(f),
            Self::V4(net) => net.fmt(f),
            Self::V6(net) => net.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Set(name) => write!(f, "@{name}"),
        }
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "limit={}/{}", self.count, self.unit.word())?;
        self.burst.map_or(Ok(()), |burst| write!(f, " burst={burst}"))
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "set {} = ", self.name.value)?;
        list(f, self.items.iter().map(|item| &item.value), ", ")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "action={}", action(self.action))?;
        let inward = self.direction == Direction::Inward;
        match &self.other_end {
            OtherEnd::Anyone => {}
            OtherEnd::NameServers => f.write_str(" specialtarget=dns")?,
            OtherEnd::Domain(name) => {
                write!(f, " {}={}", if inward { "srcdomain" } else { "dstdomain" }, name.value)?
            }
            OtherEnd::Hosts(hosts) => {
                f.write_str(if inward { " srchost=" } else { " dsthost=" })?;
                list(f, hosts.iter().map(|host| &host.value), ",")?;
            }
        }
        if let Some(set) = self.protocols {
            f.write_str(" proto=")?;
            list(f, protocols(set), ",")?;
        }
        self.fmt_transport(f)?;
        self.fmt_rest(f)
    }
}

impl Rule {
    fn fmt_transport(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (key, ports) in [(" dstports=", &self.destination_ports), (" srcports=", &self.source_ports)] {
            if !ports.is_empty() {
                f.write_str(key)?;
                list(f, ports.iter().copied().map(Range), ",")?;
            }
        }
        if let Some(kind) = self.icmp_type {
            write!(f, " icmptype={kind}")?;
        }
        match self.action {
            Action::Forward { to_port: Some(port) } => write!(f, " toport={port}"),
            _ => Ok(()),
        }
    }

    fn fmt_rest(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(limit) = &self.limit {
            write!(f, " {limit}")?;
        }
        if let Some(connections) = self.connections {
            write!(f, " connlimit={connections}")?;
        }
        if self.log {
            f.write_str(" log=yes")?;
        }
        if let Some(end) = self.expire {
            write!(f, " expire={end}")?;
        }
        self.comment.as_ref().map_or(Ok(()), |comment| write!(f, " comment={comment}"))
    }
}

impl Display for File {
    /// The sets, then the rules, each on its line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for set in &self.sets {
            writeln!(f, "{}", set.value)?;
        }
        for rule in &self.rules {
            writeln!(f, "{}", rule.value)?;
        }
        Ok(())
    }
}
