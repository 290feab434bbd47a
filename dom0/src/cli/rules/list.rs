//! `bulkhead rules list`: the table, one rule per line, or JSON.

use super::{Fetched, Place, fetch, log, said};
use crate::cli::show;
use crate::name::Name;
use crate::protocol::Agreement;
use comfy_table::Cell;
use rules_compiler::ast::{File, Limit, OtherEnd, Rule};
use rules_compiler::print::{self, Range};
use rules_program::policy::{Action, Direction};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// How to print rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Raw,
    Json,
}

impl Form {
    /// The form that the options ask for.
    pub(super) const fn of(raw: bool, json: bool) -> Self {
        match (raw, json) {
            (true, _) => Self::Raw,
            (_, true) => Self::Json,
            _ => Self::Table,
        }
    }
}

/// A rule and how often it decided.
struct Row<'f> {
    number: usize,
    line: u32,
    rule: &'f Rule,
    hits: Option<u64>,
}

/// Decisions per line of the file.
type Hits = BTreeMap<u32, u64>;

/// Prints a domain's rules.
pub(super) fn list(place: &Place, domain: &Name, form: Form) -> anyhow::Result<()> {
    let fetched = fetch(place, domain)?;
    let hits = match fetched.state.in_force {
        // Hits of rules that are no longer in the file would stand beside the wrong lines.
        Some((_, Agreement::Same)) => log::ask_hits(place, domain).ok().map(|hits| log::per_line(&hits)),
        _ => None,
    };
    let file = match rules_compiler::parse(&fetched.text) {
        Ok(file) => file,
        Err(diagnostics) => {
            standing(domain, &fetched)?;
            said::show(&diagnostics, &fetched.state.file, &fetched.text);
            let (errors, s) =
                (said::errors(&diagnostics), if said::errors(&diagnostics) == 1 { "" } else { "s" });
            anyhow::bail!("{} has {errors} error{s}", fetched.state.file);
        }
    };
    let rows = rows(&file, hits.as_ref());
    match form {
        Form::Raw => Ok(write!(std::io::stdout(), "{file}")?),
        Form::Json => {
            let state = &fetched.state;
            show::json(&Listing {
                domain,
                file: &state.file,
                in_force: state.in_force.map(|(generation, _)| generation),
                agrees: state.in_force.map(|(_, agreement)| agreement == Agreement::Same),
                problem: state.problem.as_deref(),
                rules: items(&rows),
            })
        }
        Form::Table => {
            let table = table(&rows);
            show::print(&table)?;
            standing(domain, &fetched)
        }
    }
}

fn rows<'f>(file: &'f File, hits: Option<&Hits>) -> Vec<Row<'f>> {
    let row = |(number, rule): (usize, &'f rules_compiler::span::Spanned<Rule>)| {
        let line = rule.span.line;
        Row { number, line, rule: &rule.value, hits: hits.and_then(|hits| hits.get(&line).copied()) }
    };
    file.rules.iter().enumerate().map(row).collect()
}

/// Says what is in force.
fn standing(domain: &Name, fetched: &Fetched) -> anyhow::Result<()> {
    let state = &fetched.state;
    let mut out = std::io::stdout().lock();
    match state.in_force {
        Some((generation, Agreement::Same)) => writeln!(out, "in force (set {generation})")?,
        Some((generation, Agreement::Different)) => {
            // Where the daemon knows why, that is said below.
            let why = if state.problem.is_none() { ": the file was changed by hand" } else { "" };
            writeln!(
                out,
                "not what is in force (set {generation}){why}; `bulkhead rules reload {domain}` puts it in force"
            )?;
        }
        None => writeln!(out, "not in force: no firewall enforces rules of {domain} now")?,
    }
    if let Some(problem) = &state.problem {
        writeln!(out, "{}", crate::console::printable(problem))?;
    }
    Ok(())
}

/// A column: its header, and what stands in it for a rule.
type Column = (&'static str, fn(&Row<'_>) -> String);

/// All columns, in order; the first two are always shown.
const COLUMNS: [Column; 15] = [
    ("NO", |row| row.number.to_string()),
    ("ACTION", |row| print::action(row.rule.action).to_owned()),
    ("WAY", |row| if row.rule.direction == Direction::Inward { "in".to_owned() } else { String::new() }),
    ("HOST", |row| host(row.rule)),
    ("PROTOCOL", |row| row.rule.protocols.map(protocols).unwrap_or_default()),
    ("PORT(S)", |row| ranges(&row.rule.destination_ports)),
    ("TO PORT", |row| match row.rule.action {
        Action::Forward { to_port: Some(port) } => port.to_string(),
        _ => String::new(),
    }),
    ("SOURCE PORT(S)", |row| ranges(&row.rule.source_ports)),
    ("SPECIAL TARGET", |row| match row.rule.other_end {
        OtherEnd::NameServers => "dns".to_owned(),
        _ => String::new(),
    }),
    ("ICMP TYPE", |row| row.rule.icmp_type.map(|kind| kind.to_string()).unwrap_or_default()),
    ("LIMIT", |row| limit(row.rule)),
    ("LOG", |row| if row.rule.log { "yes".to_owned() } else { String::new() }),
    ("HITS", |row| row.hits.map(|hits| hits.to_string()).unwrap_or_default()),
    ("EXPIRE", |row| row.rule.expire.map(local_time).unwrap_or_default()),
    ("COMMENT", |row| row.rule.comment.clone().unwrap_or_default()),
];

fn table(rows: &[Row<'_>]) -> comfy_table::Table {
    let used =
        |(place, (_, text)): &(usize, Column)| *place < 2 || rows.iter().any(|row| !text(row).is_empty());
    let columns: Vec<Column> =
        COLUMNS.into_iter().enumerate().filter(used).map(|(_, column)| column).collect();
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut table = show::table(&header);
    for row in rows {
        table.add_row(columns.iter().map(|(_, text)| {
            let text = text(row);
            Cell::new(if text.is_empty() { "-".to_owned() } else { text })
        }));
    }
    table
}

fn host(rule: &Rule) -> String {
    match &rule.other_end {
        OtherEnd::Anyone | OtherEnd::NameServers => String::new(),
        OtherEnd::Domain(name) => format!("domain {}", name.value),
        OtherEnd::Hosts(hosts) => join(hosts.iter().map(|host| host.value.to_string())),
    }
}

fn protocols(set: rules_program::policy::Protocols) -> String {
    join(print::protocols(set).map(str::to_owned))
}

fn ranges(ports: &[rules_program::policy::Ports]) -> String {
    join(ports.iter().map(|ports| Range(*ports).to_string()))
}

fn limit(rule: &Rule) -> String {
    let rate = rule.limit.map(|Limit { count, unit, burst }| {
        let burst = burst.map(|b| format!(", burst {b}")).unwrap_or_default();
        format!("{count}/{}{burst}", unit.word())
    });
    let connections = rule.connections.map(|n| format!("{n} connections"));
    join(rate.into_iter().chain(connections))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}

/// A time in seconds since 1970, in this machine's time zone.
pub(in super::super) fn local_time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map_or_else(
        || seconds.to_string(),
        |time| time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Rules as JSON, with what is in force where that was asked.
#[derive(Serialize)]
struct Listing<'f> {
    domain: &'f Name,
    file: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agrees: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'f str>,
    rules: Vec<Item<'f>>,
}

#[derive(Serialize)]
struct Item<'f> {
    number: usize,
    line: u32,
    rule: String,
    action: &'static str,
    inward: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<u64>,
    expire: Option<u64>,
    comment: Option<&'f str>,
}

fn items<'f>(rows: &[Row<'f>]) -> Vec<Item<'f>> {
    let item = |row: &Row<'f>| Item {
        number: row.number,
        line: row.line,
        rule: row.rule.to_string(),
        action: print::action(row.rule.action),
        inward: row.rule.direction == Direction::Inward,
        hits: row.hits,
        expire: row.rule.expire,
        comment: row.rule.comment.as_deref(),
    };
    rows.iter().map(item).collect()
}

/// Prints what a file says as JSON.
pub(super) fn json(domain: &Name, file: &str, rules: &File) -> anyhow::Result<()> {
    let rules = items(&rows(rules, None));
    show::json(&Listing { domain, file, in_force: None, agrees: None, problem: None, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let file = rules_compiler::parse(text).unwrap();
        let mut table = table(&rows(&file, None));
        table.force_no_tty();
        table.trim_fmt()
    }

    #[test]
    fn only_columns_in_use_are_shown() {
        let table = shown("accept 192.0.2.1 tcp 443\ndrop\n");
        let words: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["NO", "ACTION", "HOST", "PROTOCOL", "PORT(S)"]);
        assert_eq!(words[1], ["0", "accept", "192.0.2.1", "tcp", "443"]);
        assert_eq!(words[2], ["1", "drop", "-", "-", "-"]);
        assert_eq!(shown("drop\n").lines().next().unwrap().split_whitespace().count(), 2);
    }

    #[test]
    fn hits_stand_beside_their_lines() {
        let file = rules_compiler::parse("# comment\naccept 192.0.2.1\n\ndrop\n").unwrap();
        let hits = BTreeMap::from([(2, 7), (4, 9)]);
        let rows = rows(&file, Some(&hits));
        assert_eq!(rows.iter().map(|r| r.hits).collect::<Vec<_>>(), [Some(7), Some(9)]);
    }
}
