//! One request to the daemon and its answers.

use super::{show, tty};
use crate::problem::Problem;
use crate::protocol::{Answer, Outcome, Request};
use crate::server::dial;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use vmm_api::wire::{self, WireError};

/// What came of a request, and the descriptor beside it.
pub(super) type Result = anyhow::Result<(Outcome, Option<OwnedFd>)>;

/// Asks, shows progress, and returns the outcome.
pub(super) fn ask(runtime_dir: &Path, request: &Request) -> Result {
    ask_with(runtime_dir, request, &[])
}

/// Asks with something enclosed.
pub(super) fn ask_with(runtime_dir: &Path, request: &Request, enclosed: &[OwnedFd]) -> Result {
    let socket = dial(runtime_dir)?;
    let fds: Vec<_> = enclosed.iter().map(AsFd::as_fd).collect();
    wire::send(&socket, request, &fds).map_err(|e| lost(&e))?;
    let progress = Progress::start();
    loop {
        let (answer, fds) = wire::recv::<Answer>(&socket).map_err(|e| lost(&e))?;
        match answer {
            Answer::Progress { text } => progress.say(&text),
            Answer::Done(outcome) => return Ok((outcome, fds.into_iter().next())),
            Answer::Failed(problems) => return Err(problems.into()),
        }
    }
}

/// Asks for a stream.
pub(super) fn stream(runtime_dir: &Path, request: &Request) -> anyhow::Result<OwnedFd> {
    match ask(runtime_dir, request)? {
        (Outcome::Stream, Some(stream)) => Ok(stream),
        _ => Err(nonsense()),
    }
}

/// The daemon answered something that was not asked.
pub(super) fn nonsense() -> anyhow::Error {
    Problem::new(
        "bulkheadd",
        "gave an answer that does not fit",
        "use the bulkhead and bulkheadd of one version",
    )
    .into()
}

fn lost(error: &WireError) -> anyhow::Error {
    let remedy = "look at its log, then start it again";
    Problem::new("bulkheadd", format!("the connection was lost: {error}"), remedy).into()
}

/// Steps of a longer job: a spinner on a terminal, lines elsewhere; always on standard error.
enum Progress {
    Spinner(ProgressBar),
    Lines,
}

impl Progress {
    fn start() -> Self {
        if !tty::is_terminal(std::io::stderr()) {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar =
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self::Spinner(bar)
    }

    fn say(&self, text: &str) {
        match self {
            Self::Lines => show::note(text),
            Self::Spinner(bar) => {
                let text = crate::console::printable(text);
                bar.enable_steady_tick(Duration::from_millis(120));
                let last = bar.message();
                if !last.is_empty() {
                    bar.println(last);
                }
                bar.set_message(text);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Spinner(bar) = self {
            let last = bar.message();
            bar.finish_and_clear();
            if !last.is_empty() {
                show::note(&last);
            }
        }
    }
}
