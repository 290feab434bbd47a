//! How often each rule of a client decided.

use super::super::jobs::{Job, finish};
use super::super::{Reply, Supervisor};
use crate::enclosed;
use crate::name::Name;
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, Outcome, RuleHits};
use control::message::ToFirewall;
use rules_program::policy::MAX_RULES;
use std::time::{Duration, Instant};

/// How long the counters are waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counters on their way.
#[derive(Debug)]
pub(in super::super) struct Count {
    name: Name,
    found: RuleHits,
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
        let (found, state, deadline) = (RuleHits::default(), State::Waiting, Instant::now() + PATIENCE);
        let (name, reply) = (name.clone(), reply.clone());
        self.jobs.push(Job::RuleCounters(Count { name, found, state, deadline, reply }));
        Ok(None)
    }

    /// A firewallvm sent a page of a client's counters.
    pub(in super::super) fn rules_counted(&mut self, firewall: &Name, port: u8, page: &Page<'_>) {
        let Some(name) = self.client_at(firewall, port) else { return };
        let recent = self.rules.standings.get(&name).map(|s| &s.recent);
        let rules = recent.and_then(|r| r.iter().find(|(g, _)| *g == page.generation));
        let lines: Vec<u32> =
            rules.map(|(_, r)| r.policy.rules.iter().map(|r| r.line).collect()).unwrap_or_default();
        let jobs = self.jobs.iter_mut().filter_map(|job| match job {
            Job::RuleCounters(job) if job.name == name && job.state == State::Waiting => Some(job),
            _ => None,
        });
        for job in jobs {
            job.take(page);
            job.found.lines.clone_from(&lines);
        }
    }
}

impl Count {
    fn take(&mut self, page: &Page<'_>) {
        let found = &mut self.found;
        if page.first == 0 {
            // A first page: of this question, or of one that another user asked before.
            found.hits.clear();
            found.generation = page.generation;
        }
        let follows = usize::from(page.first) == found.hits.len() && page.generation == found.generation;
        if !follows || found.hits.len() + page.hits.len() > MAX_RULES {
            self.state = State::Confused;
            return;
        }
        found.hits.extend_from_slice(page.hits);
        found.no_rule = page.no_rule;
        if !page.more {
            self.state = State::Complete;
        }
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
            match serde_json::to_string(&job.found).map_err(Into::into).and_then(|t| enclosed::put(&t)) {
                Ok(text) => drop(job.reply.send((Answer::Done(Outcome::Stream), Some(text)))),
                Err(e) => fail(&format!("its counters cannot be passed on: {e}")),
            }
        }
    }
    None
}
