//! Makes the index of verified rules.

use super::{
    Index, NO_RULE, Side,
    rules::{Class, Conditions},
    spans::{Key, Spans},
    tables::{NO_NODE, builder::TableBuilder},
};
use crate::{
    format::{self, TargetRecord},
    memory::{collect, exact, extend, fill, push},
    policy::Direction,
    program::Refusal,
    verify::Verified,
};
use alloc::{boxed::Box, vec::Vec};

/// As many rules of shorter prefixes are merged into a node whatever its own are.
const MERGED: usize = 16;
/// Words of tables for each rule at a target up to which merging goes on.
const WORDS_A_RULE: usize = 16;
/// The same for all rules together.
const WORDS: usize = 8192;

/// Makes the index.
pub(crate) fn build(program: &Verified<'_>) -> Result<Index, Refusal> {
    let conditions = conditions(program)?;
    let placed = program.targets.len() + 2 * program.rules.len();
    let mut builder = Builder {
        program,
        rules: &conditions,
        tables: TableBuilder::new(&conditions),
        most_words: WORDS + WORDS_A_RULE * placed,
    };
    let sides = [builder.side(Direction::Outward)?, builder.side(Direction::Inward)?];
    Ok(Index { sides, words: builder.tables.finish()? })
}

fn conditions(program: &Verified<'_>) -> Result<Box<[Conditions]>, Refusal> {
    let mut limits = 0;
    let conditions = program.rules().map(|rule| {
        let limit = if rule.is_limited() { limits } else { Conditions::UNLIMITED };
        limits += u16::from(rule.is_limited());
        Conditions::of(&rule, limit)
    });
    collect(conditions, program.rules.len())
}

struct Builder<'b> {
    program: &'b Verified<'b>,
    rules: &'b [Conditions],
    tables: TableBuilder<'b>,
    /// Words of tables from which on nothing is merged any more.
    most_words: usize,
}

impl Builder<'_> {
    /// The nodes of one direction.
    fn side(&mut self, direction: Direction) -> Result<Side, Refusal> {
        let sorted = Sorted::of(self.program, self.rules, direction)?;
        let (names, domains) = self.program.string_counts();
        let first_name = 3;
        let first_domain = first_name + names;
        let first4 = first_domain + domains;
        let first6 = first4 + self.program.prefixes4.len();
        let dns = self.single(sorted.at(2))?;
        let names = self.singles(&sorted, first_name..first_domain)?;
        let domains = self.singles(&sorted, first_domain..first4)?;
        let prefixes4 = (first4..).zip(self.program.prefixes4).filter_map(|(place, bytes)| {
            let (address, len) = format::prefix4(bytes)?;
            Some((address, address | u32::MAX.checked_shr(len.into()).unwrap_or(0), sorted.at(place)))
        });
        let v4 = self.tree(sorted.at(0), prefixes4)?;
        let prefixes6 = (first6..).zip(self.program.prefixes6).filter_map(|(place, bytes)| {
            let (address, len) = format::prefix6(bytes)?;
            Some((address, address | u128::MAX.checked_shr(len.into()).unwrap_or(0), sorted.at(place)))
        });
        let v6 = self.tree(sorted.at(1), prefixes6)?;
        Ok(Side { v4, v6, dns, names, domains })
    }

    /// A node for each of these places.
    fn singles(&mut self, sorted: &Sorted, places: core::ops::Range<usize>) -> Result<Box<[u32]>, Refusal> {
        let mut nodes = Vec::new();
        for place in places {
            push(&mut nodes, self.single(sorted.at(place))?)?;
        }
        exact(nodes)
    }

    /// A node that no other follows.
    fn single(&mut self, rules: &[u16]) -> Result<u32, Refusal> {
        self.node(rules, NO_NODE, NO_RULE)
    }

    /// A node of some rules.
    fn node(&mut self, rules: &[u16], next: u32, least: u16) -> Result<u32, Refusal> {
        let node = self.tables.begin()?;
        let tables = self.tables(rules)?;
        self.tables.complete(node, tables, next, least);
        Ok(node)
    }

    /// The nodes of an address family: of the whole and of prefixes (first and last address, rules) in order.
    fn tree<'s, K: Key>(
        &mut self,
        whole: &[u16],
        prefixes: impl Iterator<Item = (K, K, &'s [u16])>,
    ) -> Result<Spans<K>, Refusal> {
        let mut way = Way::default();
        let mut spans = Vec::new();
        extend(&mut way.rules, whole)?;
        let root = self.single(whole)?;
        push(&mut way.open, Open { node: root, last: K::MAX, rules: 0, next: NO_NODE, least: NO_RULE })?;
        push(&mut spans, (K::default(), root))?;
        for (first, last, rules) in prefixes.filter(|prefix| !prefix.2.is_empty()) {
            way.leave(Some(first), &mut spans)?;
            let open = self.enter(&mut way, last, rules)?;
            cut(&mut spans, first, open.node)?;
            push(&mut way.open, open)?;
        }
        way.leave(None, &mut spans)?;
        Spans::new(&spans)
    }

    /// A prefix below those of the way.
    fn enter<K: Key>(&mut self, way: &mut Way<K>, last: K, own: &[u16]) -> Result<Open<K>, Refusal> {
        let above = *way.open.last().ok_or(Refusal::Malformed)?;
        let rules = way.rules.len();
        let inherited = rules - above.rules;
        let (next, least) = if inherited <= MERGED.max(own.len()) && self.tables.len() < self.most_words {
            way.merge(above.rules, own, self.rules)?;
            (above.next, above.least)
        } else {
            let least = way.rules.get(above.rules).copied().unwrap_or(NO_RULE).min(above.least);
            extend(&mut way.rules, own)?;
            (above.node, least)
        };
        let node = self.node(way.rules.get(rules..).unwrap_or_default(), next, least)?;
        Ok(Open { node, last, rules, next, least })
    }

    /// The tables of some rules for each class; classes that no rule tells apart share one.
    fn tables(&mut self, rules: &[u16]) -> Result<[u32; 4], Refusal> {
        let is_same = |one, other| {
            let mut conditions = rules.iter().filter_map(|rule| self.rules.get(usize::from(*rule)));
            conditions.all(|conditions| conditions.is_same(one, other))
        };
        let (ports, icmp) = (is_same(Class::Tcp, Class::Udp), is_same(Class::Icmp, Class::Icmpv6));
        let tcp = self.tables.table(rules, Class::Tcp)?;
        let udp = if ports { tcp } else { self.tables.table(rules, Class::Udp)? };
        let v4 = self.tables.table(rules, Class::Icmp)?;
        let v6 = if icmp { v4 } else { self.tables.table(rules, Class::Icmpv6)? };
        Ok([tcp, udp, v4, v6])
    }
}

/// The prefixes around the one that is looked at, the whole first.
struct Way<K> {
    open: Vec<Open<K>>,
    /// The rules that the nodes of `open` were made of, one node's behind another's.
    rules: Vec<u16>,
}

/// A node, and the last address of its prefix.
#[derive(Clone, Copy)]
struct Open<K> {
    node: u32,
    last: K,
    /// Where its rules begin.
    rules: usize,
    next: u32,
    least: u16,
}

impl<K> Default for Way<K> {
    fn default() -> Self {
        Self { open: Vec::new(), rules: Vec::new() }
    }
}

impl<K: Key> Way<K> {
    /// Leaves the prefixes that end before an address, or all.
    fn leave(&mut self, before: Option<K>, spans: &mut Vec<(K, u32)>) -> Result<(), Refusal> {
        while let [.., around, left] = &*self.open {
            if before.is_some_and(|before| before <= left.last) {
                return Ok(());
            }
            if let Some(behind) = left.last.next() {
                cut(spans, behind, around.node)?;
            }
            self.rules.truncate(left.rules);
            self.open.pop();
        }
        Ok(())
    }

    /// Puts the rules from `start` on and these together in order, each once, up to one that leaves nothing to others.
    fn merge(&mut self, start: usize, own: &[u16], conditions: &[Conditions]) -> Result<(), Refusal> {
        let (mut above, mut own) = (start..self.rules.len(), own.iter().copied().peekable());
        loop {
            let inherited = above.clone().next().and_then(|place| self.rules.get(place).copied());
            let next = match (inherited, own.peek().copied()) {
                (None, None) => return Ok(()),
                (inherited, mine) => inherited.unwrap_or(NO_RULE).min(mine.unwrap_or(NO_RULE)),
            };
            if inherited == Some(next) {
                above.next();
            }
            own.next_if_eq(&next);
            push(&mut self.rules, next)?;
            if conditions.get(usize::from(next)).is_none_or(Conditions::is_last) {
                return Ok(());
            }
        }
    }
}

/// Begins a span; the one that began at the same address was none.
fn cut<K: Key>(spans: &mut Vec<(K, u32)>, first: K, node: u32) -> Result<(), Refusal> {
    match spans.last_mut() {
        Some(last) if last.0 == first => last.1 = node,
        Some(last) if last.1 == node => {}
        _ => push(spans, (first, node))?,
    }
    Ok(())
}

/// The rules of one direction by their targets: every IPv4 address, every IPv6 address, the name servers, host names,
/// domains, IPv4 prefixes, IPv6 prefixes.
struct Sorted {
    /// Where the rules of each place end; they begin where those of the place before end.
    ends: Vec<u32>,
    rules: Vec<u16>,
}

impl Sorted {
    fn of(program: &Verified<'_>, conditions: &[Conditions], direction: Direction) -> Result<Self, Refusal> {
        let (names, domains) = program.string_counts();
        let places = 3 + names + domains + program.prefixes4.len() + program.prefixes6.len();
        let mut sorted = Self { ends: Vec::new(), rules: Vec::new() };
        fill(&mut sorted.ends, 0, places + 1)?;
        Self::each(program, conditions, direction, |place, _| {
            if let Some(count) = sorted.ends.get_mut(place + 1) {
                *count += 1;
            }
        });
        let mut sum = 0;
        for end in &mut sorted.ends {
            sum += *end;
            *end = sum;
        }
        fill(&mut sorted.rules, NO_RULE, sum as usize)?;
        Self::each(program, conditions, direction, |place, number| {
            let Some(end) = sorted.ends.get_mut(place) else { return };
            if let Some(rule) = sorted.rules.get_mut(*end as usize) {
                *rule = number;
            }
            *end += 1;
        });
        Ok(sorted)
    }

    /// Every place where a rule of the direction stands, with the rule's number.
    fn each(
        program: &Verified<'_>,
        conditions: &[Conditions],
        direction: Direction,
        mut visit: impl FnMut(usize, u16),
    ) {
        let (names, domains) = program.string_counts();
        let prefixes4 = 3 + names + domains;
        let prefixes6 = prefixes4 + program.prefixes4.len();
        let rules = (0..).zip(conditions).zip(program.rules_with_targets());
        for ((number, conditions), (record, targets)) in rules {
            if conditions.direction != direction {
                continue;
            }
            if record.targets == 0 {
                visit(0, number);
                visit(1, number);
            }
            for target in targets {
                let place = match target {
                    TargetRecord::AnyV4 => 0,
                    TargetRecord::AnyV6 => 1,
                    TargetRecord::Dns => 2,
                    TargetRecord::Name(place) => 3 + usize::from(place),
                    TargetRecord::Domain(place) => 3 + names + usize::from(place),
                    TargetRecord::Prefix4(place) => prefixes4 + place as usize,
                    TargetRecord::Prefix6(place) => prefixes6 + place as usize,
                };
                visit(place, number);
            }
        }
    }

    /// The rules of a place, ascending; one may stand there twice.
    fn at(&self, place: usize) -> &[u16] {
        let end = |place: usize| self.ends.get(place).map_or(0, |end| *end as usize);
        self.rules.get(place.checked_sub(1).map_or(0, end)..end(place)).unwrap_or_default()
    }
}
