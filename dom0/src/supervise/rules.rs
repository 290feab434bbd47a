//! Firewall rules: which are wanted, which are in force, and how the one becomes the other.
//!
//! A client is introduced to its firewallvm together with its rules, so nothing of it passes before. What does not
//! compile changes nothing: the rules before stay, and a domain without any gets rules that drop everything.

mod count;
mod expiry;
mod install;

pub(super) use count::{Count, Page, advance_count};
pub(super) use install::Install;

use super::Supervisor;
use crate::control_link::ControlLink;
use crate::domain::Kind;
use crate::name::Name;
use crate::plan::{EndKey, Party};
use crate::problem::Problem;
use crate::rules::between::{self, Side, Whereabouts};
use crate::rules::decisions::Journal;
use crate::rules::store::Store;
use crate::rules::{Rules, Version, now};
use crate::settings::Settings;
use control::message::{Decision, ToFirewall};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sets of rules per domain that are remembered, for decisions that are reported late.
const REMEMBERED: usize = 4;

/// Everything that is known of rules.
#[derive(Debug)]
pub(super) struct RuleBook {
    store: Store,
    journal: Journal,
    standings: BTreeMap<Name, Standing>,
    /// Number of the latest set of rules that was sent to anyone.
    generation: u32,
}

/// Where one client's rules stand.
#[derive(Debug, Default)]
struct Standing {
    /// The last ones that compiled.
    wanted: Option<Arc<Rules>>,
    /// Why the file is not what is wanted.
    problem: Option<Problem>,
    /// What the firewallvm was sent last, its answer outstanding.
    sent: Option<(u32, Arc<Rules>)>,
    /// When that was.
    sent_at: Option<Instant>,
    /// What it said is in force.
    in_force: Option<(u32, Arc<Rules>)>,
    /// What it refused last, and why.
    refused: Option<(Version, String)>,
    /// What it was sent lately.
    recent: VecDeque<(u32, Arc<Rules>)>,
    /// Number of the latest set when it was introduced: an answer to that or to one before is of an earlier life.
    forgotten: u32,
}

impl RuleBook {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            store: Store::new(&settings.rules_dir),
            journal: Journal::new(&settings.log_dir),
            standings: BTreeMap::new(),
            generation: 0,
        }
    }

    /// No firewallvm enforces anything for this client any more.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some(standing) = self.standings.get_mut(name) {
            (standing.sent, standing.in_force, standing.refused) = (None, None, None);
            standing.forgotten = self.generation;
        }
    }

    /// Forgets every domain but these.
    pub(super) fn keep_only(&mut self, stays: impl Fn(&Name) -> bool) {
        self.standings.retain(|name, _| stays(name));
    }

    fn standing(&mut self, name: &Name) -> &mut Standing {
        self.standings.entry(name.clone()).or_default()
    }

    fn wanted(&self, name: &Name) -> Option<&Arc<Rules>> {
        self.standings.get(name).and_then(|s| s.wanted.as_ref())
    }
}

impl Supervisor {
    /// A firewallvm is gone: it enforces nothing any more.
    pub(super) fn rules_without(&mut self, firewall: &Name) {
        let clients: Vec<Name> = self.clients(firewall).cloned().collect();
        for client in clients {
            self.rules.forget(&client);
        }
    }

    fn clients<'s>(&'s self, firewall: &'s Name) -> impl Iterator<Item = &'s Name> {
        let here = |m: &&crate::plan::Machine| m.client.is_some() && m.netvm.as_ref() == Some(firewall);
        self.plan.machines.iter().filter(here).map(|m| &m.name)
    }

    /// A client was introduced to its firewallvm: its rules, as its file has them now, come right behind.
    pub(super) fn rules_at_introduction(&mut self, name: &Name) {
        self.rules.forget(name);
        self.take_up_configuration(name);
        if let Err(problem) = self.take_up(name) {
            if self.plan.machine(name).is_none_or(|m| m.kind == Kind::Torvm) {
                // The relays of before may be another network's, or not those of the bridges that there are now.
                self.rules.standing(name).wanted = None;
            }
            self.cannot_use(name, problem);
        }
        self.push(name);
    }

    /// A client's file cannot be used: the rules before stay, and without any everything is dropped.
    fn cannot_use(&mut self, name: &Name, problem: Problem) {
        let standing = self.rules.standing(name);
        if standing.wanted.is_none() {
            // Should not even these compile, the client has no rules, and nothing of it passes either.
            standing.wanted = Rules::drop_all(Version::of(Some(""))).ok().map(Arc::new);
        }
        let instead = instead(standing.wanted.as_ref());
        tracing::error!(%name, "{instead}, for its rules cannot be used: {problem}");
        standing.problem = Some(problem);
    }

    /// Makes a client's file what is wanted.
    fn take_up(&mut self, name: &Name) -> Result<(), Problem> {
        let file = self.rules_text(name)?;
        let rules = Rules::compile(&self.rules.store.what(name), file.as_deref(), now())?;
        for warning in self.look_around(name, &rules)? {
            tracing::warn!(%name, "{warning}");
        }
        let standing = self.rules.standing(name);
        (standing.wanted, standing.problem) = (Some(Arc::new(rules)), None);
        Ok(())
    }

    /// The relays that a torvm may reach may be others than before: computes its rules anew, and sends them if they are.
    pub(super) fn renew_rules(&mut self, name: &Name) {
        let version = |rules: Option<&Arc<Rules>>| rules.map(|rules| rules.version.clone());
        let before = version(self.rules.wanted(name));
        if before.is_none() {
            // It was not introduced to a firewallvm yet.
            return;
        }
        match self.take_up(name) {
            Ok(()) if version(self.rules.wanted(name)) == before => {}
            Ok(()) => self.push(name),
            Err(problem) => self.cannot_use(name, problem),
        }
    }

    /// The text of a domain's rules: its file's, and for a torvm what is computed.
    fn rules_text(&self, name: &Name) -> Result<Option<String>, Problem> {
        let file = self.rules.store.read(name)?;
        if self.plan.machine(name).is_none_or(|m| m.kind != Kind::Torvm) {
            return Ok(file);
        }
        if file.is_some() {
            let why =
                "a torvm's rules are computed from the relays of the Tor network, so it has no file of rules";
            return Err(Problem::new(self.rules.store.what(name), why, "remove the file"));
        }
        Ok(Some(self.tor_rules(name)))
    }

    /// Compares a domain's rules with those of the domains beside it: what speaks against them, or is worth a word.
    fn look_around(&self, name: &Name, rules: &Rules) -> Result<Vec<String>, Problem> {
        let firewall = self.plan.machine(name).and_then(|m| m.netvm.clone());
        let file = self.rules.store.what(name);
        let mine = Side { name, file: &file, policy: rules.policy() };
        let beside: Vec<(&Name, String, Arc<Rules>)> = firewall
            .iter()
            .flat_map(|f| self.clients(f))
            .filter(|other| *other != name)
            .filter_map(|other| Some((other, self.rules.store.what(other), self.rules_of(other)?)))
            .collect();
        let others: Vec<Side<'_>> =
            beside.iter().map(|(name, file, rules)| Side { name, file, policy: rules.policy() }).collect();
        if let Some(why) = between::clash(&mine, &others) {
            let remedy = "forward another port, or take the rule out of one of the two";
            return Err(Problem::new(name.to_string(), why, remedy));
        }
        let whereabouts = |other: &str| match other.parse().ok().and_then(|o| self.plan.machine(&o)) {
            Some(machine) if machine.client.is_some() && machine.netvm == firewall => Whereabouts::Here,
            Some(_) => Whereabouts::Elsewhere,
            None => Whereabouts::Nowhere,
        };
        Ok(between::warnings(&mine, &others, whereabouts))
    }

    /// The rules of a domain: those wanted, or what its file says if it was not needed yet.
    fn rules_of(&self, name: &Name) -> Option<Arc<Rules>> {
        if let Some(wanted) = self.rules.wanted(name) {
            return Some(Arc::clone(wanted));
        }
        let file = self.rules_text(name).ok()?;
        let rules = Rules::compile(&self.rules.store.what(name), file.as_deref(), now());
        rules.ok().map(Arc::new)
    }

    /// The firewallvm that enforces a client's rules now, and the client's port there.
    fn enforcer(&self, name: &Name) -> Option<(&Name, &ControlLink, u8)> {
        let machine = self.plan.machine(name)?;
        let (firewall, (port, _)) = (machine.netvm.as_ref()?, machine.client.as_ref()?);
        let end = Party::Domain(firewall.clone(), EndKey::Port(*port));
        let introduced = self.wires.iter().any(|w| w.link.upper == end && w.is_begun());
        let judges = self.plan.machine(firewall).is_some_and(|m| m.kind == Kind::Firewallvm);
        let control = self.runtimes.get(firewall).and_then(|r| r.control.as_ref());
        control.filter(|_| introduced && judges).map(|control| (firewall, control, *port))
    }

    /// Sends a client's wanted rules to its firewallvm, if it has one now.
    fn push(&mut self, name: &Name) {
        let Some(rules) = self.rules.wanted(name).cloned() else { return };
        let generation = self.rules.generation.wrapping_add(1);
        let Some((firewall, control, port)) = self.enforcer(name) else { return };
        let program = &rules.compiled.program;
        ToFirewall::rules(port, generation, program).for_each(|piece| control.send(&piece));
        tracing::info!(%name, %firewall, generation, bytes = program.len(), "rules sent");
        self.rules.generation = generation;
        let standing = self.rules.standing(name);
        standing.refused = None;
        standing.recent.push_front((generation, Arc::clone(&rules)));
        standing.recent.truncate(REMEMBERED);
        (standing.sent, standing.sent_at) = (Some((generation, rules)), Some(Instant::now()));
    }

    /// The client on a firewallvm's port.
    fn client_at(&self, firewall: &Name, port: u8) -> Option<Name> {
        let on_port = |m: &&crate::plan::Machine| {
            m.netvm.as_ref() == Some(firewall) && m.client.as_ref().is_some_and(|(p, _)| *p == port)
        };
        self.plan.machines.iter().find(on_port).map(|m| m.name.clone())
    }

    /// A firewallvm said what became of rules.
    pub(super) fn rules_answered(
        &mut self,
        firewall: &Name,
        port: u8,
        generation: u32,
        refused: Option<String>,
    ) {
        if generation > self.rules.generation {
            return self.fault(firewall, "it answered rules that were not sent");
        }
        let Some(name) = self.client_at(firewall, port) else { return };
        let standing = self.rules.standing(&name);
        let mut sent = standing.recent.iter().filter(|_| generation > standing.forgotten);
        let Some((_, rules)) = sent.find(|(sent, _)| *sent == generation).cloned() else { return };
        let is_latest = standing.sent.take_if(|(sent, _)| *sent == generation).is_some();
        if let Some(why) = refused {
            tracing::error!(%name, %firewall, generation, why, "rules refused");
            // What was replaced meanwhile is wanted by nobody.
            standing.refused = is_latest.then(|| (rules.version.clone(), why)).or(standing.refused.take());
        } else {
            tracing::info!(%name, %firewall, generation, "rules in force");
            standing.in_force = Some((generation, rules));
        }
    }

    /// A rule that says `log` decided.
    pub(super) fn rules_decided(&mut self, firewall: &Name, decision: &Decision) {
        let Some(name) = self.client_at(firewall, decision.port) else { return };
        let RuleBook { journal, standings, .. } = &mut self.rules;
        let recent = standings.get(&name).map(|s| &s.recent);
        let rules = recent.and_then(|r| r.iter().find(|(g, _)| *g == decision.generation));
        journal.write(&name, decision, rules.map(|(_, rules)| &**rules));
    }

    /// What is wrong with a domain's rules, in one line; that a firewallvm is silent after this time.
    pub(super) fn rules_problem(&self, name: &Name, patience: Duration) -> Option<String> {
        let standing = self.rules.standings.get(name)?;
        let instead = instead(standing.wanted.as_ref());
        if let Some(problem) = &standing.problem {
            return Some(format!("{instead}: {}: {}", problem.what, problem.why));
        }
        if let Some((_, why)) = &standing.refused {
            return Some(format!("the firewall refused its rules: {why}"));
        }
        let (generation, _) = standing.sent.as_ref()?;
        let waiting = standing.sent_at?.elapsed();
        let seconds = waiting.as_secs();
        let why = format!("the firewall has not acknowledged set {generation} yet, sent {seconds} s ago");
        (waiting >= patience).then_some(why)
    }
}

/// What happens to packets of a client whose file cannot be used.
fn instead(wanted: Option<&Arc<Rules>>) -> &'static str {
    if wanted.is_some_and(|rules| !rules.is_empty()) {
        "the rules before are kept"
    } else {
        "everything is dropped"
    }
}
