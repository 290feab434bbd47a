//! The log: standard error, and dom0. Arti's warnings and errors arrive here, too; it leaves destinations out of them.

use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::Instant;

use control::tor::{GatewayReport, Level, cut};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::report::{Few, Reports};

/// Lines a second that are told.
const PER_SECOND: u32 = 10;

/// Where lines go.
pub struct Log {
    reports: Reports,
    few: Mutex<Few>,
    /// The last warning or error, for whoever asks why nothing moves.
    last: Mutex<Option<String>>,
}

impl Log {
    /// A log that dom0 reads along.
    #[must_use]
    pub fn new(reports: Reports) -> Self {
        Self { reports, few: Mutex::new(Few::new(PER_SECOND)), last: Mutex::new(None) }
    }

    /// One line.
    pub fn line(&self, level: Level, text: &str) {
        if level <= Level::Warning
            && let Ok(mut last) = self.last.lock()
        {
            *last = Some(text.to_owned());
        }
        let passed = self.few.lock().ok().and_then(|mut few| few.pass(Instant::now()));
        let Some(suppressed) = passed else { return };
        if suppressed > 0 {
            self.tell(Level::Warning, &format!("{suppressed} lines were left out: too many"));
        }
        self.tell(level, text);
    }

    /// The last warning or error so far; it is forgotten with that.
    pub fn take_last_warning(&self) -> Option<String> {
        self.last.lock().ok()?.take()
    }

    fn tell(&self, level: Level, text: &str) {
        eprintln!("{}{text}", prefix(level));
        self.reports.offer(GatewayReport::Log { level, text: cut(text) });
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
        let mut text = Text(String::new());
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
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
