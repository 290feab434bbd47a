use super::*;
use crate::protocol::Phase;
use crate::tor::view::{Bootstrap, Guard, Relays, Streams};

fn ready() -> TorStatus {
    let relay = Relay { identity: Some("AB".repeat(20)), address: Some("192.0.2.1:443".to_owned()) };
    TorStatus {
        domain: "tor".parse().unwrap(),
        state: Phase::Running,
        program: Program::Running,
        runs: 1,
        version: Some("0.1".to_owned()),
        problem: None,
        bootstrap: Some(Bootstrap {
            percent: 100,
            ready: true,
            blocked: None,
            clock: None,
            clock_ahead_s: 2,
            age_s: 1,
            consensus: Some(Validity { valid_after: 100, fresh_until: 200, valid_until: 300 }),
            streams: 3,
        }),
        guards: vec![Guard { relay, confirmed: true }],
        bridges: false,
        clients: vec!["anon".parse().unwrap()],
        streams: Some(Streams { count: 9, opened_ms: 410, first_byte_ms: 555 }),
        relays: Relays { allowed: 6000, verified_until: Some(300), problem: None },
    }
}

/// Without colours and times of day, which depend on where this runs.
fn plain(status: &TorStatus, now: u64) -> String {
    let text = anstream::adapter::strip_str(&in_words(status, now)).to_string();
    text.replace(&local_time(300), "THEN")
}

#[test]
fn a_torvm_that_does_well() {
    insta::assert_snapshot!(plain(&ready(), 150));
}

#[test]
fn a_torvm_that_does_not() {
    let mut status = ready();
    status.runs = 5;
    status.problem = Some("/etc/net.toml: has no table [arti]".to_owned());
    status.guards[0].confirmed = false;
    status.bridges = true;
    status.streams = None;
    status.relays =
        Relays { allowed: 0, verified_until: None, problem: Some("consensus-expired".to_owned()) };
    status.clients.clear();
    if let Some(bootstrap) = &mut status.bootstrap {
        (bootstrap.percent, bootstrap.ready, bootstrap.clock_ahead_s) = (15, false, -86_400);
        bootstrap.blocked = Some("no\u{1b}[2J directory".to_owned());
        bootstrap.clock = Some("the clock is wrong".to_owned());
    }
    insta::assert_snapshot!(plain(&status, 301));
}

#[test]
fn nothing_known_yet() {
    let status = TorStatus {
        program: Program::Refused("not enough memory".to_owned()),
        bootstrap: None,
        guards: Vec::new(),
        ..ready()
    };
    insta::assert_snapshot!(plain(&status, 0));
}
