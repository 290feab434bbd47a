//! Through the chains, as a packet would go: every way to a verdict is an atom.

use super::{
    atom::{Atom, Decided},
    ruleset::{Chain, Table},
    statements::{Place, Step, Unsayable, statement},
};
use crate::import::{Became, ImportError, Imported};
use rules_program::policy::{Action, Direction};
use serde_json::Value;

/// Jumps within jumps at most; nft itself allows 16.
const MAX_DEPTH: usize = 16;
/// Rules visited at most.
const MAX_STEPS: usize = 400_000;
/// Letters of a comment that are kept.
const MAX_COMMENT: usize = 120;

/// A walk through a table.
pub(super) struct Walk<'t, 'j, 'i> {
    place: Place<'t, 'j>,
    direction: Direction,
    imported: &'i mut Imported,
    decided: Vec<Decided>,
    steps: usize,
}

impl<'t, 'j, 'i> Walk<'t, 'j, 'i> {
    pub(super) fn new(
        table: &'t Table<'j>,
        direction: Direction,
        own: bool,
        imported: &'i mut Imported,
    ) -> Self {
        let far = if direction == Direction::Outward { "daddr" } else { "saddr" };
        let place = Place { table, far, translates: false, own };
        Self { place, direction, imported, decided: Vec::new(), steps: 0 }
    }

    /// In a chain that translates addresses.
    pub(super) const fn translating(mut self) -> Self {
        self.place.translates = true;
        self
    }

    /// All ways to verdicts from a chain on.
    pub(super) fn from(mut self, chain: &str) -> Result<Vec<Decided>, ImportError> {
        let mut everything = Atom::everything();
        match self.place.table.family {
            "ip" => everything.only_v4(),
            "ip6" => everything.only_v6(),
            _ => {}
        }
        self.chain(chain, &everything, 0)?;
        Ok(self.decided)
    }

    fn chain(&mut self, name: &str, packets: &Atom, depth: usize) -> Result<(), ImportError> {
        let table = self.place.table;
        let Some(chain) = table.chains.get(name).filter(|_| depth <= MAX_DEPTH) else {
            return Err(ImportError(format!("chain `{name}` does not exist, or jumps are too deep")));
        };
        let mut packets = packets.clone();
        for number in 0..chain.rules.len() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ImportError(format!("more than {MAX_STEPS} rules on all ways")));
            }
            self.rule((name, chain, number), &mut packets, depth)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        (name, chain, number): (&str, &Chain<'j>, usize),
        packets: &mut Atom,
        depth: usize,
    ) -> Result<(), ImportError> {
        let Some(rule) = chain.rules.get(number) else { return Ok(()) };
        let at = format!(
            "table {} {}, chain {name}, rule {number}",
            self.place.table.family, self.place.table.name
        );
        let mut atom = packets.clone();
        atom.comment = comment(rule).or(atom.comment);
        let mut unsaid = Vec::new();
        for (place, one) in rule.get("expr").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let step = match statement(one, &mut atom, &self.place) {
                Ok(Step::Next) if !atom.is_empty() => continue,
                Ok(Step::Established) if drops(rule) => Err(Unsayable::Condition("`ct state`".to_owned())),
                other => other,
            };
            match step {
                Err(Unsayable::Condition(what)) => {
                    atom.loosened = true;
                    unsaid.push((place, what));
                }
                Err(Unsayable::Act(what)) => {
                    self.imported.unsaid(format!("{at}, statement {place}"), what, Became::Similar);
                }
                Ok(Step::Next | Step::Implied | Step::Established) => return Ok(()),
                Ok(_) if atom.is_empty() => return Ok(()),
                Ok(step) => {
                    unsaid.extend(
                        self.last((name, chain, number), (step, atom, packets), depth)?
                            .map(|what| (place, what)),
                    );
                    self.report(&at, rule, unsaid);
                    return Ok(());
                }
            }
        }
        if atom.log && !packets.log {
            unsaid.push((0, "`log` without a verdict".to_owned()));
        }
        self.report(&at, rule, unsaid);
        Ok(())
    }

    /// A rule's last step; gives what of it cannot be said.
    fn last(
        &mut self,
        (name, chain, number): (&str, &Chain<'j>, usize),
        (step, mut atom, packets): (Step<'j>, Atom, &mut Atom),
        depth: usize,
    ) -> Result<Option<String>, ImportError> {
        match step {
            Step::Next | Step::Implied | Step::Established => {}
            Step::Decide(action) => {
                let opens = !matches!(action, Action::Drop | Action::Reject);
                let hidden = packets.loosened && opens;
                self.decide(atom, action, (name, number));
                return Ok(hidden.then(|| "a verdict behind a jump or return that cannot be said".to_owned()));
            }
            Step::Jump(target) => self.chain(target, &atom, depth + 1)?,
            Step::Goto(target) => {
                let sayable = self.is_last_word(target, chain, number);
                atom.loosened |= !sayable;
                self.chain(target, &atom, depth + 1)?;
                return Ok((!sayable).then(|| format!("`goto {target}`, which may come to no verdict")));
            }
            Step::Return if atom.is_everything() && !atom.loosened => packets.never = true,
            // What it takes away from the rest of the chain cannot be said.
            Step::Return => {
                packets.loosened = true;
                return Ok(Some("`return`".to_owned()));
            }
        }
        Ok(None)
    }

    fn report(&mut self, at: &str, rule: &Value, unsaid: Vec<(usize, String)>) {
        let last = rule.get("expr").and_then(Value::as_array).and_then(|list| list.last());
        let is = |kind: &str| last.is_some_and(|last| last.get(kind).is_some());
        let narrows = ["drop", "reject", "jump", "goto", "return"].iter().any(|kind| is(kind));
        let became = if narrows { Became::Wider } else { Became::LeftOut };
        for (place, what) in unsaid {
            self.imported.unsaid(format!("{at}, statement {place}"), what, became);
        }
    }

    fn decide(&mut self, atom: Atom, action: Action, (chain, rule): (&str, usize)) {
        let opens = matches!(action, Action::Accept | Action::Forward { .. });
        let is_forward = matches!(action, Action::Forward { .. });
        // An address is translated inward only; what a forward has turned is accepted by the forward itself.
        let is_turned = atom.forwarded && !self.place.own;
        if atom.loosened && opens || is_forward && self.direction == Direction::Outward || is_turned {
            return;
        }
        self.decided.push(Decided { atom, action, verdict: (chain.to_owned(), rule) });
    }

    /// Whether nothing behind a `goto` is reached by who went there: its chain ends in a verdict for everybody, or all
    /// that follows goes there as well.
    fn is_last_word(&self, target: &str, from: &Chain<'j>, number: usize) -> bool {
        let goes_there = |rule: &&Value| {
            let last = rule.get("expr").and_then(Value::as_array).and_then(|list| list.last());
            last.and_then(|last| last.pointer("/goto/target")).and_then(Value::as_str) == Some(target)
        };
        let rest = from.rules.get(number + 1..).unwrap_or_default();
        let is_verdict =
            |one: &Value| ["accept", "drop", "reject"].iter().any(|kind| one.get(*kind).is_some());
        let unconditional = |rule: &Value| {
            let list = rule.get("expr").and_then(Value::as_array);
            list.is_some_and(|list| list.iter().all(|one| one.get("counter").is_some() || is_verdict(one)))
                && list.is_some_and(|list| list.last().is_some_and(is_verdict))
        };
        let ends = self.place.table.chains.get(target).and_then(|chain| chain.rules.last());
        rest.iter().all(goes_there) || ends.is_some_and(|rule| unconditional(rule))
    }
}

/// Whether a rule ends in `drop` or `reject`.
fn drops(rule: &Value) -> bool {
    let last = rule.get("expr").and_then(Value::as_array).and_then(|list| list.last());
    last.is_some_and(|last| last.get("drop").is_some() || last.get("reject").is_some())
}

/// A rule's comment, in the letters that ours may have.
fn comment(rule: &Value) -> Option<String> {
    let text = rule.get("comment")?.as_str()?;
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ":;,./-_[] ".contains(*c);
    let text: String = text.chars().filter(allowed).take(MAX_COMMENT).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
