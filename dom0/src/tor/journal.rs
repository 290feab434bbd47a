//! What gateway programs report, as JSON lines in `NAME.gateway`: bounded in length and in rate.

use super::view::Line;
use crate::console::Log;
use crate::name::Name;
use crate::rules::decisions::Allowance;
use control::tor::Level;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Path of a torvm's journal.
#[must_use]
pub fn path(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.gateway"))
}

/// The journals of all torvms.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    open: BTreeMap<Name, Page>,
}

#[derive(Debug)]
struct Page {
    log: Log,
    allowance: Allowance,
    suppressed: u32,
}

impl Journal {
    /// Keeps journals in this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: BTreeMap::new() }
    }

    /// Writes a line; the text is cleaned. `false`: there were too many of late, or it cannot be written.
    pub fn write(&mut self, name: &Name, level: Level, text: &str) -> bool {
        let Some(page) = self.page(name) else { return false };
        if !page.allowance.take(Instant::now()) {
            page.suppressed = page.suppressed.saturating_add(1);
            return false;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let level = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        };
        let line = Line {
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            level: level.to_owned(),
            text: crate::vmm::clean(text),
            suppressed: std::mem::take(&mut page.suppressed),
        };
        match serde_json::to_string(&line) {
            Ok(text) => {
                page.log.write(format!("{text}\n").as_bytes());
                true
            }
            Err(e) => {
                tracing::error!(%name, "line not written: {e}");
                false
            }
        }
    }

    fn page(&mut self, name: &Name) -> Option<&mut Page> {
        if !self.open.contains_key(name) {
            let path = path(&self.directory, name);
            let log = match Log::open(&path) {
                Ok(log) => log,
                Err(e) => {
                    tracing::error!("{}: {e}", path.display());
                    return None;
                }
            };
            let page = Page { log, allowance: Allowance::new(Instant::now()), suppressed: 0 };
            self.open.insert(name.clone(), page);
        }
        self.open.get_mut(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cleaned_and_floods_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(directory.path());
        let tor: Name = "tor".parse().unwrap();
        for _ in 0..600 {
            journal.write(&tor, Level::Warning, "a\x1b[2Jb");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        journal.write(&tor, Level::Error, "end");
        let text = std::fs::read_to_string(path(directory.path(), &tor)).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((lines[0].level.as_str(), lines[0].text.as_str()), ("warning", "a\u{fffd}[2Jb"));
        let told = u32::try_from(lines.len()).unwrap() + lines.iter().map(|l| l.suppressed).sum::<u32>();
        assert_eq!((told, lines.last().unwrap().text.as_str()), (601, "end"));
        assert!(lines.len() < 600);
    }
}
