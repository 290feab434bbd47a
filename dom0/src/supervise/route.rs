//! Another domain above an AppVM, while it runs.
//!
//! First the link to the old one is cut at both ends, and the old one forgets the client, which ends its connections. Only
//! when that has been heard, or when there is nobody left to hear it, does the AppVM get its link to the new one. It keeps
//! its interface, hardware address and addresses.

use super::jobs::{Job, finish, progress};
use super::runtime::Fence;
use super::{Reply, Supervisor, unknown};
use crate::domain::{At, Domains, Kind, check, edit, file};
use crate::name::Name;
use crate::plan;
use crate::problem::{Problem, Problems};
use crate::protocol::Outcome;
use std::time::Instant;

/// Numbers of pings that are not signs of life have this bit.
const FENCE: u64 = 1 << 63;

/// An AppVM on its way from one domain to another.
#[derive(Debug)]
pub(super) struct Route {
    name: Name,
    via: Option<Name>,
    /// The domain that was above, its port, and the number of the ping behind the last word to it.
    old: Option<(Name, u8, u64)>,
    /// When the new link is waited for no longer; `None`: the old one is not gone yet.
    deadline: Option<Instant>,
    reply: Reply,
}

impl Supervisor {
    /// Whether an AppVM is cut off and not linked anew yet: a process that is started now would have no interface.
    pub(super) fn is_between(&self, name: &Name) -> bool {
        let is_it = |job: &Job| matches!(job, Job::Route(job) if job.name == *name && job.deadline.is_none());
        self.jobs.iter().any(is_it)
    }

    pub(super) fn route(
        &mut self,
        name: &Name,
        via: Option<Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.reload()?;
        let domain = self.domains.get(name).ok_or_else(|| unknown(name))?;
        let fail = |why: String, remedy: &str| Err(Problem::new(name.to_string(), why, remedy).into());
        if domain.kind.value != Kind::Appvm {
            let why = format!("is a {}: only AppVMs go another way while they run", domain.kind.value);
            return fail(why, "stop it and change `netvm` in its file");
        }
        if self.jobs.iter().any(|job| matches!(job, Job::Route(job) if job.name == *name)) {
            return fail("is on its way to another domain already".to_owned(), "wait until it has arrived");
        }
        let path = domain.file.clone();
        let mut wanted = self.domains.clone();
        reroute(&mut wanted, name, via.as_ref());
        // Who was made anonymous while it runs is so for this at once; who no longer is remains so until its next start.
        let tag = file::read(&path)?.anonymous;
        if let Some(domain) = wanted.get_mut(name).filter(|_| tag.value) {
            domain.anonymous = tag;
        }
        check::all(&wanted)?;
        edit::netvm(&path, via.as_ref())?;
        let old = self.plan.machine(name).and_then(|m| Some((m.netvm.clone()?, m.client.as_ref()?.0)));
        if old.as_ref().map(|(above, _)| above) == via.as_ref() {
            progress(Some(reply), format!("{name}: nothing to change"));
            return Ok(Some(Outcome::Done));
        }
        let running = self.runtimes.get(name).filter(|r| r.vmm.is_some());
        let Some(runtime) = running else {
            self.reload()?;
            return Ok(Some(Outcome::Done));
        };
        if !runtime.has_vif {
            progress(
                Some(reply),
                format!(
                    "{name} was started without a network interface: saved, takes effect at its next start"
                ),
            );
            return Ok(Some(Outcome::Done));
        }
        self.replan(name, None);
        let old = old.map(|(above, port)| {
            progress(Some(reply), format!("cutting {name} off from {above}"));
            let ping = self.forget_behind_fence(&above, port);
            (above, port, ping)
        });
        let (name, reply) = (name.clone(), reply.clone());
        self.jobs.push(Job::Route(Route { name, via, old, deadline: None, reply }));
        Ok(None)
    }

    /// Puts `via` above a domain in the description that is in force, and plans anew.
    fn replan(&mut self, name: &Name, via: Option<&Name>) {
        reroute(&mut self.domains, name, via);
        self.rules.forget(name);
        self.plan = plan::plan(&self.domains, self.settings.places(), &mut self.numbering);
        self.rewire();
    }

    /// Tells a domain that a client is gone, and asks for a word that it has heard this.
    fn forget_behind_fence(&mut self, above: &Name, port: u8) -> u64 {
        let ping = FENCE | self.next_id;
        self.next_id += 1;
        self.say_forget(above, port);
        self.say_ping(above, ping);
        if let Some(runtime) = self.runtimes.get_mut(above) {
            runtime.fences.insert(ping, Fence::Sent);
        }
        ping
    }

    /// Takes the AppVM to its new place once it is gone from the old one.
    pub(super) fn advance_route(&mut self, mut job: Route, now: Instant) -> Option<Route> {
        if job.deadline.is_none() {
            if self.is_being_cut(&job.name) || !self.has_forgotten(&mut job) {
                return Some(job);
            }
            self.replan(&job.name, job.via.as_ref());
            job.deadline = Some(now + self.settings.times.ready);
            // The new link is begun before the next look.
            return Some(job);
        }
        let reply = Some(&job.reply);
        let Some(via) = &job.via else {
            progress(reply, format!("{} is offline", job.name));
            finish(reply, Ok(Outcome::Done));
            return None;
        };
        let running = self.runtimes.get(via).is_some_and(|r| r.state.is_active());
        if !running || !self.is_active(&job.name) {
            progress(reply, format!("saved; {} has no network until {via} runs", job.name));
            finish(reply, Ok(Outcome::Done));
            return None;
        }
        if self.is_linked(&job.name) {
            progress(reply, format!("{} goes through {via}", job.name));
            finish(reply, Ok(Outcome::Done));
            return None;
        }
        if job.deadline.is_some_and(|deadline| now < deadline) {
            return Some(job);
        }
        let why = format!("is cut off from what was above it, but its link to {via} is not up yet");
        let problem = Problem::new(job.name.to_string(), why, format!("bulkhead logs {via}"));
        finish(reply, Err(problem.into()));
        None
    }

    /// Whether the old domain has forgotten the client, or is no more. Should its control link have been made anew it is
    /// told again.
    fn has_forgotten(&mut self, job: &mut Route) -> bool {
        let Some((above, port, ping)) = job.old.clone() else { return true };
        let Some(runtime) = self.runtimes.get(&above).filter(|r| r.vmm.is_some()) else { return true };
        match runtime.fences.get(&ping) {
            Some(Fence::Passed) => true,
            Some(Fence::Sent) => false,
            None => {
                let ping = self.forget_behind_fence(&above, port);
                job.old = Some((above, port, ping));
                false
            }
        }
    }
}

fn reroute(domains: &mut Domains, name: &Name, via: Option<&Name>) {
    if let Some(domain) = domains.get_mut(name) {
        let line = domain.netvm.as_ref().map_or(0, |at| at.line);
        domain.netvm = via.map(|value| At { value: value.clone(), line });
    }
}
