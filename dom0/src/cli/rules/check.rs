//! `bulkhead rules check` and `test`: what rules mean, without a daemon.

use super::{Place, fetch, said};
use crate::cli::show;
use crate::console::printable;
use crate::domain::{Domains, Kind, file};
use crate::name::Name;
use crate::problem::Problem;
use crate::rules::between::{self, Side, Whereabouts};
use crate::rules::store::Store;
use crate::rules::{DEFAULT, now};
use rules_compiler::explain::Explanation;
use rules_compiler::packet::{Packet, Peer};
use rules_program::policy::{Action, Direction, Policy};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Longest standard input that is read.
const MAX_INPUT: u64 = crate::enclosed::MAX_TEXT as u64;

/// What is checked.
enum What {
    Domain(Name),
    File(String),
    Input,
}

/// Compiles rules; fails when any has an error.
pub(super) fn check(place: &Place, named: &[String]) -> anyhow::Result<ExitCode> {
    let store = Store::new(&place.rules_dir);
    let what = if named.is_empty() {
        store.all()?.into_iter().map(What::Domain).collect()
    } else {
        named.iter().map(|word| what(word)).collect::<anyhow::Result<Vec<_>>>()?
    };
    let mut errors = 0;
    for what in &what {
        let good = match text(place, &store, what) {
            Ok((file, text)) => check_one(place, what, &printable(&file), &text)?,
            Err(error) => {
                show::error(&error);
                false
            }
        };
        errors += u32::from(!good);
    }
    if what.is_empty() {
        let directory = place.rules_dir.display().to_string();
        writeln!(std::io::stdout(), "{}: no rules, nothing wrong", printable(&directory))?;
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn what(word: &str) -> anyhow::Result<What> {
    match word {
        "-" => Ok(What::Input),
        path if path.contains(['/', '.']) => Ok(What::File(path.to_owned())),
        name => name
            .parse()
            .map(What::Domain)
            .map_err(|why| Problem::new(name, why, "name a domain, or a file as ./FILE").into()),
    }
}

fn text(place: &Place, store: &Store, what: &What) -> anyhow::Result<(String, String)> {
    match what {
        What::Domain(name) => {
            has_rules(place, name)?;
            Ok(text_or_default(store, name, store.read(name)?))
        }
        What::File(path) => Ok((path.clone(), read(path, std::fs::File::open(path))?)),
        What::Input => Ok(("standard input".to_owned(), read("standard input", Ok(std::io::stdin()))?)),
    }
}

/// What messages call a domain's rules, and their text.
fn text_or_default(store: &Store, name: &Name, text: Option<String>) -> (String, String) {
    match text {
        Some(text) => (store.what(name), text),
        None => (format!("{} (no file, so it is `accept`)", store.what(name)), DEFAULT.to_owned()),
    }
}

/// Only AppVMs have rules. Without readable domain files nobody knows, and any name will do.
fn has_rules(place: &Place, name: &Name) -> Result<(), Problem> {
    let Ok(domains) = file::read_all(&place.config_dir) else { return Ok(()) };
    let (why, remedy) = match domains.get(name).map(|domain| domain.kind.value) {
        Some(Kind::Appvm) => return Ok(()),
        Some(Kind::Torvm) => {
            let why = "is a torvm: its rules are computed, not written".to_owned();
            (why, "`bulkhead rules list` shows them")
        }
        Some(kind) => (format!("is a {kind}: only AppVMs have firewall rules"), "name an AppVM"),
        None => ("there is no such domain".to_owned(), "name a domain that has a file in --config-dir"),
    };
    Err(Problem::new(name.to_string(), why, remedy))
}

pub(super) fn read(what: &str, from: std::io::Result<impl Read>) -> anyhow::Result<String> {
    let fail = |e: std::io::Error| Problem::new(what, format!("cannot be read: {e}"), "name a text file");
    let mut text = String::new();
    from.and_then(|from| from.take(MAX_INPUT + 1).read_to_string(&mut text)).map_err(fail)?;
    if text.len() as u64 > MAX_INPUT {
        return Err(Problem::new(what, "is longer than any rules", "name another file").into());
    }
    Ok(text)
}

fn check_one(place: &Place, what: &What, file: &str, text: &str) -> anyhow::Result<bool> {
    let compiled = match rules_compiler::compile(text, now()) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            said::show(&diagnostics, file, text);
            return Ok(false);
        }
    };
    let warnings = compiled.warnings();
    said::show(&warnings, file, text);
    let mut remarks = warnings.len();
    if let What::Domain(name) = what {
        let (refused, notes) = look_around(place, name, file, &compiled.policy);
        remarks += notes.len();
        for note in notes {
            show::note(&format!("warning: {note}"));
        }
        if let Some(why) = refused {
            let remedy = "forward another port, or take the rule out of one of the two";
            show::error(&Problem::new(name.to_string(), why, remedy).into());
            return Ok(false);
        }
    }
    let (rules, s) = match compiled.file.rules.len() {
        1 => (1, ""),
        n => (n, "s"),
    };
    let found = match remarks {
        0 => "nothing wrong".to_owned(),
        1 => "1 warning".to_owned(),
        n => format!("{n} warnings"),
    };
    writeln!(std::io::stdout(), "{file}: {rules} rule{s}, {found}")?;
    Ok(true)
}

/// Compares a domain's rules with those of the domains beside it, as far as their files can be read.
fn look_around(place: &Place, name: &Name, file: &str, policy: &Policy) -> (Option<String>, Vec<String>) {
    let Ok(domains) = file::read_all(&place.config_dir) else { return (None, Vec::new()) };
    let beside = beside(&place.rules_dir, &domains, name);
    let others: Vec<Side<'_>> =
        beside.iter().map(|(name, file, policy)| Side { name, file, policy }).collect();
    let mine = Side { name, file, policy };
    let above = |name: &Name| domains.get(name).and_then(|d| d.netvm.as_ref()).map(|n| &n.value);
    let whereabouts = |other: &str| match other.parse::<Name>() {
        Ok(other)
            if domains.contains_key(&other) && above(&other).is_some() && above(&other) == above(name) =>
        {
            Whereabouts::Here
        }
        Ok(other) if domains.contains_key(&other) => Whereabouts::Elsewhere,
        _ => Whereabouts::Nowhere,
    };
    (between::clash(&mine, &others), between::warnings(&mine, &others, whereabouts))
}

fn beside(rules_dir: &Path, domains: &Domains, name: &Name) -> Vec<(Name, String, Policy)> {
    let store = Store::new(rules_dir);
    let above = |name: &Name| domains.get(name).and_then(|d| d.netvm.as_ref()).map(|n| n.value.clone());
    let mine = above(name);
    let others = domains.keys().filter(|other| *other != name && mine.is_some() && above(other) == mine);
    let policy = |other: &Name| {
        let text = store.read(other).ok()?.unwrap_or_else(|| DEFAULT.to_owned());
        Some((other.clone(), store.what(other), rules_compiler::compile(&text, now()).ok()?.policy))
    };
    others.filter_map(policy).collect()
}

/// Says which rule decides about a packet.
pub(super) fn test(place: &Place, domain: &Name, words: &[String]) -> anyhow::Result<ExitCode> {
    let described = words.join(" ");
    let packet = match rules_compiler::parse_packet(&described) {
        Ok(packet) => packet,
        Err(diagnostics) => {
            said::show(&diagnostics, "the packet", &described);
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some(explanation) = explain(place, domain, &packet)? else { return Ok(ExitCode::FAILURE) };
    write!(std::io::stdout(), "{explanation}")?;
    if let (Peer::Domain(other), Action::Accept) = (&packet.peer, explanation.verdict.action) {
        let other: Name = other.parse().map_err(|why| Problem::new(other, why, "name a domain"))?;
        let seen_there = Packet {
            direction: match packet.direction {
                Direction::Outward => Direction::Inward,
                Direction::Inward => Direction::Outward,
            },
            peer: Peer::Domain(domain.to_string()),
            ..packet
        };
        let Some(explanation) = explain(place, &other, &seen_there)? else { return Ok(ExitCode::FAILURE) };
        write!(std::io::stdout(), "and the rules of {other}, which must accept it as well:\n{explanation}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a domain's rules say of a packet; `None` when the user was told that they do not compile.
fn explain(place: &Place, domain: &Name, packet: &Packet) -> anyhow::Result<Option<Explanation>> {
    let (file, text) = own_text(place, domain)?;
    match rules_compiler::compile(&text, now()) {
        Ok(compiled) => Ok(Some(rules_compiler::explain::explain(&compiled, now(), packet))),
        Err(diagnostics) => {
            said::show(&diagnostics, &file, &text);
            Ok(None)
        }
    }
}

/// A domain's rules from their file; from the daemon where the file may not be read.
pub(super) fn own_text(place: &Place, domain: &Name) -> anyhow::Result<(String, String)> {
    has_rules(place, domain)?;
    let store = Store::new(&place.rules_dir);
    match store.read(domain) {
        Ok(text) => Ok((store.what(domain), text.unwrap_or_else(|| DEFAULT.to_owned()))),
        Err(problem) => match fetch(place, domain) {
            Ok(fetched) => Ok((fetched.state.file, fetched.text)),
            Err(_) => Err(problem.into()),
        },
    }
}
