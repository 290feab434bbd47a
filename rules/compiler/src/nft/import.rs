//! Rules of nftables in our language, as far as it has words for them.
//!
//! Read is what `nft -j list ruleset` says and what `nft -j -f` takes. Jumps are followed. A table of our own
//! ([`export`](super::export)) gives the rules that it was made of; of any other ruleset, the filter chain of the hook
//! `forward` gives the rules outward (or that of `output`, on a machine that forwards nothing) and `dnat` in a chain of
//! the hook `prerouting` the forwards.

mod atom;
mod ruleset;
mod say;
mod statements;
mod values;
mod walk;

use crate::import::{Became, ImportError, Imported, within_bounds};
use atom::Decided;
use rules_program::policy::{Action, Direction};
use ruleset::Table;
use std::collections::HashSet;
use walk::Walk;

/// Reads nftables' JSON.
///
/// # Errors
/// What is no such JSON, has no rules that are asked about a domain's packets, or several chains that are.
pub fn import_nft_json(text: &str) -> Result<Imported, ImportError> {
    within_bounds(text)?;
    let document: serde_json::Value = serde_json::from_str(text).map_err(|e| ImportError(e.to_string()))?;
    let tables = ruleset::tables(&document)?;
    let own: Vec<_> = tables.iter().filter(|table| is_own(table)).collect();
    let mut imported = Imported::default();
    match &own[..] {
        [] => others(&tables, &mut imported)?,
        [table] => ours(table, &mut imported)?,
        _ => {
            return Err(ImportError(
                "tables of several domains: export one with `nft -j list table`".to_owned(),
            ));
        }
    }
    Ok(imported)
}

fn is_own(table: &Table<'_>) -> bool {
    let has = |chain: &str| table.chains.contains_key(chain);
    table.family == "inet" && table.name.starts_with("bulkhead-") && has("outward") && has("inward")
}

/// A table that we exported: the comments say which rule a verdict is of.
fn ours(table: &Table<'_>, imported: &mut Imported) -> Result<(), ImportError> {
    let mut numbered = Vec::new();
    for (direction, chain) in [(Direction::Outward, "outward"), (Direction::Inward, "inward")] {
        let decided = Walk::new(table, direction, true, imported).from(chain)?;
        numbered.extend(decided.into_iter().filter_map(|one| Some((number(&one)?, direction, one))));
    }
    if table.chains.contains_key("translate") {
        let forwards = Walk::new(table, Direction::Inward, true, imported).translating().from("translate")?;
        numbered.retain(|(_, _, one)| !one.atom.forwarded);
        let forwards = forwards.into_iter().filter(|one| matches!(one.action, Action::Forward { .. }));
        numbered.extend(forwards.filter_map(|mut one| {
            let number = number(&one)?;
            // Each family and each alternative has a rule of its own there.
            one.verdict = (format!("rule {number}"), 0);
            one.atom.log = logs(table, number);
            Some((number, Direction::Inward, one))
        }));
    }
    numbered.sort_by_key(|(number, ..)| *number);
    for run in numbered.chunk_by(|a, b| a.0 == b.0) {
        let atoms: Vec<_> = run.iter().map(|(.., one)| without_comment(one)).collect();
        say::say(&atoms, run[0].1, imported);
    }
    Ok(())
}

/// Whether the filter's rule of this number logs.
fn logs(table: &Table<'_>, number: usize) -> bool {
    let rules =
        table.chains.iter().filter(|(name, _)| **name != "translate").flat_map(|(_, chain)| &chain.rules);
    let mut of_rule = rules.filter(|rule| {
        let comment = rule.get("comment").and_then(|comment| comment.as_str());
        comment.and_then(numbered_comment) == Some(number)
    });
    of_rule.any(|rule| {
        rule.get("expr")
            .and_then(|list| list.as_array())
            .into_iter()
            .flatten()
            .any(|one| one.get("log").is_some())
    })
}

fn number(one: &Decided) -> Option<usize> {
    one.atom.comment.as_deref().and_then(numbered_comment)
}

/// `rule 3, line 7`.
fn numbered_comment(comment: &str) -> Option<usize> {
    comment.strip_prefix("rule ")?.split(',').next()?.parse().ok()
}

fn without_comment(one: &Decided) -> Decided {
    let mut one = one.clone();
    one.atom.comment = None;
    one
}

/// Somebody else's ruleset.
fn others(tables: &[Table<'_>], imported: &mut Imported) -> Result<(), ImportError> {
    let known = |table: &&Table<'_>| matches!(table.family, "ip" | "ip6" | "inet");
    let base = |hook: &'static str, kind: &'static str| {
        let chains =
            tables.iter().filter(known).flat_map(|table| table.chains.iter().map(move |one| (table, one)));
        chains.filter(move |(_, (_, chain))| chain.hook == Some(hook) && chain.kind == Some(kind))
    };
    let mut outward: Vec<_> = base("forward", "filter").collect();
    if outward.iter().all(|(_, (_, chain))| chain.rules.is_empty() && chain.accepts_rest) {
        outward = base("output", "filter").collect();
    }
    let of = |family: &str| {
        outward.iter().filter(|(table, _)| matches!(table.family, f if f == family || f == "inet")).count()
    };
    if outward.is_empty() {
        return Err(ImportError("no filter chain of the hook `forward` or `output`".to_owned()));
    }
    if of("ip") > 1 || of("ip6") > 1 {
        let why =
            "several filter chains are asked about the same packets: list one table, `nft -j list table …`";
        return Err(ImportError(why.to_owned()));
    }
    for (table, (name, _)) in base("prerouting", "nat") {
        let forwards = Walk::new(table, Direction::Inward, false, imported).translating().from(name)?;
        let forwards: Vec<_> =
            forwards.into_iter().filter(|one| matches!(one.action, Action::Forward { .. })).collect();
        say_all(&forwards, Direction::Inward, imported);
    }
    for (table, (name, chain)) in outward {
        let decided = Walk::new(table, Direction::Outward, false, imported).from(name)?;
        say_all(&decided, Direction::Outward, imported);
        if chain.accepts_rest {
            rest(table, imported);
        }
    }
    Ok(())
}

fn say_all(decided: &[Decided], direction: Direction, imported: &mut Imported) {
    let mut limited = HashSet::new();
    for run in decided.chunk_by(|a, b| a.verdict == b.verdict) {
        let one = &run[0];
        if (one.atom.limit.is_some() || one.atom.connections.is_some()) && !limited.insert(&one.verdict) {
            let at = format!("chain {}, rule {}", one.verdict.0, one.verdict.1);
            imported.unsaid(at, "a limit that is reached by several ways", Became::Similar);
        }
        say::say(run, direction, imported);
    }
}

/// The policy `accept` of a base chain: our last word is to drop.
fn rest(table: &Table<'_>, imported: &mut Imported) {
    let text = match table.family {
        "ip" => "accept 0.0.0.0/0",
        "ip6" => "accept ::/0",
        _ => "accept",
    };
    match crate::parse_rule(text) {
        Ok(rule) => imported.push(rule),
        Err(_) => imported.unsaid(table.name, "the policy `accept`", Became::LeftOut),
    }
}

#[cfg(test)]
mod tests;
