//! What `bulkhead tor` prints.

use crate::cli::rules::local_time;
use crate::cli::show::{Form, json, print, table};
use crate::console::printable;
use crate::tor::view::{Bridges, Circuit, Isolated, Line, Program, Relay, TorStatus, Validity};
use anstyle::{AnsiColor, Style};
use comfy_table::Cell;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Cells of the bar.
const BAR: usize = 24;
/// Seconds that clocks may be apart without a word.
const CLOCK: i64 = 30;

const fn style(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(colour)))
}

const GOOD: Style = style(AnsiColor::Green);
const BAD: Style = style(AnsiColor::Red);
const DOUBT: Style = style(AnsiColor::Yellow);

/// Prints how a torvm is.
pub(super) fn status(status: &TorStatus, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return json(status);
    }
    Ok(write!(anstream::stdout().lock(), "{}", in_words(status, crate::rules::now()))?)
}

/// A torvm's status, line by line.
fn in_words(status: &TorStatus, now: u64) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what:<11} {value}");
    };
    line("torvm", format!("{} ({})", status.domain, status.state.word()));
    line("program", program(status));
    if let Some(problem) = &status.problem {
        line("problem", format!("{BAD}{}{BAD:#}", printable(problem)));
    }
    line("bootstrap", bootstrap(status));
    if let Some(bootstrap) = &status.bootstrap {
        if let Some(blocked) = &bootstrap.blocked {
            line("blocked", format!("{BAD}{}{BAD:#}", printable(blocked)));
        }
        line("consensus", consensus(bootstrap.consensus, now));
        line("clock", clock(bootstrap.clock.as_deref(), bootstrap.clock_ahead_s));
        line("streams", format!("{}{}", bootstrap.streams, times(status)));
    }
    let entrance = if status.bridges { "bridge" } else { "guard" };
    for guard in &status.guards {
        let word = if guard.confirmed { "" } else { " (not confirmed yet)" };
        line(entrance, format!("{}{word}", relay(&guard.relay)));
    }
    line("firewall", relays(status));
    if let Some(problem) = &status.relays.problem {
        line("", format!("{DOUBT}{}{DOUBT:#}", printable(problem)));
    }
    let clients: Vec<&str> = status.clients.iter().map(crate::name::Name::as_str).collect();
    line("appvms", if clients.is_empty() { "none".to_owned() } else { clients.join(" ") });
    text
}

fn program(status: &TorStatus) -> String {
    let restarts = match status.runs {
        0 | 1 => String::new(),
        2 => ", restarted once".to_owned(),
        n => format!(", restarted {} times", n - 1),
    };
    let version = status.version.as_ref().map(|v| format!(" {}", printable(v))).unwrap_or_default();
    match &status.program {
        Program::Unknown => format!("{DOUBT}nothing was heard of it{DOUBT:#}"),
        Program::Running => format!("{GOOD}running{GOOD:#}{version}{restarts}"),
        Program::Ended(how) => format!("{BAD}ended{BAD:#}: {}{restarts}", printable(how)),
        Program::Refused(why) => format!("{BAD}cannot be started{BAD:#}: {}", printable(why)),
    }
}

fn bootstrap(status: &TorStatus) -> String {
    let Some(bootstrap) = &status.bootstrap else { return format!("{DOUBT}unknown{DOUBT:#}") };
    let full = usize::from(bootstrap.percent.min(100)) * BAR / 100;
    let colour = match (bootstrap.ready, &bootstrap.blocked) {
        (_, Some(_)) => BAD,
        (true, None) => GOOD,
        (false, None) => DOUBT,
    };
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let word = if bootstrap.ready { "ready" } else { "not ready" };
    format!("{colour}[{bar}] {} % {word}{colour:#}", bootstrap.percent)
}

fn consensus(validity: Option<Validity>, now: u64) -> String {
    let Some(validity) = validity else { return "none yet".to_owned() };
    let (colour, word) = match now {
        now if now > validity.valid_until => (BAD, "obsolete"),
        now if now < validity.valid_after => (BAD, "of the future"),
        now if now > validity.fresh_until => (DOUBT, "valid"),
        _ => (GOOD, "fresh"),
    };
    format!("{colour}{word}{colour:#}, counts until {}", local_time(validity.valid_until))
}

fn clock(said: Option<&str>, ahead: i64) -> String {
    let apart = match ahead {
        s if s.unsigned_abs() <= CLOCK.unsigned_abs() => format!("{GOOD}right{GOOD:#}"),
        s if s > 0 => format!("{BAD}{s} s ahead of this machine's{BAD:#}"),
        s => format!("{BAD}{} s behind this machine's{BAD:#}", s.unsigned_abs()),
    };
    match said {
        Some(said) => format!("{apart}; {}", printable(said)),
        None => apart,
    }
}

fn times(status: &TorStatus) -> String {
    let Some(times) = status.streams else { return String::new() };
    format!(
        " open; of the last {}: opened after {} ms, first byte after {} ms (median)",
        times.count, times.opened_ms, times.first_byte_ms
    )
}

fn relay(relay: &Relay) -> String {
    let identity = relay.identity.as_deref().unwrap_or("unknown");
    relay.address.as_ref().map_or_else(|| identity.to_owned(), |address| format!("{identity} at {address}"))
}

fn relays(status: &TorStatus) -> String {
    let allowed = match status.relays.allowed {
        0 => format!("{BAD}nothing may be reached{BAD:#}"),
        1 => "1 relay may be reached".to_owned(),
        n => format!("{n} relays may be reached"),
    };
    match status.relays.verified_until {
        Some(until) => format!("{allowed}, verified, until {}", local_time(until)),
        None => format!("{allowed}: those that the configuration names; no consensus is verified"),
    }
}

/// Prints circuits.
pub(super) fn circuits(circuits: &[Circuit], form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return json(&circuits);
    }
    let mut table = table(&["APPVM", "CIRCUIT", "IDENTITY", "STREAMS", "HOPS"]);
    for circuit in circuits {
        let hops = circuit.hops.iter().map(|hop| hop.as_ref().map_or("onion service".to_owned(), short));
        table.add_row([
            Cell::new(printable(&circuit.client)),
            Cell::new(printable(&circuit.id)),
            Cell::new(circuit.identity),
            Cell::new(circuit.streams),
            Cell::new(hops.collect::<Vec<_>>().join(" > ")),
        ]);
    }
    print(&table)
}

/// A relay by the beginning of its identity.
fn short(relay: &Relay) -> String {
    let identity = relay.identity.as_deref().unwrap_or("unknown");
    let begins: String = identity.chars().take(if identity.contains(':') { 16 } else { 8 }).collect();
    relay.address.as_ref().map_or_else(|| begins.clone(), |address| format!("{begins} {address}"))
}

/// Prints bridges.
pub(super) fn bridges(bridges: &Bridges, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return json(bridges);
    }
    let mut out = io::stdout().lock();
    for bridge in &bridges.bridges {
        writeln!(out, "{}", printable(bridge))?;
    }
    if bridges.bridges.is_empty() {
        writeln!(out, "{}: no bridges; the network is entered at its public relays", bridges.domain)?;
    }
    Ok(())
}

/// Prints what streams are kept apart by.
pub(super) fn isolation(isolated: &Isolated, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return json(isolated);
    }
    let isolation = &isolated.isolation;
    let word = |on: bool| if on { "yes" } else { "no" };
    let class = |class: &Vec<u16>| class.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let classes: Vec<String> = isolation.port_classes.iter().map(class).collect();
    let mut table = table(&["CONNECTIONS ARE KEPT APART BY", ""]);
    table.add_row(["AppVM", "yes, always"]);
    table.add_row(["destination address", word(isolation.destination_address)]);
    table.add_row(["destination port", word(isolation.destination_port)]);
    table.add_row(["SOCKS credentials", word(isolation.socks_credentials)]);
    let classes = if classes.is_empty() { "no".to_owned() } else { classes.join(" | ") };
    table.add_row(["class of ports".to_owned(), classes]);
    print(&table)
}

/// Prints a line of the log.
pub(super) fn line(out: &mut dyn Write, line: &Line) -> io::Result<()> {
    let colour = match line.level.as_str() {
        "error" => BAD,
        "warning" => DOUBT,
        _ => Style::new(),
    };
    let more = match line.suppressed {
        0 => String::new(),
        n => format!(" [{n} lines before it were too many]"),
    };
    let time = local_time(line.time_ms / 1000);
    let level = printable(&line.level);
    writeln!(
        out,
        "{time}.{:03} {colour}{level}{colour:#} {}{more}",
        line.time_ms % 1000,
        printable(&line.text)
    )
}

#[cfg(test)]
mod tests;
