//! Tables, JSON and errors on the user's terminal.

use crate::domain::{Domains, Label};
use crate::nic::{Host, judge, scan::Function};
use crate::problem::Problem;
use crate::protocol::{Accept, DomainStatus, Phase};
use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, Color, Table, presets};
use serde::Serialize;
use std::io::Write;

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The form that `--json` asks for.
pub(super) const fn form(json: bool) -> Form {
    if json { Form::Json } else { Form::Table }
}

/// Prints an error on standard error.
pub(super) fn error(error: &anyhow::Error) {
    let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    let mut err = anstream::stderr().lock();
    let text = format!("{error:#}");
    for line in text.lines() {
        let prefix = if line.starts_with("  ") { String::new() } else { format!("{red}error:{red:#} ") };
        // Nowhere is left to report a failure to.
        let _ = writeln!(err, "{prefix}{}", crate::console::printable(line));
    }
}

/// Prints a line on standard error.
pub(super) fn note(text: &str) {
    // Nowhere is left to report a failure to.
    let _ = writeln!(anstream::stderr(), "{}", crate::console::printable(text));
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// An empty table.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)));
    if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        table.force_no_tty();
    }
    table
}

/// Prints a table.
pub(super) fn print(table: &Table) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{}", table.trim_fmt())?)
}

/// Prints every domain.
pub(super) fn status(domains: &[DomainStatus], form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return json(&domains);
    }
    let header =
        ["NAME", "LABEL", "KIND", "STATE", "MEMORY", "VCPUS", "NETVM", "ADDRESS", "UPTIME", "RESTARTS"];
    let mut table = table(&header);
    for domain in domains {
        table.add_row([
            Cell::new(&domain.name),
            Cell::new(domain.label.word()).fg(colour(domain.label)),
            Cell::new(domain.kind),
            Cell::new(domain.state.word()).fg(state_colour(domain.state)),
            Cell::new(format!("{} MiB", domain.memory_mib)),
            Cell::new(domain.vcpus),
            Cell::new(domain.netvm.as_ref().map_or("-", |n| n.as_str())),
            Cell::new(if domain.addresses.is_empty() { "-".to_owned() } else { domain.addresses.join(" ") }),
            Cell::new(domain.uptime_s.map_or_else(|| "-".to_owned(), duration)),
            Cell::new(domain.restarts),
        ]);
    }
    print(&table)?;
    for domain in domains {
        if let Some(reason) = &domain.reason {
            let again = if domain.state == Phase::Running { "restarted: " } else { "" };
            let reason = crate::console::printable(reason);
            writeln!(std::io::stdout().lock(), "{}: {again}{reason}", domain.name)?;
        }
        if let Some(tor) = &domain.tor {
            writeln!(std::io::stdout().lock(), "{}: {}", domain.name, crate::console::printable(tor))?;
        }
        if let Some(rules) = &domain.rules {
            writeln!(std::io::stdout().lock(), "{}: {}", domain.name, crate::console::printable(rules))?;
        }
    }
    Ok(())
}

const fn colour(label: Label) -> Color {
    match label {
        Label::Red => Color::Red,
        Label::Orange => Color::Rgb { r: 255, g: 140, b: 0 },
        Label::Yellow => Color::Yellow,
        Label::Green => Color::Green,
        Label::Gray => Color::Grey,
        Label::Blue => Color::Blue,
        Label::Purple => Color::Magenta,
        Label::Black => Color::DarkGrey,
    }
}

const fn state_colour(state: Phase) -> Color {
    match state {
        Phase::Running => Color::Green,
        Phase::Starting | Phase::Stopping | Phase::Restarting => Color::Yellow,
        Phase::Failed => Color::Red,
        Phase::Stopped => Color::Grey,
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Prints counters.
pub(super) fn counters(counters: &[(String, u64)], form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        let map: serde_json::Map<_, _> = counters.iter().map(|(n, v)| (n.clone(), (*v).into())).collect();
        return json(&map);
    }
    let width = counters.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for (name, value) in counters {
        writeln!(out, "{:width$}  {value}", crate::console::printable(name))?;
    }
    Ok(())
}

/// A network card and whether it can be assigned.
#[derive(Serialize)]
struct Card {
    #[serde(flatten)]
    function: Function,
    model: Option<String>,
    neighbours: Vec<String>,
    domain: Option<String>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

/// Prints this machine's network cards.
pub(super) fn cards(host: &Host, domains: &Domains, form: Form) -> anyhow::Result<()> {
    let cards: Vec<Card> = host.network_cards().into_iter().map(|f| card(host, domains, f)).collect();
    if form == Form::Json {
        return json(&cards);
    }
    let mut table =
        table(&["ADDRESS", "IDS", "DRIVER", "INTERFACE", "GROUP", "RESET", "MSI-X", "DOMAIN", "ASSIGNABLE"]);
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for card in &cards {
        let f = &card.function;
        let group = f.group.clone().unwrap_or_default();
        let others =
            if card.neighbours.is_empty() { String::new() } else { format!(" +{}", card.neighbours.len()) };
        table.add_row([
            Cell::new(f.bdf),
            Cell::new(f.ids()),
            Cell::new(dash(f.driver.clone().unwrap_or_default())),
            Cell::new(dash(f.interfaces.join(" "))),
            Cell::new(dash(group + &others)),
            Cell::new(dash(f.reset.join(" "))),
            Cell::new(f.msix.map_or_else(|| "-".to_owned(), |n| n.to_string())),
            Cell::new(card.domain.as_deref().unwrap_or("-")),
            if card.problems.is_empty() {
                Cell::new("yes").fg(Color::Green)
            } else {
                Cell::new("no").fg(Color::Red)
            },
        ]);
    }
    print(&table)?;
    let mut out = std::io::stdout().lock();
    for card in &cards {
        if let Some(model) = &card.model {
            writeln!(out, "{}: {model}", card.function.bdf)?;
        }
        for problem in &card.problems {
            writeln!(out, "{problem}")?;
        }
        for note in &card.notes {
            writeln!(out, "{note}")?;
        }
    }
    if cards.is_empty() {
        writeln!(out, "this machine has no network card on its PCI bus")?;
    }
    Ok(())
}

fn card(host: &Host, domains: &Domains, function: Function) -> Card {
    let owner = domains.values().find(|d| d.devices.iter().any(|x| x.value == function.bdf));
    let (problems, notes) = judge::judge(host, function.bdf, Accept::default())
        .map_or_else(|e| (e.0, Vec::new()), |(_, j)| (j.problems, j.notes));
    Card {
        model: host.model(&function),
        neighbours: host.neighbours(&function).iter().map(|n| n.bdf.to_string()).collect(),
        domain: owner.map(|d| d.name.to_string()),
        problems,
        notes,
        function,
    }
}
