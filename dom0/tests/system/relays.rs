//! The relays that a torvm may reach: verified by a helper that these tests play, kept, pushed to the firewallvm.

use crate::machine::{Machine, PATIENCE, executable};
use crate::{down, up};
use dom0::protocol::Users;
use dom0::tor::relays::{Relays, Set};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Believes a consensus whose last line is `good`, and one that is of the network of authority AB….
const HELPER: &str = r#"#!/bin/sh
if [ "$1" = --bootstrap ]; then
    printf 'bootstrap\nauthority AB\nrelay 11.0.0.1:443\nend 1\n'; exit
fi
request=$(cat)
case "$request" in
    *"
good") now=$(date +%s)
    printf 'verified\nvalid-after %s\nfresh-until %s\nvalid-until %s\n' "$now" $((now + 3600)) $((now + 10800))
    printf 'relay 11.0.0.2:9001\nrelay 192.168.0.9:9001\nrelay6 [2001:db8::1]:9001\nend 3\n' ;;
    *) echo refused consensus-signatures; exit 3 ;;
esac
"#;

fn with_helper() -> Machine {
    let machine = Machine::with_tor();
    let helper = machine.path("lib/bulkhead-relays");
    executable(&helper, HELPER);
    machine
}

/// Writes the torvm's domain file with a network of its own.
fn with_network(machine: &Machine, more: &str) {
    let network = format!(
        "[arti.tor_network]\nfallback_caches = [{{ rsa_identity = \"00\", ed_identity = \"x\", orports = \
         [\"192.168.0.1:5000\"] }}]\n[arti.tor_network.authorities]\nv3idents = [\"{AUTHORITY}\"]\n"
    );
    std::fs::write(machine.path("network.toml"), network).unwrap();
    let table = format!("[tor]\nnetwork = {:?}\n{more}\n", machine.path("network.toml"));
    machine.write_domain("tor", &format!("kind = \"torvm\"\nnetvm = \"fw\"\n{table}"));
}

/// The file in which verified relays are kept, once it is there: a thread of its own writes it.
fn kept(machine: &Machine) -> PathBuf {
    let kept = machine.path("state/tor.relays");
    let start = Instant::now();
    while !kept.exists() {
        assert!(start.elapsed() < PATIENCE, "nothing was kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    kept
}

const AUTHORITY: &str = "ABABABABABABABABABABABABABABABABABABABAB";

#[test]
fn verified_relays_of_the_public_network_are_reached_beside_its_entrances() {
    let machine = with_helper();
    machine.behaves("tor", "consensus=good");
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "2 rules in");
    let state = machine.wait_for_rules("tor", |state| state.problem.is_none() && state.in_force.is_some());
    assert_eq!(
        machine.rules("tor").1,
        "accept 11.0.0.1 tcp 443\naccept 11.0.0.2 tcp 9001\n",
        "no local address of the public network's"
    );
    assert_eq!((state.problem, machine.status("tor").rules), (None, None));
    let kept = kept(&machine);
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = Relays::of_text(&std::fs::read_to_string(&kept).unwrap(), &[]).unwrap();
    assert_eq!(kept.newest().unwrap().relays.len(), 3);
}

#[test]
fn consensus_that_is_not_verified_opens_nothing() {
    let machine = with_helper();
    machine.behaves("tor", "consensus=bad");
    machine.ask(up(&["tor"])).unwrap();
    machine.wait_for("tor", |status| {
        let told = status.rules.clone().unwrap_or_default();
        told.contains("stay out of reach: not believed: consensus-signatures")
    });
    // Another run of the helper says which the entrances are, perhaps later.
    machine.log_has("fw", "1 rules in");
    assert_eq!(machine.rules("tor").1, "accept 11.0.0.1 tcp 443\n");
    assert!(!machine.path("state/tor.relays").exists());
}

#[test]
fn without_a_helper_nothing_is_reached_and_status_says_why() {
    let machine = Machine::with_tor();
    machine.behaves("tor", "consensus=good");
    machine.ask(up(&["tor"])).unwrap();
    machine.wait_for("tor", |status| {
        status.rules.as_ref().is_some_and(|told| told.contains("bulkhead-relays cannot be started"))
    });
    assert_eq!(machine.rules("tor").1, "");
}

#[test]
fn other_networks_have_their_own_entrances_and_authorities() {
    let machine = with_helper();
    with_network(&machine, "");
    machine.behaves("tor", "consensus=good");
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "2 rules in");
    let rules = "accept 192.168.0.1 tcp 5000\naccept 11.0.0.2,192.168.0.9 tcp 9001\n";
    assert_eq!(machine.rules("tor").1, rules);
    let kept = std::fs::read_to_string(kept(&machine)).unwrap();
    assert!(kept.contains(&format!("\nauthority {AUTHORITY}\n")), "{kept}");
}

#[test]
fn bridges_are_all_that_is_reached() {
    let machine = with_helper();
    with_network(&machine, &format!("bridges = [\"192.0.2.7:443 {AUTHORITY}\"]"));
    machine.behaves("tor", "consensus=good");
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "1 rules in");
    // It is verified all the same.
    kept(&machine);
    assert_eq!(machine.rules("tor").1, "accept 192.0.2.7 tcp 443\n");
}

#[test]
fn kept_relays_count_until_they_are_too_old() {
    let now = dom0::rules::now();
    let kept = |valid_after: u64| {
        let mut relays = Relays::new(vec![AUTHORITY.to_owned()]);
        let relay: SocketAddr = "11.0.0.3:9001".parse().unwrap();
        let set = Set {
            valid_after,
            fresh_until: valid_after + 3600,
            valid_until: valid_after + 10_800,
            relays: [relay].into(),
        };
        relays.take_in(set, valid_after).unwrap();
        relays.to_text()
    };
    let entrances = "accept 192.168.0.1 tcp 5000\n";
    let with_kept = format!("{entrances}accept 11.0.0.3 tcp 9001\n");
    let day = 24 * 3600;
    for (text, rules) in [
        (kept(now - 2 * day), with_kept.as_str()),
        (kept(now - 4 * day), entrances),
        (kept(now + 2 * day), entrances),
        (kept(now).replace(AUTHORITY, &"CD".repeat(20)), entrances),
        ("nonsense".to_owned(), entrances),
    ] {
        let machine = with_helper();
        with_network(&machine, "");
        std::fs::create_dir_all(machine.path("state")).unwrap();
        std::fs::write(machine.path("state/tor.relays"), &text).unwrap();
        machine.ask(up(&["tor"])).unwrap();
        machine.log_has("fw", "rules in");
        assert_eq!(machine.rules("tor").1, rules, "{text}");
        machine.ask(down(&["tor"], Users::Refuse)).unwrap();
    }
}

#[test]
fn silent_torvm_is_asked_for_its_documents() {
    let machine = with_helper();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has_times("tor", "dom0 asks for documents", 2);
}
