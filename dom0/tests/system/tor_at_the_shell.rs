//! `bulkhead tor` and `bulkhead route` as a user meets them.

use crate::programs::{Daemon, text};

/// A daemon with the chain, torvm `tor` behind `fw`, and anonymous AppVM `anon` behind that, up.
fn daemon() -> Daemon {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let write = |name: &str, text: &str| std::fs::write(directory.join("domains").join(name), text).unwrap();
    write("tor.toml", "# the gateway\nkind = \"torvm\"\nnetvm = \"fw\"\n");
    let kernel = directory.join("lib/anon");
    write(
        "anon.toml",
        &format!("kind = \"appvm\"\nkernel = {kernel:?}\nnetvm = \"tor\"\nanonymous = true\n"),
    );
    daemon.says(&["up", "anon"]);
    daemon.says_at_last(&["tor", "status"], "55 %");
    daemon
}

#[test]
fn a_session_with_a_torvm() {
    let daemon = daemon();
    let status = daemon.says(&["tor", "status"]);
    for line in [
        "program     running 0.0-fake",
        "[#############...........] 55 % not ready",
        "blocked     no \u{fffd}[2J",
        "appvms      anon",
    ] {
        assert!(status.contains(line), "{line} in\n{status}");
    }
    let json: serde_json::Value = serde_json::from_str(&daemon.says(&["tor", "status", "--json"])).unwrap();
    assert_eq!((&json["bootstrap"]["percent"], &json["clients"][0]), (&55.into(), &"anon".into()));
    assert!(daemon.says(&["status"]).contains("tor: on the way into the Tor network: 55 %"));
    assert_eq!(daemon.says(&["tor", "newnym", "anon"]), "anon: new identity\n");
    let cut = daemon.says(&["tor", "newnym", "--close"]);
    assert_eq!(cut, "every AppVM: new identity; 3 connections were cut\n");
    let circuits = daemon.says(&["tor", "circuits"]);
    assert!(circuits.lines().count() == 4 && circuits.contains("onion service"), "{circuits}");
    assert!(
        daemon.says(&["tor", "log", "-n", "50"]).contains("info the gateway program was started (run 1)")
    );
    assert!(daemon.says(&["tor", "log", "--json"]).contains("\"level\":\"info\""));
    let isolation = daemon.says(&["tor", "isolation"]);
    assert!(isolation.contains("22 | 25,465,587"), "{isolation}");
}

#[test]
fn bridges_and_isolation_stand_in_the_file_afterwards() {
    let daemon = daemon();
    assert!(daemon.says(&["tor", "bridges"]).contains("tor: no bridges"));
    let fingerprint = "AB".repeat(20);
    daemon.says(&["tor", "bridges", "add", "192.0.2.7:443", &fingerprint]);
    assert_eq!(daemon.says(&["tor", "bridges", "list"]), format!("192.0.2.7:443 {fingerprint}\n"));
    let rules = daemon.says(&["rules", "list", "tor", "--raw"]);
    assert_eq!(rules.trim(), "action=accept dsthost=192.0.2.7 proto=tcp dstports=443", "{rules}");
    daemon.says(&[
        "tor",
        "--domain",
        "tor",
        "isolation",
        "set",
        "--destination-port",
        "true",
        "--no-port-classes",
    ]);
    let file = std::fs::read_to_string(daemon.directory.path().join("domains/tor.toml")).unwrap();
    assert!(file.starts_with("# the gateway\n") && file.contains("destination_port = true"), "{file}");
    for (words, why) in [
        (&["tor", "bridges", "add", "obfs4", "192.0.2.7:443"][..], "pluggable transports are not supported"),
        (&["tor", "newnym", "work"], "work: is not behind a torvm"),
        (&["rules", "add", "tor", "accept"], "its rules are computed"),
        (&["route", "anon", "--via", "fw"], "this AppVM is anonymous"),
        (&["route", "anon", "--via", "../x"], "not a domain name"),
    ] {
        let output = daemon.run(words);
        assert!(!output.status.success() && text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    let route = daemon.run(&["route", "anon", "--via", "none"]);
    assert!(
        text(&route.stderr).ends_with("cutting anon off from tor\nanon is offline\n"),
        "{}",
        text(&route.stderr)
    );
}
