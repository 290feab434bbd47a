//! Small changes to a rules file that leave its other lines, comments among them, as they are.
//!
//! Rules are counted as everywhere: from 0, every line that is a rule, both directions together. A line that is wrong
//! counts too, so that it can be deleted.

use crate::parse::{Kind, line_kind, parse_rule};
use crate::{ast::Rule, diagnostic::Diagnostic};
use std::fmt;

/// Why a change is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The line is not one rule.
    NotARule(Vec<Diagnostic>),
    /// There is no rule of that number.
    NoSuchRule {
        /// The number.
        number: usize,
        /// How many rules there are.
        rules: usize,
    },
    /// No rule says that.
    NoMatch,
    /// `expire=+SECONDS` is no number, or too large a one.
    Time,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARule(_) => f.write_str("not a rule"),
            Self::NoSuchRule { number, rules: 0 } => {
                write!(f, "there is no rule {number}: there are no rules")
            }
            Self::NoSuchRule { number, rules } => {
                write!(f, "there is no rule {number}: rules are 0 to {}", rules - 1)
            }
            Self::NoMatch => f.write_str("no rule says that"),
            Self::Time => f.write_str("`expire=+` takes a number of seconds"),
        }
    }
}

impl std::error::Error for EditError {}

/// The rule lines of a text in order, each with where it begins and ends (line end included).
fn rule_lines(text: &str) -> impl Iterator<Item = (&str, usize, usize)> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(move |line| {
        let begin = start;
        start += line.len();
        (line, begin, start)
    });
    lines.filter(|(line, ..)| line_kind(line) == Kind::Rule)
}

/// How many rules a text has.
#[must_use]
pub fn count(text: &str) -> usize {
    rule_lines(text).count()
}

/// Puts a rule before the rule `before`, or behind everything. The line is written as given, white space around it
/// aside, and so may carry a `#` comment.
///
/// # Errors
/// [`EditError::NotARule`], [`EditError::NoSuchRule`].
pub fn insert(text: &str, before: Option<usize>, line: &str) -> Result<String, EditError> {
    parse_rule(line).map_err(EditError::NotARule)?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let at = match before {
        Some(number) => place(text, number)?.0,
        None => text.len(),
    };
    let (head, tail) = text.split_at(at);
    let separator = if head.is_empty() || head.ends_with('\n') { "" } else { end };
    Ok(format!("{head}{separator}{}{end}{tail}", line.trim()))
}

/// Takes a rule away, with its line.
///
/// # Errors
/// [`EditError::NoSuchRule`].
pub fn delete(text: &str, number: usize) -> Result<String, EditError> {
    let (start, end) = place(text, number)?;
    let (head, tail) = (text.get(..start), text.get(end..));
    Ok([head, tail].into_iter().flatten().collect())
}

/// Takes the first rule away that says the same as `line`, however it is written there; its number is told as well.
///
/// # Errors
/// [`EditError::NotARule`], [`EditError::NoMatch`].
pub fn delete_matching(text: &str, line: &str) -> Result<(String, usize), EditError> {
    let wanted = parse_rule(line).map_err(EditError::NotARule)?;
    let same = |line: &str| parse_rule(line).is_ok_and(|rule: Rule| rule == wanted);
    let number = rule_lines(text).position(|(line, ..)| same(line)).ok_or(EditError::NoMatch)?;
    delete(text, number).map(|text| (text, number))
}

fn place(text: &str, number: usize) -> Result<(usize, usize), EditError> {
    let found = rule_lines(text).nth(number).map(|(_, start, end)| (start, end));
    found.ok_or_else(|| EditError::NoSuchRule { number, rules: count(text) })
}

/// A rule line in which `expire=+SECONDS` became the time that it means at `now` (seconds since 1970 UTC).
///
/// # Errors
/// [`EditError::Time`].
pub fn with_absolute_expiry(line: &str, now: u64) -> Result<String, EditError> {
    const KEY: &str = "expire=+";
    let outside = line.find('#').unwrap_or(line.len());
    let outside = line.find("comment=").unwrap_or(line.len()).min(outside);
    let starts_word = |at: &usize| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let found = line[..outside].match_indices(KEY).map(|(at, _)| at).find(starts_word);
    let Some(at) = found else { return Ok(line.to_owned()) };
    let value = &line[at + KEY.len()..outside];
    let digits = value.split(char::is_whitespace).next().unwrap_or_default();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.parse::<u64>().ok().filter(|_| plain).ok_or(EditError::Time)?;
    let end = now.checked_add(seconds).ok_or(EditError::Time)?;
    Ok(format!("{}expire={end}{}", &line[..at], &line[at + KEY.len() + digits.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\nset a = 192.0.2.1\naccept @a # first\n\nnonsense here\ndrop";

    #[test]
    fn a_rule_is_put_before_another_or_at_the_end() {
        let before = insert(TEXT, Some(2), "reject 192.0.2.7").unwrap();
        assert_eq!(before, TEXT.replace("drop", "reject 192.0.2.7\ndrop"));
        assert_eq!(insert(TEXT, None, " reject ").unwrap(), format!("{TEXT}\nreject\n"));
        assert_eq!(insert("", None, "drop").unwrap(), "drop\n");
        assert_eq!(insert("accept\r\n", Some(0), "drop").unwrap(), "drop\r\naccept\r\n");
        assert_eq!(insert(TEXT, Some(3), "drop"), Err(EditError::NoSuchRule { number: 3, rules: 3 }));
        assert!(matches!(insert(TEXT, None, "drop\naccept"), Err(EditError::NotARule(_))));
        assert!(matches!(insert(TEXT, None, "# nothing"), Err(EditError::NotARule(_))));
        assert!(matches!(insert(TEXT, None, "set x = 192.0.2.1"), Err(EditError::NotARule(_))));
    }

    #[test]
    fn a_rule_is_deleted_by_number_or_meaning() {
        assert_eq!(delete(TEXT, 1).unwrap(), TEXT.replace("nonsense here\n", ""));
        let (text, number) = delete_matching(TEXT, "action=accept dsthost=@a").unwrap();
        assert_eq!((text.as_str(), number), (TEXT.replace("accept @a # first\n", "").as_str(), 0));
        assert_eq!(delete_matching(TEXT, "reject"), Err(EditError::NoMatch));
        assert_eq!(delete("# none", 0).unwrap_err().to_string(), "there is no rule 0: there are no rules");
    }

    #[test]
    fn relative_times_become_absolute() {
        let absolute = |line| with_absolute_expiry(line, 1000);
        assert_eq!(absolute("accept expire=+60 comment=a").unwrap(), "accept expire=1060 comment=a");
        assert_eq!(absolute("drop comment=expire=+60").unwrap(), "drop comment=expire=+60");
        assert_eq!(absolute("drop # expire=+60").unwrap(), "drop # expire=+60");
        assert_eq!(absolute("drop expire=+"), Err(EditError::Time));
        assert_eq!(absolute("drop expire=+99999999999999999999"), Err(EditError::Time));
        assert_eq!(absolute("drop expire=+18446744073709551615"), Err(EditError::Time));
    }
}
