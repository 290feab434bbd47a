//! Firewall rules of AppVMs: files, their programs, what several domains' rules mean together.
//!
//! Here: nothing of what is in force; that is the supervisor's. A domain's rules are text in `NAME.rules`; without a
//! file they are [`DEFAULT`]. The language itself is `rules_compiler`'s.

pub mod between;
pub mod decisions;
pub mod store;

use crate::problem::Problem;
use rules_compiler::{Compiled, Diagnostic};
use rules_program::Program;
use rules_program::policy::Policy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// The rules of a domain that has no file.
pub const DEFAULT: &str = "accept\n";

/// Tells one text of a domain's rules from another: what a change was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version(String);

impl Version {
    /// The version of a file's text; `None`: of there being no file.
    #[must_use]
    pub fn of(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self("none".to_owned()) };
        // Not a defence: whoever may write rules may write any. Two edits at once are told apart.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(format!("{:016x}-{}", hasher.finish(), text.len()))
    }
}

/// Compiled rules, verified as firewallvm will verify them.
#[derive(Debug)]
pub struct Rules {
    /// What they were compiled from.
    pub text: String,
    /// The file's version when they were.
    pub version: Version,
    /// What they mean.
    pub compiled: Compiled,
    /// When to look again, for the next of them ends; in seconds since 1970.
    pub next_expiry: Option<u64>,
}

impl Rules {
    /// Compiles the text of a domain's file, or [`DEFAULT`] when there is none.
    ///
    /// # Errors
    /// The first thing that is wrong with it. `what` names the file.
    pub fn compile(what: &str, file: Option<&str>, now: u64) -> Result<Self, Problem> {
        let text = file.unwrap_or(DEFAULT).to_owned();
        let compiled = rules_compiler::compile(&text, now).map_err(|wrong| problem(what, &text, &wrong))?;
        if let Err(refusal) = Program::load(&compiled.program) {
            let why = format!("compiled to {refusal}");
            return Err(Problem::new(what, why, "report this as a bug of the compiler"));
        }
        Ok(Self { version: Version::of(file), next_expiry: compiled.next_expiry, text, compiled })
    }

    /// Rules that drop everything: what a domain gets whose own ones cannot be used. `version` is that of its file.
    ///
    /// # Errors
    /// When not even these compile.
    pub fn drop_all(version: Version) -> Result<Self, Problem> {
        Ok(Self { version, ..Self::compile("no rules", Some(""), 0)? })
    }

    /// What they mean.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.compiled.policy
    }

    /// Whether nothing matches any of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policy().rules.is_empty()
    }

    /// Number and text, as they stand in the file, of a rule of the program.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<(u16, &str)> {
        let (number, rule) = self.compiled.rule(number)?;
        let line = usize::try_from(rule.span.line.checked_sub(1)?).ok()?;
        Some((number, self.text.lines().nth(line)?.trim()))
    }

    /// The text without the rules whose time is over.
    #[must_use]
    pub fn text_without_expired(&self, now: u64) -> String {
        let rules = self.compiled.file.rules.iter();
        let over: BTreeSet<usize> = rules
            .filter(|rule| rule.is_expired(now))
            .filter_map(|rule| usize::try_from(rule.span.line).ok())
            .collect();
        let lines = (1..).zip(self.text.split_inclusive('\n'));
        lines.filter(|(number, _)| !over.contains(number)).map(|(_, line)| line).collect()
    }
}

/// What is wrong with a text, in one line: its first error.
fn problem(what: &str, text: &str, diagnostics: &[Diagnostic]) -> Problem {
    let first = diagnostics.first();
    let place = first.map_or_else(String::new, |first| {
        let before = text.get(..usize::try_from(first.span.start).unwrap_or(0)).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!(":{}:{column}", first.span.line)
    });
    let more = match diagnostics.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let why = first.map_or_else(|| "does not compile".to_owned(), |first| crate::vmm::clean(&first.message));
    Problem::new(format!("{what}{place}"), format!("{why}{more}"), "`bulkhead rules check` shows it in place")
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_rules_go_and_the_rest_stays_as_written() {
        let text = "# mine\naccept 192.0.2.1 expire=1000 # now\n\ndrop expire=2000\nreject";
        let rules = Rules::compile("work.rules", Some(text), 500).unwrap();
        assert_eq!(rules.next_expiry, Some(1000));
        assert_eq!(rules.text_without_expired(999), text);
        assert_eq!(rules.text_without_expired(1000), "# mine\n\ndrop expire=2000\nreject");
    }

    #[test]
    fn program_rules_have_the_numbers_of_the_file() {
        let text = "drop expire=1000\naccept proto=tcp dstports=80,443\nreject";
        let rules = Rules::compile("work.rules", Some(text), 2000).unwrap();
        assert_eq!(rules.policy().rules.len(), 3);
        assert_eq!(rules.rule(1), Some((1, "accept proto=tcp dstports=80,443")));
        assert_eq!(rules.rule(2), Some((2, "reject")));
        assert_eq!(rules.rule(3), None);
    }

    #[test]
    fn first_error_is_told_with_its_place() {
        let problem = Rules::compile("work.rules", Some("accept\ndrop proto=tpc\nacept\n"), 0).unwrap_err();
        assert!(
            problem.what.starts_with("work.rules:2:") && problem.why.ends_with("(and 1 more)"),
            "{problem}"
        );
    }

    #[test]
    fn dropping_everything_has_no_rules() {
        assert!(Rules::drop_all(Version::of(None)).unwrap().is_empty());
    }
}
