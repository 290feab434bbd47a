//! What the user sees while something takes long: spinners on a terminal, plain lines elsewhere.

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const HEADING: Style = Style::new().bold();
const NOTE: Style = AnsiColor::Cyan.on_default();

/// Prints an error with its causes on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    anstream::eprintln!("{BAD}error{BAD:#}: {error:#}");
}

/// Prints a decision or remark on standard error.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{NOTE}·{NOTE:#} {text}");
}

/// Prints the heading of a piece of output on standard output.
pub(crate) fn heading(text: &str) {
    anstream::println!("\n{HEADING}{text}{HEADING:#}");
}

/// Something that takes a while; it ends with [`Task::done`], or unfinished when dropped.
pub(crate) struct Task {
    name: String,
    bar: ProgressBar,
    since: Instant,
}

impl Task {
    /// Shows that `name` has begun.
    pub(crate) fn start(name: &str) -> Self {
        let animated = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            None,
            if animated { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let template =
            if plain { "{spinner} {msg} {elapsed}" } else { "{spinner:.cyan} {msg} {elapsed:.dim}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        if !animated {
            note(&format!("{name} …"));
        }
        Self { name: name.to_owned(), bar, since: Instant::now() }
    }

    /// Shows what is being done at the moment.
    pub(crate) fn detail(&self, text: &str) {
        let short: String = text.chars().take(60).collect();
        self.bar.set_message(format!("{}: {short}", self.name));
    }

    /// Replaces the spinner by a line with the time taken.
    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
        let took = self.since.elapsed();
        anstream::eprintln!("{GOOD}✓{GOOD:#} {} ({:.1} s)", self.name, took.as_secs_f32());
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
