//! Sets with what is in them.

use crate::{
    ast::{File, Host},
    diagnostic::Diagnostic,
    span::Span,
    suggest::nearest,
};
use rules_program::policy::MAX_TARGETS;
use std::collections::{HashMap, HashSet};

/// One set, sets inside it replaced by what they hold.
#[derive(Debug)]
struct Expanded<'f> {
    items: Vec<&'f Host>,
    is_used: bool,
}

/// The sets of a file by name.
#[derive(Debug, Default)]
pub(crate) struct Sets<'f> {
    by_name: HashMap<&'f str, Expanded<'f>>,
}

impl<'f> Sets<'f> {
    /// Expands the sets of a file in order. A set can hold sets above it only, so that none can hold itself; all
    /// together hold at most [`MAX_TARGETS`].
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn resolve(file: &'f File) -> Result<Self, Vec<Diagnostic>> {
        let mut sets = Self::default();
        let mut problems = Vec::new();
        let mut total = 0;
        let mut places: HashMap<&str, Span> = HashMap::new();
        for set in &file.sets {
            if let Some(first) = places.insert(&set.name, set.name.span) {
                let wrong = Diagnostic::error(set.name.span, format!("there are two sets `{}`", *set.name));
                problems.push(wrong.label("the second one").other(first, "the first one"));
                continue;
            }
            let mut items = Vec::with_capacity(set.items.len());
            let mut seen = HashSet::new();
            for item in &set.items {
                match &item.value {
                    Host::Set(name) => match sets.used_in_set(file, name, item.span) {
                        Ok(inner) => items.extend(inner.iter().copied().filter(|host| seen.insert(*host))),
                        Err(wrong) => problems.push(wrong),
                    },
                    single => items.extend(Some(single).filter(|host| seen.insert(*host))),
                }
            }
            total += items.len();
            if total > MAX_TARGETS {
                let message = format!("sets hold more than {MAX_TARGETS} addresses and names in all");
                problems.push(Diagnostic::error(set.name.span, message).label("up to here"));
                return Err(problems);
            }
            sets.by_name.insert(&set.name, Expanded { items, is_used: false });
        }
        if problems.is_empty() { Ok(sets) } else { Err(problems) }
    }

    fn used_in_set(&mut self, file: &File, name: &str, span: Span) -> Result<&[&'f Host], Diagnostic> {
        if !self.by_name.contains_key(name)
            && let Some(below) = file.sets.iter().find(|set| *set.name == name)
        {
            let wrong = Diagnostic::error(span, format!("the set `{name}` is not known yet"));
            let wrong =
                wrong.label("a set holds only sets above it").other(below.name.span, "it stands here");
            return Err(wrong.help("move the set that is used up"));
        }
        self.used(name, span)
    }

    /// What is in a set, which counts as used from now on.
    ///
    /// # Errors
    /// When there is no such set.
    pub(crate) fn used(&mut self, name: &str, span: Span) -> Result<&[&'f Host], Diagnostic> {
        if !self.by_name.contains_key(name) {
            let wrong = Diagnostic::error(span, format!("there is no set `{name}`")).label("unknown set");
            let mut known: Vec<&str> = self.by_name.keys().copied().collect();
            known.sort_unstable();
            let help = match nearest(name, known) {
                Some(meant) => format!("did you mean `@{meant}`?"),
                None => format!("define it: `set {name} = 192.0.2.0/24, host.example`"),
            };
            return Err(wrong.help(help));
        }
        Ok(self.by_name.get_mut(name).map_or(&[], |set| {
            set.is_used = true;
            &set.items
        }))
    }

    /// A warning for each set that nothing uses.
    pub(crate) fn unused(&self, file: &File) -> Vec<Diagnostic> {
        let is_unused = |name: &str| self.by_name.get(name).is_some_and(|set| !set.is_used);
        let sets = file.sets.iter().filter(|set| is_unused(&set.name));
        sets.map(|set| {
            let wrong = Diagnostic::warning(set.name.span, format!("the set `{}` is not used", *set.name));
            wrong.label(format!("no rule says `@{}`", *set.name))
        })
        .collect()
    }
}
