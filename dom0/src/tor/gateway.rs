//! What is known of a gateway program, by its own word: hostile, so bounded, cleaned, and never more than shown.

use super::view;
use crate::vmm::clean;
use control::message::Program;
use control::tor::{FirstByte, Guard, Relay, Status};
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Instant;

/// Streams whose times are remembered.
const STREAMS: usize = 64;

/// One gateway program.
#[derive(Debug, Default)]
pub struct Gateway {
    /// What it does.
    pub program: view::Program,
    /// How often it was started since the domain was.
    pub runs: u32,
    /// Version, as it says.
    pub version: Option<String>,
    status: Option<Heard>,
    times: VecDeque<(u32, u32)>,
}

/// A status, and when it came.
#[derive(Debug)]
struct Heard {
    status: Status,
    at: Instant,
    /// This machine's clock then.
    now: u64,
}

/// Something worth a line in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News(pub control::tor::Level, pub String);

impl Gateway {
    /// Torvm said what its program does.
    pub fn program(&mut self, program: Program) -> News {
        use control::tor::Level;
        (self.status, self.version) = (None, None);
        match program {
            Program::Started { run } => {
                (self.program, self.runs) = (view::Program::Running, run);
                News(Level::Info, format!("the gateway program was started (run {run})"))
            }
            Program::Ended { run, how } => {
                let how = clean(&how);
                (self.program, self.runs) = (view::Program::Ended(how.clone()), run);
                News(Level::Warning, format!("the gateway program ended: {how}"))
            }
            Program::Refused { why } => {
                let why = clean(&why);
                self.program = view::Program::Refused(why.clone());
                News(Level::Error, format!("the gateway program cannot be started: {why}"))
            }
        }
    }

    /// The program said how far it is. `now`: this machine's clock in seconds since 1970.
    pub fn status(&mut self, status: Status, now: u64) -> Option<News> {
        use control::tor::Level;
        let before = self.status.as_ref().map(|heard| (heard.status.ready, heard.status.blocked.clone()));
        let news = match (&status.blocked, status.ready) {
            _ if before == Some((status.ready, status.blocked.clone())) => None,
            (Some(why), _) => {
                Some(News(Level::Warning, format!("blocked at {} %: {}", status.percent, clean(why))))
            }
            (None, true) => Some(News(Level::Info, "ready".to_owned())),
            (None, false) => Some(News(Level::Info, format!("on the way: {} %", status.percent.min(100)))),
        };
        self.status = Some(Heard { status, at: Instant::now(), now });
        news
    }

    /// The program said how long a stream took.
    pub fn first_byte(&mut self, times: FirstByte) {
        self.times.truncate(STREAMS - 1);
        self.times.push_front((times.opened_ms, times.first_byte_ms));
    }

    /// How far it is.
    #[must_use]
    pub fn bootstrap(&self) -> Option<view::Bootstrap> {
        let Heard { status, at, now } = self.status.as_ref()?;
        let ahead = i128::from(status.now) - i128::from(*now);
        Some(view::Bootstrap {
            percent: status.percent.min(100),
            ready: status.ready,
            blocked: status.blocked.as_ref().map(|text| clean(text)),
            clock: status.clock.as_ref().map(|text| clean(text)),
            clock_ahead_s: i64::try_from(ahead).unwrap_or(if ahead > 0 { i64::MAX } else { i64::MIN }),
            age_s: at.elapsed().as_secs(),
            consensus: status.consensus,
            streams: status.streams,
        })
    }

    /// Its guards.
    #[must_use]
    pub fn guards(&self) -> Vec<view::Guard> {
        let guards = self.status.iter().flat_map(|heard| &heard.status.guards);
        guards
            .map(|Guard { relay: r, confirmed }| view::Guard { relay: relay(r), confirmed: *confirmed })
            .collect()
    }

    /// Times of streams.
    #[must_use]
    pub fn streams(&self) -> Option<view::Streams> {
        let median = |of: fn(&(u32, u32)) -> u32| {
            let mut all: Vec<u32> = self.times.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        Some(view::Streams {
            count: u32::try_from(self.times.len()).unwrap_or(u32::MAX),
            opened_ms: median(|t| t.0)?,
            first_byte_ms: median(|t| t.1)?,
        })
    }
}

/// A relay in words.
#[must_use]
pub fn relay(relay: &Relay) -> view::Relay {
    let rsa = relay.rsa.map(|id| hex(&id));
    let identity = rsa.or_else(|| relay.ed25519.map(|id| format!("ed25519:{}", hex(&id))));
    let address = relay.address.map(|(ip, port)| std::net::SocketAddr::new(ip, port).to_string());
    view::Relay { identity, address }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::tor::{Level, cut};

    #[test]
    fn only_changes_are_news() {
        let mut gateway = Gateway::default();
        let status = |percent, ready, blocked: Option<&str>| Status {
            percent,
            ready,
            blocked: blocked.map(cut),
            now: 1000,
            ..Status::default()
        };
        let news = |n: Option<News>| n.map(|News(level, text)| (level, text));
        assert_eq!(
            news(gateway.status(status(5, false, None), 900)),
            Some((Level::Info, "on the way: 5 %".into()))
        );
        assert_eq!(gateway.status(status(30, false, None), 900), None);
        let said = news(gateway.status(status(250, false, Some("no\x1b[2J way")), 900)).unwrap();
        assert_eq!(said, (Level::Warning, "blocked at 250 %: no\u{fffd}[2J way".into()));
        let shown = gateway.bootstrap().unwrap();
        assert_eq!(
            (shown.percent, shown.clock_ahead_s, shown.blocked.as_deref()),
            (100, 100, Some("no\u{fffd}[2J way"))
        );
        assert_eq!(news(gateway.status(status(100, true, None), 900)), Some((Level::Info, "ready".into())));
        gateway.program(Program::Ended { run: 3, how: "it\x07".try_into().unwrap() });
        assert_eq!((gateway.program.clone(), gateway.runs), (view::Program::Ended("it\u{fffd}".into()), 3));
        assert!(gateway.bootstrap().is_none(), "what the program before said is over");
    }

    #[test]
    fn wild_numbers_are_shown_as_they_are() {
        let mut gateway = Gateway::default();
        gateway.status(Status { now: u64::MAX, ..Status::default() }, 0);
        assert_eq!(gateway.bootstrap().unwrap().clock_ahead_s, i64::MAX);
        assert!(gateway.streams().is_none());
        for n in 0..1000 {
            let client = [10, 137, 0, 6].into();
            gateway.first_byte(FirstByte { client, opened_ms: n, first_byte_ms: 2 * n, suppressed: 0 });
        }
        let streams = gateway.streams().unwrap();
        assert_eq!((streams.count, streams.opened_ms, streams.first_byte_ms), (64, 968, 1936));
    }

    #[test]
    fn relays_have_one_identity() {
        let both = Relay {
            ed25519: Some([1; 32]),
            rsa: Some([0xab; 20]),
            address: Some(([192, 0, 2, 1].into(), 443)),
        };
        let shown = relay(&both);
        assert_eq!(shown.identity.unwrap(), "AB".repeat(20));
        assert_eq!(shown.address.unwrap(), "192.0.2.1:443");
        assert!(relay(&Relay { rsa: None, ..both }).identity.unwrap().starts_with("ed25519:0101"));
        assert_eq!(relay(&Relay::default()).identity, None);
    }
}
