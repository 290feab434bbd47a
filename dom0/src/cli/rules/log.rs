//! `bulkhead rules log` and `counters`: what rules have decided, and how often.

use super::{Place, list};
use crate::cli::ask;
use crate::cli::logs::{self, JournalPart};
use crate::cli::show::{self, Form};
use crate::console::printable;
use crate::enclosed;
use crate::name::Name;
use crate::problem::Problem;
use crate::protocol::{Request, RuleHits};
use crate::rules::decisions::Line;
use comfy_table::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Prints logged decisions.
pub(super) fn log(place: &Place, domain: &Name, wanted: &JournalPart) -> anyhow::Result<()> {
    let open = || ask::stream(&place.runtime_dir, &Request::RulesLog { domain: domain.clone() });
    logs::journal(open, wanted, |out, line: &Line| writeln!(out, "{}", printable(&sentence(line))))
}

/// A decision in words.
fn sentence(line: &Line) -> String {
    let at = |address: IpAddr, port: Option<u16>| match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
    };
    let time = list::local_time(line.time_ms / 1000);
    let way = if line.inward { "in " } else { "" };
    let kind = line.icmp_type.map(|kind| format!(" type {kind}")).unwrap_or_default();
    let text = line.text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    let more = match line.suppressed {
        0 => String::new(),
        n => format!(" [{n} more before it]"),
    };
    format!(
        "{time}.{:03} {} {way}{}{kind} {} -> {} by rule {}{text}{more}",
        line.time_ms % 1000,
        line.fate,
        line.protocol,
        at(line.source, line.source_port),
        at(line.destination, line.destination_port),
        line.rule,
    )
}

/// Asks how often each rule decided.
pub(super) fn ask_hits(place: &Place, domain: &Name) -> anyhow::Result<RuleHits> {
    let fd = ask::stream(&place.runtime_dir, &Request::RulesCounters { domain: domain.clone() })?;
    let text = enclosed::take_first(&[fd]);
    let text = text.map_err(|why| Problem::new("bulkheadd", why, "try again"))?;
    Ok(serde_json::from_str(&text)?)
}

/// Decisions per line of the file.
pub(super) fn per_line(hits: &RuleHits) -> BTreeMap<u32, u64> {
    hits.rules.iter().map(|rule| (rule.line, rule.hits)).collect()
}

/// Prints how often each rule decided.
pub(super) fn counters(place: &Place, domain: &Name, form: Form) -> anyhow::Result<()> {
    let hits = ask_hits(place, domain)?;
    if form == Form::Json {
        return show::json(&hits);
    }
    let fetched = super::fetch(place, domain)?;
    let same = matches!(fetched.state.in_force, Some((generation, crate::protocol::Agreement::Same))
        if generation == hits.generation);
    let lines: Vec<&str> = fetched.text.lines().collect();
    let mut table = show::table(&["NO", "HITS", "RULE"]);
    for (number, rule) in hits.rules.iter().enumerate() {
        let line = usize::try_from(rule.line).ok().and_then(|line| line.checked_sub(1)).filter(|_| same);
        let text = line.and_then(|line| lines.get(line)).map_or("-", |text| text.trim());
        table.add_row([Cell::new(number), Cell::new(rule.hits), Cell::new(printable(text))]);
    }
    table.add_row([Cell::new("-"), Cell::new(hits.no_rule), Cell::new("no rule: dropped")]);
    show::print(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_is_one_plain_sentence() {
        let line = Line {
            time_ms: 1_500,
            generation: 1,
            rule: 2,
            text: Some("drop log=yes".to_owned()),
            fate: "dropped".to_owned(),
            inward: false,
            protocol: "tcp".to_owned(),
            source: "10.137.0.14".parse().unwrap(),
            source_port: Some(40_000),
            destination: "2001:db8::1".parse().unwrap(),
            destination_port: Some(443),
            icmp_type: None,
            suppressed: 3,
        };
        let said = sentence(&line);
        assert!(said.ends_with(
            ".500 dropped tcp 10.137.0.14:40000 -> [2001:db8::1]:443 by rule 2 (drop log=yes) [3 more before it]"
        ), "{said}");
    }
}
