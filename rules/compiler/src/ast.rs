//! What a rules file says, checked rule by rule.
//!
//! A value of these types that [`parse()`](crate::parse::parse) made keeps every promise of the language that concerns
//! one line; what concerns the file as a whole (sets that exist, sizes) is checked when it is compiled.

use crate::span::Spanned;
use ipnet::{Ipv4Net, Ipv6Net};
use rules_program::policy::{Action, Direction, Ports, Protocols};

/// A rules file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its sets, in order.
    pub sets: Vec<Spanned<Set>>,
    /// Its rules, in order; a rule's place here is its number.
    pub rules: Vec<Spanned<Rule>>,
}

/// `set NAME = ITEM, ITEM …`: a name for several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name, without the `@`.
    pub name: Spanned<String>,
    /// What is in it; a set among them stands above this one.
    pub items: Vec<Spanned<Host>>,
}

/// Addresses in the network, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 prefix; no bit is set beyond its length.
    V4(Ipv4Net),
    /// An IPv6 prefix; no bit is set beyond its length.
    V6(Ipv6Net),
    /// A host name: lower case, no dot at the end.
    Name(String),
    /// `@NAME`: a set of the same file.
    Set(String),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherEnd {
    /// Every address in the network, name servers included; no domain.
    Anyone,
    /// Any of these: `dsthost=`, `dst4=`, `dst6=`, `srchost=`. Never empty.
    Hosts(Vec<Spanned<Host>>),
    /// `specialtarget=dns`: the name servers, TCP and UDP port 53.
    NameServers,
    /// Another domain: `dstdomain=`, `srcdomain=`.
    Domain(Spanned<String>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which way the connections go that it is about; follows from its keys.
    pub direction: Direction,
    /// What is done.
    pub action: Action,
    /// The other end: where to, or, inward, from where.
    pub other_end: OtherEnd,
    /// `proto=`; `None`: any.
    pub protocols: Option<Protocols>,
    /// `dstports=`; empty: any.
    pub destination_ports: Vec<Ports>,
    /// `srcports=`; empty: any.
    pub source_ports: Vec<Ports>,
    /// `icmptype=`; `None`: any.
    pub icmp_type: Option<u8>,
    /// `limit=` and `burst=`.
    pub limit: Option<Limit>,
    /// `connlimit=`.
    pub connections: Option<u32>,
    /// `log=`.
    pub log: bool,
    /// `expire=`: from this time on the rule is no more; seconds since 1970 UTC.
    pub expire: Option<u64>,
    /// `comment=`.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without conditions.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        let direction = match action {
            Action::Forward { .. } => Direction::Inward,
            _ => Direction::Outward,
        };
        Self {
            direction,
            action,
            other_end: OtherEnd::Anyone,
            protocols: None,
            destination_ports: Vec::new(),
            source_ports: Vec::new(),
            icmp_type: None,
            limit: None,
            connections: None,
            log: false,
            expire: None,
            comment: None,
        }
    }

    /// Whether it matches only sometimes.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some() || self.connections.is_some()
    }

    /// Whether it is no more at `now`, in seconds since 1970 UTC.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expire.is_some_and(|end| end <= now)
    }

    /// Its hosts, if it names any.
    #[must_use]
    pub fn hosts(&self) -> &[Spanned<Host>] {
        match &self.other_end {
            OtherEnd::Hosts(hosts) => hosts,
            _ => &[],
        }
    }
}

/// How often a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Matches in one `unit`, from 1.
    pub count: u32,
    /// The time.
    pub unit: Unit,
    /// `burst=`, from 1; `None`: as `count`.
    pub burst: Option<u32>,
}

/// A time that a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}
