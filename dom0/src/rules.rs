//! Firewall rules of AppVMs: files, their programs, what several domains' rules mean together.
//!
//! Here: nothing of what is in force; that is the supervisor's. A domain's rules are text in `NAME.rules`; without a
//! file they are [`DEFAULT`]. The language itself is `rules_compiler`'s.

pub mod between;
pub mod decisions;
mod language;
pub mod store;

use crate::problem::Problem;
use rules_program::Program;
use rules_program::policy::Policy;
use serde::{Deserialize, Serialize};
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
    pub policy: Policy,
    /// Their program.
    pub program: Vec<u8>,
    /// When the next of them ends, in seconds since 1970.
    pub next_expiry: Option<u64>,
}

impl Rules {
    /// Compiles the text of a domain's file, or [`DEFAULT`] when there is none.
    ///
    /// # Errors
    /// The first thing that is wrong with it. `what` names the file.
    pub fn compile(what: &str, file: Option<&str>, now: u64) -> Result<Self, Problem> {
        let text = file.unwrap_or(DEFAULT).to_owned();
        let (policy, next_expiry) = language::compile(what, &text, now)?;
        let program = verified(&policy).map_err(|why| Problem::new(what, why, "write fewer rules"))?;
        Ok(Self { version: Version::of(file), text, policy, program, next_expiry })
    }

    /// Rules that drop everything: what a domain gets whose own ones do not compile.
    #[must_use]
    pub fn drop_all(version: Version) -> Self {
        let policy = Policy::default();
        let program = verified(&policy).unwrap_or_default();
        Self { text: String::new(), version, policy, program, next_expiry: None }
    }

    /// The text without the rules whose time is over.
    #[must_use]
    pub fn text_without_expired(&self, now: u64) -> String {
        language::without_expired(&self.text, now)
    }

    /// The line of a rule, as it was written.
    #[must_use]
    pub fn line(&self, rule: u16) -> Option<&str> {
        let line = self.policy.rules.get(usize::from(rule))?.line.checked_sub(1)?;
        self.text.lines().nth(usize::try_from(line).ok()?).map(str::trim)
    }
}

fn verified(policy: &Policy) -> Result<Vec<u8>, String> {
    let program = rules_program::assemble(policy).map_err(|e| format!("cannot be compiled: {e}"))?;
    Program::load(&program).map_err(|e| format!("compiled to {e}"))?;
    Ok(program)
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
