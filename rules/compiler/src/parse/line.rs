//! Lines and words, with their places.

use super::{MAX_LINE, Wrong};
use crate::{diagnostic::Diagnostic, span::Span};

/// A piece of a line and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    pub(super) span: Span,
}

impl<'t> Word<'t> {
    /// The piece of this one from byte `start` to before `end`; both lie on character boundaries.
    pub(super) fn slice(self, start: usize, end: usize) -> Self {
        let text = self.text.get(start..end).unwrap_or_default();
        let start = self.span.start + narrow(start);
        Self { text, span: Span { start, end: start + narrow(text.len()), ..self.span } }
    }

    pub(super) fn from(self, start: usize) -> Self {
        self.slice(start, self.text.len())
    }

    pub(super) fn trim(self) -> Self {
        let start = self.text.len() - self.text.trim_ascii_start().len();
        self.slice(start, start + self.text.trim_ascii().len())
    }

    /// Before and after the first such byte.
    pub(super) fn split_once(self, at: u8) -> Option<(Self, Self)> {
        let place = self.text.bytes().position(|byte| byte == at)?;
        Some((self.slice(0, place), self.from(place + 1)))
    }

    /// The parts between such bytes, in order.
    pub(super) fn split(self, at: u8) -> impl Iterator<Item = Self> + use<'t> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let whole = rest?;
            let Some((part, after)) = whole.split_once(at) else { return rest.take() };
            rest = Some(after);
            Some(part)
        })
    }

    /// Takes the first word off, without the white space around it.
    pub(super) fn next_word(&mut self) -> Option<Self> {
        let rest = self.trim();
        if rest.text.is_empty() {
            return None;
        }
        let end = rest.text.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(rest.text.len());
        *self = rest.from(end);
        Some(rest.slice(0, end))
    }

    pub(super) fn error(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.span, message)
    }
}

/// A length in a text that is bounded far below 4 GiB.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or a comment.
    Blank,
    /// A set.
    Set,
    /// A rule, or something that will be refused as one.
    Rule,
}

/// What a line is; rules are numbered by this, also in a file with errors.
#[must_use]
pub fn kind(line: &str) -> Kind {
    let line = line.trim_ascii();
    match line.strip_prefix("set") {
        _ if line.is_empty() || line.starts_with('#') => Kind::Blank,
        Some(rest) if rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace()) => Kind::Set,
        _ => Kind::Rule,
    }
}

/// The lines of a text, without their ends.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut start = 0u32;
    (1u32..).zip(text.split('\n')).map(move |(line, text)| {
        let length = narrow(text.len());
        let span = Span { line, start, end: start + length };
        start += length + 1;
        Word { text, span }.trim()
    })
}

/// What a line says: without its comment and the white space around it.
pub(super) fn content(line: Word<'_>) -> Result<Word<'_>, Wrong> {
    if line.text.len() > MAX_LINE {
        let message = format!("a line has at most {MAX_LINE} bytes, this one has {}", line.text.len());
        let help = "a long set can be made of several: set all = @first, @second";
        return Err(line.slice(0, 1).error(message).help(help));
    }
    // Printable and no `#`.
    let plain = |byte: u8| matches!(byte, b' '..=b'"' | b'$'..=b'~' | b'\t');
    let clean = line.text.bytes().position(|byte| !plain(byte));
    let Some(place) = clean else { return Ok(line) };
    let hash = line.text.bytes().position(|byte| byte == b'#').unwrap_or(line.text.len());
    if place < hash {
        let wrong = strange(line, place).label("expected ASCII letters, digits and punctuation");
        return Err(wrong.help("comments behind `#` may have any letters"));
    }
    match line.text.char_indices().find(|(_, c)| is_hidden(*c)) {
        Some((place, _)) => Err(strange(line, place).label("it makes a comment look like something else")),
        None => Ok(line.slice(0, hash).trim()),
    }
}

/// Characters that make a comment look like something else than it is.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn strange(line: Word<'_>, place: usize) -> Diagnostic {
    let c = line.from(place).text.chars().next().unwrap_or_default();
    let what = if is_hidden(c) { "control character" } else { "character" };
    let message = format!("the {what} U+{:04X} cannot stand here", u32::from(c));
    line.slice(place, place + c.len_utf8()).error(message)
}
