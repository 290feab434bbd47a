//! Users' requests: answered at once, or made into [`super::jobs`].

use super::jobs::{finish, progress};
use super::runtime::Readiness;
use super::wiring::Purpose;
use super::{Reply, Supervisor, unknown};
use crate::console::log_path;
use crate::domain::Kind;
use crate::name::{Bdf, Name};
use crate::nic;
use crate::problem::{Problem, Problems};
use crate::protocol::{Accept, Answer, Outcome, Request};
use bulkhead_agent::frame::{self, ToAgent};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vmm_api::message::What;

/// Jobs at most.
const MAX_JOBS: usize = 64;

impl Supervisor {
    /// Deals with a request, or makes a job of it.
    pub(super) fn request(&mut self, request: Request, text: Option<String>, reply: &Reply) {
        if self.stopping || self.jobs.len() >= MAX_JOBS {
            let why = if self.stopping { "it is stopping" } else { "too many requests are under way" };
            let problem = Problem::new("bulkheadd", why, "try again later");
            return finish(Some(reply), Err(problem.into()));
        }
        let result = match request {
            Request::Up { domains } => self.up(&domains, Some(reply)),
            Request::Down { domains, users } => self.down(&domains, users, reply),
            Request::Status => self.reload_quietly().map(|()| Some(Outcome::Status(self.status()))),
            Request::Counters { domain } => self.counters(&domain, reply),
            Request::Console { domain } => self.console(&domain, reply),
            Request::Logs { domain } => self.logs(&domain, reply),
            Request::Run { domain } => self.run_in(&domain, reply),
            Request::RulesRead { domain } => self.rules_read(&domain, reply),
            Request::RulesInstall { domain, expected } => {
                self.rules_install(&domain, &expected, &text.unwrap_or_default(), reply)
            }
            Request::RulesCounters { domain } => self.rule_counters(&domain, reply),
            Request::RulesLog { domain } => self.rules_log(&domain, reply),
            Request::TorStatus { torvm } => self.tor_status(torvm.as_ref(), reply),
            Request::TorNewIdentity { torvm, client, streams } => {
                self.tor_new_identity(torvm.as_ref(), client.as_ref(), streams, reply)
            }
            Request::TorCircuits { torvm } => self.tor_circuits(torvm.as_ref(), reply),
            Request::TorBridges { torvm } => self.tor_bridges(torvm.as_ref(), reply),
            Request::TorIsolation { torvm } => self.tor_isolation(torvm.as_ref(), reply),
            Request::TorChange { torvm, change } => self.tor_change(torvm.as_ref(), &change, reply),
            Request::TorLog { torvm } => self.tor_log(torvm.as_ref(), reply),
            Request::Route { domain, via } => self.route(&domain, via, reply),
            Request::NicAssign { bdf, domain, accept } => self.nic_assign(bdf, &domain, accept, reply),
            Request::NicUnassign { bdf } => self.nic_unassign(bdf, reply),
        };
        match result {
            Ok(None) => {}
            Ok(Some(outcome)) => finish(Some(reply), Ok(outcome)),
            Err(problems) => finish(Some(reply), Err(problems)),
        }
    }

    /// Reads the domain files so that new ones show; while one is wrong, the old plan is shown.
    pub(super) fn reload_quietly(&mut self) -> Result<(), Problems> {
        match self.reload() {
            Err(problems) if self.plan.machines.is_empty() => Err(problems),
            _ => Ok(()),
        }
    }

    pub(super) fn running(&self, name: &Name) -> Result<(), Problems> {
        let runtime = self.runtimes.get(name).ok_or_else(|| unknown(name))?;
        if runtime.vmm.is_some() {
            return Ok(());
        }
        let phase = runtime.state.phase(Readiness::NotYet).word();
        Err(Problem::new(
            name.to_string(),
            format!("is not running ({phase})"),
            format!("start it: bulkhead up {name}"),
        )
        .into())
    }

    fn console(&self, name: &Name, reply: &Reply) -> Result<Option<Outcome>, Problems> {
        self.running(name)?;
        let (ours, theirs) = stream(name)?;
        let attached = self.runtimes.get(name).and_then(|r| r.vmm.as_ref()).map(|v| v.console.attach(ours));
        match attached {
            Some(Ok(())) => {
                let _ = reply.send((Answer::Done(Outcome::Stream), Some(theirs)));
                Ok(None)
            }
            _ => {
                Err(Problem::new(name.to_string(), "its console takes nobody more", "leave another console")
                    .into())
            }
        }
    }

    fn logs(&self, name: &Name, reply: &Reply) -> Result<Option<Outcome>, Problems> {
        self.runtimes.get(name).ok_or_else(|| unknown(name))?;
        let path = log_path(&self.settings.log_dir, name);
        let file = std::fs::File::open(&path).map_err(|e| {
            let remedy = "a domain has a log once it was started";
            Problem::new(path.display().to_string(), format!("cannot be read: {e}"), remedy)
        })?;
        let _ = reply.send((Answer::Done(Outcome::Stream), Some(file.into())));
        Ok(None)
    }

    fn run_in(&mut self, name: &Name, reply: &Reply) -> Result<Option<Outcome>, Problems> {
        self.running(name)?;
        if let Some(kind) = self.plan.machine(name).map(|m| m.kind).filter(|k| *k != Kind::Appvm) {
            let why = format!("is a {kind}: a unikernel, in which nothing can be run");
            return Err(Problem::new(name.to_string(), why, "name an AppVM").into());
        }
        let (ours, theirs) = stream(name)?;
        let purpose = Purpose::Stream { reply: reply.clone(), stream: theirs };
        self.ask(name, What::VsockConnect { port: bulkhead_agent::PORT }, &[ours], purpose);
        Ok(None)
    }

    /// Asks an AppVM's agent to power off, for a guest that does not hear its power button.
    pub(super) fn say_farewell(&mut self, name: &Name) {
        let Ok((ours, theirs)) = stream(name) else { return };
        let Ok(copy) = ours.try_clone() else { return };
        if frame::write(&mut std::fs::File::from(copy), &ToAgent::PowerOff).is_ok() {
            if let Some(runtime) = self.runtimes.get_mut(name) {
                runtime.farewell = Some(ours);
            }
            self.ask(name, What::VsockConnect { port: bulkhead_agent::PORT }, &[theirs], Purpose::Note);
        }
    }

    fn nic_assign(
        &mut self,
        bdf: Bdf,
        name: &Name,
        accept: Accept,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.reload()?;
        let domain = self.domains.get(name).ok_or_else(|| unknown(name))?;
        if self.is_active(name) {
            let remedy = format!("bulkhead down {name}");
            return Err(
                Problem::new(name.to_string(), "is running; its devices are fixed at start", remedy).into()
            );
        }
        let others = self.domains.values().filter(|d| d.name != *name);
        if let Some(owner) =
            others.filter(|d| d.devices.iter().any(|x| x.value == bdf)).map(|d| &d.name).next()
        {
            let remedy = format!("bulkhead nic unassign {bdf}");
            return Err(Problem::new(bdf.to_string(), format!("belongs to {owner}"), remedy).into());
        }
        let host = nic::Host::real(&self.settings);
        let notes = nic::assign::assign(&host, bdf, domain, accept)?;
        for note in notes {
            progress(Some(reply), note);
        }
        self.reload()?;
        Ok(Some(Outcome::Done))
    }

    fn nic_unassign(&mut self, bdf: Bdf, reply: &Reply) -> Result<Option<Outcome>, Problems> {
        self.reload()?;
        let owner = self.domains.values().find(|d| d.devices.iter().any(|x| x.value == bdf));
        if let Some(owner) = owner.filter(|d| self.is_active(&d.name)) {
            let remedy = format!("bulkhead down {}", owner.name);
            return Err(
                Problem::new(bdf.to_string(), format!("{} is running with it", owner.name), remedy).into()
            );
        }
        let host = nic::Host::real(&self.settings);
        for note in nic::assign::unassign(&host, bdf, owner)? {
            progress(Some(reply), note);
        }
        self.reload()?;
        Ok(Some(Outcome::Done))
    }
}

fn stream(name: &Name) -> Result<(OwnedFd, OwnedFd), Problem> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| Problem::new(name.to_string(), format!("no stream to it: {e}"), "try again later"))
}
