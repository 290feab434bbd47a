//! What is asked instead of the rules one by one.
//!
//! Every rule stands at its targets: the name servers, host names, domains, prefixes, of which the two of length 0
//! stand for every address. Each such place is a [`Node`] with, for each protocol, a [table](tables) from the
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
use spans::Spans;
use tables::Words;

/// No rule: greater than every rule's number.
pub(crate) const NO_RULE: u16 = 0x7FFF;

/// No node follows.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// The index over the rules of both directions.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Outward, inward.
    pub(crate) sides: [Side; 2],
    pub(crate) nodes: Box<[Node]>,
    pub(crate) words: Words,
}

/// Where the nodes of one direction are.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) v4: Spans<u32>,
    pub(crate) v6: Spans<u128>,
    pub(crate) dns: u32,
    /// Node of the first host name, and how many follow.
    pub(crate) names: (u32, u32),
    /// Node of the first domain, and how many follow.
    pub(crate) domains: (u32, u32),
}

/// The rules of one target, perhaps with those of targets that contain it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// For each [`Class`]: see [`tables`].
    pub(crate) tables: [u32; 4],
    /// The node to ask besides, for a shorter prefix; [`NO_NODE`]: none.
    pub(crate) next: u32,
    /// The least rule there or beyond; [`NO_RULE`]: none.
    pub(crate) least: u16,
}

impl Node {
    /// The table of a class.
    #[inline]
    pub(crate) fn table(&self, class: Class) -> u32 {
        self.tables.get(class as usize).copied().unwrap_or(tables::CONSTANT | u32::from(NO_RULE))
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
        let sides: usize = self.sides.iter().map(|side| side.v4.memory() + side.v6.memory()).sum();
        sides + size_of_val(&*self.nodes) + self.words.memory()
    }
}
