//! Users' questions about torvms: answered from what is known, or by the gateway program.

use super::super::jobs::{Job, finish, progress};
use super::super::runtime::State;
use super::super::{Reply, Supervisor, unknown};
use crate::domain::Kind;
use crate::enclosed;
use crate::name::Name;
use crate::plan::Machine;
use crate::problem::{Problem, Problems};
use crate::protocol::{Answer, OldStreams, Outcome};
use crate::tor::configuration::{differ_at_most_in_isolation, isolation_of};
use crate::tor::gateway::relay;
use crate::tor::{journal, view};
use crate::vmm::clean;
use control::message::InForce;
use control::tor::{self, GatewayCommand};
use serde::Serialize;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long a gateway program is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Circuits that are shown at most.
const MAX_CIRCUITS: usize = 4096;

/// A question that a gateway program has yet to answer.
#[derive(Debug)]
pub(in super::super) struct Asked {
    name: Name,
    question: Question,
    deadline: Instant,
    reply: Reply,
}

#[derive(Debug)]
enum Question {
    Circuits {
        found: Vec<view::Circuit>,
        complete: bool,
    },
    NewIdentity {
        client: Option<Ipv4Addr>,
        closed: Option<u32>,
    },
    /// Whether the program's run with this number keeps streams apart so.
    Isolation {
        wanted: Box<tor::Isolation>,
        run: u32,
        told: Option<Told>,
    },
}

/// What a program told of its isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Wanted,
    Other,
}

/// Encloses an answer.
fn enclose(reply: &Reply, value: &impl Serialize) -> Result<(), Problem> {
    let fail = |why: String| {
        Problem::new("bulkheadd", format!("its answer cannot be passed on: {why}"), "try again")
    };
    let text = serde_json::to_string(value).map_err(|e| fail(e.to_string()))?;
    let memory = enclosed::put(&text).map_err(|e| fail(e.to_string()))?;
    let _ = reply.send((Answer::Done(Outcome::Stream), Some(memory)));
    Ok(())
}

impl Supervisor {
    /// The torvm that is meant: the one that is named, or the only one.
    pub(super) fn torvm(&mut self, named: Option<&Name>) -> Result<Name, Problems> {
        self.reload_quietly()?;
        let torvms: Vec<&Machine> = self.plan.machines.iter().filter(|m| m.kind == Kind::Torvm).collect();
        if let Some(name) = named {
            let machine = self.plan.machine(name).ok_or_else(|| unknown(name))?;
            if machine.kind != Kind::Torvm {
                let why = format!("is a {}, not a torvm", machine.kind);
                return Err(Problem::new(name.to_string(), why, "name a torvm").into());
            }
            return Ok(name.clone());
        }
        match torvms.as_slice() {
            [only] => Ok(only.name.clone()),
            [] => Err(Problem::new("tor", "there is no torvm", "write a domain file of kind torvm").into()),
            several => {
                let names: Vec<&str> = several.iter().map(|m| m.name.as_str()).collect();
                let remedy = format!("say which one with --domain: {}", names.join(", "));
                Err(Problem::new("tor", "there are several torvms", remedy).into())
            }
        }
    }

    pub(in super::super) fn tor_status(
        &mut self,
        torvm: Option<&Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let name = self.torvm(torvm)?;
        let state = self.runtimes.get(&name).map_or(State::Stopped, |r| r.state).phase(self.is_ready(&name));
        let configured = self.domains.get(&name).map(|d| d.tor.value.clone()).unwrap_or_default();
        let behind = self.plan.machines.iter().filter(|m| m.netvm.as_ref() == Some(&name));
        let clients = behind.map(|m| m.name.clone()).collect();
        let relays = self.relays_known(&name);
        let standing = self.tor.standing(&name);
        let gateway = &standing.gateway;
        let status = view::TorStatus {
            state,
            program: gateway.program.clone(),
            runs: gateway.runs,
            version: gateway.version.clone(),
            problem: standing.problem.as_ref().map(|p| format!("{}: {}", p.what, p.why)),
            bootstrap: gateway.bootstrap(),
            guards: gateway.guards(),
            bridges: !configured.bridges.is_empty(),
            clients,
            streams: gateway.streams(),
            relays,
            domain: name,
        };
        enclose(reply, &status)?;
        Ok(None)
    }

    pub(in super::super) fn tor_bridges(
        &mut self,
        torvm: Option<&Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let domain = self.torvm(torvm)?;
        let bridges = self.domains.get(&domain).map(|d| d.tor.value.bridges.clone()).unwrap_or_default();
        enclose(reply, &view::Bridges { domain, bridges })?;
        Ok(None)
    }

    pub(in super::super) fn tor_isolation(
        &mut self,
        torvm: Option<&Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let domain = self.torvm(torvm)?;
        let isolation = self.domains.get(&domain).map(|d| d.tor.value.isolation.clone()).unwrap_or_default();
        enclose(reply, &view::Isolated { domain, isolation })?;
        Ok(None)
    }

    pub(in super::super) fn tor_log(
        &mut self,
        torvm: Option<&Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let name = self.torvm(torvm)?;
        let file = crate::journal::to_read(&journal::path(&self.settings.log_dir, &name))?;
        let _ = reply.send((Answer::Done(Outcome::Stream), Some(file.into())));
        Ok(None)
    }

    pub(in super::super) fn tor_circuits(
        &mut self,
        torvm: Option<&Name>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let name = self.torvm(torvm)?;
        let question = Question::Circuits { found: Vec::new(), complete: false };
        self.ask_tor(name, GatewayCommand::GetCircuits, question, reply)
    }

    pub(in super::super) fn tor_new_identity(
        &mut self,
        torvm: Option<&Name>,
        client: Option<&Name>,
        streams: OldStreams,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        let (name, address) = match client {
            None => (self.torvm(torvm)?, None),
            Some(client) => self.torvm_above(torvm, client)?,
        };
        let streams = match streams {
            OldStreams::Keep => tor::OldStreams::Keep,
            OldStreams::Close => tor::OldStreams::Close,
        };
        let command = GatewayCommand::NewIdentity { client: address, streams };
        self.ask_tor(name, command, Question::NewIdentity { client: address, closed: None }, reply)
    }

    /// The torvm above an AppVM, and the AppVM's address.
    fn torvm_above(
        &mut self,
        named: Option<&Name>,
        client: &Name,
    ) -> Result<(Name, Option<Ipv4Addr>), Problems> {
        self.reload_quietly()?;
        let machine = self.plan.machine(client).ok_or_else(|| unknown(client))?;
        let above = machine.netvm.clone().filter(|_| machine.kind == Kind::Appvm);
        let is_torvm = |name: &Name| self.plan.machine(name).is_some_and(|m| m.kind == Kind::Torvm);
        let above = above.filter(|above| is_torvm(above) && named.is_none_or(|named| named == above));
        match (above, &machine.client) {
            (Some(above), Some((_, described))) => Ok((above, Some(described.v4))),
            _ => {
                let why = named.map_or("is not behind a torvm".to_owned(), |n| format!("is not behind {n}"));
                Err(Problem::new(client.to_string(), why, "name an AppVM whose netvm is a torvm").into())
            }
        }
    }

    fn ask_tor(
        &mut self,
        name: Name,
        command: GatewayCommand,
        question: Question,
        reply: &Reply,
    ) -> Result<Option<Outcome>, Problems> {
        self.running(&name)?;
        let runs = self.tor.standing(&name).gateway.program == view::Program::Running;
        if !runs || !self.command_tor(&name, command) {
            let why = "its gateway program does not run";
            return Err(Problem::new(name.to_string(), why, "look at `bulkhead tor status`").into());
        }
        self.await_answer(name, question, reply);
        Ok(None)
    }

    fn await_answer(&mut self, name: Name, question: Question, reply: &Reply) {
        let (deadline, reply) = (Instant::now() + PATIENCE, reply.clone());
        self.jobs.push(Job::Tor(Asked { name, question, deadline, reply }));
    }

    /// Tells a program that runs what streams are kept apart by from now on; it is answered for when the program has
    /// said so. `false`: nothing of the kind can be done, and nothing was.
    pub(super) fn isolate(&mut self, name: &Name, reply: &Reply) -> bool {
        let isolation = self.domains.get(name).and_then(|d| isolation_of(&d.tor.value.isolation));
        let standing = self.tor.standing(name);
        let sent = standing.sent.as_ref().map(|(_, text)| text.as_str());
        let only_that = match (sent, standing.wanted.as_ref()) {
            (Some(sent), Some(wanted)) => differ_at_most_in_isolation(sent, &wanted.text),
            _ => false,
        };
        let (program, run) = (standing.gateway.program.clone(), standing.gateway.runs);
        let Some(wanted) = isolation.filter(|_| only_that && program == view::Program::Running) else {
            return false;
        };
        // Should the program end now, it comes back with it.
        self.send_configuration(name, InForce::NextStart);
        self.command_tor(name, GatewayCommand::SetIsolation(wanted.clone()));
        self.await_answer(
            name.clone(),
            Question::Isolation { wanted: Box::new(wanted), run, told: None },
            reply,
        );
        true
    }

    /// A gateway program told what it keeps streams apart by: the answer to the oldest question, as it answers in order.
    pub(super) fn isolation_told(&mut self, name: &Name, isolation: &tor::Isolation) {
        let oldest = self.questions(name).find_map(|question| match question {
            Question::Isolation { wanted, told, .. } if told.is_none() => Some((wanted, told)),
            _ => None,
        });
        if let Some((wanted, told)) = oldest {
            *told = Some(if **wanted == *isolation { Told::Wanted } else { Told::Other });
        }
    }

    /// What has come of a change of isolation; `None`: nothing yet.
    fn isolated(&self, job: &Asked, now: Instant) -> Option<Result<&'static str, &'static str>> {
        let Question::Isolation { run, told, .. } = &job.question else { return None };
        let began_anew = self.tor.standings.get(&job.name).is_none_or(|s| s.gateway.runs != *run);
        match told {
            _ if began_anew => Some(Ok("saved; its program has started again with it meanwhile")),
            Some(Told::Wanted) => {
                Some(Ok("saved; connections that are opened from now on are kept apart by it"))
            }
            Some(Told::Other) => Some(Err("did not take it")),
            None if now < job.deadline => None,
            None => Some(Err("did not answer in time")),
        }
    }

    /// Answers once the program has; one that does not take over another isolation is started again with it.
    pub(in super::super) fn advance_asked(&mut self, job: Asked, now: Instant) -> Option<Asked> {
        let Question::Isolation { .. } = &job.question else { return advance_question(job, now) };
        let text = match self.isolated(&job, now) {
            None => return Some(job),
            Some(Ok(text)) => text.to_owned(),
            Some(Err(why)) => {
                self.restart_program(&job.name);
                format!("saved; its program {why}, so it starts again with it: open connections end")
            }
        };
        progress(Some(&job.reply), format!("{}: {text}", job.name));
        finish(Some(&job.reply), Ok(Outcome::Done));
        None
    }

    /// A gateway program told a page of its circuits.
    pub(super) fn circuits_told(&mut self, name: &Name, circuits: &[tor::Circuit], more: bool) {
        let shown: Vec<view::Circuit> = circuits.iter().map(|circuit| self.circuit(circuit)).collect();
        for question in self.questions(name) {
            if let Question::Circuits { found, complete } = question
                && !*complete
            {
                let room = MAX_CIRCUITS.saturating_sub(found.len());
                found.extend(shown.iter().take(room).cloned());
                *complete = !more || found.len() >= MAX_CIRCUITS;
            }
        }
    }

    fn circuit(&self, circuit: &tor::Circuit) -> view::Circuit {
        let whose = |m: &&Machine| m.client.as_ref().is_some_and(|(_, c)| c.v4 == circuit.client);
        let owner = self.plan.machines.iter().find(whose).map(|m| m.name.to_string());
        view::Circuit {
            client: owner.unwrap_or_else(|| circuit.client.to_string()),
            id: clean(&circuit.id),
            identity: circuit.identity,
            hops: circuit.hops.iter().map(|hop| hop.as_ref().map(relay)).collect(),
            streams: circuit.streams,
        }
    }

    /// A gateway program made a new identity.
    pub(super) fn new_identity_told(&mut self, name: &Name, whose: Option<Ipv4Addr>, cut: u32) {
        let waiting = self.questions(name).find_map(|question| match question {
            Question::NewIdentity { client, closed } if *client == whose && closed.is_none() => Some(closed),
            _ => None,
        });
        if let Some(closed) = waiting {
            *closed = Some(cut);
        }
    }

    fn questions(&mut self, name: &Name) -> impl Iterator<Item = &mut Question> {
        self.jobs.iter_mut().filter_map(move |job| match job {
            Job::Tor(asked) if asked.name == *name => Some(&mut asked.question),
            _ => None,
        })
    }
}

/// Answers once the program has.
fn advance_question(job: Asked, now: Instant) -> Option<Asked> {
    let sent = match &job.question {
        Question::Circuits { found, complete: true } => enclose(&job.reply, found),
        Question::NewIdentity { closed: Some(closed), .. } => {
            enclose(&job.reply, &view::NewIdentity { closed: *closed })
        }
        _ if now < job.deadline => return Some(job),
        _ => {
            let why = "its gateway program did not answer in time";
            Err(Problem::new(
                job.name.to_string(),
                why,
                "look at `bulkhead tor status` and `bulkhead tor log`",
            ))
        }
    };
    if let Err(problem) = sent {
        finish(Some(&job.reply), Err(problem.into()));
    }
    None
}
