//! Torvms: their place in the chain, what they are told, what they say.

use crate::machine::{Machine, PATIENCE, is_alive};
use crate::{down, up};
use dom0::domain::edit::TorChange;
use dom0::domain::tor::Isolation;
use dom0::enclosed;
use dom0::protocol::{Agreement, Answer, OldStreams, Outcome, Phase, Request, Users};
use dom0::tor::view::{Bridges, Circuit, Isolated, NewIdentity, Program, TorStatus};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[test]
fn torvm_comes_up_between_firewall_and_client() {
    let machine = Machine::with_tor();
    let steps = machine.ask(up(&["anon"])).unwrap();
    assert_eq!(steps[4..], ["starting tor", "tor is up", "starting anon", "anon is up"]);
    // anon, personal, tor, vault, work: numbers by name.
    machine.log_has(
        "tor",
        "dom0 says Uplink(Client { name: \"tor\", mac: [2, 98, 107, 0, 0, 3], v4: 10.137.0.14,",
    );
    machine.log_has("fw", "Client { name: \"tor\", mac: [2, 98, 107, 0, 0, 3], v4: 10.137.0.14,");
    machine.log_has("tor", "Client { port: 2, client: Client { name: \"anon\"");
    machine.log_has("tor", "configuration 1: \"[arti.storage]");
    machine.log_has("tor", "got on Port(1): greetings from fw");
    machine.log_has("anon", "got on Vif(0): greetings from tor");
    machine.log_has_times("tor", "clock ", 3);
    let store = std::fs::metadata(machine.path("state/tor.store")).unwrap();
    assert_eq!((store.len(), store.permissions().mode() & 0o777), (1 << 20, 0o600));
    assert_eq!(machine.status("tor").memory_mib, 128);
    assert_eq!(machine.status("tor").addresses, ["10.137.0.14"]);
    machine.wait_for_tor(|s| s.version.is_some());
    let counters = machine.counters("tor");
    let has = |name: &str| counters.iter().any(|(n, _)| n == name);
    assert!(has("vmm.exits.io") && has("dropped") && has("gateway.streams"), "{counters:?}");
    let problem = machine.ask(down(&["fw"], Users::Refuse)).unwrap_err();
    assert!(problem.contains("tor, anon would lose the network"), "{problem}");
}

#[test]
fn dead_torvm_is_replaced_with_everything_it_was_told() {
    let machine = Machine::with_tor();
    machine.ask(up(&["anon"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    machine.kill("tor");
    machine.wait_for("tor", |s| s.restarts == 1 && s.state == Phase::Running);
    machine.log_has("tor", "configuration 2: ");
    machine.log_has_times("tor", "dom0 says Uplink", 2);
    machine.log_has_times("tor", "client: Client { name: \"anon\"", 2);
    machine.log_has_times("anon", "got on Vif(0): greetings from tor", 2);
    assert_eq!(machine.status("anon").restarts, 0);
    machine.ask(down(&["anon"], Users::Refuse)).unwrap();
    machine.log_has("tor", "dom0 says ForgetClient { port: 2 }");
}

#[test]
fn store_that_others_can_read_is_not_used() {
    let machine = Machine::with_tor();
    let store = machine.path("state/tor.store");
    std::fs::create_dir_all(machine.path("state")).unwrap();
    std::fs::write(&store, "guards").unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o644)).unwrap();
    let problem = machine.ask(up(&["tor"])).unwrap_err();
    assert!(problem.contains("tor.store: can be used by others"), "{problem}");
}

const NETWORK: &str = "[arti.tor_network]\nfallback_caches = [{ rsa_identity = \"00\", ed_identity = \"x\", \
                       orports = [\"192.0.2.1:5000\", \"192.0.2.2:5001\"] }]\n";

#[test]
fn a_torvm_may_go_to_relays_only() {
    let machine = Machine::with_tor();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "generation 1: 0 rules");
    machine.ask(down(&["tor"], Users::Refuse)).unwrap();
    std::fs::write(machine.path("network.toml"), NETWORK).unwrap();
    let table = format!("[tor]\nnetwork = {:?}\n", machine.path("network.toml"));
    machine.write_domain("tor", &format!("kind = \"torvm\"\nnetvm = \"fw\"\n{table}"));
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "generation 2: 2 rules");
    let state = machine.wait_for_rules("tor", |s| s.in_force.is_some());
    assert_eq!(machine.rules("tor").1, "accept 192.0.2.1 tcp 5000\naccept 192.0.2.2 tcp 5001\n");
    assert_eq!(state.in_force, Some((2, Agreement::Same)));
    let why = machine.install("tor", "accept\n").unwrap_err();
    assert!(why.contains("its rules are computed"), "{why}");
}

#[test]
fn a_file_of_rules_for_a_torvm_opens_nothing() {
    let machine = Machine::with_tor();
    machine.write_rules("tor", "accept\n");
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "generation 1: 0 rules");
    let told = machine.status("tor").rules.unwrap();
    assert!(
        told.contains("everything is dropped") && told.contains("tor.rules: a torvm's rules are computed"),
        "{told}"
    );
}

#[test]
fn relays_of_before_are_not_reached_by_a_torvm_whose_rules_cannot_be_computed() {
    let machine = Machine::with_tor();
    std::fs::write(machine.path("network.toml"), NETWORK).unwrap();
    let torvm = "kind = \"torvm\"\nnetvm = \"fw\"\n";
    machine.write_domain("tor", &format!("{torvm}[tor]\nnetwork = {:?}\n", machine.path("network.toml")));
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "generation 1: 2 rules");
    machine.ask(down(&["tor"], Users::Refuse)).unwrap();
    // Of another network now, which is entered elsewhere.
    machine.write_domain("tor", torvm);
    machine.write_rules("tor", "accept\n");
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("fw", "generation 2: 0 rules");
}

#[test]
fn a_torvm_does_not_inherit_the_rules_of_an_appvm_of_its_name() {
    let machine = Machine::with_tor();
    machine.write_rules("work", "accept\n");
    machine.ask(up(&["work"])).unwrap();
    machine.log_has("fw", "generation 1: 1 rules");
    machine.ask(down(&["work"], Users::Refuse)).unwrap();
    machine.write_domain("work", "kind = \"torvm\"\nnetvm = \"fw\"\n");
    machine.ask(up(&["work"])).unwrap();
    machine.log_has("fw", "generation 2: 0 rules");
    assert!(machine.status("work").rules.unwrap().contains("everything is dropped"));
}

#[test]
fn what_a_torvm_may_not_say_ends_it() {
    let machine = Machine::with_tor();
    machine.behaves("fw", "gateway-words");
    let problem = machine.ask(up(&["fw"])).unwrap_err();
    assert!(problem.contains("reported on a gateway program that it cannot have"), "{problem}");
}

/// How long a silent domain is waited for: enough to do something meanwhile, and for those that are well to answer.
const SOON: Duration = Duration::from_secs(6);

fn route(name: &str, via: Option<&str>) -> Request {
    Request::Route { domain: name.parse().unwrap(), via: via.map(|v| v.parse().unwrap()) }
}

#[test]
fn running_appvm_goes_another_way_after_it_was_cut_off() {
    let machine = Machine::with_tor();
    machine.ask(up(&["work", "tor"])).unwrap();
    machine.log_has("work", "got on Vif(0): greetings from fw");
    let before = machine.status("work");
    let steps = machine.ask(route("work", Some("tor"))).unwrap();
    assert_eq!(steps, ["cutting work off from fw", "work goes through tor"]);
    machine.log_has("fw", "dom0 says ForgetClient { port: ");
    machine.log_has_after("work", "detached Vif(0)", "got on Vif(0): greetings from tor");
    machine.log_has("tor", "client: Client { name: \"work\"");
    let after = machine.status("work");
    assert_eq!(
        (after.restarts, after.addresses, after.netvm.unwrap().as_str()),
        (0, before.addresses, "tor")
    );
    let file = std::fs::read_to_string(machine.path("domains/work.toml")).unwrap();
    assert!(file.contains("netvm = \"tor\""), "{file}");
    let steps = machine.ask(route("work", None)).unwrap();
    assert_eq!(steps, ["cutting work off from tor", "work is offline"]);
    machine.log_has("tor", "dom0 says ForgetClient { port: ");
    let steps = machine.ask(route("work", Some("fw"))).unwrap();
    assert_eq!(steps, ["work goes through fw"]);
    machine.log_has_times("work", "got on Vif(0): greetings from fw", 2);
    assert_eq!(machine.ask(route("work", Some("fw"))).unwrap(), ["work: nothing to change"]);
}

#[test]
fn new_link_waits_until_the_old_domain_has_heard_of_it() {
    let machine = Machine::with_tor_and_times(|times| times.silence = SOON);
    machine.ask(up(&["work", "tor"])).unwrap();
    machine.log_has("work", "got on Vif(0): greetings from fw");
    let firewall = machine.latest_process("fw");
    machine.type_into("fw", "deaf\n");
    machine.log_has("fw", "deaf now");
    // The firewall says nothing more, and is ended for it: then there is nobody left who could let a packet through.
    machine.ask(route("work", Some("tor"))).unwrap();
    assert!(!is_alive(firewall), "the firewall that has not said that it forgot the AppVM is still there");
    machine.log_has("work", "got on Vif(0): greetings from tor");
}

#[test]
fn appvm_that_reboots_on_its_way_arrives_all_the_same() {
    let machine = Machine::with_tor_and_times(|times| times.silence = SOON);
    machine.ask(up(&["work", "tor"])).unwrap();
    machine.log_has("work", "got on Vif(0): greetings from fw");
    machine.type_into("fw", "deaf\n");
    machine.log_has("fw", "deaf now");
    // Until the firewall is ended for its silence the AppVM has no link: a process that is started then would have no
    // interface for the new one.
    std::thread::scope(|scope| {
        let led = scope.spawn(|| machine.ask(route("work", Some("tor"))));
        machine.log_has("work", "detached Vif(0)");
        machine.type_into("work", "reboot\n");
        led.join().unwrap().unwrap();
    });
    machine.wait_for("work", |status| status.restarts == 1 && status.state == Phase::Running);
    machine.log_has("work", "got on Vif(0): greetings from tor");
    assert_eq!(machine.status("work").restarts, 1);
}

#[test]
fn anonymous_appvm_is_not_led_past_tor() {
    let machine = Machine::with_tor();
    machine.ask(up(&["anon"])).unwrap();
    machine.log_has("anon", "got on Vif(0): greetings from tor");
    let before = std::fs::read_to_string(machine.path("domains/anon.toml")).unwrap();
    let problem = machine.ask(route("anon", Some("fw"))).unwrap_err();
    assert!(problem.contains("this AppVM is anonymous: nothing but a torvm"), "{problem}");
    assert_eq!(std::fs::read_to_string(machine.path("domains/anon.toml")).unwrap(), before);
    assert_eq!(machine.status("anon").netvm.unwrap().as_str(), "tor");
    machine.ask(route("anon", None)).unwrap();
    machine.ask(route("anon", Some("tor"))).unwrap();
    machine.log_has_times("anon", "got on Vif(0): greetings from tor", 2);
    // A file that was changed by hand is no way round: nothing at all is started by it.
    machine.ask(down(&["anon"], Users::Refuse)).unwrap();
    machine.write_domain("anon", &before.replace("\"tor\"", "\"fw\""));
    assert!(machine.ask(up(&["anon"])).unwrap_err().contains("this AppVM is anonymous"));
}

#[test]
fn appvm_that_became_anonymous_while_it_runs_is_not_led_past_tor() {
    let machine = Machine::with_tor();
    let text = std::fs::read_to_string(machine.path("domains/anon.toml")).unwrap();
    machine.write_domain("anon", &text.replace("anonymous = true", "anonymous = false"));
    machine.ask(up(&["anon"])).unwrap();
    machine.write_domain("anon", &text);
    let problem = machine.ask(route("anon", Some("fw"))).unwrap_err();
    assert!(problem.contains("this AppVM is anonymous: nothing but a torvm"), "{problem}");
    assert_eq!(std::fs::read_to_string(machine.path("domains/anon.toml")).unwrap(), text);
    machine.ask(route("anon", None)).unwrap();
}

#[test]
fn routes_that_cannot_be() {
    let machine = Machine::with_tor();
    machine.ask(up(&["vault"])).unwrap();
    for (name, via, why) in [
        ("work", Some("net"), "nothing would judge"),
        ("work", Some("nobody"), "there is no domain nobody"),
        ("tor", None, "only AppVMs go another way"),
        ("nobody", None, "there is no such domain"),
    ] {
        let problem = machine.ask(route(name, via)).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
    let steps = machine.ask(route("vault", Some("tor"))).unwrap();
    assert!(steps[0].contains("takes effect at its next start"), "{steps:?}");
    assert_eq!(machine.ask(route("work", Some("tor"))).unwrap().len(), 0, "not running: nothing to do");
    assert_eq!(machine.status("work").netvm.unwrap().as_str(), "tor");
}

impl Machine {
    /// The answer to a question about a torvm.
    fn tor<T: serde::de::DeserializeOwned>(&self, request: Request) -> T {
        match self.answer_to_text(request, None) {
            (_, Answer::Done(Outcome::Stream), Some(text)) => {
                serde_json::from_str(&enclosed::take_first(&[text]).unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn tor_status(&self) -> TorStatus {
        self.tor(Request::TorStatus { torvm: None })
    }

    fn wait_for_tor(&self, wanted: impl Fn(&TorStatus) -> bool) -> TorStatus {
        let start = Instant::now();
        loop {
            let status = self.tor_status();
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn change_tor(&self, change: TorChange) -> Result<Vec<String>, String> {
        self.ask(Request::TorChange { torvm: None, change })
    }
}

#[test]
fn status_says_what_the_program_says_without_its_tricks() {
    let machine = Machine::with_tor();
    assert_eq!(machine.tor_status().state, Phase::Stopped);
    machine.ask(up(&["anon"])).unwrap();
    let status = machine.wait_for_tor(|s| s.bootstrap.is_some());
    let bootstrap = status.bootstrap.unwrap();
    assert_eq!((bootstrap.percent, bootstrap.ready), (55, false));
    assert_eq!(bootstrap.blocked.as_deref(), Some("no \u{fffd}[2J directory"));
    assert!(bootstrap.clock_ahead_s < -1_000_000_000, "the fake's clock stands at 1970");
    assert_eq!((status.program, status.runs), (Program::Running, 1));
    assert_eq!((status.version.as_deref(), status.clients.len()), (Some("0.0-fake"), 1));
    assert_eq!(status.relays.allowed, 0);
    assert_eq!(
        machine.status("tor").tor.unwrap(),
        "on the way into the Tor network: 55 %, no \u{fffd}[2J directory"
    );
    machine.type_into("tor", "ready\n");
    machine.wait_for_tor(|s| s.bootstrap.as_ref().is_some_and(|b| b.ready));
    assert_eq!(machine.status("tor").tor, None);
    machine.type_into("tor", "crash\n");
    let status = machine.wait_for_tor(|s| matches!(s.program, Program::Ended(_)));
    assert_eq!(status.program, Program::Ended("it read memory that it does not have".to_owned()));
    let journal = std::fs::read_to_string(machine.path("log/tor.gateway")).unwrap();
    for line in
        ["was started (run 1)", "hello \u{fffd}[2J", "blocked at 55 %", "ready", "the gateway program ended"]
    {
        assert!(journal.contains(line), "{line} in {journal}");
    }
    assert!(!journal.contains('\x1b'), "{journal}");
}

#[test]
fn new_identities_and_circuits_are_the_programs_answers() {
    let machine = Machine::with_tor();
    let new = |client: Option<&str>| Request::TorNewIdentity {
        torvm: None,
        client: client.map(|c| c.parse().unwrap()),
        streams: OldStreams::Close,
    };
    let problem = machine.ask(new(None)).unwrap_err();
    assert!(problem.contains("tor: is not running"), "{problem}");
    machine.ask(up(&["anon"])).unwrap();
    machine.wait_for_tor(|s| s.bootstrap.is_some());
    assert_eq!(machine.tor::<NewIdentity>(new(Some("anon"))).closed, 3);
    machine.log_has("tor", "command NewIdentity { client: Some(10.137.0.6), streams: Close }");
    assert_eq!(machine.tor::<NewIdentity>(new(None)).closed, 3);
    machine.log_has("tor", "command NewIdentity { client: None, streams: Close }");
    assert!(machine.ask(new(Some("work"))).unwrap_err().contains("work: is not behind a torvm"));
    let circuits: Vec<Circuit> = machine.tor(Request::TorCircuits { torvm: None });
    assert_eq!(circuits.len(), 3);
    assert_eq!((circuits[2].client.as_str(), circuits[2].id.as_str()), ("anon", "Circ\u{fffd} 1"));
    assert!(circuits[0].hops[1].is_none());
    machine.type_into("tor", "deaf\n");
    machine.log_has("tor", "deaf now");
    let problem = machine.ask(new(None)).unwrap_err();
    assert!(problem.contains("did not answer in time"), "{problem}");
    // It is gone before its time is over.
    let problem = std::thread::scope(|scope| {
        let asked = scope.spawn(|| machine.ask(new(None)).unwrap_err());
        machine.log_has_times("tor", "command NewIdentity { client: None, streams: Close }", 3);
        machine.kill("tor");
        asked.join().unwrap()
    });
    assert!(problem.contains("did not answer in time"), "{problem}");
}

#[test]
fn bridges_are_saved_allowed_and_told() {
    let machine = Machine::with_tor();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    let bridge = format!("192.0.2.7:443 {}", "AB".repeat(20));
    let steps = machine.change_tor(TorChange::AddBridge(bridge.clone())).unwrap();
    assert!(steps[0].contains("open connections end"), "{steps:?}");
    machine.log_has("tor", "configuration 2: ");
    machine.log_has("fw", "generation 2: 1 rules");
    assert_eq!(machine.rules("tor").1, "accept 192.0.2.7 tcp 443\n");
    let shown: Bridges = machine.tor(Request::TorBridges { torvm: None });
    assert_eq!(shown.bridges, [bridge.as_str()]);
    assert!(machine.change_tor(TorChange::AddBridge(bridge.clone())).unwrap_err().contains("already"));
    let file = std::fs::read_to_string(machine.path("domains/tor.toml")).unwrap();
    for bad in ["obfs4 192.0.2.7:443 x", "192.0.2.7:443", ""] {
        assert!(machine.change_tor(TorChange::AddBridge(bad.to_owned())).is_err(), "{bad}");
    }
    assert_eq!(std::fs::read_to_string(machine.path("domains/tor.toml")).unwrap(), file);
    machine.change_tor(TorChange::RemoveBridge(bridge)).unwrap();
    machine.log_has("fw", "generation 3: 0 rules");
    machine.log_has("tor", "configuration 3: ");
}

#[test]
fn isolation_is_saved_and_told_and_what_is_wrong_changes_nothing() {
    let machine = Machine::with_tor();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    // It says that it runs after it has taken its configuration.
    machine.wait_for_tor(|status| status.version.is_some());
    let isolation =
        Isolation { destination_port: true, port_classes: vec![vec![22]], ..Isolation::default() };
    let steps = machine.change_tor(TorChange::Isolation(isolation.clone())).unwrap();
    assert!(steps[0].contains("opened from now on"), "{steps:?}");
    machine.log_has("tor", "next configuration 2: ");
    machine.log_has("tor", "by-destination-port = true");
    machine.log_has_times("tor", "command SetIsolation(Isolation { by_destination_address: false, by_destination_port: true, by_socks_credentials: true, port_classes: [[22]] })", 1);
    assert_eq!(machine.tor_status().runs, 1, "nothing was cut");
    assert_eq!(machine.tor::<Isolated>(Request::TorIsolation { torvm: None }).isolation, isolation);
    let file = std::fs::read_to_string(machine.path("domains/tor.toml")).unwrap();
    let bad = Isolation { port_classes: vec![vec![22], vec![22]], ..isolation };
    assert!(machine.change_tor(TorChange::Isolation(bad)).unwrap_err().contains("is in two classes"));
    assert_eq!(std::fs::read_to_string(machine.path("domains/tor.toml")).unwrap(), file);
}

#[test]
fn a_program_that_does_not_take_over_another_isolation_starts_again_with_it() {
    for (mood, why) in
        [("refuse-isolation", "did not take it"), ("ignore-isolation", "did not answer in time")]
    {
        let machine = Machine::with_tor();
        machine.ask(up(&["tor"])).unwrap();
        machine.log_has("tor", "configuration 1: ");
        machine.type_into("tor", &format!("{mood}\n"));
        machine.log_has("tor", &format!("mood {mood}"));
        let isolation = Isolation { destination_address: true, ..Isolation::default() };
        let steps = machine.change_tor(TorChange::Isolation(isolation)).unwrap();
        assert!(steps[0].contains(why) && steps[0].contains("open connections end"), "{steps:?}");
        machine.log_has("tor", "program starts again");
    }
}

#[test]
fn isolation_of_a_program_that_does_not_run_is_sent_for_its_start() {
    let machine = Machine::with_tor();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    machine.type_into("tor", "crash\n");
    machine.wait_for("tor", |s| s.tor.as_ref().is_some_and(|t| t.contains("program ended")));
    let isolation = Isolation { destination_address: true, ..Isolation::default() };
    machine.change_tor(TorChange::Isolation(isolation)).unwrap();
    machine.log_has("tor", "configuration 2: ");
}

#[test]
fn what_cannot_be_made_of_a_changed_file_is_said_and_nothing_of_before_is_used_instead() {
    let machine = Machine::with_tor();
    let network = machine.path("network.toml");
    let torvm =
        |more: &str| format!("kind = \"torvm\"\nnetvm = \"fw\"\n[tor]\nnetwork = {network:?}\n{more}");
    std::fs::write(&network, NETWORK).unwrap();
    machine.write_domain("tor", &torvm(""));
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    std::fs::write(&network, "x = 1").unwrap();
    let bridge = format!("192.0.2.7:443 {}", "A".repeat(40));
    let problem = machine.change_tor(TorChange::AddBridge(bridge.clone())).unwrap_err();
    assert!(problem.contains("network.toml"), "{problem}");
    assert_eq!(std::fs::read_to_string(machine.path("domains/tor.toml")).unwrap(), torvm(""));
    // The configuration of before has no bridges: it must not stand in for one that has.
    machine.ask(down(&["tor"], Users::Refuse)).unwrap();
    machine.write_domain("tor", &torvm(&format!("bridges = [{bridge:?}]\n")));
    let problem = machine.ask(up(&["tor"])).unwrap_err();
    assert!(problem.contains("network.toml"), "{problem}");
}

#[test]
fn which_torvm_is_meant_has_to_be_said_where_there_are_several() {
    let machine = Machine::with_tor();
    machine.write_domain("tor2", "kind = \"torvm\"\nnetvm = \"fw\"\n");
    let problem = machine.ask(Request::TorStatus { torvm: None }).unwrap_err();
    assert!(problem.contains("several torvms") && problem.contains("--domain: tor, tor2"), "{problem}");
    machine.ask(Request::TorStatus { torvm: Some("tor2".parse().unwrap()) }).unwrap();
    let problem = machine.ask(Request::TorStatus { torvm: Some("fw".parse().unwrap()) }).unwrap_err();
    assert!(problem.contains("fw: is a firewallvm, not a torvm"), "{problem}");
}

#[test]
fn torvm_whose_network_cannot_be_understood_is_not_started() {
    let machine = Machine::with_tor();
    std::fs::write(machine.path("network.toml"), "[arti.storage]\n").unwrap();
    let table = format!("[tor]\nnetwork = {:?}\n", machine.path("network.toml"));
    machine.write_domain("tor", &format!("kind = \"torvm\"\nnetvm = \"fw\"\n{table}"));
    let problem = machine.ask(up(&["tor"])).unwrap_err();
    assert!(problem.contains("network.toml: has a table [arti.storage]"), "{problem}");
    std::fs::write(machine.path("network.toml"), NETWORK).unwrap();
    machine.ask(up(&["tor"])).unwrap();
    machine.log_has("tor", "configuration 1: ");
    // One that runs goes on with what it has, also when its process is replaced.
    std::fs::write(machine.path("network.toml"), "[").unwrap();
    machine.kill("tor");
    machine.wait_for("tor", |s| s.restarts == 1 && s.state == Phase::Running);
    machine.log_has("tor", "configuration 2: ");
    machine
        .wait_for("tor", |s| s.tor.as_ref().is_some_and(|t| t.contains("its configuration cannot be made")));
    assert!(machine.tor_status().problem.is_some());
}
