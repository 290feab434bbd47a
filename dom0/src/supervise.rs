//! The supervisor: makes the plan true and keeps it so.
//!
//! One thread owns all state and never waits for a domain: it takes [`Input`]s one by one (an event of a VMM,
//! a control message, a user's request) and, between them, does what is due. Processes live in [`crate::vmm`],
//! links are plumbed in `wiring`, users' requests are `jobs`. Everything that a VMM or a domain says is an
//! allegation: an answer to nothing, a message out of place, silence: each ends that process, and the
//! restart budget decides what comes after.

mod budget;
mod control;
mod jobs;
mod readiness;
mod relays;
mod requests;
mod route;
mod rules;
mod runtime;
mod status;
mod tor;
mod wiring;

use crate::control_link::Report;
use crate::domain::{Domains, Kind, check, file};
use crate::name::Name;
use crate::plan::{self, Machine, Numbering, Plan};
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, Request};
use crate::settings::Settings;
use crate::tor::store;
use crate::vmm::{Said, Vmm, clean};
use crate::{console, nic, spawn};
use jobs::Job;
pub use relays::Found;
use relays::RelayBook;
use rules::RuleBook;
use runtime::{Readiness, Runtime, State};
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tor::TorBook;
use vmm_api::message::{Ended, Event, What};
use wiring::{Pending, Wire};

/// Inputs that may wait; a VMM that says more is made to wait itself.
const INBOX: usize = 256;
/// Longest time between two looks at what is due.
const TICK: Duration = Duration::from_millis(200);

/// Where answers to a user's request go.
pub type Reply = Sender<(Answer, Option<OwnedFd>)>;

/// Something for the supervisor to deal with.
#[derive(Debug)]
pub enum Input {
    /// A VMM process said something.
    Vmm {
        /// The domain.
        name: Name,
        /// Which of its processes.
        run: u64,
        /// What.
        said: Said,
    },
    /// Something came over a control link.
    Control {
        /// The domain.
        name: Name,
        /// The epoch of the link.
        epoch: u64,
        /// What.
        report: Report,
    },
    /// A user asks for something, with a text where one is needed.
    Request(Request, Option<String>, Reply),
    /// A thread found something out about relays.
    Relays(Box<Found>),
    /// Stop everything, then end.
    Shutdown,
}

/// The supervisor.
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    inbox: Receiver<Input>,
    outbox: SyncSender<Input>,
    domains: Domains,
    plan: Plan,
    numbering: Numbering,
    runtimes: BTreeMap<Name, Runtime>,
    wires: Vec<Wire>,
    pending: BTreeMap<u64, Pending>,
    next_id: u64,
    epoch: u64,
    jobs: Vec<Job>,
    rules: RuleBook,
    tor: TorBook,
    relays: RelayBook,
    stopping: bool,
    /// When it last looked what is due.
    looked: Instant,
}

impl Supervisor {
    /// A supervisor of nothing yet, and the way to talk to it.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, SyncSender<Input>) {
        let (outbox, inbox) = sync_channel(INBOX);
        let (rules, relays) = (RuleBook::new(&settings), RelayBook::new(&settings));
        let tor = TorBook::new(&settings);
        let supervisor = Self {
            settings,
            inbox,
            outbox: outbox.clone(),
            domains: Domains::new(),
            plan: Plan::default(),
            numbering: Numbering::default(),
            runtimes: BTreeMap::new(),
            wires: Vec::new(),
            pending: BTreeMap::new(),
            next_id: 1,
            epoch: 0,
            jobs: Vec::new(),
            rules,
            tor,
            relays,
            stopping: false,
            looked: Instant::now(),
        };
        (supervisor, outbox)
    }

    /// Works until [`Input::Shutdown`] has been carried out.
    pub fn run(mut self) {
        loop {
            match self.inbox.recv_timeout(TICK) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.do_what_is_due();
            if self.stopping && self.jobs.is_empty() && self.runtimes.values().all(|r| r.vmm.is_none()) {
                return;
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Vmm { name, run, said } => {
                // What an earlier process says late concerns nobody.
                if self.runtimes.get(&name).is_some_and(|r| r.run == run && r.vmm.is_some()) {
                    match said {
                        Said::Event(event) => self.event(&name, event),
                        Said::Gone { ended, why } => self.gone(&name, ended.as_ref(), &why),
                    }
                }
            }
            Input::Control { name, epoch, report } => self.report(&name, epoch, report),
            Input::Request(request, text, reply) => self.request(request, text, &reply),
            Input::Relays(found) => self.relays_found(*found),
            Input::Shutdown => self.shut_down(),
        }
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        self.run_due(now);
        self.forgive(now);
        self.ping_due(now);
        self.answers_due(now);
        self.wire_up();
        self.note_ready();
        self.expire_rules(crate::rules::now());
        self.clocks_due(now);
        self.relays_due(now);
        self.advance_jobs(now);
    }

    /// Reads the domain files again. What runs keeps the description that it was started with.
    fn reload(&mut self) -> Result<(), Problems> {
        let mut domains = file::read_all(&self.settings.config_dir)?;
        for (name, domain) in &self.domains {
            if self.runtimes.get(name).is_some_and(|r| r.state.is_active()) {
                domains.insert(name.clone(), domain.clone());
            }
        }
        check::all(&domains)?;
        let plan = plan::plan(&domains, self.settings.places(), &mut self.numbering);
        self.forget_strangers(&plan);
        (self.plan, self.domains) = (plan, domains);
        self.runtimes.retain(|name, r| r.state.is_active() || self.domains.contains_key(name));
        for name in self.domains.keys() {
            self.runtimes.entry(name.clone()).or_default();
        }
        self.rewire();
        Ok(())
    }

    /// What is known of a name belongs to another domain when the name is of another kind in the next plan, or of none:
    /// rules that an AppVM had must not become a torvm's.
    fn forget_strangers(&mut self, next: &Plan) {
        let before = &self.plan;
        let stays = |name: &Name| {
            let kind = before.machine(name).map(|m| m.kind);
            kind.is_some() && kind == next.machine(name).map(|m| m.kind)
        };
        self.rules.keep_only(stays);
        self.tor.keep_only(stays);
        self.relays.keep_only(stays);
    }

    /// Starts a domain's process.
    fn start(&mut self, name: &Name) -> Result<(), Problems> {
        let machine = self.plan.machine(name).ok_or_else(|| unknown(name))?.clone();
        if let Some(domain) = self.domains.get(name) {
            Problems(check::files(domain, &self.settings.lib_dir)).into_result()?;
        }
        self.devices_ready(&machine)?;
        if machine.kind == Kind::Torvm {
            self.can_be_configured(name)?;
            store::ready(&plan::store(&self.settings.state_dir, name))?;
        }
        let spawned = spawn::spawn(&self.settings, &machine)?;
        let log = console::log_path(&self.settings.log_dir, name);
        let runtime = self.runtimes.entry(name.clone()).or_default();
        runtime.run += 1;
        let (outbox, of, run) = (self.outbox.clone(), name.clone(), runtime.run);
        let report = move |said| outbox.send(Input::Vmm { name: of.clone(), run, said }).is_ok();
        let vmm = Vmm::watch(spawned, &log, report).map_err(|e| {
            Problem::new(
                log.display().to_string(),
                format!("cannot be set up: {e}"),
                "check the directory and its space",
            )
        })?;
        runtime.vmm = Some(vmm);
        runtime.has_vif = !machine.vifs.is_empty();
        runtime.fences.clear();
        runtime.state = State::Starting;
        runtime.started = Some(Instant::now());
        runtime.was_ready = false;
        (runtime.hello, runtime.uplink, runtime.heard, runtime.asked) = (None, None, None, None);
        tracing::info!(%name, run, "process started");
        Ok(())
    }

    /// A netvm needs its card bound to vfio-pci; after a reboot of this machine it is not.
    fn devices_ready(&self, machine: &Machine) -> Result<(), Problems> {
        if machine.kind == Kind::Netvm && machine.devices.is_empty() && machine.tap.is_none() {
            let remedy = format!("`bulkhead nic list`, then `bulkhead nic assign BDF {}`", machine.name);
            return Err(
                Problem::new(machine.name.to_string(), "the netvm has no network card", remedy).into()
            );
        }
        let host = nic::Host::real(&self.settings);
        for device in &machine.devices {
            nic::bind::ready(&host, *device, machine.strict_reset)?;
        }
        Ok(())
    }

    fn event(&mut self, name: &Name, event: Event) {
        match event {
            Event::Running => {
                let Some(runtime) = self.runtimes.get_mut(name) else { return };
                if runtime.state == State::Starting {
                    runtime.state = State::Running;
                } else if runtime.state == State::Running {
                    self.fault(name, "its VMM said twice that it runs");
                }
            }
            Event::Done { id } => self.answered(name, id, Ok(Vec::new())),
            Event::Failed { id, error } => self.answered(name, id, Err(clean(&error))),
            Event::Stats { id, counters } => self.answered(name, id, Ok(counters)),
            // The watcher keeps this for `Said::Gone`.
            Event::Ended(_) => {}
        }
    }

    /// Ends a process that does what it must not; what comes after is decided when it is gone.
    fn fault(&mut self, name: &Name, why: &str) {
        tracing::warn!(%name, why, "ended for a fault");
        if let Some(runtime) = self.runtimes.get_mut(name) {
            if matches!(runtime.state, State::Starting | State::Running) {
                (runtime.state, runtime.reason) = (State::Condemned, Some(why.to_owned()));
            }
            if let Some(vmm) = &runtime.vmm {
                vmm.kill();
            }
        }
    }

    /// A process is gone: cleans up after it and decides whether it is replaced.
    fn gone(&mut self, name: &Name, ended: Option<&Ended>, why: &str) {
        self.unplug(name);
        self.rules_without(name);
        self.tor.forget(name);
        self.relays.forget(name);
        let now = Instant::now();
        let kind = self.plan.machine(name).map(|m| m.kind);
        let Some(runtime) = self.runtimes.get_mut(name) else { return };
        (runtime.vmm, runtime.control, runtime.hello, runtime.uplink) = (None, None, None, None);
        runtime.farewell = None;
        runtime.fences.clear();
        let faulted = runtime.reason.take_if(|_| runtime.state == State::Condemned);
        let why = faulted.unwrap_or_else(|| why.to_owned());
        let replace = kind.is_some_and(Kind::is_driver) || ended == Some(&Ended::Rebooted);
        if matches!(runtime.state, State::Stopping(_)) || self.stopping {
            (runtime.state, runtime.reason) = (State::Stopped, None);
            tracing::info!(%name, "stopped");
            self.forget_client(name);
            return;
        }
        let pause = if replace && (runtime.was_ready || runtime.restarts > 0) {
            runtime.budget.take(now)
        } else {
            None
        };
        runtime.state = match pause {
            Some(pause) => State::Restarting(now + pause),
            None if ended == Some(&Ended::PoweredOff) && !replace => State::Stopped,
            None => State::Failed,
        };
        tracing::warn!(%name, why, state = runtime.state.phase(Readiness::NotYet).word(), "ended by itself");
        runtime.reason = Some(why);
        if !runtime.state.is_active() {
            self.forget_client(name);
        }
    }

    fn run_due(&mut self, now: Instant) {
        let due: Vec<Name> =
            self.runtimes.iter().filter(|(_, r)| is_due(r.state, now)).map(|(n, _)| n.clone()).collect();
        for name in due {
            let Some(runtime) = self.runtimes.get_mut(&name) else { continue };
            if matches!(runtime.state, State::Stopping(_)) {
                tracing::warn!(%name, "did not end in time: killed");
                runtime.state = State::Stopping(now + Duration::from_secs(5));
                if let Some(vmm) = &runtime.vmm {
                    vmm.kill();
                }
                continue;
            }
            let reason = runtime.reason.clone();
            if self.is_between(&name) {
                continue;
            }
            if let Some(runtime) = self.runtimes.get_mut(&name) {
                runtime.restarts += 1;
            }
            if let Err(problems) = self.start(&name) {
                tracing::error!(%name, "cannot be restarted: {problems}");
                let runtime = self.runtimes.entry(name).or_default();
                runtime.state = State::Failed;
                runtime.reason = Some(format!("{}; not restarted: {problems}", reason.unwrap_or_default()));
            }
        }
    }

    /// Asks a domain to end.
    fn stop(&mut self, name: &Name) {
        let times = self.settings.times;
        let kind = self.plan.machine(name).map_or(Kind::Appvm, |m| m.kind);
        self.say_stop(name, kind);
        let Some(runtime) = self.runtimes.get_mut(name) else { return };
        let patience = if kind.is_driver() { times.stop } else { times.power_off };
        match runtime.state {
            State::Starting | State::Condemned => runtime.state = State::Stopping(Instant::now()),
            State::Running => runtime.state = State::Stopping(Instant::now() + patience),
            State::Restarting(_) | State::Failed => (runtime.state, runtime.reason) = (State::Stopped, None),
            State::Stopped | State::Stopping(_) => return,
        }
        if runtime.vmm.is_some() {
            self.ask(name, What::PowerButton, &[], wiring::Purpose::Note);
            if kind == Kind::Appvm {
                self.say_farewell(name);
            }
        }
    }

    fn shut_down(&mut self) {
        if !self.stopping {
            tracing::info!("stopping every domain");
            self.stopping = true;
            self.jobs.clear();
            self.jobs.push(Job::stop_all(&self.plan));
        }
    }
}

fn is_due(state: State, now: Instant) -> bool {
    matches!(state, State::Stopping(at) | State::Restarting(at) if at <= now)
}

fn unknown(name: &Name) -> Problem {
    let remedy =
        "`bulkhead status` lists the domains; each is a file NAME.toml in the configuration directory";
    Problem::new(name.to_string(), "there is no such domain", remedy)
}
