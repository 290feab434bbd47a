//! The log: standard error, and dom0. Arti's warnings and errors arrive here, too; it leaves destinations out of them.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use control::tor::{GatewayReport, Level, Text, cut};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::report::{Few, Reports};

/// Lines a second that are told.
const PER_SECOND: u32 = 10;
/// How long a line is not told again.
const REPETITION: Duration = Duration::from_secs(600);
/// Lines that are remembered for that.
const REMEMBERED: usize = 16;
/// Characters by which lines of arti's are told apart.
const SHAPE: usize = 48;
/// What arti says of this machine's clock when a way into the network fails for it, and nowhere else: tor-proto when a
/// relay's certificate has ended and the relay tells an earlier time than ours, tor-dirclient when a directory cache's time
/// is too different.
const CLOCK: [(&str, Clock); 2] =
    [("possible clock skew", Clock::Ahead), ("Too much clock skew", Clock::Refused)];

/// What others think of this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Relays' certificates have ended by it, though not by the relays'.
    Ahead,
    /// Directory caches have another time.
    Refused,
}

/// Where lines go.
pub struct Log {
    reports: Reports,
    few: Mutex<Few>,
    /// What was told lately, and when, for not telling it again and again.
    told: Mutex<VecDeque<(Level, String, Instant)>>,
    /// What was last heard of the clock, and when.
    clock: Mutex<Option<(Clock, Instant)>>,
}

impl Log {
    /// A log that dom0 reads along.
    #[must_use]
    pub fn new(reports: Reports) -> Self {
        Self {
            reports,
            few: Mutex::new(Few::new(PER_SECOND)),
            told: Mutex::default(),
            clock: Mutex::default(),
        }
    }

    /// One line, unless it was told a short while ago; what is longer than a report is cut.
    pub fn line(&self, level: Level, text: &str) {
        let now = Instant::now();
        if let Some((_, heard)) = CLOCK.iter().find(|(words, _)| text.contains(words))
            && let Ok(mut clock) = self.clock.lock()
        {
            *clock = Some((*heard, now));
        }
        let text: Text = cut(text);
        if self.is_known(level, &text, now) {
            return;
        }
        let passed = self.few.lock().ok().and_then(|mut few| few.pass(now));
        let Some(suppressed) = passed else { return };
        if suppressed > 0 {
            self.tell(Level::Warning, cut(&format!("{suppressed} lines were left out: too many")));
        }
        self.tell(level, text);
    }

    /// Whether such a line was told a short while ago; from now on it was. Of our own the last one counts alone: what is
    /// so again is news.
    fn is_known(&self, level: Level, text: &str, now: Instant) -> bool {
        let Ok(mut told) = self.told.lock() else { return false };
        let shape = shape(level, text);
        told.retain(|(_, _, when)| now - *when < REPETITION);
        if told.iter().any(|(_, said, _)| *said == shape) {
            return true;
        }
        if level == Level::Info {
            told.retain(|(level, ..)| *level != Level::Info);
        }
        if told.len() == REMEMBERED {
            told.pop_front();
        }
        told.push_back((level, shape, now));
        false
    }

    /// What was heard of this machine's clock in the last minutes. Arti says so only here, and not by how much it is wrong.
    pub fn clock(&self) -> Option<Clock> {
        let heard = self.clock.lock().ok().and_then(|clock| *clock);
        heard.filter(|(_, when)| when.elapsed() < REPETITION).map(|(clock, _)| clock)
    }

    fn tell(&self, level: Level, text: Text) {
        eprintln!("{}{text}", prefix(level));
        self.reports.offer(GatewayReport::Log { level, text });
    }
}

/// What makes a line another one. Our own are told apart whole; of arti's the beginning counts, and no number in it.
fn shape(level: Level, text: &str) -> String {
    match level {
        Level::Info => text.to_owned(),
        Level::Error | Level::Warning => text.chars().filter(|c| !c.is_ascii_digit()).take(SHAPE).collect(),
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "error: ",
        Level::Warning => "warning: ",
        Level::Info => "",
    }
}

/// Hands arti's warnings and errors to a [`Log`].
pub struct Listener(pub std::sync::Arc<Log>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans are not enabled; the number only must not be 0.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Message(String::new());
        event.record(&mut text);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            _ => Level::Warning,
        };
        self.0.line(level, &text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, its fields behind it.
struct Message(String);

impl Visit for Message {
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(value), |e| e.source()).map(ToString::to_string);
        let _ = write!(self.0, " {}={}", field.name(), causes.collect::<Vec<_>>().join(": "));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_clock_is_remembered() {
        let log = Log::new(Reports::default());
        log.line(Level::Warning, "something else");
        assert_eq!(log.clock(), None);
        let far_behind = |words: &str| format!("{} {words}", "x".repeat(300));
        log.line(Level::Warning, &far_behind("Too much clock skew with directory cache"));
        assert_eq!(log.clock(), Some(Clock::Refused));
        // In arti's own words.
        let expired = tor_proto::Error::HandshakeCertsExpired { expired_by: Duration::from_secs(1) };
        log.line(Level::Warning, &far_behind(&expired.to_string()));
        assert_eq!(log.clock(), Some(Clock::Ahead));
    }

    #[test]
    fn what_is_so_again_is_told_again() {
        let log = Log::new(Reports::default());
        let now = Instant::now();
        let known = |level, text| log.is_known(level, text, now);
        assert!(!known(Level::Info, "ready") && known(Level::Info, "ready"));
        assert!(!known(Level::Warning, "relay 1 is gone") && known(Level::Warning, "relay 2 is gone"));
        assert!(!known(Level::Info, "blocked") && !known(Level::Info, "ready"));
        assert!(known(Level::Warning, "relay 3 is gone"));
    }

    #[test]
    fn a_line_is_told_once_and_a_flood_is_not_told() {
        let reports = Reports::new();
        let log = Log::new(reports.clone());
        log.line(Level::Warning, "again 1");
        log.line(Level::Info, "ready");
        log.line(Level::Warning, "again 2");
        log.line(Level::Info, "ready");
        (0..100).for_each(|n| log.line(Level::Info, &n.to_string()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        let mut told = Vec::new();
        runtime.block_on(async {
            while let Ok(report) = tokio::time::timeout(Duration::from_millis(1), reports.next()).await {
                told.push(report);
            }
        });
        assert_eq!(told.len(), PER_SECOND as usize);
        let line = |level, text| GatewayReport::Log { level, text: cut(text) };
        let expected = [(Level::Warning, "again 1"), (Level::Info, "ready"), (Level::Info, "0")];
        assert_eq!(told[..3], expected.map(|(level, text)| line(level, text)));
    }
}
