//! Writes the results into `docs/conformance.md`.

use super::expected;
use super::groups::Script;
use super::run::Outcome;
use crate::workspace;
use anyhow::{Context, Result};
use std::fmt::Write as _;

const BEGIN: &str = "<!-- written by `cargo xtask suites --table`: begin -->\n";
const END: &str = "<!-- end -->";

/// Puts the table between its marks.
///
/// # Errors
/// When the document is not there or has no marks.
pub(crate) fn write(results: &[(Script, Outcome)]) -> Result<()> {
    let path = workspace::root().join("docs/conformance.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) =
        text.split_once(BEGIN).context("docs/conformance.md has no mark of its table's begin")?;
    let (_, after) = rest.split_once(END).context("docs/conformance.md has no mark of its table's end")?;
    std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table(results)))?;
    Ok(())
}

fn table(results: &[(Script, Outcome)]) -> String {
    let mut text = String::new();
    let run: Vec<_> =
        results.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Ended { .. })).collect();
    let passed =
        run.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Ended { passed: true, .. })).count();
    let _ = writeln!(
        text,
        "\n{} scripts were run: {passed} end as their author expects, {} otherwise.\n\n\
         | suite | script | as expected there | what it says with ours | why otherwise |\n|---|---|---|---|---|",
        run.len(),
        run.len() - passed
    );
    for (script, outcome) in run {
        if let Outcome::Ended { passed, last } = outcome {
            let why = expected::deviation(script).unwrap_or("**not explained**");
            // What a script says when all is well differs from run to run.
            let (mark, last, why) = if *passed { ("yes", "", "") } else { ("no", last.as_str(), why) };
            let last = steady(last);
            let _ = writeln!(text, "| {} | {} | {mark} | {last} | {why} |", script.group.name, script.name());
        }
    }
    text.push('\n');
    text
}

/// Numbers that are drawn at random left out.
fn steady(text: &str) -> String {
    let drawn = |word: &str| word.chars().filter(char::is_ascii_digit).count() > 4;
    text.split(' ').map(|word| if drawn(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}
