//! `bulkhead logs`: a domain's log, as the daemon opened it for us; and the journals, logs of JSON lines.

use super::show::{Form, form};
use super::tty::{Filter, is_terminal};
use crate::console::{LOG_LIMIT, printable};
use rustix::fd::OwnedFd;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

/// What is wanted of a log.
#[derive(Debug, clap::Args)]
pub(super) struct Part {
    /// Go on as more is added
    #[arg(short, long)]
    follow: bool,
    /// Show the last N lines only
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

/// What is wanted of a journal.
#[derive(Debug, clap::Args)]
pub(super) struct JournalPart {
    #[command(flatten)]
    part: Part,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Prints a log; `open` gets it anew when a new file was begun.
pub(super) fn logs(open: impl Fn() -> anyhow::Result<OwnedFd>, part: &Part) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut filter = is_terminal(&out).then(Filter::default);
    read(open, part, |bytes| {
        let cleaned = filter.as_mut().map(|f| f.clean(bytes));
        out.write_all(cleaned.as_deref().unwrap_or(bytes))?;
        out.flush()
    })
}

/// Prints a journal, line by line: as `show` has it, or as it is when that is wanted or a line cannot be understood.
pub(super) fn journal<L: DeserializeOwned>(
    open: impl Fn() -> anyhow::Result<OwnedFd>,
    wanted: &JournalPart,
    show: impl Fn(&mut dyn Write, &L) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut rest = Vec::new();
    read(open, &wanted.part, |bytes| {
        rest.extend_from_slice(bytes);
        let end = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut out = anstream::stdout().lock();
        for line in rest.drain(..end).collect::<Vec<_>>().split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let text = String::from_utf8_lossy(line);
            match (form(wanted.json), serde_json::from_str(&text)) {
                (Form::Table, Ok(line)) => show(&mut out, &line)?,
                _ => writeln!(out, "{}", printable(&text))?,
            }
        }
        out.flush()
    })
}

/// Reads a log from its beginning, or its last lines, and what is added to it if it is followed.
fn read(
    open: impl Fn() -> anyhow::Result<OwnedFd>,
    part: &Part,
    mut print: impl FnMut(&[u8]) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut file = File::from(open()?);
    let mut text = Vec::new();
    // A log is never longer than this, and a file that grows meanwhile is not read for ever.
    (&file).take(2 * LOG_LIMIT).read_to_end(&mut text)?;
    print(part.lines.map_or(text.as_slice(), |n| last_lines(&text, n)))?;
    if !part.follow {
        return Ok(());
    }
    let mut seen = text.len() as u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        seen += n as u64;
        print(buffer.get(..n).unwrap_or_default())?;
        if n == 0 {
            std::thread::sleep(LOOK);
            if seen >= LOG_LIMIT {
                (file, seen) = (File::from(open()?), 0);
            }
        }
    }
}

fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let Some(before) = lines.checked_sub(1) else { return &[] };
    let start =
        body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').nth(before).map_or(0, |(at, _)| at + 1);
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_the_last_lines() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 1), b"c");
        assert_eq!(last_lines(b"a\nb\n", 9), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
