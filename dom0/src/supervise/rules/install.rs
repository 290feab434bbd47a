//! Reads and replaces a domain's rules for a user.

use super::super::jobs::{Job, finish};
use super::super::{Reply, Supervisor, unknown};
use crate::domain::Kind;
use crate::enclosed;
use crate::name::Name;
use crate::problem::{Problem, Problems};
use crate::protocol::{Agreement, Answer, Outcome, RulesState};
use crate::rules::{DEFAULT, Rules, Version, decisions, now};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rules that are saved and sent; over once the firewallvm has answered.
#[derive(Debug)]
pub(in super::super) struct Install {
    name: Name,
    version: Version,
    /// Number of the set of rules that was sent for it; one of an earlier number is not it.
    since: u32,
    /// What comes back when they are refused.
    before: Before,
    notes: Vec<String>,
    deadline: Instant,
    reply: Reply,
}

impl Install {
    /// Whether it is this domain's rules that are being replaced.
    pub(super) fn is_about(&self, name: &Name) -> bool {
        self.name == *name
    }
}

/// A domain's rules before an edit.
#[derive(Debug)]
struct Before {
    file: Option<String>,
    wanted: Option<Arc<Rules>>,
    problem: Option<Problem>,
}

impl Supervisor {
    /// Only AppVMs have rules, and torvms those that are computed.
    pub(super) fn has_rules(&mut self, name: &Name) -> Result<(), Problems> {
        self.reload_quietly()?;
        let machine = self.plan.machine(name).ok_or_else(|| unknown(name))?;
        if matches!(machine.kind, Kind::Appvm | Kind::Torvm) {
            return Ok(());
        }
        let why = format!("is a {}: only AppVMs have firewall rules", machine.kind);
        Err(Problem::new(name.to_string(), why, "name an AppVM").into())
    }

    /// Only AppVMs have rules that a user may write.
    fn may_write_rules(&mut self, name: &Name) -> Result<(), Problems> {
        self.has_rules(name)?;
        if self.plan.machine(name).is_none_or(|m| m.kind != Kind::Torvm) {
            return Ok(());
        }
        let why = "is a torvm: its rules are computed from the relays of the Tor network";
        let remedy = "change its bridges or its network instead (`bulkhead tor bridges`)";
        Err(Problem::new(name.to_string(), why, remedy).into())
    }

    pub(in super::super) fn rules_read(
        &mut self,
        name: &Name,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.has_rules(name)?;
        let file = self.rules_text(name)?;
        let version = Version::of(file.as_deref());
        let standing = self.rules.standings.get(name);
        let in_force = standing.and_then(|s| s.in_force.as_ref());
        let agreement = |rules: &Rules| {
            if rules.version == version { Agreement::Same } else { Agreement::Different }
        };
        let state = RulesState {
            file: self.rules.store.what(name),
            in_force: in_force.map(|(generation, rules)| (*generation, agreement(rules))),
            problem: self.rules_problem(name, Duration::ZERO),
            version: version.clone(),
        };
        let text = enclosed::put(file.as_deref().unwrap_or(DEFAULT)).map_err(|e| {
            Problem::new(name.to_string(), format!("its rules cannot be passed on: {e}"), "try again later")
        })?;
        let _ = reply.send((Answer::Done(Outcome::Rules(state)), Some(text)));
        Ok(None)
    }

    pub(in super::super) fn rules_install(
        &mut self,
        name: &Name,
        expected: &Version,
        text: &str,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.may_write_rules(name)?;
        let file = self.rules.store.read(name)?;
        let busy = self.jobs.iter().any(|job| matches!(job, Job::Rules(job) if job.is_about(name)));
        if busy || Version::of(file.as_deref()) != *expected {
            return Ok(Some(Outcome::Changed));
        }
        let rules = Rules::compile(&self.rules.store.what(name), Some(text), now())?;
        let notes = self.look_around(name, &rules)?;
        self.rules.store.write(name, Some(text))?;
        let version = rules.version.clone();
        let standing = self.rules.standing(name);
        let before = Before {
            file,
            wanted: standing.wanted.replace(Arc::new(rules)),
            problem: standing.problem.take(),
        };
        self.push(name);
        let deadline = Instant::now() + self.settings.times.rules;
        let (name, since, reply) = (name.clone(), self.rules.generation, reply.clone());
        self.jobs.push(Job::Rules(Install { name, version, since, before, notes, deadline, reply }));
        Ok(None)
    }

    /// Waits for the firewallvm's answer.
    pub(in super::super) fn advance_install(&mut self, mut job: Install, now: Instant) -> Option<Install> {
        let standing = self.rules.standing(&job.name);
        let is_it = |(generation, rules): &&(u32, Arc<Rules>)| {
            *generation >= job.since && rules.version == job.version
        };
        if let Some((generation, _)) = standing.in_force.as_ref().filter(is_it) {
            let generation = Some(*generation);
            finish(Some(&job.reply), Ok(Outcome::Installed { generation, notes: job.notes }));
            return None;
        }
        if let Some((_, why)) = standing.refused.take_if(|(version, _)| *version == job.version) {
            self.put_back(job, &why);
            return None;
        }
        if let Some(why) = self.nobody_enforces(&job.name) {
            job.notes.push(why);
            finish(Some(&job.reply), Ok(Outcome::Installed { generation: None, notes: job.notes }));
            return None;
        }
        if now < job.deadline {
            return Some(job);
        }
        let seconds = self.settings.times.rules.as_secs();
        let why = format!(
            "the rules are saved, but the firewall has not acknowledged them within {seconds} s; they are put in force as \
             soon as it answers or is replaced"
        );
        let remedy = "look at `bulkhead status` and `bulkhead rules list`";
        finish(Some(&job.reply), Err(Problem::new(job.name.to_string(), why, remedy).into()));
        None
    }

    /// Why nobody enforces a domain's rules, when that will not change by itself soon.
    fn nobody_enforces(&self, name: &Name) -> Option<String> {
        let later = |what: &str| Some(format!("saved; takes effect when {what}"));
        let Some(firewall) = self.plan.machine(name).and_then(|m| m.netvm.as_ref()) else {
            return later(&format!("{name} gets a netvm"));
        };
        if self.plan.machine(firewall).is_some_and(|m| m.kind != Kind::Firewallvm) {
            return later(&format!("{name} is behind a firewallvm; {firewall} knows no rules"));
        }
        if !self.is_active(firewall) {
            return later(&format!("{firewall} starts"));
        }
        if !self.is_active(name) {
            return later(&format!("{name} starts"));
        }
        None
    }

    /// Undoes an edit that the firewallvm refused: it goes on with the rules before. One that was replaced meanwhile
    /// has none and is sent them.
    fn put_back(&mut self, job: Install, why: &str) {
        let Install { name, before, reply, .. } = job;
        let written = self.rules.store.write(&name, before.file.as_deref());
        let standing = self.rules.standing(&name);
        (standing.wanted, standing.problem) = (before.wanted, before.problem);
        if standing.in_force.is_none() {
            self.push(&name);
        }
        let mut problems = Problems::from(Problem::new(
            name.to_string(),
            format!("the firewall refused the rules, and those before stay: {why}"),
            "write fewer or simpler rules",
        ));
        problems.0.extend(written.err());
        finish(Some(&reply), Err(problems));
    }

    pub(in super::super) fn rules_log(
        &mut self,
        name: &Name,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.has_rules(name)?;
        let file = crate::journal::to_read(&decisions::path(&self.settings.log_dir, name))?;
        let _ = reply.send((Answer::Done(Outcome::Stream), Some(file.into())));
        Ok(None)
    }
}
