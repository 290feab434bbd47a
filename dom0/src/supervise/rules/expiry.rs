//! Rules that end at a time: taken out of force and out of the file.

use super::super::Supervisor;
use super::super::jobs::Job;
use crate::name::Name;
use crate::problem::Problem;
use crate::rules::{Rules, Version};
use std::sync::Arc;

impl Supervisor {
    /// Takes rules away whose time is over. `now` in seconds since 1970.
    pub(in super::super) fn expire_rules(&mut self, now: u64) {
        let is_due = |rules: &Arc<Rules>| rules.next_expiry.is_some_and(|at| at <= now);
        let due: Vec<(Name, Arc<Rules>)> = self
            .rules
            .standings
            .iter()
            .filter_map(|(name, s)| Some((name.clone(), s.wanted.clone().filter(is_due)?)))
            .filter(|(name, _)| !self.jobs.iter().any(|j| matches!(j, Job::Rules(j) if j.is_about(name))))
            .collect();
        for (name, rules) in due {
            match self.without_expired(&name, &rules, now) {
                Ok(left) => {
                    tracing::info!(%name, "rules have expired");
                    self.rules.standing(&name).wanted = Some(Arc::new(left));
                    self.push(&name);
                }
                Err(problem) => {
                    // Rules whose time is over do not stay because something else is wrong.
                    self.rules.standing(&name).wanted = None;
                    self.cannot_use(&name, problem);
                    self.push(&name);
                }
            }
        }
    }

    fn without_expired(&self, name: &Name, rules: &Rules, now: u64) -> Result<Rules, Problem> {
        let what = self.rules.store.what(name);
        let text = rules.text_without_expired(now);
        let mut left = Rules::compile(&what, Some(&text), now)?;
        // Whatever the text says: each expiry is dealt with once.
        left.next_expiry = left.next_expiry.filter(|at| *at > now);
        // A file that was edited by hand meanwhile is the user's, and one that cannot be read is left alone: the expired
        // rules go when it is put in force.
        let read = self.rules.store.read(name);
        let unchanged = read.is_ok_and(|file| Version::of(file.as_deref()) == rules.version);
        if !unchanged {
            left.version = rules.version.clone();
        } else if let Err(problem) = self.rules.store.write(name, Some(&text)) {
            tracing::error!(%name, "expired rules stay in the file: {problem}");
            left.version = rules.version.clone();
        }
        Ok(left)
    }
}
