//! Which rule decides a packet, and why none before it did.

use crate::{
    ast::{Host, OtherEnd, Rule},
    compile::Compiled,
    packet::{Packet, Peer},
    print,
    reference::{self, Unmet, Verdict},
};
use rules_program::{policy::Direction, question::Open, question::Transport};
use std::fmt;

/// The decision on a packet with its reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What is done, as long as no limit is used up.
    pub verdict: Verdict,
    /// The rules before the one that decides (all, if none does), with the first condition that failed.
    pub passed: Vec<Passed>,
    /// The rule that decides: its number and line, its text and whether it has limits.
    pub decided: Option<Decided>,
}

/// A rule that did not match.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Its number.
    pub rule: u16,
    /// Its line in the file; 0: none.
    pub line: u32,
    /// The condition that failed.
    pub unmet: Unmet,
    /// The same in words.
    pub why: String,
}

/// The rule that matched.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Its number.
    pub rule: u16,
    /// Its line in the file; 0: none.
    pub line: u32,
    /// Its canonical text.
    pub text: String,
    /// Whether it matches only within limits; beyond them the rules after it are asked.
    pub limited: bool,
}

/// Says which rule decides `packet` at `now` (seconds since 1970 UTC), limits aside. The answer is the specification's.
#[must_use]
pub fn explain(compiled: &Compiled, now: u64, packet: &Packet) -> Explanation {
    let file = &compiled.file;
    let verdict = reference::judge(file, now, packet, &mut Open);
    let before = verdict.rule.map_or(file.rules.len(), usize::from);
    let passed = (0u16..).zip(&file.rules).take(before).filter_map(|(number, rule)| {
        let unmet = reference::unmet(file, rule, now, packet)?;
        let why = why(compiled, rule, unmet, packet);
        Some(Passed { rule: number, line: rule.span.line, unmet, why })
    });
    let passed = passed.collect();
    let decided = verdict.rule.and_then(|number| {
        let rule = file.rules.get(usize::from(number))?;
        let (line, text, limited) = (rule.span.line, rule.value.to_string(), rule.is_limited());
        Some(Decided { rule: number, line, text, limited })
    });
    Explanation { verdict, passed, decided }
}

fn why(compiled: &Compiled, rule: &Rule, unmet: Unmet, packet: &Packet) -> String {
    let ports =
        |ports: &[_]| ports.iter().copied().map(|range| print::Range(range).to_string()).collect::<Vec<_>>();
    let (source, destination) = reference::ports(packet).unzip();
    let port = |wanted: &[_], is: Option<u16>, which: &str| match is {
        Some(is) => format!("{which} port {is} is not {}", ports(wanted).join(",")),
        None => format!("it has no {which} port"),
    };
    match unmet {
        Unmet::Expired => format!("it expired at {}", rule.expire.unwrap_or_default()),
        Unmet::Direction if packet.direction == Direction::Inward => "it is about what goes out".to_owned(),
        Unmet::Direction => "it is about what comes in".to_owned(),
        Unmet::OtherEnd => other_end(compiled, rule, packet),
        Unmet::Protocol => {
            let wanted: Vec<_> = rule.protocols.into_iter().flat_map(print::protocols).collect();
            format!("{} is not {}", protocol(packet), wanted.join(","))
        }
        Unmet::DestinationPort => port(&rule.destination_ports, destination, "destination"),
        Unmet::SourcePort => port(&rule.source_ports, source, "source"),
        Unmet::IcmpType => {
            let wanted = rule.icmp_type.unwrap_or_default();
            reference::icmp_type(packet).map_or_else(
                || "it has no ICMP type".to_owned(),
                |is| format!("ICMP type {is} is not {wanted}"),
            )
        }
        Unmet::Limit => "its limit is used up".to_owned(),
    }
}

const fn protocol(packet: &Packet) -> &'static str {
    match packet.transport {
        Transport::Tcp { .. } => "tcp",
        Transport::Udp { .. } => "udp",
        Transport::Icmp { .. } => "icmp",
        Transport::Icmpv6 { .. } => "icmpv6",
    }
}

fn other_end(compiled: &Compiled, rule: &Rule, packet: &Packet) -> String {
    let end = if packet.direction == Direction::Inward { "source" } else { "destination" };
    let is = match &packet.peer {
        Peer::Domain(name) => format!("the {end} is domain {name}"),
        Peer::Net | Peer::Dns => format!("the {end} {}", packet.remote),
    };
    let in_network = !matches!(packet.peer, Peer::Domain(_));
    match &rule.other_end {
        OtherEnd::Anyone => format!("{is}, not an address in the network"),
        OtherEnd::NameServers if in_network => format!("{is} is no name server's port 53"),
        OtherEnd::NameServers => format!("{is}, not a name server"),
        OtherEnd::Domain(name) if in_network => format!("{is} is not domain {}", name.value),
        OtherEnd::Domain(name) => format!("{is}, not {}", name.value),
        OtherEnd::Hosts(hosts) if in_network => {
            let wanted: Vec<_> = hosts.iter().map(|host| host.value.to_string()).collect();
            let names = reference::expand(&compiled.file, hosts.iter().map(|host| &host.value));
            let names: Vec<_> = names
                .filter_map(|host| if let Host::Name(name) = host { Some(name.as_str()) } else { None })
                .collect();
            let pins = match names.as_slice() {
                [] => String::new(),
                [name] => format!(" (the domain was not told this address for {name})"),
                _ => " (nor was the domain told this address for a name of these)".to_owned(),
            };
            format!("{is} is not {}{pins}", wanted.join(","))
        }
        OtherEnd::Hosts(_) => format!("{is}, not an address in the network"),
    }
}

impl fmt::Display for Explanation {
    /// The decision, then each rule before it with its reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = print::action(self.verdict.action);
        match &self.decided {
            Some(decided) => {
                writeln!(f, "{action}: rule {} (line {}): {}", decided.rule, decided.line, decided.text)?;
                if decided.limited {
                    writeln!(f, "  within its limit; beyond it the rules after it are asked")?;
                }
            }
            None => writeln!(f, "{action}: no rule matches")?,
        }
        for passed in &self.passed {
            writeln!(f, "  not rule {} (line {}): {}", passed.rule, passed.line, passed.why)?;
        }
        Ok(())
    }
}
