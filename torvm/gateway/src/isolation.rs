//! What keeps streams apart: two streams may share a circuit only if their keys are equal.
//!
//! The client that a stream comes from and the identity that the client has at that moment are always part of the key;
//! the rest as configured. Nothing else in this program tells arti which streams belong together.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arti_client::isolation::IsolationHelper;
use control::tor::Isolation;

/// User name and password as a SOCKS or HTTP client gave them, in a form in which different ones differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// SOCKS 4: one string.
    Socks4(Vec<u8>),
    /// SOCKS 5: user name and password.
    Socks5(Vec<u8>, Vec<u8>),
    /// The value of an HTTP `Proxy-Authorization` header.
    Http(Vec<u8>),
}

/// What a client asks for, as far as it matters for isolation.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Address or host name, as the client gave it.
    pub host: &'a str,
    /// Destination port; absent for questions about names.
    pub port: Option<u16>,
    /// What the client calls itself, if it does.
    pub credentials: Option<&'a Credentials>,
}

/// What a stream may share a circuit with: streams of an equal key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    client: Ipv4Addr,
    identity: u32,
    /// Which rules the rest was made by: under others the same words may mean something else.
    rules: u32,
    credentials: Option<Credentials>,
    host: Option<Arc<str>>,
    port: Option<u16>,
    class: Option<usize>,
}

impl StreamKey {
    /// The client whose streams these are.
    #[must_use]
    pub fn client(&self) -> Ipv4Addr {
        self.client
    }

    /// The client's identity at the time.
    #[must_use]
    pub fn identity(&self) -> u32 {
        self.identity
    }
}

impl IsolationHelper for StreamKey {
    fn compatible_same_type(&self, other: &Self) -> bool {
        self == other
    }

    fn join_same_type(&self, other: &Self) -> Option<Self> {
        (self == other).then(|| self.clone())
    }
}

/// The clients' identities, and what else streams are kept apart by.
#[derive(Debug, Default)]
pub struct Separation {
    rules: Isolation,
    /// How often the rules were replaced.
    changes: u32,
    /// The number given out last. None is given out twice.
    last: u32,
    /// Identity of the clients that have none of their own.
    everybody: u32,
    own: HashMap<Ipv4Addr, u32>,
}

impl Separation {
    /// With these rules; every client has its first identity.
    #[must_use]
    pub fn new(rules: Isolation) -> Self {
        Self { rules, ..Self::default() }
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Isolation {
        &self.rules
    }

    /// Replaces the rules, for keys made from now on; those share nothing with keys of before. The same rules again
    /// change nothing.
    pub fn set_rules(&mut self, rules: Isolation) {
        if rules != self.rules {
            self.rules = rules;
            self.changes = next(self.changes);
        }
    }

    /// Gives `client` (absent: every client) an identity that no key has had. Others keep theirs.
    pub fn new_identity(&mut self, client: Option<Ipv4Addr>) {
        self.last = next(self.last);
        match client {
            Some(client) => {
                self.own.insert(client, self.last);
            }
            None => {
                self.own.clear();
                self.everybody = self.last;
            }
        }
    }

    /// The key of a stream that `client` asks for now.
    #[must_use]
    pub fn key(&self, client: Ipv4Addr, wish: &Wish<'_>) -> StreamKey {
        let rules = &self.rules;
        let class = |port| rules.port_classes.iter().position(|class| class.contains(&port));
        StreamKey {
            client,
            identity: self.own.get(&client).copied().unwrap_or(self.everybody),
            rules: self.changes,
            credentials: wish.credentials.filter(|_| rules.by_socks_credentials).cloned(),
            host: rules.by_destination_address.then(|| wish.host.to_ascii_lowercase().into()),
            port: wish.port.filter(|_| rules.by_destination_port),
            class: wish.port.and_then(class),
        }
    }
}

/// A number that none was before. Saturation would make one come twice; a program that has run for 2^32 of them has to
/// end instead.
fn next(last: u32) -> u32 {
    last.checked_add(1).unwrap_or_else(|| std::process::abort())
}

#[cfg(test)]
mod tests;
