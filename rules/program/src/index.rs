//! What is asked instead of the rules one by one.
//!
//! Every rule stands at its targets: the name servers, host names, domains, prefixes, of which the two of length 0
//! stand for every address. Each such place is a node with, for each protocol, a [table](tables) from the
//! destination port (or ICMP type) to the first rule that matches. A question reaches few nodes: the longest prefix
//! of its address ([`spans`]) and from there the shorter ones, the nodes of the address's names, one domain or the name
//! servers. Small tables of shorter prefixes are merged into those of longer ones, so that mostly one node is asked.
//!
//! The index is made of the rules in time and memory linear in them (ports of one target are sorted besides).

mod builder;
mod rules;
pub(crate) mod spans;
pub(crate) mod tables;

pub(crate) use builder::build;
pub(crate) use rules::Class;

use crate::policy::Direction;
use alloc::boxed::Box;
use core::net::Ipv6Addr;
use spans::Spans;
use tables::Words;

/// No rule: greater than every rule's number.
pub(crate) const NO_RULE: u16 = 0x7FFF;

/// The index over the rules of both directions.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Outward, inward.
    pub(crate) sides: [Side; 2],
    pub(crate) words: Words,
}

/// Where the nodes of one direction are.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) v4: Spans<u32>,
    pub(crate) v6: Spans<u128>,
    pub(crate) dns: u32,
    /// Nodes of the host names.
    pub(crate) names: Box<[u32]>,
    /// Nodes of the domains.
    pub(crate) domains: Box<[u32]>,
}

impl Side {
    /// The node of an IPv6 address; apart from IPv4 for the sake of the latter's registers.
    #[inline(never)]
    pub(crate) fn find6(&self, address: Ipv6Addr) -> Option<u32> {
        self.v6.find(address.to_bits())
    }
}

impl Index {
    /// Where the nodes of a direction are.
    #[inline]
    pub(crate) const fn side(&self, direction: Direction) -> &Side {
        let [outward, inward] = &self.sides;
        match direction {
            Direction::Outward => outward,
            Direction::Inward => inward,
        }
    }

    /// Memory that it takes in bytes.
    pub(crate) fn memory(&self) -> usize {
        let singles = |side: &Side| size_of_val(&*side.names) + size_of_val(&*side.domains);
        let side = |side: &Side| side.v4.memory() + side.v6.memory() + singles(side);
        let sides: usize = self.sides.iter().map(side).sum();
        sides + self.words.memory()
    }
}
