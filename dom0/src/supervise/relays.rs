//! The relays that torvms may reach: documents in, relays that were verified out, rules computed anew.
//!
//! What takes time runs in threads of its own and comes back as an input: the helper, and writing to disk. A torvm that
//! sends documents without end is asked about ever more seldom; it never gets more than one process at a time.

use super::{Input, Supervisor};
use crate::name::Name;
use crate::rules::now as unix_now;
use crate::rules::store::Store;
use crate::settings::Settings;
use crate::tor::relays::Relays;
use crate::tor::relays::documents::{Documents, Pair, Piece};
use crate::tor::relays::helper::{Failure, Helper};
use crate::tor::relays::{Set, Superseded};
use control::message::ToTor;
use control::tor::GatewayCommand;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The helper takes seconds at most; in an emulated machine some more.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two verifications for one torvm, at least; doubled with every one that brings nothing new up to [`SELDOM`].
const PAUSE: Duration = Duration::from_secs(5);
/// As seldom is verified what a torvm sends that never sends what is believed.
const SELDOM: Duration = Duration::from_secs(600);

/// Everything that is known of relays.
#[derive(Debug)]
pub(super) struct RelayBook {
    kept: Store,
    helper: Helper,
    public: Public,
    standings: BTreeMap<Name, Standing>,
}

/// Where the public network is entered.
#[derive(Debug)]
enum Public {
    /// Nobody needed it yet.
    Unknown,
    /// The helper failed for this reason; it is asked again at this time.
    Failed(Instant, String),
    Asked,
    Known(BTreeSet<SocketAddr>),
}

/// Where the relays of one torvm stand.
#[derive(Debug, Default)]
struct Standing {
    /// What was verified; `None`: nobody looked on the disk yet.
    relays: Option<Relays>,
    documents: Documents,
    /// Documents that are to be verified.
    waiting: Option<Pair>,
    /// Whether some are being verified.
    is_busy: bool,
    /// Which ones were believed last.
    believed: Option<u64>,
    /// Before that nothing is verified.
    not_before: Option<Instant>,
    /// How often in a row nothing new came of documents.
    failures: u32,
    /// Why the last documents are not believed.
    problem: Option<String>,
    /// When its documents came last, or were asked for, or could first have come.
    asked: Option<Instant>,
    /// When the rules change by themselves, in seconds since 1970.
    changes: Option<u64>,
}

/// What a thread found out.
#[derive(Debug)]
pub enum Found {
    /// What became of a torvm's documents.
    Relays {
        /// The torvm.
        name: Name,
        /// The authorities that they were verified against.
        authorities: Vec<String>,
        /// Names the documents.
        documents: u64,
        /// The relays, or why there are none.
        outcome: Result<Set, Failure>,
    },
    /// Where the public network is entered.
    Entrances(Result<BTreeSet<SocketAddr>, Failure>),
}

impl RelayBook {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            kept: Store::of(&settings.state_dir, "relays"),
            helper: Helper { program: settings.lib_dir.join("bulkhead-relays"), patience: PATIENCE },
            public: Public::Unknown,
            standings: BTreeMap::new(),
        }
    }

    /// The domain's process is gone, and with it half a document.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some(standing) = self.standings.get_mut(name) {
            (standing.documents, standing.waiting, standing.asked) = (Documents::default(), None, None);
        }
    }

    /// Forgets every domain but these.
    pub(super) fn keep_only(&mut self, stays: impl Fn(&Name) -> bool) {
        self.standings.retain(|name, _| stays(name));
    }

    fn standing(&mut self, name: &Name) -> &mut Standing {
        self.standings.entry(name.clone()).or_default()
    }

    /// The relays that a torvm may reach now, as far as they were verified.
    pub(super) fn verified(&self, name: &Name) -> BTreeSet<SocketAddr> {
        let relays = self.standings.get(name).and_then(|s| s.relays.as_ref());
        relays.map(|relays| relays.at(unix_now())).unwrap_or_default()
    }

    /// Where the public network is entered, once that is known.
    pub(super) fn public(&self) -> BTreeSet<SocketAddr> {
        if let Public::Known(entrances) = &self.public { entrances.clone() } else { BTreeSet::new() }
    }

    /// What is known of a torvm's network.
    pub(super) fn relays(&self, name: &Name) -> Option<&Relays> {
        self.standings.get(name)?.relays.as_ref()
    }

    /// What was kept of a torvm's network; nothing when it is another's.
    fn kept(&self, name: &Name, authorities: &[String]) -> Relays {
        let text = match self.kept.read(name) {
            Ok(Some(text)) => text,
            Ok(None) => return Relays::new(authorities.to_vec()),
            Err(problem) => {
                tracing::error!(%name, "the relays that were kept cannot be used: {problem}");
                return Relays::new(authorities.to_vec());
            }
        };
        Relays::of_text(&text, authorities).unwrap_or_else(|why| {
            tracing::warn!(%name, file = self.kept.what(name), "not used: it {why}");
            Relays::new(authorities.to_vec())
        })
    }
}

impl Supervisor {
    /// A torvm's network is that of these authorities; `is_public`: and it begins with arti's own list.
    pub(super) fn relays_of_network(&mut self, name: &Name, authorities: &[String], is_public: bool) {
        let known = self.relays.relays(name);
        if known.is_none_or(|known| known.authorities() != authorities) {
            let kept = self.relays.kept(name, authorities);
            *self.relays.standing(name) = Standing { relays: Some(kept), ..Standing::default() };
            self.note_next_change(name);
        }
        if is_public {
            self.ask_for_entrances();
        }
    }

    /// Why a torvm may not reach all relays that it should, in one line.
    pub(super) fn relays_problem(&self, name: &Name) -> Option<String> {
        let standing = self.relays.standings.get(name)?;
        if let Some(why) = &standing.problem {
            return Some(format!("the relays of its consensus stay out of reach: {why}"));
        }
        match &self.relays.public {
            Public::Failed(_, why) if self.begins_in_public(name) => {
                Some(format!("the public Tor network has no entrance: {why}"))
            }
            _ => None,
        }
    }

    fn ask_for_entrances(&mut self) {
        let is_due = match &self.relays.public {
            Public::Unknown => true,
            Public::Failed(again, _) => *again <= Instant::now(),
            Public::Asked | Public::Known(_) => false,
        };
        if is_due {
            let helper = self.relays.helper.clone();
            self.relays.public = Public::Asked;
            if !self.in_thread(move || Found::Entrances(helper.bootstrap())) {
                self.relays.public = Public::Unknown;
            }
        }
    }

    fn in_thread(&self, work: impl FnOnce() -> Found + Send + 'static) -> bool {
        let outbox = self.outbox.clone();
        // Nobody listens any more when the daemon ends.
        let work = move || drop(outbox.send(Input::Relays(Box::new(work()))));
        match std::thread::Builder::new().name("relays".into()).spawn(work) {
            Ok(_) => true,
            Err(e) => {
                tracing::error!("no thread for bulkhead-relays: {e}");
                false
            }
        }
    }

    /// A piece of a document that a torvm's program uses.
    pub(super) fn relays_piece(&mut self, name: &Name, piece: &Piece<'_>) {
        let standing = self.relays.standing(name);
        standing.asked = Some(Instant::now());
        match standing.documents.add(piece) {
            Ok(Some(pair)) if standing.believed == Some(hash(&pair)) => {}
            Ok(Some(pair)) => standing.waiting = Some(pair),
            Ok(None) => {}
            Err(_) => tracing::debug!(%name, "a piece of a document does not fit"),
        }
    }

    /// Has documents verified, computes rules anew whose relays change with time, asks for documents.
    pub(super) fn relays_due(&mut self, now: Instant) {
        let names: Vec<Name> = self.relays.standings.keys().cloned().collect();
        let unix = unix_now();
        for name in names {
            self.verify_due(&name, now);
            let standing = self.relays.standing(&name);
            if standing.changes.is_some_and(|at| at <= unix) {
                self.note_next_change(&name);
                self.renew_rules(&name);
            }
            self.documents_due(&name, now, unix);
        }
        if matches!(self.relays.public, Public::Failed(..)) {
            self.ask_for_entrances();
        }
    }

    fn verify_due(&mut self, name: &Name, now: Instant) {
        let helper = self.relays.helper.clone();
        let standing = self.relays.standing(name);
        let is_due = !standing.is_busy && standing.not_before.is_none_or(|at| at <= now);
        let Some(relays) = standing.relays.as_ref().filter(|_| is_due) else { return };
        let authorities = relays.authorities().to_vec();
        let Some(pair) = standing.waiting.take() else { return };
        standing.is_busy = true;
        let of = name.clone();
        let started = self.in_thread(move || {
            let outcome = helper.verify(&pair, &authorities, unix_now());
            Found::Relays { name: of, authorities, documents: hash(&pair), outcome }
        });
        self.relays.standing(name).is_busy = started;
    }

    /// Asks a torvm for its documents when none came for long and what is known is not the newest; sooner when the last
    /// ones were not believed, for then it may have been the clock, or the helper was missing.
    fn documents_due(&mut self, name: &Name, now: Instant, unix: u64) {
        let Some(runtime) = self.runtimes.get(name).filter(|r| r.hello.is_some()) else { return };
        let Some(control) = runtime.control.as_ref() else { return };
        let standing = self.relays.standings.entry(name.clone()).or_default();
        let is_fresh = |relays: &Relays| relays.newest().is_some_and(|newest| unix <= newest.fresh_until);
        let since = *standing.asked.get_or_insert(now);
        let mut patience = self.settings.times.documents;
        if standing.problem.is_some() {
            patience = patience.min(pause(standing.failures));
        }
        let has_waited = now.saturating_duration_since(since) >= patience;
        if has_waited && !standing.relays.as_ref().is_some_and(is_fresh) {
            standing.asked = Some(now);
            control.send(&ToTor::Gateway(GatewayCommand::GetDocuments));
        }
    }

    /// A thread has found something out.
    pub(super) fn relays_found(&mut self, found: Found) {
        match found {
            Found::Relays { name, authorities, documents, outcome } => {
                let known = self.relays.relays(&name).map(Relays::authorities);
                // The domain may be another, of another network, by now.
                if known == Some(&authorities) {
                    self.relays.standing(&name).is_busy = false;
                    self.verified(&name, documents, outcome);
                }
            }
            Found::Entrances(Ok(entrances)) => {
                tracing::info!(relays = entrances.len(), "entrances of the public Tor network are known");
                self.relays.public = Public::Known(entrances);
                let names: Vec<Name> = self.relays.standings.keys().cloned().collect();
                names.iter().for_each(|name| self.renew_rules(name));
            }
            Found::Entrances(Err(why)) => {
                tracing::error!("entrances of the public Tor network are not known: {why}");
                self.relays.public = Public::Failed(Instant::now() + 12 * PAUSE, why.to_string());
            }
        }
    }

    fn verified(&mut self, name: &Name, documents: u64, outcome: Result<Set, Failure>) {
        let now = unix_now();
        let standing = self.relays.standing(name);
        let taken = outcome.map_err(|why| why.to_string()).and_then(|set| {
            let (relays, until) = (set.relays.len(), set.valid_until);
            let known = standing.relays.get_or_insert_default();
            let before = known.clone();
            known.take_in(set, now).map_err(|old: Superseded| old.to_string())?;
            Ok((relays, until, (*known != before).then(|| known.to_text())))
        });
        match taken {
            Ok((relays, valid_until, text)) => {
                tracing::info!(%name, relays, valid_until, "consensus verified");
                (standing.believed, standing.problem) = (Some(documents), None);
                // The same consensus in ever other words costs a process each, too: it comes ever more seldom.
                standing.failures = if text.is_some() { 0 } else { standing.failures.saturating_add(1) };
                if let Some(text) = text {
                    self.keep(name, text);
                    self.note_next_change(name);
                    self.renew_rules(name);
                }
            }
            Err(why) => {
                tracing::error!(%name, "its consensus opens nothing: {why}");
                standing.problem = Some(why);
                standing.failures = standing.failures.saturating_add(1);
            }
        }
        let standing = self.relays.standing(name);
        standing.not_before = Some(Instant::now() + pause(standing.failures));
    }

    /// Writes down what was verified.
    fn keep(&self, name: &Name, text: String) {
        let (store, name) = (self.relays.kept.clone(), name.clone());
        let write = move || {
            if let Err(problem) = store.write(&name, Some(&text)) {
                tracing::error!(%name, "relays are not kept: {problem}");
            }
        };
        if let Err(e) = std::thread::Builder::new().name("relays".into()).spawn(write) {
            tracing::error!("no thread to keep relays: {e}");
        }
    }

    fn note_next_change(&mut self, name: &Name) {
        let standing = self.relays.standing(name);
        standing.changes = standing.relays.as_ref().and_then(|relays| relays.next_change(unix_now()));
    }
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.min(10)).min(SELDOM)
}

fn hash(pair: &Pair) -> u64 {
    // Not a defence: a torvm that makes two documents look the same has the second one overlooked.
    let mut hasher = DefaultHasher::new();
    pair.hash(&mut hasher);
    hasher.finish()
}
