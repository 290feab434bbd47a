//! Where in a text something stands.

use std::ops::Deref;

/// A piece of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// First byte, from the start of the text.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// Both pieces and what is between them; of the same line.
    #[must_use]
    pub const fn to(self, other: Self) -> Self {
        Self { line: self.line, start: self.start, end: other.end }
    }
}

/// A value and where it stands. Two are equal when their values are: the same thing may be written elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value that stands there.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// A value that no text says.
    pub const fn nowhere(value: T) -> Self {
        Self { value, span: Span { line: 0, start: 0, end: 0 } }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}
