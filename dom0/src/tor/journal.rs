//! What gateway programs report, as JSON lines in `NAME.gateway`: bounded in length and in rate.

use super::view::Line;
use crate::journal::Journals;
use crate::name::Name;
use control::tor::Level;
use std::path::{Path, PathBuf};

/// Path of a torvm's journal.
#[must_use]
pub fn path(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.gateway"))
}

/// The journals of all torvms.
#[derive(Debug)]
pub struct Journal(Journals);

impl Journal {
    /// Keeps journals in this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(Journals::new(directory, path))
    }

    /// Writes a line; the text is cleaned. `false`: there were too many of late, or it cannot be written.
    pub fn write(&mut self, name: &Name, level: Level, text: &str) -> bool {
        let level = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        };
        self.0.write(name, 0, |time_ms, suppressed| Line {
            time_ms,
            level: level.to_owned(),
            text: crate::vmm::clean(text),
            suppressed,
        })
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
