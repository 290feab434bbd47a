//! Text → [`File`].
//!
//! Here: the lines of a file. A line is a rule (`rule`), a set (`set`) or nothing. All errors of a file are
//! collected, up to [`MAX_ERRORS`]. Text is hostile: its size and the length of its lines are bounded, nothing recurses.

mod fields;
mod hosts;
mod line;
mod packet;
mod ports;
mod rule;
mod set;
mod values;

use crate::{
    ast::{File, Rule},
    diagnostic::Diagnostic,
    span::{Span, Spanned},
};
use fields::Fields;
use line::Word;
pub use line::{Kind, kind as line_kind};
pub use packet::{SOURCE_PORT, parse_packet};
use rules_program::policy::MAX_RULES;

/// Bytes of a file at most.
pub const MAX_TEXT: usize = 1 << 20;
/// Bytes of a line at most.
pub const MAX_LINE: usize = 16 << 10;
/// Errors that are reported at most.
pub const MAX_ERRORS: usize = 100;

/// An error.
type Wrong = Diagnostic;

/// What was wrong so far.
#[derive(Debug, Default)]
struct Problems(Vec<Diagnostic>);

impl Problems {
    fn add(&mut self, wrong: Wrong) {
        self.0.push(wrong);
    }

    /// The value, or `None` and one more error.
    fn take<T>(&mut self, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.add(wrong)).ok()
    }
}

/// Reads a rules file.
///
/// # Errors
/// Everything that is wrong with single lines, in their order.
pub fn parse(text: &str) -> Result<File, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let mut file = File::default();
    if text.len() > MAX_TEXT {
        let message = format!("a rules file has at most {MAX_TEXT} bytes, this one has {}", text.len());
        return Err(vec![Diagnostic::error(Span { line: 1, start: 0, end: 0 }, message)]);
    }
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    file.rules.reserve((lines + 1).min(MAX_RULES));
    let mut fields = Fields::new();
    for word in line::lines(text) {
        if problems.0.len() >= MAX_ERRORS {
            let message = format!("more than {MAX_ERRORS} errors: reading stops here");
            problems.0.push(Diagnostic::error(Span { end: word.span.start, ..word.span }, message));
            break;
        }
        statement(word, &mut fields, &mut file, &mut problems);
    }
    if problems.0.is_empty() { Ok(file) } else { Err(problems.0) }
}

/// Reads one rule, as a command line gives it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_rule(text: &str) -> Result<Rule, Vec<Diagnostic>> {
    let mut rules = parse(text)?.rules;
    let last_line = text.trim_end_matches(['\r', '\n']);
    match rules.pop() {
        Some(rule) if rules.is_empty() && !last_line.contains('\n') => Ok(rule.value),
        _ => {
            let end = u32::try_from(last_line.lines().next().unwrap_or_default().len()).unwrap_or_default();
            let wrong = Diagnostic::error(Span { line: 1, start: 0, end }, "not one rule");
            Err(vec![wrong.label("expected a single rule on a single line").help(fields::EXAMPLE)])
        }
    }
}

fn statement<'t>(word: Word<'t>, fields: &mut Fields<'t>, file: &mut File, problems: &mut Problems) {
    let content = match line::content(word) {
        Ok(content) => content,
        Err(wrong) => return problems.add(wrong),
    };
    match line::kind(content.text) {
        Kind::Blank => {}
        Kind::Set => file.sets.extend(set::set(content, problems)),
        Kind::Rule if file.rules.len() == MAX_RULES => {
            let message = format!("more than {MAX_RULES} rules");
            problems.add(Diagnostic::error(content.span, message).label("one too many"));
        }
        Kind::Rule => {
            if fields.collect(content, problems) {
                let rule = rule::rule(fields, problems);
                file.rules.extend(rule.map(|rule| Spanned::new(rule, content.span)));
            }
        }
    }
}
