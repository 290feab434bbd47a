//! Torvms: what they are told at first and from time to time, and what is known of their gateway programs.

mod change;
mod questions;

pub(super) use questions::Asked;

use super::Supervisor;
use crate::domain::Kind;
use crate::domain::tor::Tor;
use crate::name::Name;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::tor::configuration::{Configuration, configuration};
use crate::tor::gateway::{Gateway, News};
use crate::tor::journal::Journal;
use crate::tor::relays::documents::{Piece, Which};
use crate::tor::{rules, view};
use crate::vmm::clean;
use control::message::{InForce, Program, ToTor};
use control::tor::{GatewayCommand, GatewayReport};
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Everything that is known of torvms.
#[derive(Debug)]
pub(super) struct TorBook {
    journal: Journal,
    standings: BTreeMap<Name, Standing>,
    /// Number of the latest configuration that was sent to anyone.
    generation: u32,
}

/// Where one torvm stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The last configuration that could be made.
    wanted: Option<Configuration>,
    /// Which table of the domain file it was made of.
    table: Option<Tor>,
    /// Why the domain file's is not what is wanted.
    problem: Option<Problem>,
    /// What this run of the domain was sent.
    sent: Option<(u32, String)>,
    /// When it was told the time.
    told: Option<Instant>,
    /// What it says.
    pub(super) gateway: Gateway,
}

impl TorBook {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { journal: Journal::new(&settings.log_dir), standings: BTreeMap::new(), generation: 0 }
    }

    /// The domain's process is gone.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some(standing) = self.standings.get_mut(name) {
            (standing.sent, standing.told, standing.gateway) = (None, None, Gateway::default());
        }
    }

    /// Forgets every domain but these.
    pub(super) fn keep_only(&mut self, stays: impl Fn(&Name) -> bool) {
        self.standings.retain(|name, _| stays(name));
    }

    pub(super) fn standing(&mut self, name: &Name) -> &mut Standing {
        self.standings.entry(name.clone()).or_default()
    }
}

impl Supervisor {
    /// First words to a torvm: who it is, what time it is, what its program is to do.
    pub(super) fn greet_tor(&mut self, name: &Name) {
        let uplink = self.plan.machine(name).and_then(|m| m.client.clone());
        let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) else { return };
        if let Some((_, client)) = uplink {
            control.send(&ToTor::Uplink(client));
        }
        self.tell_time(name);
        self.configure(name);
    }

    /// Makes a torvm's configuration anew and sends it; the same again is not sent twice to one run of the domain under
    /// another number, so that it does not start its program again for nothing.
    pub(super) fn configure(&mut self, name: &Name) {
        self.take_up_configuration(name);
        self.send_configuration(name, InForce::Now);
    }

    /// Sends what is wanted.
    fn send_configuration(&mut self, name: &Name, from: InForce) {
        let generation = self.tor.generation.wrapping_add(1);
        let standing = self.tor.standings.entry(name.clone()).or_default();
        let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) else { return };
        let Some(text) = standing.wanted.as_ref().map(|wanted| wanted.text.clone()) else { return };
        let (generation, text) = match standing.sent.take() {
            Some(sent) if sent.1 == text => sent,
            _ => {
                self.tor.generation = generation;
                (generation, text)
            }
        };
        ToTor::configuration(generation, &text, from).for_each(|piece| control.send(&piece));
        tracing::info!(%name, generation, bytes = text.len(), "configuration sent");
        standing.sent = Some((generation, text));
    }

    /// Whether a torvm has a configuration made of its table, or one can be made: without any its start would be for
    /// nothing, and one made of another table may lack the bridges that this one has.
    pub(super) fn can_be_configured(&self, name: &Name) -> Result<(), Problem> {
        let table = self.tor.standings.get(name).and_then(|s| s.table.as_ref());
        match self.domains.get(name) {
            Some(domain) if table != Some(&domain.tor.value) => configuration(&domain.tor.value).map(drop),
            _ => Ok(()),
        }
    }

    /// Makes what a torvm's domain file says what is wanted; of other domains there is nothing to take up.
    pub(super) fn take_up_configuration(&mut self, name: &Name) {
        let Some(domain) = self.domains.get(name).filter(|d| d.kind.value == Kind::Torvm) else { return };
        let made = configuration(&domain.tor.value);
        let table = domain.tor.value.clone();
        let standing = self.tor.standing(name);
        match made {
            Ok(made) => {
                let (authorities, is_public) = (made.authorities.clone(), made.begins_in_public());
                (standing.wanted, standing.table, standing.problem) = (Some(made), Some(table), None);
                self.relays_of_network(name, &authorities, is_public);
            }
            Err(problem) => {
                tracing::error!(%name, "its configuration cannot be made: {problem}");
                standing.problem = Some(problem);
            }
        }
    }

    /// The firewall rules of a torvm: where its program begins, and the relays that were verified.
    pub(super) fn tor_rules(&self, name: &Name) -> String {
        let wanted = self.tor.standings.get(name).and_then(|s| s.wanted.as_ref());
        // A firewallvm asks before the torvm was greeted.
        let made = match (wanted, self.domains.get(name)) {
            (None, Some(domain)) => configuration(&domain.tor.value).ok(),
            _ => None,
        };
        let Some(configuration) = wanted.or(made.as_ref()) else { return String::new() };
        let mut relays = configuration.entrances.clone();
        if !configuration.bridges {
            relays.extend(self.relays.verified(name));
        }
        if configuration.begins_in_public() {
            relays.extend(self.relays.public());
        }
        rules::text(&relays)
    }

    /// Whether a torvm's program begins with the relays that are built into it.
    pub(super) fn begins_in_public(&self, name: &Name) -> bool {
        let wanted = self.tor.standings.get(name).and_then(|s| s.wanted.as_ref());
        wanted.is_some_and(Configuration::begins_in_public)
    }

    /// Why connections cannot go through a torvm yet, in one line.
    pub(super) fn tor_obstacle(&self, name: &Name) -> Option<String> {
        let standing = self.tor.standings.get(name);
        if let Some(problem) = standing.and_then(|s| s.problem.as_ref()) {
            return Some(format!("its configuration cannot be made: {}: {}", problem.what, problem.why));
        }
        match standing.map(|s| &s.gateway.program) {
            Some(view::Program::Running) => {}
            Some(view::Program::Ended(how)) => return Some(format!("its gateway program ended: {how}")),
            Some(view::Program::Refused(why)) => {
                return Some(format!("its gateway program cannot be started: {why}"));
            }
            Some(view::Program::Unknown) | None => {
                return Some("its gateway program does not run yet".to_owned());
            }
        }
        let bootstrap = standing.and_then(|s| s.gateway.bootstrap());
        match bootstrap {
            Some(bootstrap) if bootstrap.ready => None,
            Some(bootstrap) => {
                let why = bootstrap.blocked.map(|why| format!(", {why}")).unwrap_or_default();
                Some(format!("on the way into the Tor network: {} %{why}", bootstrap.percent))
            }
            None => Some("its gateway program has not said how far it is".to_owned()),
        }
    }

    /// What is known of the relays that a torvm may reach.
    fn relays_known(&self, name: &Name) -> view::Relays {
        let allowed: usize = self.tor_rules(name).lines().map(hosts).sum();
        let uses_bridges =
            self.tor.standings.get(name).is_some_and(|s| s.wanted.as_ref().is_some_and(|w| w.bridges));
        let newest = self.relays.relays(name).and_then(|relays| relays.newest());
        let is_in_use = !uses_bridges && !self.relays.verified(name).is_empty();
        view::Relays {
            allowed: u32::try_from(allowed).unwrap_or(u32::MAX),
            verified_until: newest.filter(|_| is_in_use).map(|set| set.valid_until),
            problem: self.relays_problem(name),
        }
    }

    fn tell_time(&mut self, name: &Name) {
        let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) else { return };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        control.send(&ToTor::Clock { unix_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX) });
        self.tor.standing(name).told = Some(Instant::now());
    }

    /// Tells torvms the time from time to time: nobody else would.
    pub(super) fn clocks_due(&mut self, now: Instant) {
        let every = self.settings.times.clock;
        let is_due = |s: &Standing| s.told.is_some_and(|at| now.saturating_duration_since(at) >= every);
        let due: Vec<Name> =
            self.tor.standings.iter().filter(|(_, s)| is_due(s)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.tell_time(&name);
        }
    }

    /// A torvm said what its program does.
    pub(super) fn tor_program(&mut self, name: &Name, program: Program) {
        let news = self.tor.standing(name).gateway.program(program);
        self.note(name, &news);
    }

    /// A gateway program said something.
    pub(super) fn tor_report(&mut self, name: &Name, report: GatewayReport) {
        match report {
            GatewayReport::Started { version } => {
                self.tor.standing(name).gateway.version = Some(clean(&version));
                self.command_tor(name, GatewayCommand::GetStatus);
            }
            GatewayReport::Status(status) => {
                let news = self.tor.standing(name).gateway.status(status, crate::rules::now());
                if let Some(news) = news {
                    self.note(name, &news);
                }
            }
            GatewayReport::FirstByte(times) => self.tor.standing(name).gateway.first_byte(times),
            GatewayReport::Log { level, text } => {
                self.tor.journal.write(name, level, &text);
            }
            GatewayReport::Counters { counters, more } => self.counters_from_program(name, &counters, more),
            GatewayReport::Circuits { circuits, more } => self.circuits_told(name, &circuits, more),
            GatewayReport::NewIdentity { client, closed } => self.new_identity_told(name, client, closed),
            GatewayReport::Isolation(told) => self.isolation_told(name, &told),
            // The domain file says this, and the program was told it from there.
            GatewayReport::Bridges { .. } => {}
            GatewayReport::Document { kind, generation, total, offset, bytes } => {
                let of = Which { kind, generation };
                self.relays_piece(name, &Piece { of, total, offset, bytes: &bytes });
            }
        }
    }

    /// Keeps what became of a program; as much of it as is written down goes to the daemon's own log.
    fn note(&mut self, name: &Name, News(level, text): &News) {
        if self.tor.journal.write(name, *level, text) {
            tracing::info!(%name, "{text}");
        }
    }

    /// Asks a torvm's gateway program for its counters; `false` when there is none to ask.
    pub(super) fn ask_program_counters(&self, name: &Name) -> bool {
        let standing = self.tor.standings.get(name);
        standing.is_some_and(|s| s.gateway.program == view::Program::Running)
            && self.command_tor(name, GatewayCommand::GetCounters)
    }

    /// Ends a torvm's gateway program; it is started again with what was sent last.
    fn restart_program(&self, name: &Name) {
        if let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) {
            control.send(&ToTor::RestartProgram);
        }
    }

    /// Tells a torvm's gateway program something; `false` when there is nobody to tell.
    fn command_tor(&self, name: &Name, command: GatewayCommand) -> bool {
        let Some(control) = self.runtimes.get(name).and_then(|r| r.control.as_ref()) else { return false };
        control.send(&ToTor::Gateway(command));
        true
    }
}

/// Hosts in a line of computed rules.
fn hosts(line: &str) -> usize {
    line.split(' ').nth(1).map_or(0, |hosts| hosts.split(',').count())
}
