//! How often each rule of a client decided.

use super::super::jobs::{Job, finish};
use super::super::{Reply, Supervisor};
use crate::enclosed;
use crate::name::Name;
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, Outcome, RuleHit, RuleHits};
use crate::rules::Rules;
use control::message::ToFirewall;
use rules_program::policy::MAX_RULES;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the counters are waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counters on their way.
#[derive(Debug)]
pub(in super::super) struct Count {
    name: Name,
    generation: u32,
    /// Per rule of the program.
    hits: Vec<u64>,
    no_rule: u64,
    /// What the program was compiled from.
    rules: Option<Arc<Rules>>,
    state: State,
    deadline: Instant,
    reply: Reply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Complete,
    /// The firewallvm sent pages that do not follow one another.
    Confused,
}

/// One message's worth of counters.
pub(in super::super) struct Page<'m> {
    /// Which set of rules.
    pub(in super::super) generation: u32,
    /// Number of the first rule.
    pub(in super::super) first: u16,
    /// Decisions per rule.
    pub(in super::super) hits: &'m [u64],
    /// What no rule matched.
    pub(in super::super) no_rule: u64,
    /// Whether another follows.
    pub(in super::super) more: bool,
}

impl Supervisor {
    pub(in super::super) fn rule_counters(
        &mut self,
        name: &Name,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.has_rules(name)?;
        let Some((_, control, port)) = self.enforcer(name) else {
            let why = "no firewall enforces its rules now, so none is counted";
            let remedy = format!("start it: bulkhead up {name}");
            return Err(Problem::new(name.to_string(), why, remedy).into());
        };
        control.send(&ToFirewall::GetRuleCounters { port });
        let (name, reply) = (name.clone(), reply.clone());
        self.jobs.push(Job::RuleCounters(Count {
            name,
            generation: 0,
            hits: Vec::new(),
            no_rule: 0,
            rules: None,
            state: State::Waiting,
            deadline: Instant::now() + PATIENCE,
            reply,
        }));
        Ok(None)
    }

    /// A firewallvm sent a page of a client's counters.
    pub(in super::super) fn rules_counted(&mut self, firewall: &Name, port: u8, page: &Page<'_>) {
        let Some(name) = self.client_at(firewall, port) else { return };
        let recent = self.rules.standings.get(&name).map(|s| &s.recent);
        let rules = recent.and_then(|r| r.iter().find(|(g, _)| *g == page.generation)).map(|(_, r)| r);
        let jobs = self.jobs.iter_mut().filter_map(|job| match job {
            Job::RuleCounters(job) if job.name == name && job.state == State::Waiting => Some(job),
            _ => None,
        });
        for job in jobs {
            job.take(page);
            job.rules = rules.cloned();
        }
    }
}

impl Count {
    fn take(&mut self, page: &Page<'_>) {
        if page.first == 0 {
            // A first page: of this question, or of one that another user asked before.
            self.hits.clear();
            self.generation = page.generation;
        }
        let follows = usize::from(page.first) == self.hits.len() && page.generation == self.generation;
        if !follows || self.hits.len() + page.hits.len() > MAX_RULES {
            self.state = State::Confused;
            return;
        }
        self.hits.extend_from_slice(page.hits);
        self.no_rule = page.no_rule;
        if !page.more {
            self.state = State::Complete;
        }
    }

    /// Per rule of the file: one of them may be several in the program, or none.
    fn per_rule(&self) -> RuleHits {
        let mut rules: Vec<RuleHit> = self
            .rules
            .iter()
            .flat_map(|rules| &rules.compiled.file.rules)
            .map(|rule| RuleHit { line: rule.span.line, hits: 0 })
            .collect();
        for (number, hits) in (0u16..).zip(&self.hits) {
            let place = self.rules.as_ref().and_then(|rules| rules.compiled.places.get(usize::from(number)));
            if let Some(rule) = place.and_then(|place| rules.get_mut(usize::from(*place))) {
                rule.hits = rule.hits.saturating_add(*hits);
            }
        }
        RuleHits { generation: self.generation, rules, no_rule: self.no_rule }
    }
}

/// Answers once every page is there.
pub(in super::super) fn advance_count(job: Count, now: Instant) -> Option<Count> {
    let fail = |why: &str| {
        let problem = Problem::new(job.name.to_string(), why, "try again; look at `bulkhead status`");
        finish(Some(&job.reply), Err(problem.into()));
    };
    match job.state {
        State::Waiting if now < job.deadline => return Some(job),
        State::Waiting => fail("the firewall did not tell its counters in time"),
        State::Confused => fail("the firewall told counters that do not fit together"),
        State::Complete => {
            match serde_json::to_string(&job.per_rule()).map_err(Into::into).and_then(|t| enclosed::put(&t)) {
                Ok(text) => drop(job.reply.send((Answer::Done(Outcome::Stream), Some(text)))),
                Err(e) => fail(&format!("its counters cannot be passed on: {e}")),
            }
        }
    }
    None
}
