//! Shows the demo's output: steps as spinners, results as they are, the rest kept for the case of failure.

use crate::progress::{self, Task};
use anyhow::Result;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// Lines at most that are kept for a failure's report.
const KEPT: usize = 120;

/// What the demo has said.
#[derive(Default)]
pub(super) struct Seen {
    /// Everything that was shown as a result.
    pub(super) shown: String,
    /// What failed.
    pub(super) failure: Option<String>,
    /// Whether the script came to its end.
    pub(super) ended: bool,
    /// Outcome of looking at the cable.
    pub(super) cable: Option<Result<()>>,
    log: Vec<String>,
}

impl Seen {
    fn keep(&mut self, line: &str) {
        if self.log.len() == KEPT {
            self.log.remove(0);
        }
        self.log.push(line.to_owned());
    }

    /// Latest lines that were not shown.
    pub(super) fn log_tail(&self) -> String {
        self.log.join("\n")
    }
}

/// Takes the script's standard output. Lines that begin with `@@` say what follows.
pub(super) struct Screen {
    seen: Arc<Mutex<Seen>>,
    lines: Lines,
    state: State,
    cable: Box<dyn Fn() -> Result<()> + Send>,
}

enum State {
    Quiet,
    Working(Option<Task>),
    Showing,
}

impl Screen {
    /// A screen that notes what it sees in `seen` and calls `cable` when the script asks for it.
    pub(super) fn new(seen: Arc<Mutex<Seen>>, cable: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Self { seen, lines: Lines::default(), state: State::Quiet, cable: Box::new(cable) }
    }

    /// Takes the script's standard error: kept for the case of failure.
    pub(super) fn errors(&self) -> Errors {
        Errors { seen: Arc::clone(&self.seen), lines: Lines::default() }
    }

    fn line(&mut self, line: &str) {
        let seen = Arc::clone(&self.seen);
        let Ok(mut seen) = seen.lock() else { return };
        if let Some(order) = line.strip_prefix("@@ ") {
            let (word, text) = order.split_once(' ').unwrap_or((order, ""));
            self.obey(word, text, &mut seen);
        } else if let State::Showing = self.state {
            println!("  {line}");
            seen.shown.push_str(line);
            seen.shown.push('\n');
        } else {
            seen.keep(line);
        }
    }

    fn obey(&mut self, word: &str, text: &str, seen: &mut Seen) {
        if let State::Working(task) = &mut self.state
            && word != "fail"
            && let Some(task) = task.take()
        {
            task.done();
        }
        self.state = match word {
            "step" => State::Working(Some(Task::start(text))),
            "show" => {
                progress::heading(text);
                State::Showing
            }
            _ => State::Quiet,
        };
        match word {
            "cable" => {
                progress::heading("Who spoke on the cable");
                seen.cable = Some((self.cable)());
            }
            "shell" => progress::heading("A shell in dom0; try `bulkhead status`. `exit` ends the machine."),
            "fail" => seen.failure = Some(text.to_owned()),
            "end" => seen.ended = true,
            _ => {}
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in self.lines.split(bytes) {
            self.line(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the script's standard error.
pub(super) struct Errors {
    seen: Arc<Mutex<Seen>>,
    lines: Lines,
}

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = self.lines.split(bytes);
        if let Ok(mut seen) = self.seen.lock() {
            lines.iter().for_each(|line| seen.keep(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn split(&mut self, bytes: &[u8]) -> Vec<String> {
        self.begun.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> (Screen, Arc<Mutex<Seen>>) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        (Screen::new(Arc::clone(&seen), || anyhow::bail!("looked")), seen)
    }

    #[test]
    fn only_results_are_shown() {
        let (mut screen, seen) = screen();
        screen.write_all(b"noise\n@@ show result\nthe pa").unwrap();
        screen.write_all(b"ge\n@@ step next\nmore noise\n@@ end\n").unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.shown, "the page\n");
        assert_eq!(seen.log_tail(), "noise\nmore noise");
        assert!(seen.ended && seen.failure.is_none() && seen.cable.is_none());
    }

    #[test]
    fn failure_and_cable_are_noted() {
        let (mut screen, seen) = screen();
        screen.write_all(b"@@ cable\n@@ fail no network\n").unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.failure.as_deref(), Some("no network"));
        assert!(seen.cable.as_ref().unwrap().is_err());
    }
}
