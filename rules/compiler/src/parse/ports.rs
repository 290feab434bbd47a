//! Ports: numbers, ranges, names of services, lists of them.

use super::{Problems, Wrong, line::Word, values::number};
use crate::suggest::nearest;
use rules_program::policy::Ports;

/// Names for ports that have one meaning for everybody (IANA service names).
const SERVICES: [(&str, u16); 26] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submissions", 465),
    ("ipp", 631),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("mysql", 3306),
    ("rdp", 3389),
    ("postgresql", 5432),
    ("xmpp-client", 5222),
    ("mdns", 5353),
    ("git", 9418),
];

/// A list of ports as the fewest ranges, in order.
pub(super) fn ports(word: Word<'_>, problems: &mut Problems) -> Vec<Ports> {
    let mut out = Vec::with_capacity(1);
    for part in word.split(b',') {
        out.extend(problems.take(range(part)));
    }
    if out.len() > 1 { merged(out) } else { out }
}

/// The same ports as the fewest ranges, in order.
pub(crate) fn merged(mut ranges: Vec<Ports>) -> Vec<Ports> {
    ranges.sort_by_key(|range| (range.first, range.last));
    let mut out: Vec<Ports> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last)
            }
            _ => out.push(range),
        }
    }
    out
}

fn range(word: Word<'_>) -> Result<Ports, Wrong> {
    let numeric = word.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let Some((first, last)) = word.split_once(b'-').filter(|_| numeric) else {
        return port(word).map(|port| Ports { first: port, last: port });
    };
    let (first, last) = (port(first)?, port(last)?);
    if first <= last {
        return Ok(Ports { first, last });
    }
    let wrong = word.error(format!("the range `{}` ends before it begins", word.text));
    Err(wrong.label("expected the lower port first").help(format!("write `{last}-{first}`")))
}

/// One port.
pub(super) fn port(word: Word<'_>) -> Result<u16, Wrong> {
    if word.text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return service(word.text).ok_or_else(|| {
            let wrong =
                word.error(format!("`{}` is no port", word.text)).label("expected a port from 0 to 65535");
            let meant = nearest(word.text, SERVICES.iter().map(|(name, _)| *name));
            wrong.maybe_help(meant.map(|name| format!("did you mean `{name}`?")))
        });
    }
    if word.text.contains(':') {
        let wrong =
            word.error(format!("`{}` is no range of ports", word.text)).label("expected `FIRST-LAST`");
        return Err(wrong.help(format!("write `{}`", word.text.replace(':', "-"))));
    }
    number(word, 0..=u64::from(u16::MAX), "a port").map(|port| u16::try_from(port).unwrap_or(u16::MAX))
}

/// The port of a service.
pub(crate) fn service(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, port)| *port)
}
