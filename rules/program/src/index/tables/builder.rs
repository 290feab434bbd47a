//! Makes tables of rules.

use super::{CANDIDATE, Candidate, INDEX, INDEXED, LANES, LIST, LIST_WORDS, NODE, Words, halves};
use crate::{
    index::{
        NO_RULE,
        rules::{Class, Conditions},
    },
    memory::{exact, extend, fill, push},
    policy::Ports,
    program::Refusal,
};
use alloc::vec::Vec;

/// Tables while they are made, and what is needed for one of them, kept for the next.
pub(in crate::index) struct TableBuilder<'r> {
    rules: &'r [Conditions],
    words: Vec<u16>,
    /// For each rule, and behind them for none: the table that says it for every port, or 0.
    constants: Vec<u32>,
    edges: Vec<u16>,
    /// For each segment: the first rule that matches without more being asked.
    finals: Vec<u16>,
    /// For each segment: one at or behind it that has no such rule yet, or that leads there.
    skips: Vec<u32>,
    /// The rules that match something of the class, up to the first that leaves nothing to others.
    spread: Vec<Spread>,
    values: Vec<u16>,
    lists: Vec<List>,
    candidates: Vec<[u16; CANDIDATE]>,
    /// Where the candidates of each segment end among those of all.
    ends: Vec<u32>,
}

/// A rule and the segments that it matches.
#[derive(Clone, Copy)]
struct Spread {
    rule: u16,
    is_residual: bool,
    ports: Ports,
    from: usize,
    to: usize,
}

/// Candidates by their place among those of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
struct List {
    from: u32,
    count: u16,
    rule: u16,
}

impl<'r> TableBuilder<'r> {
    pub(in crate::index) const fn new(rules: &'r [Conditions]) -> Self {
        Self {
            rules,
            words: Vec::new(),
            constants: Vec::new(),
            edges: Vec::new(),
            finals: Vec::new(),
            skips: Vec::new(),
            spread: Vec::new(),
            values: Vec::new(),
            lists: Vec::new(),
            candidates: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Words of all tables so far.
    pub(in crate::index) const fn len(&self) -> usize {
        self.words.len()
    }

    /// All tables.
    pub(in crate::index) fn finish(mut self) -> Result<Words, Refusal> {
        extend(&mut self.words, &[0; LANES])?;
        Ok(Words(exact(self.words)?))
    }

    /// Where the next words will be.
    fn place(&self) -> Result<u32, Refusal> {
        u32::try_from(self.words.len()).map_err(|_| Refusal::Malformed)
    }

    /// Begins a node; its tables follow.
    pub(in crate::index) fn begin(&mut self) -> Result<u32, Refusal> {
        let place = self.place()?;
        extend(&mut self.words, &[0; NODE])?;
        Ok(place)
    }

    /// Completes a node with its tables, the node that follows it and the least rule there.
    pub(in crate::index) fn complete(&mut self, node: u32, tables: [u32; 4], next: u32, least: u16) {
        let [t, u, i, j] = tables.map(halves);
        let words = [t, u, i, j, halves(next)];
        let words = words.as_flattened().iter().chain(core::iter::once(&least));
        let to = self.words.get_mut(node as usize..).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(words) {
            *to = *from;
        }
    }

    /// The table that says the same for every port.
    fn constant(&mut self, rule: u16) -> Result<u32, Refusal> {
        if self.constants.is_empty() {
            fill(&mut self.constants, 0, self.rules.len() + 1)?;
        }
        let nth = usize::from(rule).min(self.rules.len());
        if let Some(place) = self.constants.get(nth).copied().filter(|place| *place != 0) {
            return Ok(place);
        }
        let place = self.place()?;
        extend(&mut self.words, &[0, rule])?;
        if let Some(constant) = self.constants.get_mut(nth) {
            *constant = place;
        }
        Ok(place)
    }

    /// Makes the table of some rules, in order, for a class.
    pub(in crate::index) fn table(&mut self, rules: &[u16], class: Class) -> Result<u32, Refusal> {
        self.gather(rules, class)?;
        match self.spread.first() {
            None => return self.constant(NO_RULE),
            Some(first) if first.ports == Ports::ALL && !first.is_residual => {
                let rule = first.rule;
                return self.constant(rule);
            }
            Some(_) => {}
        }
        self.edges.sort_unstable();
        self.edges.dedup();
        self.paint()?;
        self.list(class)?;
        self.join();
        match *self.values {
            [only] if only & LIST == 0 => self.constant(only),
            _ => self.write(),
        }
    }

    /// Collects what matters of the rules, and where their ranges begin and end.
    fn gather(&mut self, rules: &[u16], class: Class) -> Result<(), Refusal> {
        self.spread.clear();
        self.edges.clear();
        for rule in rules {
            let conditions = self.rules.get(usize::from(*rule)).ok_or(Refusal::Malformed)?;
            let Some(ports) = conditions.range(class) else { continue };
            if self.spread.last().is_some_and(|last| last.rule == *rule) {
                continue;
            }
            let is_residual = conditions.is_residual(class);
            push(&mut self.spread, Spread { rule: *rule, is_residual, ports, from: 0, to: 0 })?;
            if ports.first > 0 {
                push(&mut self.edges, ports.first)?;
            }
            if let Some(behind) = ports.last.checked_add(1) {
                push(&mut self.edges, behind)?;
            }
            if ports == Ports::ALL && !is_residual {
                break;
            }
        }
        Ok(())
    }

    /// Gives each segment the first rule that matches it without more being asked. Segments that have one are skipped
    /// ever after, so that each is visited once.
    fn paint(&mut self) -> Result<(), Refusal> {
        let segments = self.edges.len() + 1;
        fill(&mut self.finals, NO_RULE, segments)?;
        self.skips.clear();
        self.skips.try_reserve(segments + 1).map_err(|_| Refusal::OutOfMemory)?;
        self.skips.extend((0..).take(segments + 1));
        for spread in &mut self.spread {
            let segment = |port: u16| self.edges.partition_point(|edge| *edge <= port);
            spread.from = segment(spread.ports.first);
            spread.to = segment(spread.ports.last) + 1;
            if spread.is_residual {
                continue;
            }
            let mut at = unpainted(&mut self.skips, spread.from);
            while at < spread.to {
                if let (Some(rule), Some(skip)) = (self.finals.get_mut(at), self.skips.get_mut(at)) {
                    *rule = spread.rule;
                    *skip += 1;
                }
                at = unpainted(&mut self.skips, at + 1);
            }
        }
        Ok(())
    }

    /// Gives each segment its candidates. Each segment has a list of its own unless these would become much longer than
    /// the rules; then all have the beginning of one list.
    fn list(&mut self, class: Class) -> Result<(), Refusal> {
        self.candidates.clear();
        self.lists.clear();
        self.values.clear();
        extend(&mut self.values, &self.finals)?;
        let residual = || self.spread.iter().filter(|spread| spread.is_residual);
        let count = residual().count();
        if count == 0 {
            return Ok(());
        }
        let covered: usize = residual().map(|spread| spread.to - spread.from).sum();
        let is_much = covered > 4 * count + 16 || self.finals.len() > usize::from(LIST / 2);
        if is_much { self.share(class) } else { self.divide(class, covered) }
    }

    /// One list for all segments.
    fn share(&mut self, class: Class) -> Result<(), Refusal> {
        for spread in self.spread.iter().filter(|spread| spread.is_residual) {
            push(&mut self.candidates, candidate(self.rules, spread, class)?)?;
        }
        for segment in 0..self.finals.len() {
            let rule = self.finals.get(segment).copied().unwrap_or(NO_RULE);
            let count = self.candidates.partition_point(|candidate| candidate.first() < Some(&rule));
            self.refer(segment, 0, count, rule)?;
        }
        Ok(())
    }

    /// A list for each segment.
    fn divide(&mut self, class: Class, covered: usize) -> Result<(), Refusal> {
        fill(&mut self.ends, 0, self.finals.len())?;
        fill(&mut self.candidates, [0; CANDIDATE], covered)?;
        for spread in self.spread.iter().filter(|spread| spread.is_residual) {
            for count in self.ends.get_mut(spread.from..spread.to).unwrap_or_default() {
                *count += 1;
            }
        }
        let mut sum = 0;
        for end in &mut self.ends {
            (*end, sum) = (sum, sum + *end);
        }
        for spread in self.spread.iter().filter(|spread| spread.is_residual) {
            let words = candidate(self.rules, spread, class)?;
            for end in self.ends.get_mut(spread.from..spread.to).unwrap_or_default() {
                if let Some(candidate) = self.candidates.get_mut(*end as usize) {
                    *candidate = words;
                }
                *end += 1;
            }
        }
        let mut from = 0;
        for segment in 0..self.finals.len() {
            let rule = self.finals.get(segment).copied().unwrap_or(NO_RULE);
            let end = self.ends.get(segment).map_or(0, |end| *end as usize);
            let own = self.candidates.get(from..end).unwrap_or_default();
            let count = own.partition_point(|candidate| candidate.first() < Some(&rule));
            self.refer(segment, from, count, rule)?;
            from = end;
        }
        Ok(())
    }

    /// Makes a segment's value a list, if there are candidates.
    fn refer(&mut self, segment: usize, from: usize, count: usize, rule: u16) -> Result<(), Refusal> {
        if count == 0 {
            return Ok(());
        }
        let from = u32::try_from(from).map_err(|_| Refusal::Malformed)?;
        let list = List { from, count: u16::try_from(count).map_err(|_| Refusal::Malformed)?, rule };
        if self.lists.last() != Some(&list) {
            push(&mut self.lists, list)?;
        }
        let place = u16::try_from(self.lists.len() - 1).map_err(|_| Refusal::Malformed)?;
        if let Some(value) = self.values.get_mut(segment) {
            *value = LIST | place;
        }
        Ok(())
    }

    /// Makes one segment of neighbours with the same value.
    fn join(&mut self) {
        let mut kept = 0;
        for next in 1..self.values.len() {
            let (Some(value), Some(edge)) =
                (self.values.get(next).copied(), self.edges.get(next - 1).copied())
            else {
                break;
            };
            if self.values.get(kept) == Some(&value) {
                continue;
            }
            if let (Some(to), Some(at)) = (self.edges.get_mut(kept), self.values.get_mut(kept + 1)) {
                (*to, *at) = (edge, value);
            }
            kept += 1;
        }
        self.values.truncate(kept + 1);
        self.edges.truncate(kept);
    }

    /// Puts the table behind the others.
    fn write(&mut self) -> Result<u32, Refusal> {
        let at = self.place()?;
        let edges = self.edges.len();
        push(&mut self.words, u16::try_from(edges).map_err(|_| Refusal::Malformed)?)?;
        if edges > INDEXED {
            self.words.try_reserve(INDEX).map_err(|_| Refusal::OutOfMemory)?;
            for page in 0..INDEX {
                let below = self.edges.partition_point(|edge| usize::from(*edge) < page << 8);
                self.words.push(u16::try_from(below).map_err(|_| Refusal::Malformed)?);
            }
        }
        extend(&mut self.words, &self.edges)?;
        extend(&mut self.words, &self.values)?;
        let first = self.words.len() + LIST_WORDS * self.lists.len();
        for list in &self.lists {
            let from = first + list.from as usize * CANDIDATE;
            let [low, high] = halves(u32::try_from(from).map_err(|_| Refusal::Malformed)?);
            extend(&mut self.words, &[low, high, list.count, list.rule])?;
        }
        extend(&mut self.words, self.candidates.as_flattened())?;
        Ok(at)
    }
}

/// The candidate that a rule becomes.
fn candidate(rules: &[Conditions], spread: &Spread, class: Class) -> Result<[u16; CANDIDATE], Refusal> {
    let conditions = rules.get(usize::from(spread.rule)).ok_or(Refusal::Malformed)?;
    let source = conditions.source(class);
    let candidate = Candidate {
        rule: spread.rule,
        limit: conditions.limit,
        destination: (spread.ports.first, spread.ports.last),
        source: (source.first, source.last),
    };
    Ok(candidate.words())
}

/// The first segment at or behind this one that has no rule yet; shortens the way for the next.
fn unpainted(skips: &mut [u32], from: usize) -> usize {
    let mut at = from;
    while let Some(next) = skips.get(at).map(|next| *next as usize).filter(|next| *next != at) {
        let beyond = skips.get(next).copied().unwrap_or_default();
        if let Some(skip) = skips.get_mut(at) {
            *skip = beyond;
        }
        at = next;
    }
    at
}
