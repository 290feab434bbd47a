//! Rules of other firewalls in our language, and what of them cannot be said in it.
//!
//! What cannot be said never opens anything: a rule that accepts is left out, one that drops or rejects is said without
//! the conditions that cannot be said, so that it drops more. Either is reported.

pub mod qubes;

use crate::ast::{File, Rule};
use crate::span::Spanned;
use std::fmt::{self, Display, Formatter};

/// Longest input in bytes.
pub const MAX_INPUT: usize = 8 << 20;

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The rules, and the sets that they need. Its text is a rules file.
    pub file: File,
    /// What could not be said, in order.
    pub unsaid: Vec<Unsaid>,
}

impl Imported {
    pub(crate) fn push(&mut self, rule: Rule) {
        self.file.rules.push(Spanned::nowhere(rule));
    }

    pub(crate) fn unsaid(&mut self, at: impl Into<String>, what: impl Into<String>, became: Became) {
        self.unsaid.push(Unsaid { at: at.into(), what: what.into(), became });
    }
}

/// Something that could not be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsaid {
    /// Where it stands.
    pub at: String,
    /// What it is, and why it cannot be said.
    pub what: String,
    /// What the rules have in its place.
    pub became: Became,
}

/// What became of a rule that could not be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Nothing: it is left out, and what it would have accepted is judged by the rules behind it.
    LeftOut,
    /// A rule that drops or rejects more than it did.
    Wider,
    /// A rule that does the same, but for how it is told or counted.
    Similar,
}

impl Display for Unsaid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let became = match self.became {
            Became::LeftOut => "left out",
            Became::Wider => "said without it, so that more is dropped",
            Became::Similar => "said without it",
        };
        write!(f, "{}: {}: {became}", self.at, self.what)
    }
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError(pub(crate) String);

impl Display for ImportError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ImportError {}

/// Refuses what is too long.
pub(crate) fn within_bounds(text: &str) -> Result<(), ImportError> {
    if text.len() <= MAX_INPUT {
        return Ok(());
    }
    Err(ImportError(format!("{} bytes: at most {MAX_INPUT} are read", text.len())))
}
