//! `bulkhead rules edit`: the user's editor on a private copy, until it compiles or they give up.

use super::{Done, Place, fetch, install, said};
use crate::cli::tty::is_terminal;
use crate::name::Name;
use crate::problem::Problem;
use crate::protocol::Agreement;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tempfile::NamedTempFile;

/// What comes after a text that cannot be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    EditAgain,
    Discard,
}

/// Lets the user edit a domain's rules.
pub(super) fn edit(place: &Place, domain: &Name) -> anyhow::Result<ExitCode> {
    let fetched = fetch(place, domain)?;
    let mut copy = tempfile::Builder::new()
        .prefix(&format!("{domain}."))
        .suffix(".rules")
        .tempfile()
        .map_err(|e| no_copy(&e))?;
    copy.write_all(fetched.text.as_bytes()).and_then(|()| copy.flush()).map_err(|e| no_copy(&e))?;
    loop {
        if let Err(error) = run_editor(copy.path()) {
            return Err(keep_if_changed(copy, &fetched.text, error));
        }
        let text = std::fs::read_to_string(copy.path()).map_err(|e| {
            Problem::new(copy.path().display().to_string(), format!("cannot be read: {e}"), "edit again")
        })?;
        if text == fetched.text && fetched.state.in_force.is_none_or(|(_, same)| same == Agreement::Same) {
            writeln!(std::io::stdout(), "{domain}: nothing changed")?;
            return Ok(ExitCode::SUCCESS);
        }
        let failure = if said::compiles(&fetched.state.file, &text) {
            match install(place, domain, &fetched.state, &text) {
                Ok(Done::Installed) => return Ok(ExitCode::SUCCESS),
                Ok(Done::Changed) => return Err(keep(copy, changed_meanwhile(domain))),
                Err(error) => Some(error),
            }
        } else {
            None
        };
        if let Some(error) = &failure {
            crate::cli::show::error(error);
        }
        if ask_next()? == Next::Discard {
            let why = "the rules were not installed";
            return Err(keep(copy, Problem::new(domain.to_string(), why, "correct them").into()));
        }
    }
}

fn no_copy(error: &std::io::Error) -> Problem {
    let why = format!("no private copy of the rules can be made: {error}");
    Problem::new(std::env::temp_dir().display().to_string(), why, "set TMPDIR to a directory with some room")
}

fn changed_meanwhile(domain: &Name) -> anyhow::Error {
    let remedy = format!("`bulkhead rules edit {domain}` again, and take your changes over");
    Problem::new(
        domain.to_string(),
        "somebody else changed the rules meanwhile; they were not overwritten",
        remedy,
    )
    .into()
}

/// Runs $VISUAL or $EDITOR as a shell would.
fn run_editor(file: &Path) -> anyhow::Result<()> {
    let named = ["VISUAL", "EDITOR"].iter().filter_map(std::env::var_os).find(|e| !e.is_empty());
    let editor = named.unwrap_or_else(|| "vi".into());
    let mut script = editor.clone();
    script.push(" \"$@\"");
    let fail = |why: String| {
        Problem::new(editor.to_string_lossy(), why, "set VISUAL or EDITOR to an editor that is installed")
    };
    let status = Command::new("sh").arg("-c").arg(script).arg("sh").arg(file).status();
    let status = status.map_err(|e| fail(format!("cannot be started: {e}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(fail(format!("failed ({status}); nothing was installed")).into())
    }
}

/// Asks what to do; where nobody can be asked, the text is not tried again.
fn ask_next() -> anyhow::Result<Next> {
    if !is_terminal(std::io::stdin()) {
        return Ok(Next::Discard);
    }
    loop {
        write!(std::io::stderr(), "Edit again (e) or give up (g)? ")?;
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer)? == 0 {
            return Ok(Next::Discard);
        }
        match answer.trim() {
            "e" | "E" | "" => return Ok(Next::EditAgain),
            "g" | "G" | "d" | "q" => return Ok(Next::Discard),
            _ => {}
        }
    }
}

/// Keeps the user's text; the error says where.
#[expect(clippy::needless_pass_by_value, reason = "the error becomes another one")]
fn keep(copy: NamedTempFile, error: anyhow::Error) -> anyhow::Error {
    let kept: Result<PathBuf, _> = copy.into_temp_path().keep();
    match kept {
        Ok(path) => anyhow::anyhow!("{error}\n  your text is kept in {}", path.display()),
        Err(e) => anyhow::anyhow!("{error}\n  your text could not be kept: {e}"),
    }
}

fn keep_if_changed(copy: NamedTempFile, before: &str, error: anyhow::Error) -> anyhow::Error {
    match std::fs::read_to_string(copy.path()) {
        Ok(text) if text == before => error,
        _ => keep(copy, error),
    }
}
