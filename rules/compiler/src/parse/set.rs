//! `set NAME = ITEM, ITEM …`

use super::{Problems, Wrong, hosts, line::Word};
use crate::{
    ast::Set,
    span::{Span, Spanned},
};

const EXAMPLE: &str = "a set is `set office = 192.0.2.0/24, 2001:db8::/32, host.example, @other`";

/// Letters of a set's name at most.
const MAX_NAME: usize = 63;

/// Reads a set.
pub(super) fn set(line: Word<'_>, problems: &mut Problems) -> Option<Spanned<Set>> {
    let after = line.from("set".len());
    let Some((name, items)) = after.split_once(b'=') else {
        let wrong = line.error("a set without `=`").label("expected `set NAME = ITEM, ITEM`").help(EXAMPLE);
        problems.add(wrong);
        return None;
    };
    let errors = problems.0.len();
    let name = problems.take(set_name(name.trim()));
    let mut out = Vec::new();
    for item in items.split(b',') {
        out.extend(problems.take(hosts::host(item.trim())).map(|host| Spanned::new(host, item.trim().span)));
    }
    let set = Set { name: name?, items: out };
    (problems.0.len() == errors).then(|| Spanned::new(set, line.span))
}

/// The name of a set: a letter, then letters, digits, `-` and `_`.
pub(super) fn set_name(word: Word<'_>) -> Result<Spanned<String>, Wrong> {
    let first = word.text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = word.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if first && rest && word.text.len() <= MAX_NAME {
        return Ok(Spanned::new(word.text.to_owned(), word.span));
    }
    let label = format!("expected a letter, then letters, digits, `-` or `_`, at most {MAX_NAME}");
    let wrong = if word.text.is_empty() {
        let span = Span { end: word.span.start + 1, ..word.span };
        crate::Diagnostic::error(span, "a set without a name").help(EXAMPLE)
    } else {
        word.error(format!("`{}` is no name for a set", word.text))
    };
    Err(wrong.label(label))
}
