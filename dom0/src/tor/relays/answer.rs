//! What `bulkhead-relays` answers, read as if somebody else had written it: bounded, and every line as agreed.

use super::Set;
use crate::tor::rules::MAX_RELAYS;
use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// Longest answer in bytes: as many of the longest lines as there may be relays.
pub const MAX_ANSWER: usize = 64 * MAX_RELAYS;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A consensus that was verified.
    Verified(Set),
    /// Where clients of the public network begin.
    Bootstrap(BTreeSet<SocketAddr>),
    /// Why documents are not believed: a word and what may follow it.
    Refused(String),
}

/// Text that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl Answer {
    /// Reads an answer that is a text's whole.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn of(text: &str) -> Result<Self, NoAnswer> {
        let mut lines = Lines::of(text);
        let answer = lines.answer()?;
        if lines.is_empty() { Ok(answer) } else { Err(NoAnswer) }
    }
}

/// The lines of a text, one by one; each has its end.
#[derive(Clone, Debug)]
pub(super) struct Lines<'t>(&'t str);

impl<'t> Lines<'t> {
    pub(super) const fn of(text: &'t str) -> Self {
        Self(text)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<&'t str> {
        let (line, rest) = self.0.split_once('\n')?;
        self.0 = rest;
        Some(line)
    }

    /// What follows this word on the next line, if it is there.
    fn value(&mut self, word: &str) -> Option<&'t str> {
        let mut ahead = self.clone();
        let value = ahead.next()?.strip_prefix(word)?.strip_prefix(' ')?;
        *self = ahead;
        Some(value)
    }

    /// What follows this word on the next lines.
    pub(super) fn values<'l>(&'l mut self, word: &'l str) -> impl Iterator<Item = &'t str> + use<'t, 'l> {
        std::iter::from_fn(move || self.value(word))
    }

    fn number(&mut self, word: &str) -> Result<u64, NoAnswer> {
        self.value(word).and_then(|value| value.parse().ok()).ok_or(NoAnswer)
    }

    pub(super) fn answer(&mut self) -> Result<Answer, NoAnswer> {
        match self.next().ok_or(NoAnswer)? {
            "verified" => Ok(Answer::Verified(Set {
                valid_after: self.number("valid-after")?,
                fresh_until: self.number("fresh-until")?,
                valid_until: self.number("valid-until")?,
                relays: self.relays()?,
            })),
            "bootstrap" => {
                self.values("authority").for_each(drop);
                Ok(Answer::Bootstrap(self.relays()?))
            }
            line => {
                let reason = line.strip_prefix("refused ").ok_or(NoAnswer)?;
                Ok(Answer::Refused(crate::vmm::clean(reason)))
            }
        }
    }

    /// The relays, and their number.
    fn relays(&mut self) -> Result<BTreeSet<SocketAddr>, NoAnswer> {
        let mut relays = BTreeSet::new();
        loop {
            let relay: SocketAddr = if let Some(v4) = self.value("relay") {
                v4.parse::<SocketAddrV4>().map_err(|_| NoAnswer)?.into()
            } else if let Some(v6) = self.value("relay6") {
                v6.parse::<SocketAddrV6>().map_err(|_| NoAnswer)?.into()
            } else {
                break;
            };
            if relay.port() == 0 || !relays.insert(relay) || relays.len() > MAX_RELAYS {
                return Err(NoAnswer);
            }
        }
        let told = self.number("end")?;
        if usize::try_from(told) == Ok(relays.len()) && told > 0 { Ok(relays) } else { Err(NoAnswer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VERIFIED: &str = "verified\nvalid-after 10\nfresh-until 20\nvalid-until 30\nrelay 192.0.2.1:443\n\
                            relay6 [2001:db8::1]:9001\nend 2\n";

    fn set() -> BTreeSet<SocketAddr> {
        ["192.0.2.1:443", "[2001:db8::1]:9001"].iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn answers_are_read() {
        let expected = Set { valid_after: 10, fresh_until: 20, valid_until: 30, relays: set() };
        assert_eq!(Answer::of(VERIFIED), Ok(Answer::Verified(expected)));
        let bootstrap = "bootstrap\nauthority AA\nrelay 192.0.2.1:443\nrelay6 [2001:db8::1]:9001\nend 2\n";
        assert_eq!(Answer::of(bootstrap), Ok(Answer::Bootstrap(set())));
        let refused = Answer::Refused("consensus-signatures".to_owned());
        assert_eq!(Answer::of("refused consensus-signatures\n"), Ok(refused));
    }

    #[test]
    fn anything_else_is_no_answer() {
        let cuts = (0..VERIFIED.len()).map(|end| VERIFIED[..end].to_owned());
        let changed = [
            ("end 2", "end 3"),
            ("end 2", "end 02x"),
            ("relay 1", "relay  1"),
            (":443", ":0"),
            (":443", ""),
            ("192.0.2.1", "relay.example"),
            ("relay 192.0.2.1", "relay6 192.0.2.1"),
            ("valid-after 10\n", ""),
            ("relay6 [2001:db8::1]:9001", "relay 192.0.2.1:443"),
            ("end 2\n", "end 2\n\n"),
            ("verified", "Verified"),
            ("valid-until 30", "valid-until -30"),
        ];
        let changed = changed.map(|(from, to)| VERIFIED.replace(from, to));
        for text in cuts.chain(changed).chain(["verified\n".repeat(9), "refused".into(), "refused x".into()])
        {
            assert_eq!(Answer::of(&text), Err(NoAnswer), "{text:?}");
        }
        let none = "bootstrap\nend 0\n";
        assert_eq!(Answer::of(none), Err(NoAnswer));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}(\n(verified|bootstrap|relay|relay6|end|valid-after)? ?\\PC{0,20}){0,8}\n?") {
            let _ = Answer::of(&text);
        }
    }
}
