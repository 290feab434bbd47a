//! `bulkhead logs`: a domain's log, as the daemon opened it for us.

use super::tty::{Filter, is_terminal};
use crate::console::LOG_LIMIT;
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

/// Go on as more is printed.
#[derive(Clone, Copy)]
pub(super) struct Follow;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Prints a log; `open` gets it anew when a new file was begun.
pub(super) fn logs(
    open: impl Fn() -> anyhow::Result<OwnedFd>,
    follow: Option<Follow>,
    lines: Option<usize>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut filter = is_terminal(&out).then(Filter::default);
    read(open, follow, lines, |bytes| {
        let cleaned = filter.as_mut().map(|f| f.clean(bytes));
        out.write_all(cleaned.as_deref().unwrap_or(bytes))?;
        out.flush()
    })
}

/// Reads a log from its beginning, or its last lines, and what is added to it if it is followed.
pub(super) fn read(
    open: impl Fn() -> anyhow::Result<OwnedFd>,
    follow: Option<Follow>,
    lines: Option<usize>,
    mut print: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut file = File::from(open()?);
    let mut text = Vec::new();
    // A log is never longer than this, and a file that grows meanwhile is not read for ever.
    (&file).take(2 * LOG_LIMIT).read_to_end(&mut text)?;
    print(lines.map_or(text.as_slice(), |n| last_lines(&text, n)))?;
    let mut seen = text.len() as u64;
    let mut buffer = vec![0; 64 * 1024];
    while follow.is_some() {
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
    Ok(())
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
