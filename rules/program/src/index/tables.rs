//! From a destination port (or ICMP type) to the first rule that matches.
//!
//! Nodes and tables are runs of 16-bit words and stand together, so that mostly one line of memory tells all. A node
//! or table is known by its place among the [`Words`]; numbers of two words have the low one first.
//!
//! A table divides the ports into segments.
//!
//! ```text
//! node
//! table    2 words   for each of four classes of packets: its table
//! next     2 words   the node to ask besides, for a shorter prefix, or NO_NODE
//! least    1 word    the least rule there or beyond, or NO_RULE
//!
//! table
//! edges    1 word    number of edges: segments, less one
//! index    257 words when there are more than INDEXED edges: how many edges are below 256 n
//! edge     1 word    each: the first port of the second, third ... segment, ascending
//! value    1 word    each segment: a rule, NO_RULE, or LIST + place of one of the lists that follow
//! list     4 words   each: place of its candidates among the words (2 words), their number, and the rule that
//!                    matches if none of them does, or NO_RULE
//! ```
//!
//! Candidates are rules of which more is asked than the destination port: source ports, limits.

use super::{Class, NO_RULE};
pub(super) mod builder;

use alloc::boxed::Box;

/// No node follows.
pub(crate) const NO_NODE: u32 = u32::MAX;
/// Words of a node.
pub(super) const NODE: usize = 11;
/// In a value: the rest is the place of a list.
pub(crate) const LIST: u16 = 0x8000;
/// A table with more edges than this has an index.
pub(super) const INDEXED: usize = 64;
/// Words of an index.
pub(super) const INDEX: usize = 257;
/// Words of a list.
pub(super) const LIST_WORDS: usize = 4;
/// Words of a candidate.
pub(super) const CANDIDATE: usize = 6;
/// Edges among which three comparisons find a place; so many words stand behind the last table.
pub(super) const LANES: usize = 7;

/// All tables.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(super) Box<[u16]>);

/// What a table says of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'w> {
    pub(crate) candidates: &'w [[u16; CANDIDATE]],
    /// The rule that matches if no candidate does, or [`NO_RULE`].
    pub(crate) rule: u16,
}

/// A rule of which more is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u16,
    /// Its place among the rules with limits, or [`Conditions::UNLIMITED`](super::rules::Conditions::UNLIMITED).
    pub(crate) limit: u16,
    /// First and last.
    pub(crate) destination: (u16, u16),
    /// First and last.
    pub(crate) source: (u16, u16),
}

impl Candidate {
    pub(crate) const fn words(&self) -> [u16; CANDIDATE] {
        let (destination, source) = (self.destination, self.source);
        [self.rule, self.limit, destination.0, destination.1, source.0, source.1]
    }

    #[inline]
    pub(crate) const fn of(words: [u16; CANDIDATE]) -> Self {
        let [rule, limit, d0, d1, s0, s1] = words;
        Self { rule, limit, destination: (d0, d1), source: (s0, s1) }
    }

    #[inline]
    pub(crate) fn matches(&self, destination: u16, source: u16) -> bool {
        (self.destination.0..=self.destination.1).contains(&destination)
            && (self.source.0..=self.source.1).contains(&source)
    }
}

/// What is asked of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'w>(&'w [u16; NODE]);

impl Node<'_> {
    /// The table of a class.
    #[inline]
    pub(crate) fn table(self, class: Class) -> u32 {
        let tables = self.0.as_chunks::<2>().0;
        let [low, high] = tables.get(class as usize).copied().unwrap_or_default();
        u32::from(low) | u32::from(high) << 16
    }

    /// The node to ask besides, or [`NO_NODE`].
    pub(crate) const fn next(self) -> u32 {
        let [.., low, high, _] = *self.0;
        low as u32 | (high as u32) << 16
    }

    /// The least rule there or beyond, or [`NO_RULE`].
    #[inline]
    pub(crate) const fn least(self) -> u16 {
        let [.., least] = *self.0;
        least
    }
}

/// A number of two words.
pub(super) const fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

impl Words {
    /// A node.
    #[inline]
    pub(crate) fn node(&self, place: u32) -> Option<Node<'_>> {
        self.0.get(place as usize..)?.first_chunk().map(Node)
    }

    /// The value that a table has for a port.
    #[inline]
    pub(crate) fn value(&self, table: u32, port: u16) -> u16 {
        self.segment(table, port).unwrap_or(NO_RULE)
    }

    #[inline]
    fn segment(&self, table: u32, port: u16) -> Option<u16> {
        let (edges, rest) = self.0.get(table as usize..)?.split_first()?;
        let edges = usize::from(*edges);
        if edges > INDEXED {
            return Self::indexed(rest, edges, port);
        }
        let below = rank(rest, 0, edges, port)?;
        rest.get(edges + below).copied()
    }

    #[inline(never)]
    fn indexed(table: &[u16], edges: usize, port: u16) -> Option<u16> {
        let (index, rest) = table.split_at_checked(INDEX)?;
        let [from, to] = *index.get(usize::from(port >> 8)..)?.first_chunk::<2>()?;
        let (from, to) = (usize::from(from), usize::from(to));
        let below = rank(rest, from, to.checked_sub(from)?, port)?;
        rest.get(edges + below).copied()
    }

    /// What a value, which the table has, means.
    pub(crate) fn found(&self, table: u32, value: u16) -> Found<'_> {
        let nothing_more = Found { candidates: &[], rule: value };
        if value & LIST == 0 { nothing_more } else { self.list(table, value & !LIST).unwrap_or(nothing_more) }
    }

    fn list(&self, table: u32, place: u16) -> Option<Found<'_>> {
        let tail = self.0.get(table as usize..)?;
        let edges = usize::from(*tail.first()?);
        let lists = tail.get(2 + 2 * edges + if edges > INDEXED { INDEX } else { 0 }..)?;
        let &[low, high, count, rule] = lists.as_chunks::<LIST_WORDS>().0.get(usize::from(place))?;
        let at = (u32::from(high) << 16 | u32::from(low)) as usize;
        let candidates = self.0.get(at..)?.as_chunks::<CANDIDATE>().0.get(..count.into())?;
        Some(Found { candidates, rule })
    }

    /// Memory that they take in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// How many of the ascending edges are at or below the port, where the first `from` are known to be and all behind the
/// next `count` are known not to be.
#[inline]
fn rank(edges: &[u16], mut from: usize, mut count: usize, port: u16) -> Option<usize> {
    while count > LANES {
        let half = count / 2;
        let is_below = *edges.get(from + half - 1)? <= port;
        from += half * usize::from(is_below);
        count -= half;
    }
    let lanes = edges.get(from..)?.first_chunk::<LANES>()?;
    // The edges ascend: those at or below the port are the lowest bits.
    let below = lanes.iter().rev().fold(0, |below, edge| below << 1 | u32::from(*edge <= port));
    Some(from + (below.trailing_ones() as usize).min(count))
}
