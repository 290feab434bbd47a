//! How far the way into the Tor network is, said whenever that changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arti_client::status::BootstrapStatus;
use arti_client::{DormantMode, TorClient};
use control::tor::{GatewayReport, Level, Status, Validity, cut};
use tokio::sync::Notify;
use tor_rtcompat::PreferredRuntime;

use crate::documents::Cache;
use crate::gateway::Gateway;
use crate::log::Clock;

/// How often the status is looked at without a sign from arti: a clock can become wrong without one.
const LOOK: Duration = Duration::from_secs(10);
/// How often, and how many times at most, arti is asked to save its guards until it has. Once they are saved in their order,
/// its minutes are soon enough for what it learns of them.
const NUDGE: Duration = Duration::from_secs(1);
const NUDGES: u32 = 20;
/// Pause between two attempts to bootstrap; doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long relays may answer without one that can be spoken with, before that is worth a word. Arti says it after a minute
/// and six attempts, between which it waits longer and longer.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// What arti says as long as that is so.
const HANDSHAKING: &str = "handshaking with Tor relays";
/// How far a clock may be beside the time in which a consensus counts before that is worth a word, in seconds: relays
/// serve consensuses for a day after their time, and before it.
const TOLERANCE: u64 = 24 * 3600;

/// What a status is made from.
pub struct Watch {
    /// What it is told to.
    pub gateway: Arc<Gateway>,
    /// What it is about.
    pub tor: Arc<TorClient<PreferredRuntime>>,
    /// Where consensuses are.
    pub cache: Arc<Cache>,
    /// Where guards are.
    pub state_dir: PathBuf,
    /// Told at every change.
    pub look: Arc<Notify>,
    /// When the program began.
    pub begun: Instant,
}

impl Watch {
    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let bootstrap = self.tor.bootstrap_status();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let consensus = self.cache.consensus().ok().flatten().map(|consensus| consensus.validity);
        let blocked = bootstrap.blocked().map(|blockage| blockage.to_string());
        let blocked = blocked.or_else(|| unheard(&bootstrap.to_string(), self.begun.elapsed()));
        Status {
            percent: percent(bootstrap.as_frac()),
            ready: bootstrap.ready_for_traffic(),
            blocked: blocked.map(|text| cut(&text)),
            clock: self.clock(&bootstrap, now, consensus).map(|text| cut(&text)),
            now,
            consensus,
            guards: crate::guards::saved(&self.state_dir),
            streams: self.gateway.streams.count(),
        }
    }

    /// What is known to be wrong with the clock: what relays say of it, or else what they and directory caches think of it
    /// while there is no way in, or what the consensus says.
    fn clock(&self, bootstrap: &BootstrapStatus, now: u64, consensus: Option<Validity>) -> Option<String> {
        let heard = self.gateway.log.clock().filter(|_| !bootstrap.ready_for_traffic());
        estimate(&bootstrap.to_string())
            .or_else(|| heard.map(said))
            .or_else(|| consensus.and_then(|consensus| beside(now, consensus)))
    }

    /// Reports every change, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut told: Option<Status> = None;
        let mut nudges = NUDGES;
        loop {
            let status = self.status();
            let unsaved = status.ready && status.guards.is_empty();
            if unsaved && nudges > 0 {
                nudges -= 1;
                self.save_guards();
            }
            if told.as_ref().is_none_or(|told| differs(told, &status)) {
                self.gateway.log.line(Level::Info, &sentence(&status));
                if self.gateway.reports.offer(GatewayReport::Status(status.clone())) {
                    told = Some(status);
                } else {
                    self.gateway.counters.reports_lost.count();
                }
            }
            self.look.notify_one();
            self.change(if unsaved && nudges > 0 { NUDGE } else { LOOK }).await;
        }
    }

    /// Has arti save its guards now.
    ///
    /// It does so once a minute, and a program that is killed before the first time would come back with other guards.
    /// Told that it is not dormant (it was not) it does everything that is due from time to time. What is due in less
    /// than ten minutes it does now, too; that may be to ask for the next consensus before there is one.
    fn save_guards(&self) {
        self.tor.set_dormant(DormantMode::Normal);
    }

    async fn change(&self, at_most: Duration) {
        let mut events = self.tor.bootstrap_events();
        // The first event is the status as it is.
        let _ = tokio::time::timeout(at_most, async {
            let before = self.tor.bootstrap_status().to_string();
            while let Some(now) = futures::StreamExt::next(&mut events).await {
                if now.to_string() != before {
                    break;
                }
            }
        })
        .await;
    }
}

/// Goes into the Tor network, and again whenever that fails.
pub async fn bootstrap(gateway: Arc<Gateway>, tor: Arc<TorClient<PreferredRuntime>>) {
    let mut pause = RETRY.0;
    while let Err(e) = tor.bootstrap().await {
        let error: &dyn std::error::Error = &e;
        let causes = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string);
        let text = causes.collect::<Vec<_>>().join(": ");
        gateway.log.line(Level::Warning, &format!("no way into the Tor network: {text}"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// What arti does not call a blockage before it has tried long enough: relays answer, but none of them can be spoken with.
fn unheard(status: &str, since: Duration) -> Option<String> {
    let words = "relays answer, but none could be spoken with yet: the clock may be ahead, or something stands between";
    (since >= HANDSHAKE && status.contains(HANDSHAKING)).then(|| words.to_owned())
}

/// What relays' own times make of the clock. The estimate has no accessor; it is the last sentence of arti's status, "Clock is
/// fast by around 3days (based on 8 recent observations, with high confidence)".
fn estimate(status: &str) -> Option<String> {
    let (_, skew) = status.split_once(". Clock is ")?;
    let skew = skew.split_once(" (").map_or(skew, |(skew, _)| skew);
    let (direction, size) = match skew.split_once(" by around ") {
        Some(("fast", size)) => ("ahead by about", size),
        Some(("slow", size)) => ("behind by about", size),
        _ => ("", skew),
    };
    Some(format!("the clock is {direction} {size}").replace("  ", " "))
}

/// What others think of the clock, in words. Arti does not say by how much it is wrong, but refuses nobody within a day
/// behind and three days ahead; and who is so far ahead mostly fails at relays' certificates first, which are made for two.
fn said(clock: Clock) -> String {
    match clock {
        Clock::Ahead => "the clock is ahead, maybe by days: relays' certificates have ended by it",
        Clock::Refused => {
            "the clock is behind by more than a day, or ahead by more than three: directory caches say so"
        }
    }
    .to_owned()
}

fn percent(fraction: f32) -> u8 {
    // Of a fraction from 0 to 1; `as` saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
    let percent = (fraction.clamp(0.0, 1.0) * 100.0) as u8;
    percent
}

/// What is worth a new report: everything but the time and the number of streams.
fn differs(a: &Status, b: &Status) -> bool {
    let part =
        |s: &Status| (s.percent, s.ready, s.blocked.clone(), s.clock.clone(), s.consensus, s.guards.clone());
    part(a) != part(b)
}

fn sentence(status: &Status) -> String {
    let ready = if status.ready { ", ready" } else { "" };
    let mut sentence = format!("{}% of the way into the Tor network{ready}", status.percent);
    for text in [&status.blocked, &status.clock].into_iter().flatten() {
        sentence = format!("{sentence}; {text}");
    }
    sentence
}

fn beside(now: u64, consensus: Validity) -> Option<String> {
    let hours = |seconds: u64| seconds / 3600;
    let ahead = now.saturating_sub(consensus.valid_until);
    let behind = consensus.valid_after.saturating_sub(now);
    if ahead > TOLERANCE {
        Some(format!(
            "the consensus ended {} h ago: the clock is ahead, or nothing newer could be had",
            hours(ahead)
        ))
    } else if behind > TOLERANCE {
        Some(format!("the clock is behind: the consensus counts only in {} h", hours(behind)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_beside_the_consensus_is_told() {
        let consensus = Validity { valid_after: 1_000_000, fresh_until: 1_003_600, valid_until: 1_010_800 };
        let hour = 3600;
        for fine in [1_000_000 - 24 * hour, 1_000_000, 1_010_800, 1_010_800 + 24 * hour] {
            assert_eq!(beside(fine, consensus), None);
        }
        assert!(beside(1_010_800 + 26 * hour, consensus).is_some_and(|t| t.contains("26 h ago")));
        assert!(beside(1_000_000 - 25 * hour, consensus).is_some_and(|t| t.contains("only in 25 h")));
        assert!(beside(0, consensus).is_some());
    }

    #[test]
    fn what_relays_say_of_the_clock_is_told_with_its_size() {
        let status = |skew| format!("Stuck at 7%: Clock is skewed. (Clock is {skew}). Clock is {skew}");
        let told = |skew| estimate(&status(skew)).expect("an estimate");
        assert_eq!(
            told("fast by around 2days 23h 59m (based on 8 recent observations, with high confidence)"),
            "the clock is ahead by about 2days 23h 59m"
        );
        assert_eq!(
            told("slow by around 5h (based on 9 recent observations, with some confidence)"),
            "the clock is behind by about 5h"
        );
        assert_eq!(told("strange"), "the clock is strange");
        assert_eq!(estimate("7%: handshaking with Tor relays; no directory"), None);
    }

    #[test]
    fn relays_that_cannot_be_spoken_with_are_told_after_a_while() {
        let status = "7%: handshaking with Tor relays; not downloading";
        assert_eq!(unheard(status, HANDSHAKE - Duration::from_secs(1)), None);
        assert!(unheard(status, HANDSHAKE).is_some_and(|text| text.contains("clock may be ahead")));
        assert_eq!(unheard("15%: connecting successfully; fetching a consensus", HANDSHAKE), None);
    }

    #[test]
    fn percents_stay_percents() {
        assert_eq!([f32::NAN, -1.0, 0.5, 1.0, 7.0].map(percent), [0, 0, 50, 100, 100]);
    }

    #[test]
    fn time_alone_is_no_change() {
        let status = Status::default();
        assert!(!differs(&status, &Status { now: 7, streams: 3, ..Status::default() }));
        assert!(differs(&status, &Status { percent: 1, ..Status::default() }));
    }
}
