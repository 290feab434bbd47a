//! Bytes → checked sections. Everything that the rest of the crate relies on is established here, in one pass over
//! the bytes; what the sections mean is in [`format`](crate::format).

use crate::{
    format::{self, HEADER, LIMIT, MAGIC, PREFIX4, PREFIX6, RULE, RuleRecord, TARGET, TargetRecord},
    policy::{MAX_DOMAINS, MAX_LIMITED, MAX_NAMES, MAX_RULES, MAX_TARGETS},
    program::Refusal,
};

/// The sections of a program's bytes, all of them sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified<'b> {
    pub(crate) rules: &'b [[u8; RULE]],
    pub(crate) targets: &'b [[u8; TARGET]],
    pub(crate) prefixes4: &'b [[u8; PREFIX4]],
    pub(crate) prefixes6: &'b [[u8; PREFIX6]],
    limits: &'b [[u8; LIMIT]],
    names: Strings<'b>,
    domains: Strings<'b>,
}

/// A section of strings.
#[derive(Clone, Copy, Debug)]
struct Strings<'b> {
    bytes: &'b [u8],
    count: usize,
}

impl<'b> Verified<'b> {
    /// Verifies a program's bytes.
    pub(crate) fn of(bytes: &'b [u8]) -> Result<Self, Refusal> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Refusal::Version);
        }
        let program = Self::split(bytes).ok_or(Refusal::Malformed)?;
        let checks = [
            Self::rules_are_sound,
            Self::targets_are_sound,
            Self::prefixes_are_sound,
            Self::strings_are_sound,
        ];
        if checks.iter().all(|is_sound| is_sound(&program)) { Ok(program) } else { Err(Refusal::Malformed) }
    }

    /// Cuts the bytes into their sections, which fill them.
    fn split(bytes: &'b [u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<{ format::CHECKSUM }>()?;
        let (header, body_rest) = body.split_first_chunk::<HEADER>()?;
        let (numbers, []) = header.as_chunks::<4>() else { return None };
        let &[
            _,
            _,
            len,
            rules,
            targets,
            prefixes4,
            prefixes6,
            limits,
            names,
            names_len,
            domains,
            domains_len,
        ] = numbers
        else {
            return None;
        };
        let number = |bytes| usize::try_from(u32::from_le_bytes(bytes)).ok();
        if number(len)? != bytes.len() || format::checksum(body) != u64::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = body_rest;
        let program = Self {
            rules: records(&mut rest, number(rules)?, MAX_RULES)?,
            targets: records(&mut rest, number(targets)?, MAX_TARGETS)?,
            prefixes4: records(&mut rest, number(prefixes4)?, MAX_TARGETS)?,
            prefixes6: records(&mut rest, number(prefixes6)?, MAX_TARGETS)?,
            limits: records(&mut rest, number(limits)?, MAX_LIMITED)?,
            names: strings(&mut rest, number(names)?, number(names_len)?, MAX_NAMES)?,
            domains: strings(&mut rest, number(domains)?, number(domains_len)?, MAX_DOMAINS)?,
        };
        rest.is_empty().then_some(program)
    }

    fn rules_are_sound(&self) -> bool {
        let (mut targets, mut limits) = (0, self.limits.iter());
        for rule in self.rules {
            let Some(rule) = RuleRecord::decode(rule) else { return false };
            targets += usize::from(rule.targets);
            if rule.is_limited() && limits.next().and_then(|bytes| format::limit(&rule, bytes)).is_none() {
                return false;
            }
        }
        targets == self.targets.len() && limits.next().is_none()
    }

    fn targets_are_sound(&self) -> bool {
        let within = |place: u32, len: usize| usize::try_from(place).is_ok_and(|place| place < len);
        self.targets.iter().all(|bytes| match TargetRecord::decode(*bytes) {
            Some(TargetRecord::AnyV4 | TargetRecord::AnyV6 | TargetRecord::Dns) => true,
            Some(TargetRecord::Name(place)) => usize::from(place) < self.names.count,
            Some(TargetRecord::Domain(place)) => usize::from(place) < self.domains.count,
            Some(TargetRecord::Prefix4(place)) => within(place, self.prefixes4.len()),
            Some(TargetRecord::Prefix6(place)) => within(place, self.prefixes6.len()),
            None => false,
        })
    }

    fn prefixes_are_sound(&self) -> bool {
        ascend(self.prefixes4.iter().map(format::prefix4))
            && ascend(self.prefixes6.iter().map(format::prefix6))
    }

    fn strings_are_sound(&self) -> bool {
        let is_name = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        self.names.are(is_name) && self.domains.are(u8::is_ascii_graphic)
    }

    /// The rules in order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RuleRecord> + use<'b> {
        self.rules.iter().filter_map(RuleRecord::decode)
    }

    /// The rules with the targets of each.
    pub(crate) fn rules_with_targets(
        &self,
    ) -> impl Iterator<Item = (RuleRecord, impl Iterator<Item = TargetRecord> + use<'b>)> + use<'b> {
        let mut rest = self.targets;
        self.rules().map(move |rule| {
            let (targets, behind) = rest.split_at_checked(rule.targets.into()).unwrap_or((rest, &[]));
            rest = behind;
            (rule, targets.iter().filter_map(|target| TargetRecord::decode(*target)))
        })
    }

    /// The limits in the order of their rules.
    pub(crate) const fn limits(&self) -> &'b [[u8; LIMIT]] {
        self.limits
    }

    /// The host names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        self.names.iter()
    }

    /// The domains.
    pub(crate) fn domains(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        self.domains.iter()
    }

    /// How many host names and domains there are.
    pub(crate) const fn string_counts(&self) -> (usize, usize) {
        (self.names.count, self.domains.count)
    }
}

impl<'b> Strings<'b> {
    fn iter(self) -> impl Iterator<Item = &'b str> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (len, behind) = rest.split_first()?;
            let (string, behind) = behind.split_at_checked(usize::from(*len))?;
            rest = behind;
            core::str::from_utf8(string).ok()
        })
    }

    /// Whether these are as many strings as said, none empty, of bytes that `is_allowed`.
    fn are(self, is_allowed: impl Fn(&u8) -> bool) -> bool {
        let mut found = (0, 0);
        for string in self.iter() {
            if string.is_empty() || !string.as_bytes().iter().all(&is_allowed) {
                return false;
            }
            found = (found.0 + 1, found.1 + 1 + string.len());
        }
        found == (self.count, self.bytes.len())
    }
}

/// Takes `count` records of `N` bytes.
fn records<'b, const N: usize>(rest: &mut &'b [u8], count: usize, most: usize) -> Option<&'b [[u8; N]]> {
    let (section, behind) = rest.split_at_checked((count <= most).then_some(count)?.checked_mul(N)?)?;
    *rest = behind;
    Some(section.as_chunks().0)
}

/// Takes a section of `len` bytes that is said to hold `count` strings.
fn strings<'b>(rest: &mut &'b [u8], count: usize, len: usize, most: usize) -> Option<Strings<'b>> {
    let (bytes, behind) = rest.split_at_checked((count <= most).then_some(len)?)?;
    *rest = behind;
    Some(Strings { bytes, count })
}

/// Whether all are there, each greater than the one before.
fn ascend<T: Ord>(items: impl Iterator<Item = Option<T>>) -> bool {
    let mut last = None;
    for item in items {
        if item.is_none() || item <= last {
            return false;
        }
        last = item;
    }
    true
}
