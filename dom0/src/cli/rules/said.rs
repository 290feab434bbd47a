//! What is wrong with rules, told in place.

use crate::name::Name;
use crate::problem::Problem;
use crate::rules::now;
use rules_compiler::diagnostic::{Colour, Diagnostic, Severity, render};
use rules_compiler::edit::EditError;
use std::io::Write;

/// Shows diagnostics of a text on standard error.
pub(super) fn show(diagnostics: &[Diagnostic], file: &str, text: &str) {
    let rendered = render(diagnostics, file, text, Colour::Always);
    // Nowhere is left to report a failure to; colours go where the stream is no terminal.
    let _ = write!(anstream::stderr(), "{}", printable_lines(&rendered));
}

/// Takes control characters out, colours and line ends aside: the text may be anybody's.
fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => out.push(c),
            '\x1b' if chars.peek() == Some(&'[') => {
                let rest: String = chars.clone().take_while(|c| *c != 'm').collect();
                let colour = rest.chars().skip(1).all(|c| c.is_ascii_digit() || c == ';');
                out.push(if colour && rest.len() < 24 { c } else { '\u{fffd}' });
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Whether a text compiles; what is wrong with it is shown.
pub(super) fn compiles(file: &str, text: &str) -> bool {
    match rules_compiler::compile(text, now()) {
        Ok(compiled) => {
            show(&compiled.warnings(), file, text);
            true
        }
        Err(diagnostics) => {
            show(&diagnostics, file, text);
            false
        }
    }
}

/// Whether words are one rule; what is wrong with them is shown.
pub(super) fn is_rule(line: &str) -> bool {
    match rules_compiler::parse_rule(line) {
        Ok(_) => true,
        Err(diagnostics) => {
            show(&diagnostics, "the rule", line);
            false
        }
    }
}

/// Why a rule cannot be added or deleted.
pub(super) fn edit_error(domain: &Name, error: &EditError) -> anyhow::Error {
    let remedy = match error {
        EditError::Time => "write `expire=+300` for five minutes from now".to_owned(),
        _ => format!("`bulkhead rules list {domain}` shows them with their numbers"),
    };
    Problem::new(domain.to_string(), error.to_string(), remedy).into()
}

/// How many are errors.
pub(super) fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_tricks_go() {
        assert_eq!(
            printable_lines("\x1b[1;31mno\x1b[0m\n\x1b[2Jx\x07"),
            "\x1b[1;31mno\x1b[0m\n\u{fffd}[2Jx\u{fffd}"
        );
        assert_eq!(printable_lines("\x1b]0;title\x07"), "\u{fffd}]0;title\u{fffd}");
    }
}
