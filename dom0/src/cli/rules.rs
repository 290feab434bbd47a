//! `bulkhead rules`: a domain's firewall rules, shown and changed.
//!
//! Here: the table of its verbs, and how a changed text gets into force. Rules are read and compiled here first, so
//! that what is wrong is shown in place; the daemon does both again before it believes anything.

mod check;
mod edit;
mod exchange;
mod list;
mod log;
mod said;

pub(super) use list::local_time;

use super::logs::JournalPart;
use super::{Place, ask};
use crate::enclosed;
use crate::name::Name;
use crate::problem::Problem;
use crate::protocol::{Outcome, Request, RulesState};
use crate::rules::{DEFAULT, now};
use anyhow::Context;
use clap::{ArgGroup, Subcommand};
use rules_compiler::edit as change;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How often a change is made anew when somebody else changed the rules at the same time: for longer than the daemon
/// waits for a firewall.
const TRIES: u32 = 80;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(150);

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Rules {
    /// Show a domain's rules, and whether they are in force
    List {
        /// The domain
        domain: Name,
        /// Print one rule per line, as `add` takes them
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a rule, at the end or before another
    Add {
        /// The domain
        domain: Name,
        /// Number of the rule that it goes before
        #[arg(long, value_name = "N")]
        before: Option<usize>,
        /// The rule, like `accept example.org tcp 443` or `action=drop proto=udp`
        #[arg(required = true)]
        rule: Vec<String>,
    },
    /// Delete a rule, given by its number or as it is written
    Del {
        /// The domain
        domain: Name,
        /// Number of the rule, or the rule
        #[arg(required = true)]
        rule: Vec<String>,
    },
    /// Edit a domain's rules with $VISUAL or $EDITOR; installed when they compile
    Edit {
        /// The domain
        domain: Name,
    },
    /// Compile rules without installing them; all domains' when none is named
    Check {
        /// Domains, files (with a `/` or `.` in their name), or `-` for standard input
        what: Vec<String>,
    },
    /// Say which rule decides about a packet, and why
    Test {
        /// The domain
        domain: Name,
        /// The packet, like `tcp 192.0.2.7:443`, `icmp 192.0.2.7 type 8`, `tcp domain:personal:22` or
        /// `in tcp 203.0.113.5 to 8080`
        #[arg(required = true)]
        packet: Vec<String>,
    },
    /// Show what rules that say `log=yes` have decided
    Log {
        /// The domain
        domain: Name,
        #[command(flatten)]
        wanted: JournalPart,
    },
    /// Show how often each rule decided since the rules were put in force
    Counters {
        /// The domain
        domain: Name,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace a domain's rules by those of another firewall
    #[command(group(ArgGroup::new("source").required(true).args(["qubes", "nft"])))]
    Import {
        /// The domain
        domain: Name,
        /// A firewall.xml of Qubes OS
        #[arg(long, value_name = "FILE")]
        qubes: Option<PathBuf>,
        /// A ruleset of nftables, as `nft -j list ruleset` prints it
        #[arg(long, value_name = "FILE")]
        nft: Option<PathBuf>,
        /// Print the rules instead of installing them
        #[arg(long)]
        dry_run: bool,
        /// Install even though something cannot be said in this language
        #[arg(long)]
        partial: bool,
    },
    /// Print a domain's rules for other programs
    Export {
        /// The domain
        domain: Name,
        /// As nftables JSON, which `nft -j -f` accepts
        #[arg(long, conflicts_with_all = ["text", "json"])]
        nft: bool,
        /// The domain's interface on the machine that is to load the JSON
        #[arg(long, value_name = "NAME", requires = "nft")]
        interface: Option<String>,
        /// As text in this language, in its plainest form (the default)
        #[arg(long, conflicts_with = "json")]
        text: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a file that was edited by hand in force
    Reload {
        /// The domain
        domain: Name,
    },
    /// Replace a domain's rules by one that accepts everything
    Reset {
        /// The domain
        domain: Name,
    },
}

/// Does what was asked.
pub(super) fn act(place: &Place, command: Rules) -> anyhow::Result<ExitCode> {
    match command {
        Rules::List { domain, raw, json } => list::list(place, &domain, list::Form::of(raw, json))?,
        Rules::Add { domain, before, rule } => return add(place, &domain, before, &rule),
        Rules::Del { domain, rule } => return delete(place, &domain, &rule),
        Rules::Edit { domain } => return edit::edit(place, &domain),
        Rules::Check { what } => return check::check(place, &what),
        Rules::Test { domain, packet } => return check::test(place, &domain, &packet),
        Rules::Log { domain, wanted } => log::log(place, &domain, &wanted)?,
        Rules::Counters { domain, json } => log::counters(place, &domain, super::show::form(json))?,
        Rules::Import { domain, qubes, nft, dry_run, partial } => {
            let source = match (qubes, nft) {
                (Some(file), _) => exchange::Source::Qubes(file),
                (None, Some(file)) => exchange::Source::Nft(file),
                (None, None) => anyhow::bail!("name a file with --qubes or --nft"),
            };
            let wish = exchange::Wish { dry_run, partial };
            return exchange::import(place, &domain, &source, wish);
        }
        Rules::Export { domain, nft, interface, json, .. } => {
            let target = match (nft, json) {
                (true, _) => exchange::Target::Nft { interface },
                (_, true) => exchange::Target::Json,
                _ => exchange::Target::Text,
            };
            return exchange::export(place, &domain, &target);
        }
        Rules::Reload { domain } => return change(place, &domain, |text| Ok(Some(text.to_owned()))),
        Rules::Reset { domain } => return change(place, &domain, |_| Ok(Some(DEFAULT.to_owned()))),
    }
    Ok(ExitCode::SUCCESS)
}

/// A domain's rules as the daemon has them.
struct Fetched {
    state: RulesState,
    text: String,
}

fn fetch(place: &Place, domain: &Name) -> anyhow::Result<Fetched> {
    match ask::ask(&place.runtime_dir, &Request::RulesRead { domain: domain.clone() })? {
        (Outcome::Rules(state), Some(fd)) => {
            let text =
                enclosed::take_first(&[fd]).map_err(|why| Problem::new("bulkheadd", why, "try again"))?;
            Ok(Fetched { state, text })
        }
        _ => Err(ask::nonsense()),
    }
}

/// Changes a domain's rules, anew when somebody else changed them at the same time. `edit` says `None` when it has
/// told the user why there is nothing to install.
fn change(
    place: &Place,
    domain: &Name,
    edit: impl Fn(&str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<ExitCode> {
    for _ in 0..TRIES {
        let fetched = fetch(place, domain)?;
        let Some(text) = edit(&fetched.text)? else { return Ok(ExitCode::FAILURE) };
        if !said::compiles(&fetched.state.file, &text) {
            return Ok(ExitCode::FAILURE);
        }
        if install(place, domain, &fetched.state, &text)? == Done::Installed {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PAUSE);
    }
    let remedy = "look who else changes them, then try again";
    Err(Problem::new(domain.to_string(), "its rules keep changing", remedy).into())
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// They are installed.
    Installed,
    /// They are not: those that they were made from are no longer there.
    Changed,
}

/// Installs a text over the one that was read, and tells what came of it.
fn install(place: &Place, domain: &Name, over: &RulesState, text: &str) -> anyhow::Result<Done> {
    let request = Request::RulesInstall { domain: domain.clone(), expected: over.version.clone() };
    let memory = enclosed::put(text).context("the rules cannot be passed to the daemon")?;
    match ask::ask_with(&place.runtime_dir, &request, &[memory])? {
        (Outcome::Installed { generation, notes }, _) => {
            for note in notes {
                super::show::note(&note);
            }
            if let Some(generation) = generation {
                // They are installed, whether or not that can be told.
                let _ = writeln!(std::io::stdout(), "{domain}: rules in force (set {generation})");
            }
            Ok(Done::Installed)
        }
        (Outcome::Changed, _) => Ok(Done::Changed),
        _ => Err(ask::nonsense()),
    }
}

fn add(place: &Place, domain: &Name, before: Option<usize>, words: &[String]) -> anyhow::Result<ExitCode> {
    let typed = words.join(" ");
    let line = change::with_absolute_expiry(&typed, now()).map_err(|e| said::edit_error(domain, &e))?;
    if !said::is_rule(&line) {
        return Ok(ExitCode::FAILURE);
    }
    change(place, domain, |text| {
        change::insert(text, before, &line).map(Some).map_err(|e| said::edit_error(domain, &e))
    })
}

fn delete(place: &Place, domain: &Name, words: &[String]) -> anyhow::Result<ExitCode> {
    let typed = words.join(" ");
    let number = typed.parse::<usize>().ok();
    if number.is_none() && !said::is_rule(&typed) {
        return Ok(ExitCode::FAILURE);
    }
    change(place, domain, |text| {
        let left = match number {
            Some(number) => change::delete(text, number),
            None => change::delete_matching(text, &typed).map(|(text, _)| text),
        };
        left.map(Some).map_err(|e| said::edit_error(domain, &e))
    })
}
