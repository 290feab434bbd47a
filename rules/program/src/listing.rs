//! A program as people read it. One line a rule, with its number and the line of its source:
//!
//! ```text
//! 3 rules, 1 name, 1 domain
//! 0  outward  accept  www.example.org, 192.0.2.0/24  tcp 80-443  ; line 1
//! 1  outward  drop  domain work  any  log  ; line 2
//! 2  inward  forward to 8080  any address  tcp 80  from 1024-65535  10 in 60 s, 20 at once  ; line 5
//! ```
//!
//! The text is stable: golden files are made of it.

use crate::{
    disassemble::disassemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target},
    program::Refusal,
};
use core::fmt::{self, Display, Formatter};

/// The listing of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    policy: Policy,
}

impl Listing {
    /// The listing of a program's bytes.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn of(bytes: &[u8]) -> Result<Self, Refusal> {
        Ok(Self { policy: disassemble(bytes)? })
    }

    /// What is listed.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The line of one rule.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<impl Display> {
        let rule = self.policy.rules.get(usize::from(number))?;
        Some(Line { policy: &self.policy, rule, number: number.into() })
    }
}

impl Display for Listing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (rules, names) = (self.policy.rules.len(), self.policy.names.len());
        let domains = self.policy.domains.len();
        write!(f, "{rules} rule{}, {names} name{}, ", plural(rules), plural(names))?;
        writeln!(f, "{domains} domain{}", plural(domains))?;
        for (number, rule) in self.policy.rules.iter().enumerate() {
            writeln!(f, "{}", Line { policy: &self.policy, rule, number })?;
        }
        Ok(())
    }
}

struct Line<'p> {
    policy: &'p Policy,
    rule: &'p Rule,
    number: usize,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rule = self.rule;
        let direction = match rule.direction {
            Direction::Outward => "outward",
            Direction::Inward => "inward",
        };
        write!(f, "{}  {direction}  ", self.number)?;
        match rule.action {
            Action::Accept => f.write_str("accept")?,
            Action::Drop => f.write_str("drop")?,
            Action::Reject => f.write_str("reject")?,
            Action::Forward { to_port: None } => f.write_str("forward")?,
            Action::Forward { to_port: Some(port) } => write!(f, "forward to {port}")?,
        }
        f.write_str("  ")?;
        self.targets(f)?;
        self.conditions(f)?;
        self.limits(f)?;
        if rule.log {
            f.write_str("  log")?;
        }
        if rule.line != 0 {
            write!(f, "  ; line {}", rule.line)?;
        }
        Ok(())
    }
}

impl Line<'_> {
    fn targets(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.rule.targets.is_empty() {
            return f.write_str("any address");
        }
        for (nth, target) in self.rule.targets.iter().enumerate() {
            if nth > 0 {
                f.write_str(", ")?;
            }
            match target {
                Target::V4(net) => write!(f, "{net}")?,
                Target::V6(net) => write!(f, "{net}")?,
                Target::AnyV4 => f.write_str("any IPv4 address")?,
                Target::AnyV6 => f.write_str("any IPv6 address")?,
                Target::Name(place) => write!(f, "{}", string(&self.policy.names, *place))?,
                Target::Domain(place) => write!(f, "domain {}", string(&self.policy.domains, *place))?,
                Target::Dns => f.write_str("name servers")?,
            }
        }
        Ok(())
    }

    fn conditions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let protocols = [
            (Protocols::TCP, "tcp"),
            (Protocols::UDP, "udp"),
            (Protocols::ICMP, "icmp"),
            (Protocols::ICMPV6, "icmpv6"),
        ];
        f.write_str("  ")?;
        let mut first = true;
        for (_, name) in protocols.iter().filter(|(protocol, _)| self.rule.protocols.contains(*protocol)) {
            if self.rule.protocols == Protocols::ALL {
                f.write_str("any")?;
                break;
            }
            write!(f, "{}{name}", if first { "" } else { "," })?;
            first = false;
        }
        if self.rule.protocols.bits() == 0 {
            f.write_str("nothing")?;
        }
        ports(f, " ", self.rule.destination_ports)?;
        ports(f, "  from ", self.rule.source_ports)?;
        self.rule.icmp_type.map_or(Ok(()), |kind| write!(f, "  type {kind}"))
    }

    fn limits(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(rate) = self.rule.rate {
            write!(f, "  {} in {} s, {} at once", rate.count, rate.per_seconds, rate.burst)?;
        }
        self.rule.connections.map_or(Ok(()), |most| write!(f, "  at most {most} alive"))
    }
}

fn string(strings: &[alloc::string::String], place: u16) -> &str {
    strings.get(usize::from(place)).map_or("?", alloc::string::String::as_str)
}

fn ports(f: &mut Formatter<'_>, before: &str, ports: Ports) -> fmt::Result {
    match ports {
        Ports::ALL => Ok(()),
        Ports { first, last } if first == last => write!(f, "{before}{first}"),
        Ports { first, last } => write!(f, "{before}{first}-{last}"),
    }
}
