//! Values that are words or numbers.

use super::{Problems, Wrong, line::Word};
use crate::{
    ast::{Limit, Unit},
    span::{Span, Spanned},
    suggest::nearest,
};
use rules_program::policy::{Action, Protocols};
use std::ops::RangeInclusive;

/// Actions by name.
pub(super) const ACTIONS: [&str; 4] = ["accept", "drop", "reject", "forward"];
/// Protocols by name; `icmp` is ICMP or ICMPv6, whatever the address family has.
const PROTOCOLS: [(&str, Protocols); 4] = [
    ("tcp", Protocols::TCP),
    ("udp", Protocols::UDP),
    ("icmp", Protocols::ICMP.and(Protocols::ICMPV6)),
    ("icmpv6", Protocols::ICMPV6),
];
/// Words that other programs have for an action.
const SYNONYMS: [(&str, &str); 9] = [
    ("allow", "accept"),
    ("permit", "accept"),
    ("pass", "accept"),
    ("deny", "drop"),
    ("block", "drop"),
    ("discard", "drop"),
    ("refuse", "reject"),
    ("fwd", "forward"),
    ("dnat", "forward"),
];
/// The largest number of a limit.
pub(super) const MAX_LIMIT: u64 = 1_000_000;

/// An action; `forward` to the same port.
pub(super) fn action(word: Word<'_>) -> Result<Action, Wrong> {
    match word.text {
        "accept" => return Ok(Action::Accept),
        "drop" => return Ok(Action::Drop),
        "reject" => return Ok(Action::Reject),
        "forward" => return Ok(Action::Forward { to_port: None }),
        _ => {}
    }
    let wrong = word.error(format!("there is no action `{}`", word.text));
    let wrong = wrong.label("expected `accept`, `drop`, `reject` or `forward`");
    let synonym =
        SYNONYMS.iter().find(|(known, _)| word.text.eq_ignore_ascii_case(known)).map(|(_, meant)| *meant);
    let meant = synonym.or_else(|| nearest(word.text, ACTIONS));
    Err(wrong.maybe_help(meant.map(|meant| format!("did you mean `{meant}`?"))))
}

/// Whether a word is meant as a protocol.
pub(super) fn is_protocol(text: &str) -> bool {
    let words = ["tcp", "udp", "icmpv6", "icmp6", "icmp", "ipv6-icmp"];
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(',');
    words.iter().any(|word| text.strip_prefix(word).is_some_and(ends))
}

/// A list of protocols.
pub(super) fn protocols(word: Word<'_>, problems: &mut Problems) -> Option<Protocols> {
    let mut out: Option<Protocols> = None;
    for part in word.split(b',') {
        if let Some(one) = problems.take(protocol(part)) {
            out = Some(out.map_or(one, |all| all.and(one)));
        }
    }
    out
}

fn protocol(word: Word<'_>) -> Result<Protocols, Wrong> {
    if let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == word.text) {
        return Ok(*protocol);
    }
    let wrong = word.error(format!("there is no protocol `{}`", word.text));
    let wrong = wrong.label("expected `tcp`, `udp`, `icmp` or `icmpv6`");
    let meant = match word.text {
        "1" => Some("icmp"),
        "6" => Some("tcp"),
        "17" => Some("udp"),
        "58" | "icmp6" | "ipv6-icmp" => Some("icmpv6"),
        "any" | "all" | "ip" | "*" => {
            return Err(wrong.help("for every protocol leave `proto=` out"));
        }
        _ => nearest(word.text, PROTOCOLS.iter().map(|(name, _)| *name)),
    };
    Err(wrong.maybe_help(meant.map(|meant| format!("did you mean `{meant}`?"))))
}

/// A number in decimal digits.
pub(super) fn number(word: Word<'_>, range: RangeInclusive<u64>, what: &str) -> Result<u64, Wrong> {
    let digits = !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit());
    let value = word.text.parse::<u64>().ok().filter(|value| digits && range.contains(value));
    value.ok_or_else(|| {
        let span = Span { end: word.span.end.max(word.span.start + 1), ..word.span };
        let wrong = crate::Diagnostic::error(
            span,
            match word.text {
                "" => format!("{what} is missing"),
                text => format!("`{text}` is not {what}"),
            },
        );
        wrong.label(format!("expected a number from {} to {}", range.start(), range.end()))
    })
}

/// A number that fits 32 bits, from 1 to [`MAX_LIMIT`].
pub(super) fn amount(word: Word<'_>, what: &str) -> Result<u32, Wrong> {
    number(word, 1..=MAX_LIMIT, what).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

/// `N/second`.
pub(super) fn limit(word: Word<'_>) -> Result<Limit, Wrong> {
    let words = Unit::ALL.map(Unit::word);
    let Some((count, unit)) = word.split_once(b'/') else {
        let wrong = word
            .error(format!("`{}` is no rate", word.text))
            .label("expected `N/second`, `/minute`, `/hour` or `/day`");
        let digits = !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit());
        return Err(wrong.maybe_help(digits.then(|| format!("write `{}/second`", word.text))));
    };
    let count = amount(count, "a number of matches")?;
    let Some(unit) = Unit::ALL.into_iter().find(|known| known.word() == unit.text) else {
        let wrong = unit.error(format!("there is no unit `{}`", unit.text));
        let wrong = wrong.label("expected `second`, `minute`, `hour` or `day`");
        let meant = if unit.text == "s" { Some("second") } else { nearest(unit.text, words) };
        return Err(wrong.maybe_help(meant.map(|meant| format!("did you mean `{count}/{meant}`?"))));
    };
    Ok(Limit { count, unit, burst: None })
}

/// `yes` or `no`.
pub(super) fn yes_or_no(word: Word<'_>) -> Result<bool, Wrong> {
    match word.text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => {
            let wrong =
                word.error(format!("`{}` is neither yes nor no", word.text)).label("expected `yes` or `no`");
            let meant = match word.text {
                "true" | "on" | "1" => Some("yes"),
                "false" | "off" | "0" => Some("no"),
                _ => None,
            };
            Err(wrong.maybe_help(meant.map(|meant| format!("write `{meant}`"))))
        }
    }
}

/// A time in seconds since 1970 UTC.
pub(super) fn expire(word: Word<'_>) -> Result<u64, Wrong> {
    if word.text.starts_with('+') {
        let wrong = word.error("a file says when a rule ends, not how long it lasts");
        let wrong = wrong.label("expected seconds since 1970 UTC");
        let help = format!("`bulkhead rules add` takes `expire={}` and writes down the time", word.text);
        return Err(wrong.help(help));
    }
    number(word, 0..=u64::from(u32::MAX) * 1000, "a time")
}

/// The name of a domain: a lower-case letter, then at most 30 lower-case letters, digits or hyphens.
pub(super) fn domain(word: Word<'_>) -> Result<Spanned<String>, Wrong> {
    let text = word.text;
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if first && rest && text.len() <= 31 && text != "dom0" {
        return Ok(Spanned::new(text.to_owned(), word.span));
    }
    let wrong = word.error(format!("`{text}` is no domain"));
    let wrong = if text == "dom0" {
        wrong.label("dom0 is this machine itself: it has no network").help("name one of its domains")
    } else {
        wrong.label("expected a lower-case letter, then at most 30 lower-case letters, digits or hyphens")
    };
    Err(wrong)
}

/// A comment: the letters that Qubes allows.
pub(super) fn comment(word: Word<'_>) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":;,./-_[] ".contains(c);
    let Some((place, letter)) = word.text.char_indices().find(|(_, c)| !allowed(*c)) else {
        return Ok(word.text.to_owned());
    };
    let at = word.slice(place, place + letter.len_utf8());
    let wrong = at
        .error(format!("`{letter}` cannot stand in a comment"))
        .label("expected letters, digits, spaces and `:;,./-_[]`");
    Err(match letter {
        '=' => wrong.help("`comment=` takes the rest of the line: it must come last"),
        _ => wrong.help("text behind a `#` may have any letters"),
    })
}
