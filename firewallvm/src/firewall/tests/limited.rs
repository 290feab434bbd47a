//! Limits of rules, and what dom0 hears of their decisions.

use super::{forwards::forward, rules::*, world::*};
use crate::verdict::DropReason;
use control::message::{Decision, Fate, FromDomain, ToFirewall};
use rules_program::policy::{Action, Policy, Protocols, Rate, Rule};

fn rate(count: u32, per_seconds: u32, burst: u32) -> Option<Rate> {
    Some(Rate { count, per_seconds, burst })
}

fn live(w: &World, n: u8, rule: u16) -> Option<u32> {
    w.fw.core().common.policy.of(n + 2).and_then(|rules| rules.live(rule))
}

fn udp(six: bool, n: usize, port: u16) -> Vec<u8> {
    to_server(six, n).udp(mac(n), (port, 4433), b"")
}

/// At most two connections at once.
fn two() -> Policy {
    policy([Rule { connections: Some(2), ..everything(Action::Accept) }])
}

#[test]
fn over_the_rate_the_next_rules_are_asked() {
    let mut w = World::new(2);
    let limited = Rule { rate: rate(1, 1, 3), ..everything(Action::Accept) };
    w.install(0, &policy([limited.clone(), everything(Action::Reject)]));
    for port in 1..=3 {
        w.out(0, &udp(port % 2 == 0, 0, port));
    }
    w.rejected(0, &udp(false, 0, 4));
    w.out(0, &udp(false, 0, 1));
    w.wait(1);
    w.out(0, &udp(true, 0, 5));
    w.rejected(0, &udp(true, 0, 6));
    assert_eq!(w.hits(0), (vec![4, 2], 0));
    // Nobody else's tokens were taken.
    w.install(1, &policy([limited]));
    w.out(1, &udp(false, 1, 1));
    // Other rules do not bring tokens, the same ones do not bring new ones.
    w.install(0, &policy([Rule { rate: rate(1, 1, 3), ..everything(Action::Accept) }]));
    w.dropped(0, &udp(true, 0, 6));
    // A segment that opens nothing takes none.
    w.wait(1);
    let stray = to_server(false, 0).tcp(mac(0), (9, 443), 16, (1, 1), 100, b"");
    w.refused(0, &stray, DropReason::TcpNotSyn);
    w.out(0, &udp(false, 0, 7));
}

/// Who begins anew on the ports of a connection that is over asks the rules like everybody else.
#[test]
fn an_old_connection_lends_nothing_to_a_new_one() {
    const SYN: u8 = 2;
    const RST: u8 = 4;
    let one = Rule { rate: rate(1, 60, 1), connections: Some(1), ..everything(Action::Accept) };
    for six in [false, true] {
        let mut w = World::new(1);
        w.install(0, &policy([one.clone()]));
        let segment = |flags, seq| to_server(six, 0).tcp(mac(0), (7, 443), flags, (seq, 0), 100, b"");
        w.out(0, &segment(SYN, 1000));
        w.out(0, &segment(RST, 1001));
        w.dropped(0, &segment(SYN, 5000));
        w.wait(60);
        w.out(0, &segment(SYN, 5000));
        assert_eq!((w.hits(0), live(&w, 0, 0)), ((vec![2], 1), Some(1)));
        // A port that is forwarded is no other.
        let web = Rule { rate: one.rate, ..forward(Protocols::TCP, port(8080), None) };
        w.install(0, &policy([web]));
        let segment = |flags, seq| from_server(six).tcp(NIC, (7, 8080), flags, (seq, 0), 100, b"");
        w.in_to(0, &segment(SYN, 1000));
        w.in_to(0, &segment(RST, 1001));
        w.refused_from_net(&segment(SYN, 5000), DropReason::Policy);
    }
}

/// A connection that was reset does not take the place of another one for minutes.
#[test]
fn what_was_reset_is_over_soon() {
    let one = Rule { connections: Some(1), ..everything(Action::Accept) };
    for six in [false, true] {
        let mut w = World::new(1);
        w.install(0, &policy([one.clone()]));
        let segment =
            |port, flags, seq| to_server(six, 0).tcp(mac(0), (port, 443), flags, (seq, 0), 100, b"");
        w.out(0, &segment(7, 2, 1000));
        w.out(0, &segment(7, 4, 1001));
        w.dropped(0, &segment(8, 2, 1000));
        w.wait(11);
        assert_eq!(live(&w, 0, 0), Some(0));
        let port = ends(&w.out(0, &segment(8, 2, 1000))).1;
        let refusal = from_server(six).tcp(NIC, (443, port), 4 | 16, (0, 1001), 0, b"");
        w.in_to(0, &refusal);
        w.wait(11);
        w.out(0, &segment(9, 2, 1000));
    }
}

#[test]
fn connections_are_counted_from_their_first_packet_to_their_end() {
    let mut w = World::new(2);
    w.install(0, &two());
    w.out(0, &udp(false, 0, 1));
    w.out(0, &udp(true, 0, 2));
    w.dropped(0, &udp(false, 0, 3));
    w.out(0, &udp(false, 0, 1));
    w.out(1, &udp(false, 1, 3));
    assert_eq!(live(&w, 0, 0), Some(2));
    // They expire.
    w.wait(130);
    assert_eq!(live(&w, 0, 0), Some(0));
    w.out(0, &udp(false, 0, 3));
    w.out(0, &udp(false, 0, 4));
    assert_eq!(live(&w, 0, 0), Some(2));
    // The uplink's address changes.
    let mut elsewhere = uplink();
    elsewhere.v4.as_mut().unwrap().address = Ipv4Addr::new(192, 168, 8, 3);
    w.uplink(&elsewhere);
    assert_eq!(live(&w, 0, 0), Some(0));
    w.uplink(&uplink());
    w.at_net();
    // Other rules end them.
    w.out(0, &udp(false, 0, 5));
    w.out(0, &udp(true, 0, 5));
    let none = Rule { connections: Some(2), protocols: Protocols::TCP, ..everything(Action::Accept) };
    w.install(0, &policy([none]));
    assert_eq!((live(&w, 0, 0), w.fw.core().v6.flows.len()), (Some(0), 0));
}

#[test]
fn rules_with_the_same_limits_go_on_counting() {
    let mut w = World::new(1);
    w.install(0, &two());
    w.out(0, &udp(false, 0, 1));
    w.out(0, &udp(true, 0, 2));
    // The same rule in another place.
    let first = Rule { protocols: Protocols::TCP, ..everything(Action::Drop) };
    w.install(0, &policy([first.clone(), two().rules.remove(0)]));
    assert_eq!(live(&w, 0, 1), Some(2));
    w.dropped(0, &udp(false, 0, 3));
    w.out(0, &udp(false, 0, 1));
    w.wait(130);
    assert_eq!(live(&w, 0, 1), Some(0));
    // A lower limit ends what is too many, and counts the rest.
    for port in 1..=2 {
        w.out(0, &udp(false, 0, port));
    }
    w.install(0, &policy([first, Rule { connections: Some(1), ..everything(Action::Accept) }]));
    assert_eq!((live(&w, 0, 1), w.fw.core().v4.flows.len()), (Some(1), 1));
}

fn decisions(w: &mut World) -> Vec<Decision> {
    let decision = |message| if let FromDomain::Decision(decision) = message { Some(decision) } else { None };
    w.at_dom0().into_iter().filter_map(decision).collect()
}

#[test]
fn a_rule_that_says_log_is_heard_of() {
    let mut w = World::new(1);
    let rule = |number, action, log| Rule { destination_ports: port(number), log, ..everything(action) };
    let ping = Rule { icmp_type: Some(8), protocols: Protocols::ICMP, log: true, ..everything(Action::Drop) };
    w.install(
        0,
        &policy([
            rule(1, Action::Accept, true),
            rule(2, Action::Reject, true),
            rule(3, Action::Accept, false),
            ping,
        ]),
    );
    for number in 1..=4 {
        w.client_sends(0, &to_server(number == 2, 0).udp(mac(0), (5000, number), b""));
        w.client_sends(0, &to_server(number == 2, 0).udp(mac(0), (5000, number), b"again"));
    }
    w.client_sends(0, &to_server(false, 0).echo(mac(0), true, 99, b""));
    // Nothing was decided about what no connection begins with.
    w.client_sends(0, &to_server(false, 0).tcp(mac(0), (5000, 1), 16, (1, 1), 100, b""));
    let expected = |rule, fate, protocol, source, destination| Decision {
        port: 2,
        generation: 1,
        rule,
        fate,
        inward: false,
        protocol,
        source,
        destination,
        suppressed: 0,
    };
    let rejected = expected(1, Fate::Rejected, 17, (client6(0).into(), 5000), (server6().into(), 2));
    assert_eq!(
        decisions(&mut w),
        [
            expected(0, Fate::Accepted, 17, (client4(0).into(), 5000), (SERVER4.into(), 1)),
            rejected.clone(),
            rejected,
            expected(3, Fate::Dropped, 1, (client4(0).into(), 0), (SERVER4.into(), 8)),
        ]
    );
}

#[test]
fn what_is_too_much_to_tell_is_counted() {
    let mut w = World::new(2);
    for n in 0..2 {
        w.install(n, &policy([Rule { log: true, ..everything(Action::Drop) }]));
    }
    let told = |w: &mut World, n: u8| {
        let all = decisions(w).into_iter().filter(|decision| decision.port == n + 2);
        all.map(|decision| decision.suppressed).collect::<Vec<_>>()
    };
    for number in 1..=80 {
        w.client_sends(0, &udp(false, 0, number));
    }
    // A token comes every 20 ms of the test's clock, which a packet moves by some microseconds.
    assert_eq!(told(&mut w, 0), [0; 50]);
    w.client_sends(1, &udp(false, 1, 1));
    assert_eq!(told(&mut w, 1), [0], "another client is heard of all the same");
    w.wait(1);
    w.client_sends(0, &udp(false, 0, 1));
    w.client_sends(0, &udp(false, 0, 1));
    assert_eq!(told(&mut w, 0), [30, 0]);
    // dom0 does not read: what waits is bounded, and nothing else suffers.
    w.wait(2);
    for size in [4000, 1] {
        while w.fw.ports.send(0, &link::Meta::MESSAGE, &[&vec![0; size]]).is_ok() {}
    }
    w.fw.ports.publish();
    for number in 1..=300 {
        w.client_sends(0, &udp(false, 0, number));
        w.client_sends(1, &udp(false, 1, number));
    }
    drain(&mut w.dom0);
    w.run();
    let all = decisions(&mut w);
    assert!((1..=64).contains(&all.len()), "{}", all.len());
    w.tell(&ToFirewall::Ping { nonce: 1 });
    assert!(w.at_dom0().contains(&FromDomain::Pong { nonce: 1 }));
}
