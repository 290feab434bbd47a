//! Requests that take time: starting, stopping, collecting counters. Looked at whenever something has happened.

use super::route::Route;
use super::runtime::{Readiness, State};
use super::tor::Asked;
use super::wiring::Purpose;
use super::{Reply, Supervisor, rules, unknown};
use crate::name::Name;
use crate::plan::Plan;
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, Outcome, Users};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use vmm_api::message::What;

/// How long counters are waited for.
const COUNTERS: Duration = Duration::from_secs(3);
/// Counters of one domain at most.
const MAX_COUNTERS: usize = 512;
/// A request under way. Without a `reply` the outcome is logged.
#[derive(Debug)]
pub(super) enum Job {
    Up(Up),
    Down(Down),
    Counters(Counters),
    Route(Route),
    Rules(rules::Install),
    RuleCounters(rules::Count),
    Tor(Asked),
}

#[derive(Debug)]
pub(super) struct Up {
    waiting: VecDeque<Name>,
    current: Option<(Name, Instant)>,
    started: Vec<Name>,
    /// Why it failed; over once everything that it had started has ended.
    failed: Option<Problems>,
    reply: Option<Reply>,
}

#[derive(Debug)]
pub(super) struct Down {
    names: Vec<Name>,
    asked: BTreeSet<Name>,
    reply: Option<Reply>,
}

#[derive(Debug)]
pub(super) struct Counters {
    name: Name,
    found: Vec<(String, u64)>,
    vmm_open: bool,
    guest_open: bool,
    /// A torvm's gateway program has yet to answer.
    program_open: bool,
    deadline: Instant,
    reply: Reply,
}

impl Job {
    /// Stops everything, for nobody in particular.
    pub(super) fn stop_all(plan: &Plan) -> Self {
        let names = plan.machines.iter().map(|m| m.name.clone()).collect();
        Self::Down(Down { names, asked: BTreeSet::new(), reply: None })
    }
}

pub(super) fn progress(reply: Option<&Reply>, text: String) {
    tracing::info!("{text}");
    if let Some(reply) = reply {
        // A user who went away is no reason to stop.
        let _ = reply.send((Answer::Progress { text }, None));
    }
}

pub(super) fn finish(reply: Option<&Reply>, result: Result<Outcome, Problems>) {
    if let Err(problems) = &result {
        tracing::warn!("{problems}");
    }
    if let Some(reply) = reply {
        let answer = result.map_or_else(Answer::Failed, Answer::Done);
        let _ = reply.send((answer, None));
    }
}

impl Supervisor {
    /// Starts domains and what is above them; all when none is named.
    pub(super) fn up(
        &mut self,
        domains: &[Name],
        reply: Option<&Reply>,
    ) -> Result<Option<Outcome>, Problems> {
        self.reload()?;
        let mut wanted = BTreeSet::new();
        for name in domains {
            self.plan.machine(name).ok_or_else(|| unknown(name))?;
            wanted.extend(self.plan.chain(name));
        }
        let all = domains.is_empty();
        let order = self.plan.machines.iter().map(|m| &m.name).filter(|n| all || wanted.contains(n));
        let waiting: VecDeque<Name> = order.cloned().collect();
        if waiting.is_empty() {
            let what = self.settings.config_dir.display().to_string();
            return Err(
                Problem::new(what, "holds no domain files", "write a NAME.toml for each domain").into()
            );
        }
        self.jobs.push(Job::Up(Up {
            waiting,
            current: None,
            started: Vec::new(),
            failed: None,
            reply: reply.cloned(),
        }));
        Ok(None)
    }

    /// Starts the domains that ask for it; called once.
    pub fn autostart(&mut self) {
        if let Err(problems) = self.reload() {
            return tracing::error!("{problems}");
        }
        let names: Vec<Name> =
            self.plan.machines.iter().filter(|m| m.autostart).map(|m| m.name.clone()).collect();
        if !names.is_empty()
            && let Err(problems) = self.up(&names, None)
        {
            tracing::error!("{problems}");
        }
    }

    pub(super) fn down(
        &mut self,
        domains: &[Name],
        users: Users,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        for name in domains {
            self.runtimes.get(name).ok_or_else(|| unknown(name))?;
        }
        let names: Vec<Name> =
            if domains.is_empty() { self.runtimes.keys().cloned().collect() } else { domains.to_vec() };
        if users == Users::Refuse {
            for name in &names {
                let below = self.plan.below(name).into_iter();
                let using: Vec<String> = below
                    .filter(|n| !names.contains(n) && self.is_active(n))
                    .map(|n| n.to_string())
                    .collect();
                if !using.is_empty() {
                    let why = format!("{} would lose the network", using.join(", "));
                    let remedy = "take them down as well, or add --force to leave them running offline";
                    return Err(Problem::new(name.to_string(), why, remedy).into());
                }
            }
        }
        self.jobs.push(Job::Down(Down { names, asked: BTreeSet::new(), reply: Some(reply.clone()) }));
        Ok(None)
    }

    pub(super) fn is_active(&self, name: &Name) -> bool {
        self.runtimes.get(name).is_some_and(|r| r.state.is_active())
    }

    pub(super) fn counters(&mut self, name: &Name, reply: &Reply) -> Result<Option<Outcome>, Problems> {
        self.running(name)?;
        self.ask(name, What::Stats, &[], Purpose::Counters);
        let guest_open = self.ask_guest_counters(name);
        let program_open = self.ask_program_counters(name);
        let deadline = Instant::now() + COUNTERS;
        let (name, reply) = (name.clone(), reply.clone());
        self.jobs.push(Job::Counters(Counters {
            name,
            found: Vec::new(),
            vmm_open: true,
            guest_open,
            program_open,
            deadline,
            reply,
        }));
        Ok(None)
    }

    pub(super) fn counters_from_vmm(&mut self, name: &Name, counters: &[(String, u64)]) {
        for job in self.counter_jobs(name) {
            job.vmm_open = false;
            let named = counters.iter().map(|(n, v)| (format!("vmm.{}", crate::vmm::clean(n)), *v));
            job.found.extend(named.take(MAX_COUNTERS));
        }
    }

    pub(super) fn counters_from_guest(&mut self, name: &Name, counters: &[(String, u64)], more: bool) {
        for job in self.counter_jobs(name) {
            let room = MAX_COUNTERS.saturating_sub(job.found.len());
            job.found.extend(counters.iter().take(room).cloned());
            job.guest_open = more && room > 0;
        }
    }

    /// A torvm's gateway program told its counters.
    pub(super) fn counters_from_program(
        &mut self,
        name: &Name,
        counters: &[(heapless::String<40>, u64)],
        more: bool,
    ) {
        for job in self.counter_jobs(name) {
            let room = MAX_COUNTERS.saturating_sub(job.found.len());
            let named = counters.iter().map(|(n, v)| (format!("gateway.{}", crate::vmm::clean(n)), *v));
            job.found.extend(named.take(room));
            job.program_open = more && room > 0;
        }
    }

    fn counter_jobs(&mut self, name: &Name) -> impl Iterator<Item = &mut Counters> {
        self.jobs.iter_mut().filter_map(move |job| match job {
            Job::Counters(job) if job.name == *name => Some(job),
            _ => None,
        })
    }

    /// Takes every job as far as it goes.
    pub(super) fn advance_jobs(&mut self, now: Instant) {
        let mut kept = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            kept.extend(match job {
                Job::Up(job) => self.advance_up(job, now).map(Job::Up),
                Job::Down(job) => self.advance_down(job).map(Job::Down),
                Job::Counters(job) => advance_counters(job, now).map(Job::Counters),
                Job::Route(job) => self.advance_route(job, now).map(Job::Route),
                Job::Rules(job) => self.advance_install(job, now).map(Job::Rules),
                Job::Tor(job) => self.advance_asked(job, now).map(Job::Tor),
                Job::RuleCounters(job) => rules::advance_count(job, now).map(Job::RuleCounters),
            });
        }
        kept.append(&mut self.jobs);
        self.jobs = kept;
    }

    fn advance_up(&mut self, mut job: Up, now: Instant) -> Option<Up> {
        loop {
            if job.failed.is_some() {
                return self.await_unwound(job);
            }
            let Some((name, deadline)) = job.current.clone() else {
                let Some(name) = job.waiting.pop_front() else {
                    finish(job.reply.as_ref(), Ok(Outcome::Done));
                    return None;
                };
                match self.begin_up(&name, &mut job) {
                    Ok(()) => job.current = Some((name, now + self.settings.times.ready)),
                    Err(problems) => self.unwind(&mut job, problems),
                }
                continue;
            };
            match self.up_state(&name, now >= deadline) {
                Ok(Readiness::Ready) => {
                    progress(job.reply.as_ref(), format!("{name} is up"));
                    job.current = None;
                }
                Ok(Readiness::NotYet) => return Some(job),
                Err(problem) => self.unwind(&mut job, problem.into()),
            }
        }
    }

    fn begin_up(&mut self, name: &Name, job: &mut Up) -> Result<(), Problems> {
        let state = self.runtimes.get(name).map_or(State::Stopped, |r| r.state);
        match state {
            State::Stopping(_) => {
                Err(Problem::new(name.to_string(), "is being stopped", "wait until it has ended").into())
            }
            State::Starting | State::Running | State::Condemned | State::Restarting(_) => Ok(()),
            State::Stopped | State::Failed => {
                progress(job.reply.as_ref(), format!("starting {name}"));
                if let Some(runtime) = self.runtimes.get_mut(name) {
                    (runtime.restarts, runtime.reason) = (0, None);
                    runtime.budget = super::budget::Budget::default();
                }
                job.started.push(name.clone());
                self.start(name)
            }
        }
    }

    fn up_state(&self, name: &Name, late: bool) -> Result<Readiness, Problem> {
        let remedy = format!("bulkhead logs {name}");
        let Some(runtime) = self.runtimes.get(name) else { return Err(unknown(name)) };
        let reason = runtime.reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
        match runtime.state {
            State::Failed | State::Stopped | State::Stopping(_) => {
                Err(Problem::new(name.to_string(), format!("ended while it was started: {reason}"), remedy))
            }
            _ if self.is_ready(name) == Readiness::Ready => Ok(Readiness::Ready),
            _ if late => {
                let what =
                    if self.links_up(name) { "it has not said that it runs" } else { "its links are not up" };
                let seconds = self.settings.times.ready.as_secs();
                Err(Problem::new(name.to_string(), format!("is not ready after {seconds} s: {what}"), remedy))
            }
            _ => Ok(Readiness::NotYet),
        }
    }

    /// Stops what a failed start had started, and nothing else.
    fn unwind(&mut self, job: &mut Up, problems: Problems) {
        for name in job.started.iter().rev() {
            let Some(runtime) = self.runtimes.get_mut(name) else { continue };
            if let Some(vmm) = &runtime.vmm {
                runtime.state = State::Stopping(Instant::now());
                vmm.kill();
            } else if runtime.state.is_active() {
                runtime.state = State::Failed;
            }
        }
        job.failed = Some(problems);
    }

    fn await_unwound(&self, mut job: Up) -> Option<Up> {
        if job.started.iter().any(|name| self.is_active(name)) {
            return Some(job);
        }
        finish(job.reply.as_ref(), Err(job.failed.take().unwrap_or_default()));
        None
    }

    fn advance_down(&mut self, mut job: Down) -> Option<Down> {
        let active: Vec<Name> = job.names.iter().filter(|n| self.is_active(n)).cloned().collect();
        if active.is_empty() {
            finish(job.reply.as_ref(), Ok(Outcome::Done));
            return None;
        }
        for name in &active {
            let below = self.plan.below(name);
            if !job.asked.contains(name) && !active.iter().any(|n| below.contains(n)) {
                progress(job.reply.as_ref(), format!("stopping {name}"));
                job.asked.insert(name.clone());
                self.stop(name);
            }
        }
        Some(job)
    }
}

fn advance_counters(job: Counters, now: Instant) -> Option<Counters> {
    if (job.vmm_open || job.guest_open || job.program_open) && now < job.deadline {
        return Some(job);
    }
    let _ = job.reply.send((Answer::Done(Outcome::Counters(job.found)), None));
    None
}
