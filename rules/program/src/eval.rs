//! One question, answered.

use crate::{
    index::{
        Class, NO_RULE,
        tables::{Candidate, LIST, NO_NODE, Node},
    },
    policy::MAX_LIMITED,
    program::Program,
    question::{Gate, Judgement, Peer, Question},
};
use core::net::IpAddr;

impl Program {
    /// The first rule that matches.
    ///
    /// The work is bounded: by the prefixes that contain the address (at most 129), the names of the question, and the
    /// rules with source ports or limits that stand there.
    #[inline]
    pub fn judge(&self, question: &Question<'_>, gate: &mut impl Gate) -> Judgement {
        let side = self.index.side(question.direction);
        let (class, port, _) = Class::of(question.transport);
        let start = match (question.peer, question.remote) {
            (Peer::Domain(domain), _) => {
                domain.and_then(|domain| side.domains.get(usize::from(domain)).copied())
            }
            (_, IpAddr::V4(remote)) => side.v4.find(remote.to_bits()),
            (_, IpAddr::V6(remote)) => side.find6(remote),
        };
        let Some(node) = start.and_then(|start| self.index.words.node(start)) else {
            return Judgement::NO_RULE;
        };
        let table = node.table(class);
        let value = self.index.words.value(table, port);
        // Mostly that was all. `value` may be a list: greater than any `least`.
        if value <= node.least() && question.names.is_empty() && question.peer != Peer::Dns {
            return self.decision(value);
        }
        self.search(question, node, gate)
    }

    /// Judges when more than one table has to be asked, or a list.
    #[inline(never)]
    fn search(&self, question: &Question<'_>, node: Node<'_>, gate: &mut impl Gate) -> Judgement {
        let (class, port, source) = Class::of(question.transport);
        let mut search = Search { program: self, class, port, source, best: NO_RULE, limited: [0; WORDS] };
        search.walk(node);
        if !matches!(question.peer, Peer::Domain(_)) {
            search.names(question);
        }
        search.answer(gate)
    }

    #[inline]
    fn decision(&self, rule: u16) -> Judgement {
        let decision = self.decisions.get(usize::from(rule));
        decision.map_or(Judgement::NO_RULE, |decision| self.judgement(rule, *decision))
    }
}

/// Words of a set of rules with limits.
const WORDS: usize = MAX_LIMITED / 64;

/// The least rule without limits that matches, and the rules with limits that match.
struct Search<'p> {
    program: &'p Program,
    class: Class,
    port: u16,
    source: u16,
    best: u16,
    /// By their places among [`Program::limits`].
    limited: [u64; WORDS],
}

impl<'p> Search<'p> {
    /// Asks a node and those that follow it.
    fn walk(&mut self, node: Node<'p>) {
        let mut node = node;
        // The verified order of prefixes makes each node's successor a shorter prefix.
        for _ in 0..=128 {
            self.ask(node);
            if node.least() >= self.best || node.next() == NO_NODE {
                return;
            }
            let Some(next) = self.program.index.words.node(node.next()) else { return };
            node = next;
        }
    }

    /// Asks the nodes of the names and, if it goes there, of the name servers.
    fn names(&mut self, question: &Question<'_>) {
        let side = self.program.index.side(question.direction);
        let words = &self.program.index.words;
        let nodes = question.names.iter().filter_map(|name| side.names.get(usize::from(*name)));
        for node in nodes.filter_map(|node| words.node(*node)) {
            self.ask(node);
        }
        let is_dns = self.port == 53 && matches!(self.class, Class::Tcp | Class::Udp);
        if let (Peer::Dns, true, Some(node)) = (question.peer, is_dns, words.node(side.dns)) {
            self.ask(node);
        }
    }

    fn ask(&mut self, node: Node<'p>) {
        let table = node.table(self.class);
        let value = self.program.index.words.value(table, self.port);
        if value & LIST == 0 {
            self.best = self.best.min(value);
            return;
        }
        let found = self.program.index.words.found(table, value);
        for candidate in found.candidates.iter().map(|words| Candidate::of(*words)) {
            if candidate.rule >= self.best {
                return;
            }
            if !candidate.matches(self.port, self.source) {
                continue;
            }
            match self.limited.get_mut(usize::from(candidate.limit / 64)) {
                Some(word) => *word |= 1 << (candidate.limit % 64),
                None => {
                    self.best = candidate.rule;
                    return;
                }
            }
        }
        self.best = self.best.min(found.rule);
    }

    /// Asks the gate about the rules with limits before the best one, in order.
    fn answer(&self, gate: &mut impl Gate) -> Judgement {
        for (place, word) in self.limited.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let Some(limits) = self.program.limits.get(place * 64 + bit) else { continue };
                if limits.rule >= self.best {
                    return self.program.decision(self.best);
                }
                if gate.admits(limits.rule) {
                    return self.program.decision(limits.rule);
                }
            }
        }
        self.program.decision(self.best)
    }
}
