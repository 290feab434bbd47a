//! The supervisor and its programs against real processes that play `bulkhead-vmm` (`examples/fake_vmm.rs`).

mod machine;
mod programs;
mod relays;
mod rules;
mod rules_at_the_shell;
mod tor;
mod tor_at_the_shell;

use dom0::protocol::{Phase, Request, Users};
use dom0::settings::Times;
use machine::Machine;
use std::time::Duration;

fn up(names: &[&str]) -> Request {
    Request::Up { domains: names.iter().map(|n| n.parse().unwrap()).collect() }
}

fn down(names: &[&str], users: Users) -> Request {
    Request::Down { domains: names.iter().map(|n| n.parse().unwrap()).collect(), users }
}

#[test]
fn chain_comes_up_in_order_and_goes_down_in_reverse() {
    let machine = Machine::with_chain();
    let steps = machine.ask(up(&["work"])).unwrap();
    let wanted = ["starting net", "net is up", "starting fw", "fw is up", "starting work", "work is up"];
    assert_eq!(steps, wanted);
    assert_eq!(machine.phase("work"), Phase::Running);
    assert_eq!(machine.phase("personal"), Phase::Stopped, "nobody asked for it");
    machine.log_has("net", "got on Port(1): greetings from fw");
    machine.log_has("fw", "got on Port(1): greetings from net");
    machine.log_has("fw", "greetings from work");
    machine.log_has("work", "got on Vif(0): greetings from fw");
    machine.log_has("net", "dom0 says Nic(Nic { v4: Dhcp, v6: Auto })");
    machine.log_has("fw", "v4: 10.137.0.14, v4_gateway: 10.137.0.13, v4_prefix: 30");
    let steps = machine.ask(down(&[], Users::Refuse)).unwrap();
    assert_eq!(steps, ["stopping work", "stopping fw", "stopping net"]);
    assert!(machine.processes().is_empty(), "{:?}", machine.processes());
}

#[test]
fn dead_netvm_is_replaced_and_its_peers_go_on() {
    let machine = Machine::with_chain();
    machine.ask(up(&["work"])).unwrap();
    let before = machine.status("fw");
    machine.log_has("net", "got on Port(1): greetings from fw");
    machine.log_has("fw", "got on Port(1): greetings from net");
    machine.kill("net");
    machine.wait_for("net", |s| s.restarts == 1 && s.state == Phase::Running);
    machine.log_has("fw", "detached Port(1)");
    machine.log_has_times("fw", "got on Port(1): greetings from net", 2);
    machine.log_has_times("net", "got on Port(1): greetings from fw", 2);
    let (fw, work) = (machine.status("fw"), machine.status("work"));
    assert_eq!((fw.restarts, work.restarts), (0, 0));
    assert!(fw.uptime_s >= before.uptime_s);
    let epochs = machine.epochs("fw", "Port(1)");
    assert!(epochs.len() == 2 && epochs[0] < epochs[1], "{epochs:?}");
}

#[test]
fn dead_firewallvm_is_replaced_and_every_link_is_plumbed_anew() {
    let machine = Machine::with_chain();
    machine.ask(up(&[])).unwrap();
    machine.log_has_times("fw", "dom0 says Client", 2);
    for client in ["work", "personal"] {
        machine.log_has(client, "got on Vif(0): greetings from fw");
    }
    machine.kill("fw");
    machine.wait_for("fw", |s| s.restarts == 1 && s.state == Phase::Running);
    for client in ["work", "personal"] {
        machine.log_has_times(client, "got on Vif(0): greetings from fw", 2);
        assert_eq!(machine.status(client).restarts, 0);
    }
    machine.log_has_times("fw", "dom0 says Client", 4);
}

#[test]
fn domain_that_keeps_dying_stays_down_with_its_reason() {
    let machine = Machine::with_chain();
    machine.ask(up(&["net"])).unwrap();
    machine.behaves("net", "exit-at-start");
    machine.kill("net");
    let status = machine.wait_for("net", |s| s.state == Phase::Failed);
    assert_eq!(status.restarts, 5);
    let reason = status.reason.unwrap();
    assert!(
        reason.contains("exited with status 3") && reason.contains("this kernel is no kernel"),
        "{reason}"
    );
    machine.behaves("net", "ok");
    machine.ask(up(&["net"])).unwrap();
    assert_eq!(machine.status("net").restarts, 0);
}

#[test]
fn failed_start_is_unwound_and_leaves_what_ran_before() {
    let machine = Machine::with_chain();
    machine.ask(up(&["net"])).unwrap();
    machine.behaves("work", "exit-at-start");
    let problem = machine.ask(up(&["work"])).unwrap_err();
    assert!(
        problem.contains("work: ended while it was started") && problem.contains("no kernel"),
        "{problem}"
    );
    machine.wait_for("fw", |s| s.state == Phase::Stopped);
    assert_eq!(machine.phase("net"), Phase::Running);
    assert_eq!(machine.processes().len(), 1, "{:?}", machine.processes());
}

#[test]
fn missing_kernel_is_named_before_anything_starts() {
    let machine = Machine::with_chain();
    std::fs::remove_file(machine.path("lib/netvm")).unwrap();
    let problem = machine.ask(up(&["net"])).unwrap_err();
    assert!(problem.contains("lib/netvm: No such file") && problem.contains("remedy:"), "{problem}");
    assert!(machine.processes().is_empty());
}

#[test]
fn missing_vmm_is_named() {
    let machine = Machine::with_chain();
    std::fs::remove_file(machine.path("lib/bulkhead-vmm")).unwrap();
    let problem = machine.ask(up(&["net"])).unwrap_err();
    assert!(problem.contains("bulkhead-vmm: cannot be started"), "{problem}");
    assert_eq!(machine.phase("net"), Phase::Stopped);
}

/// What a misbehaving netvm is ended for; it was never ready, so it is not replaced.
fn ended_for(behaviour: &str, shorten: impl FnOnce(&mut Times)) -> String {
    let machine = Machine::with_times(shorten);
    machine.behaves("net", behaviour);
    let problem = machine.ask(up(&["work"])).unwrap_err();
    assert!(machine.processes().is_empty(), "{behaviour}: {:?}", machine.processes());
    problem
}

#[test]
fn misbehaviour_is_answered_with_an_end_and_its_reason() {
    let no_less: fn(&mut Times) = |_| ();
    for (behaviour, shorten, reason) in [
        ("unsealed", no_less, "left the region unsealed"),
        ("refuse-link", no_less, "its VMM refused the link dom0 == net.port0: no room for \u{fffd}[2J links"),
        ("wrong-kind", no_less, "says that it is a router, not a netvm"),
        ("chatty", no_less, "answered a request that was not made"),
        ("mute", |times| times.answer = Duration::from_secs(1), "did not answer in time"),
        (
            "no-hello",
            |times| times.ready = Duration::from_secs(5),
            "is not ready after 5 s: it has not said that it runs",
        ),
    ] {
        let said = ended_for(behaviour, shorten);
        assert!(said.contains(reason), "{behaviour}: {said}");
    }
}

#[test]
fn silent_domain_is_replaced() {
    let machine = Machine::with_times(|times| times.silence = Duration::from_secs(1));
    machine.behaves("net", "no-pong");
    machine.ask(up(&["net"])).unwrap();
    machine.wait_for("net", |s| s.restarts >= 1);
    machine.behaves("net", "ok");
}

#[test]
fn accused_link_is_plumbed_anew() {
    let machine = Machine::with_chain();
    machine.behaves("fw", "accuse");
    machine.ask(up(&["fw"])).unwrap();
    // Before it is detached the link may have carried a greeting or not.
    machine.log_has_after("net", "detached Port(1)", "got on Port(1): greetings from fw");
}

#[test]
fn users_keep_a_domain_up_unless_forced() {
    let machine = Machine::with_chain();
    machine.ask(up(&["work"])).unwrap();
    machine.log_has("work", "got on Vif(0): greetings from fw");
    let problem = machine.ask(down(&["fw"], Users::Refuse)).unwrap_err();
    assert!(problem.contains("fw: work would lose the network") && problem.contains("--force"), "{problem}");
    machine.ask(down(&["work"], Users::Refuse)).unwrap();
    machine.log_has("fw", "dom0 says ForgetClient { port: 3 }");
    machine.ask(up(&["work"])).unwrap();
    machine.log_has_times("work", "got on Vif(0): greetings from fw", 2);
    machine.ask(down(&["fw"], Users::LeaveOffline)).unwrap();
    assert_eq!((machine.phase("fw"), machine.phase("work")), (Phase::Stopped, Phase::Running));
    machine.log_has("work", "detached Vif(0)");
    machine.ask(up(&["fw"])).unwrap();
    machine.log_has_times("work", "got on Vif(0): greetings from fw", 3);
}

#[test]
fn agent_powers_off_a_guest_that_does_not_hear_its_button() {
    let machine = Machine::with_chain();
    machine.behaves("vault", "no-button");
    machine.ask(up(&["vault"])).unwrap();
    let start = std::time::Instant::now();
    machine.ask(down(&["vault"], Users::Refuse)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(50), "it was not killed after its grace of a minute");
}

#[test]
fn stubborn_domain_is_killed_after_its_grace() {
    let machine = Machine::with_times(|times| times.power_off = Duration::from_secs(1));
    machine.behaves("vault", "stubborn");
    machine.ask(up(&["vault"])).unwrap();
    machine.ask(down(&["vault"], Users::Refuse)).unwrap();
    assert!(machine.processes().is_empty());
}

#[test]
fn guest_that_reboots_is_started_again_and_one_that_panics_is_not() {
    let machine = Machine::with_chain();
    machine.ask(up(&["vault"])).unwrap();
    machine.type_into("vault", "reboot\n");
    machine.wait_for("vault", |s| s.restarts == 1 && s.state == Phase::Running);
    machine.type_into("vault", "panic\n");
    let status = machine.wait_for("vault", |s| s.state == Phase::Failed);
    assert_eq!(status.reason.as_deref(), Some("the guest panicked"));
}

#[test]
fn counters_come_from_vmm_and_guest() {
    let machine = Machine::with_chain();
    machine.ask(up(&["net"])).unwrap();
    let counters = machine.counters("net");
    let named: Vec<&str> = counters.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for name in ["vmm.exits.io", "forwarded", "dropped"] {
        assert!(named.contains(&name), "{named:?}");
    }
}

#[test]
fn changed_file_waits_for_the_next_start() {
    let machine = Machine::with_chain();
    machine.ask(up(&["vault"])).unwrap();
    machine.write_domain("vault", &machine.appvm("vault", "memory = 64"));
    assert_eq!(machine.status("vault").memory_mib, 512);
    machine.ask(down(&["vault"], Users::Refuse)).unwrap();
    machine.ask(up(&["vault"])).unwrap();
    assert_eq!(machine.status("vault").memory_mib, 64);
    machine.write_domain("broken", "kind = 1");
    assert!(machine.ask(up(&["vault"])).unwrap_err().contains("broken.toml:1: kind"));
    assert_eq!(machine.phase("vault"), Phase::Running);
}

#[test]
fn shutdown_stops_everything() {
    let mut machine = Machine::with_chain();
    machine.ask(up(&[])).unwrap();
    for name in ["net", "fw", "work", "personal", "vault"] {
        machine.latest_process(name);
    }
    assert_eq!(machine.processes().len(), 5);
    machine.shut_down();
    assert!(machine.processes().is_empty(), "{:?}", machine.processes());
}
