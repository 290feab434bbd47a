//! What is wrong with a text, and how it is shown.

use crate::span::Span;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The text has no meaning.
    Error,
    /// The text has a meaning that was probably not meant.
    Warning,
}

/// One thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What stands beside the caret: mostly, what was expected.
    pub label: String,
    /// Another place that has to do with it, and why.
    pub other: Option<Box<(Span, String)>>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span,
            label: String::new(),
            other: None,
            help: None,
        }
    }

    /// A warning.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// With words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With another place.
    #[must_use]
    pub fn other(mut self, span: Span, why: impl Into<String>) -> Self {
        self.other = Some(Box::new((span, why.into())));
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice, if there is any.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// Whether the terminal's colours are used. A program that prints to a stream which may be no terminal takes
/// [`Colour::Never`] or a stream that removes them (as `anstream` does, which also honours `NO_COLOR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// With ANSI escapes.
    Always,
    /// Plain ASCII.
    Never,
}

/// Shows diagnostics of `text`, which stands in `file`, as rustc shows its own.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], file: &str, text: &str, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Always => Renderer::styled(),
        Colour::Never => Renderer::plain(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&renderer.render(&[group(diagnostic, file, text)]));
        out.push_str("\n\n");
    }
    out
}

/// Positions are bytes of the text; a snippet is given its own line alone, which keeps a long file cheap.
fn group<'a>(diagnostic: &'a Diagnostic, file: &'a str, text: &'a str) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let place = (diagnostic.span, diagnostic.label.as_str(), AnnotationKind::Primary);
    let other = diagnostic.other.as_deref().map(|(span, why)| (*span, why.as_str(), AnnotationKind::Context));
    let (beside, elsewhere) = match other {
        Some((span, ..)) if span.line == diagnostic.span.line => (other, None),
        _ => (None, other),
    };
    let mut snippet = snippet(place, file, text);
    if let Some(place) = beside {
        snippet = snippet.annotation(annotation(place, text));
    }
    let mut group = level.primary_title(diagnostic.message.as_str()).element(snippet);
    if let Some(place) = elsewhere {
        group = group.element(self::snippet(place, file, text));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

type Place<'a> = (Span, &'a str, AnnotationKind);

/// The line that a span is in, and where it begins.
fn line_of(span: Span, text: &str) -> (&str, usize) {
    let at = (span.start as usize).min(text.len());
    let start = text.get(..at).unwrap_or_default().rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default();
    (line.strip_suffix('\r').unwrap_or(line), start)
}

fn annotation<'a>((span, label, kind): Place<'a>, text: &str) -> Annotation<'a> {
    let (line, start) = line_of(span, text);
    let from = (span.start as usize).saturating_sub(start).min(line.len());
    let to = (span.end as usize).saturating_sub(start).clamp(from, line.len());
    kind.span(from..to).label((!label.is_empty()).then_some(label))
}

fn snippet<'a>(place: Place<'a>, file: &'a str, text: &'a str) -> Snippet<'a, Annotation<'a>> {
    let (line, _) = line_of(place.0, text);
    Snippet::source(line).line_start(place.0.line as usize).path(file).annotation(annotation(place, text))
}
