//! The first packet of a connection as somebody describes it: with names where a program has numbers.

use rules_program::{
    policy::{Direction, Policy},
    question::{self, Question, Transport},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 addresses behind which every domain finds its name servers.
pub const NAME_SERVERS_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 139, 1, 1), Ipv4Addr::new(10, 139, 1, 2)];
/// The IPv6 address behind which every domain finds its name servers.
pub const NAME_SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0, 0, 0, 0, 0x53);
/// The port of name servers.
pub const DNS_PORT: u16 = 53;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A host in the network.
    Net,
    /// The name servers.
    Dns,
    /// Another domain.
    Domain(String),
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes.
    pub direction: Direction,
    /// Who is at the other end.
    pub peer: Peer,
    /// The other end's address; of no importance when it is a domain.
    pub remote: IpAddr,
    /// Names that the domain was told `remote` is the address of.
    pub names: Vec<String>,
    /// What it carries.
    pub transport: Transport,
}

impl Packet {
    /// The places of its names in a policy, for [`Packet::question`].
    #[must_use]
    pub fn name_numbers(&self, policy: &Policy) -> Vec<u16> {
        let place = |name: &String| policy.names.iter().position(|known| known == name);
        self.names.iter().filter_map(place).filter_map(|place| u16::try_from(place).ok()).collect()
    }

    /// The same with numbers for names, as a program of this policy is asked.
    #[must_use]
    pub fn question<'n>(&self, policy: &Policy, names: &'n [u16]) -> Question<'n> {
        let place = |name: &String| policy.domains.iter().position(|known| known == name);
        let peer = match &self.peer {
            Peer::Net => question::Peer::Net,
            Peer::Dns => question::Peer::Dns,
            Peer::Domain(name) => {
                question::Peer::Domain(place(name).and_then(|place| u16::try_from(place).ok()))
            }
        };
        Question { direction: self.direction, peer, remote: self.remote, names, transport: self.transport }
    }
}
