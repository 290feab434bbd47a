//! Addresses, host names and references to sets.

use super::{Problems, Wrong, line::Word, set::set_name};
use crate::{ast::Host, diagnostic::Diagnostic, span::Spanned};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

const EXPECTED: &str = "expected an address, a prefix, a host name or `@SET`";
/// Letters of a host name at most (RFC 1035, 2.3.4, as text).
const MAX_NAME: usize = 253;
/// Letters between two dots of a host name at most.
const MAX_LABEL: usize = 63;

/// A list of hosts.
pub(super) fn hosts(word: Word<'_>, problems: &mut Problems) -> Vec<Spanned<Host>> {
    let mut out = Vec::with_capacity(1);
    for part in word.split(b',') {
        out.extend(problems.take(host(part)).map(|host| Spanned::new(host, part.span)));
    }
    out
}

/// One host.
pub(super) fn host(word: Word<'_>) -> Result<Host, Wrong> {
    if word.text.is_empty() {
        let span = crate::span::Span { end: word.span.start + 1, ..word.span };
        return Err(Diagnostic::error(span, "a host is missing").label(EXPECTED));
    }
    if let Some(place) = word.text.bytes().position(|byte| byte.is_ascii_whitespace()) {
        let wrong = word.from(place).trim().error("two hosts without a comma");
        return Err(wrong.label("expected a `,` before it"));
    }
    if word.text.starts_with('!') {
        return Err(no_letter(word, 0));
    }
    if word.text.starts_with('@') {
        return set_name(word.from(1)).map(|name| Host::Set(name.value));
    }
    let (address, prefix) = match word.split_once(b'/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (word, None),
    };
    if address.text.contains(':') {
        return v6(word, address, prefix);
    }
    if looks_like_v4(address.text) {
        return v4(word, address, prefix);
    }
    match prefix {
        Some(_) => Err(word
            .error("a host name has no prefix length")
            .label("expected a host name alone")
            .maybe_help(
                address
                    .text
                    .bytes()
                    .any(|b| b.is_ascii_alphabetic())
                    .then(|| format!("write `{}`", address.text)),
            )),
        None => name(word).map(Host::Name),
    }
}

/// Whether it is meant to be an IPv4 address: no host name ends in a part of digits alone.
fn looks_like_v4(text: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    text.rsplit('.').find(|part| !part.is_empty()).is_some_and(|part| part.chars().all(digits))
        || text.chars().all(|c| digits(c) || c == '.' || c == '-')
}

fn v4(word: Word<'_>, address: Word<'_>, prefix: Option<Word<'_>>) -> Result<Host, Wrong> {
    let Ok(parsed) = address.text.parse::<Ipv4Addr>() else {
        let wrong = address.error(format!("`{}` is no IPv4 address", address.text));
        let wrong = wrong.label("expected four numbers from 0 to 255 with dots between them");
        if word.text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong.help("ports stand behind a protocol: `proto=tcp dstports=443`"));
        }
        let range = address
            .text
            .contains('-')
            .then_some("a range of addresses is written as prefixes, `192.0.2.0/28`");
        return Err(wrong.maybe_help(range.map(str::to_owned)));
    };
    let length = match prefix {
        None => 32,
        Some(prefix) => length(prefix, 32).map_err(|wrong| netmask(prefix, parsed).unwrap_or(wrong))?,
    };
    // The length was checked.
    let net = Ipv4Net::new(parsed, length).unwrap_or_default();
    if net.trunc() == net {
        Ok(Host::V4(net))
    } else {
        Err(host_bits(word, length, &net.trunc().to_string()))
    }
}

/// What to say of `/255.255.255.0`.
fn netmask(prefix: Word<'_>, address: Ipv4Addr) -> Option<Diagnostic> {
    let mask = prefix.text.parse::<Ipv4Addr>().ok()?;
    let net = Ipv4Net::with_netmask(address, mask).ok()?;
    let wrong = prefix.error("a netmask stands where a prefix length belongs").label("expected 0 to 32");
    Some(wrong.help(format!("write `{}`", net.trunc())))
}

fn v6(word: Word<'_>, address: Word<'_>, prefix: Option<Word<'_>>) -> Result<Host, Wrong> {
    let Ok(parsed) = address.text.parse::<Ipv6Addr>() else { return Err(no_v6(word, address)) };
    if let Some(inner) = parsed.to_ipv4_mapped() {
        let wrong = address.error("an IPv4 address written as IPv6 is never seen in a packet");
        return Err(wrong.label("expected an address as packets carry it").help(format!("write `{inner}`")));
    }
    let length = prefix.map_or(Ok(128), |prefix| length(prefix, 128))?;
    // The length was checked.
    let net = Ipv6Net::new(parsed, length).unwrap_or_default();
    if net.trunc() == net {
        Ok(Host::V6(net))
    } else {
        Err(host_bits(word, length, &net.trunc().to_string()))
    }
}

fn no_v6(word: Word<'_>, address: Word<'_>) -> Diagnostic {
    let text = address.text;
    let (before, after) = text.rsplit_once(':').unwrap_or((text, ""));
    if word.text.contains("://") {
        let host =
            word.text.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        let wrong = word.error("a URL is no host").label("expected an address or a host name alone");
        return wrong.maybe_help((!host.is_empty()).then(|| format!("write `{host}`")));
    }
    if !before.contains(':') && !before.is_empty() && after.bytes().all(|b| b.is_ascii_digit()) {
        let wrong = address.error("a port cannot stand behind the host").label("expected a host alone");
        return wrong.help(format!("write `dsthost={before} proto=tcp dstports={after}`"));
    }
    let wrong =
        address.error(format!("`{text}` is no IPv6 address")).label("expected one like `2001:db8::1`");
    if text.starts_with('[') && text.ends_with(']') {
        return wrong.help(format!("without brackets: `{}`", text.trim_matches(['[', ']'])));
    }
    wrong.maybe_help(text.contains('%').then(|| "a scope (`%eth0`) has no meaning in a rule".to_owned()))
}

fn length(prefix: Word<'_>, most: u8) -> Result<u8, Wrong> {
    let digits = !prefix.text.is_empty() && prefix.text.bytes().all(|byte| byte.is_ascii_digit());
    let length = prefix.text.parse::<u8>().ok().filter(|length| digits && *length <= most);
    length.ok_or_else(|| {
        let span = crate::span::Span { start: prefix.span.start - 1, ..prefix.span };
        let wrong = Diagnostic::error(span, format!("`/{}` is no prefix length", prefix.text));
        wrong.label(format!("expected `/0` to `/{most}`"))
    })
}

fn host_bits(word: Word<'_>, length: u8, corrected: &str) -> Wrong {
    let wrong = word.error(format!("`{}` has bits set behind its first {length}", word.text));
    let wrong = wrong.label("expected the first address of the network");
    let single = word.text.split('/').next().unwrap_or_default();
    wrong.help(format!("write `{corrected}` for the network, or `{single}` for one address"))
}

/// A host name in lower case, without a dot at its end.
pub(super) fn name(word: Word<'_>) -> Result<String, Wrong> {
    let text = word.text.strip_suffix('.').unwrap_or(word.text);
    let strange = text.bytes().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')));
    if let Some(place) = strange {
        return Err(no_letter(word, place));
    }
    let wrong = if text.len() > MAX_NAME {
        format!("a host name has at most {MAX_NAME} letters, this one has {}", text.len())
    } else if text.split('.').any(str::is_empty) {
        format!("`{}` is no host name: nothing stands between two dots", word.text)
    } else if let Some(part) = text.split('.').find(|part| part.len() > MAX_LABEL) {
        format!("a part of a host name has at most {MAX_LABEL} letters, `{part}` has {}", part.len())
    } else {
        return Ok(text.to_ascii_lowercase());
    };
    Err(word.error(wrong).label(EXPECTED))
}

fn no_letter(word: Word<'_>, place: usize) -> Diagnostic {
    let letter = word.from(place).text.chars().next().unwrap_or_default();
    let wrong = word.error(format!("`{}` is no host", word.text)).label(EXPECTED);
    match letter {
        '*' => wrong.help("a name stands for one host; there are no patterns, because rules follow the answers to exact questions"),
        '!' => wrong.help("there is no negation: put a rule with the opposite action before this one"),
        '@' => wrong.help("a set's name stands alone, with the `@` before it"),
        _ => wrong.help(format!("letters, digits, `-`, `_` and `.` make a host name, `{letter}` does not")),
    }
}
