//! A rule's words, each given to its key.

use super::{
    Problems,
    line::Word,
    values::{self, ACTIONS},
};
use crate::{diagnostic::Diagnostic, span::Span, suggest::nearest};

/// What a rule looks like.
pub(super) const EXAMPLE: &str =
    "a rule is `action=accept dsthost=192.0.2.1 proto=tcp dstports=443` or `accept 192.0.2.1 tcp 443`";

/// What a rule may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Action,
    SpecialTarget,
    DstHost,
    Dst4,
    Dst6,
    DstDomain,
    SrcDomain,
    SrcHost,
    Proto,
    DstPorts,
    SrcPorts,
    IcmpType,
    ToPort,
    Limit,
    Burst,
    ConnLimit,
    Log,
    Expire,
    Comment,
}

const KEYS: [(&str, Key); 19] = [
    ("action", Key::Action),
    ("specialtarget", Key::SpecialTarget),
    ("dsthost", Key::DstHost),
    ("dst4", Key::Dst4),
    ("dst6", Key::Dst6),
    ("dstdomain", Key::DstDomain),
    ("srcdomain", Key::SrcDomain),
    ("srchost", Key::SrcHost),
    ("proto", Key::Proto),
    ("dstports", Key::DstPorts),
    ("srcports", Key::SrcPorts),
    ("icmptype", Key::IcmpType),
    ("toport", Key::ToPort),
    ("limit", Key::Limit),
    ("burst", Key::Burst),
    ("connlimit", Key::ConnLimit),
    ("log", Key::Log),
    ("expire", Key::Expire),
    ("comment", Key::Comment),
];

/// Keys that say who is at the other end; a rule has one of them at most.
pub(super) const OTHER_END: [Key; 7] =
    [Key::SpecialTarget, Key::DstHost, Key::Dst4, Key::Dst6, Key::DstDomain, Key::SrcDomain, Key::SrcHost];

/// Words that people write for a key.
const SYNONYMS: [(&str, &str); 16] = [
    ("dst", "dsthost"),
    ("dest", "dsthost"),
    ("host", "dsthost"),
    ("to", "dsthost"),
    ("src", "srchost"),
    ("from", "srchost"),
    ("src4", "srchost"),
    ("src6", "srchost"),
    ("port", "dstports"),
    ("ports", "dstports"),
    ("dport", "dstports"),
    ("sport", "srcports"),
    ("protocol", "proto"),
    ("rate", "limit"),
    ("expires", "expire"),
    ("domain", "dstdomain"),
];

impl Key {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "action" => Key::Action,
            "specialtarget" => Key::SpecialTarget,
            "dsthost" => Key::DstHost,
            "dst4" => Key::Dst4,
            "dst6" => Key::Dst6,
            "dstdomain" => Key::DstDomain,
            "srcdomain" => Key::SrcDomain,
            "srchost" => Key::SrcHost,
            "proto" => Key::Proto,
            "dstports" => Key::DstPorts,
            "srcports" => Key::SrcPorts,
            "icmptype" => Key::IcmpType,
            "toport" => Key::ToPort,
            "limit" => Key::Limit,
            "burst" => Key::Burst,
            "connlimit" => Key::ConnLimit,
            "log" => Key::Log,
            "expire" => Key::Expire,
            "comment" => Key::Comment,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        KEYS[self as usize].0
    }
}

/// A value and the whole word that gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'t> {
    pub(super) value: Word<'t>,
    pub(super) whole: Span,
}

/// A rule's words by key.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    /// The rule.
    pub(super) line: Word<'t>,
    found: [Option<Field<'t>>; KEYS.len()],
    /// Whether a protocol stands where the host would: `accept tcp 443`.
    without_host: bool,
}

impl<'t> Fields<'t> {
    /// For the lines of a text, one after the other.
    pub(super) const fn new() -> Self {
        let span = Span { line: 0, start: 0, end: 0 };
        Self { line: Word { text: "", span }, found: [None; KEYS.len()], without_host: false }
    }

    /// Sorts the words of a line; `false` when one of them has no place.
    pub(super) fn collect(&mut self, line: Word<'t>, problems: &mut Problems) -> bool {
        self.line = line;
        self.without_host = false;
        self.found.iter_mut().for_each(|field| *field = None);
        let errors = problems.0.len();
        let mut rest = line;
        while let Some(word) = rest.next_word() {
            let Some((name, value)) = word.split_once(b'=') else {
                if let Err(wrong) = self.positional(word) {
                    problems.add(wrong);
                }
                continue;
            };
            let Some(key) = Key::of(name.text) else {
                problems.add(unknown(name));
                continue;
            };
            let (value, whole) = if key == Key::Comment {
                let text = Word { text: "", span: value.span };
                let length = (line.span.end - value.span.start) as usize;
                let all = line.from(line.text.len() - length);
                rest = text;
                (all, word.span.to(all.span))
            } else {
                (value, word.span)
            };
            if let Err(wrong) = self.put(key, Field { value, whole }) {
                problems.add(wrong);
            }
        }
        problems.0.len() == errors
    }

    /// What the rule says of `key`.
    pub(super) const fn get(&self, key: Key) -> Option<Field<'t>> {
        self.found[key as usize]
    }

    fn put(&mut self, key: Key, field: Field<'t>) -> Result<(), Diagnostic> {
        if let Some(first) = self.get(key) {
            let message = format!("`{}=` is given twice", key.name());
            let wrong = Diagnostic::error(field.whole, message).label("a second time");
            return Err(wrong.other(first.whole, "first here"));
        }
        if field.value.text.is_empty() && key != Key::Comment {
            let wrong = Diagnostic::error(field.whole, format!("`{}=` has no value", key.name()));
            return Err(wrong.label("expected a value behind the `=`"));
        }
        self.found[key as usize] = Some(field);
        Ok(())
    }

    /// A word without a key: the next of `action [dsthost] [proto [dstports|icmptype]]` that is not given yet.
    fn positional(&mut self, word: Word<'t>) -> Result<(), Diagnostic> {
        let field = Field { value: word, whole: word.span };
        if self.get(Key::Action).is_none() {
            return match Key::of(word.text) {
                Some(key) => Err(without_value(word, key)),
                None => self.put(Key::Action, field),
            };
        }
        if !self.without_host && OTHER_END.iter().all(|key| self.get(*key).is_none()) {
            if !values::is_protocol(word.text) {
                no_host(word)?;
                return self.put(Key::DstHost, field);
            }
            self.without_host = true;
        }
        if self.get(Key::Proto).is_none() {
            return self.put(Key::Proto, field);
        }
        let icmp = self.get(Key::Proto).is_some_and(|proto| proto.value.text.contains("icmp"));
        let key = if icmp { Key::IcmpType } else { Key::DstPorts };
        if self.get(key).is_some() {
            let wrong = word.error(format!("unexpected `{}`", word.text)).label("expected `KEY=VALUE`");
            return Err(wrong.help("words without a key are: action, host, protocol, ports or ICMP type"));
        }
        self.put(key, field)
    }
}

fn without_value(word: Word<'_>, key: Key) -> Diagnostic {
    word.error(format!("`{}` has no value", key.name())).label(format!("expected `{}=VALUE`", key.name()))
}

/// Refuses what people write where they mean every host, and keys whose value is missing.
fn no_host(word: Word<'_>) -> Result<(), Diagnostic> {
    if let Some(key) = Key::of(word.text) {
        return Err(without_value(word, key));
    }
    if matches!(word.text, "any" | "all" | "*" | "-") {
        let wrong =
            word.error(format!("`{}` is no host", word.text)).label("expected an address or a host name");
        return Err(wrong.help("for every host leave it out: `accept tcp 443`"));
    }
    if word.text == "dns" {
        let wrong = word.error("name servers are a target of their own").label("expected a host");
        return Err(wrong.help("write `specialtarget=dns`, or `dsthost=dns` for a host of this name"));
    }
    Ok(())
}

fn unknown(name: Word<'_>) -> Diagnostic {
    let meant = SYNONYMS.iter().find(|(word, _)| name.text.eq_ignore_ascii_case(word)).map(|(_, key)| *key);
    let meant = meant.or_else(|| nearest(name.text, KEYS.iter().map(|(name, _)| *name)));
    let wrong = name.error(format!("there is no key `{}`", name.text)).label("unknown key");
    if ACTIONS.contains(&name.text) {
        return wrong.help(format!("an action is `action={}`, or the bare word `{0}`", name.text));
    }
    wrong.help(match meant {
        Some(key) => format!("did you mean `{key}=`?"),
        None => format!("keys are {}", KEYS.map(|(name, _)| name).join(", ")),
    })
}
