//! Rules change while connections live.

use super::{rules::*, world::*};
use crate::{
    flows::{Flow, tcp::State},
    verdict::DropReason,
};
use proptest::prelude::*;
use rules_program::{
    Program, assemble,
    policy::{Action, Policy, Ports, Protocols, Rule},
};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const CLIENT: (u16, u16) = (40000, 443);

/// An established connection; the client is at 1001, the server at 5001. Gives the port outside.
fn established(w: &mut World, six: bool) -> u16 {
    let (there, back) = (to_server(six, 0), from_server(six));
    let port = ends(&w.out(0, &there.tcp(mac(0), CLIENT, SYN, (1000, 0), 64000, b""))).1;
    w.in_to(0, &back.tcp(NIC, (443, port), SYN | ACK, (5000, 1001), 65000, b""));
    w.out(0, &there.tcp(mac(0), CLIENT, ACK, (1001, 5001), 500, b""));
    port
}

fn flows4(w: &World) -> Vec<Flow<Ipv4Addr>> {
    let flows = &w.fw.core().v4.flows;
    (0..flows.capacity()).filter_map(|n| flows.get(n)).filter(|flow| flow.is_live()).copied().collect()
}

/// Flags, sequence and acknowledgement number of the one segment that reached the client.
#[track_caller]
fn reset_at(w: &mut World, n: usize) -> (u8, u32, u32) {
    let mut got = w.at_client(n);
    assert_eq!(got.len(), 1, "{got:?}");
    let frame = got.pop().unwrap().1;
    assert_sound(&frame);
    let Transport::Tcp(t) = headers(&frame).transport else { panic!() };
    (t.flags, t.sequence, t.acknowledgement)
}

#[test]
fn an_edit_cuts_an_established_transfer_at_once() {
    for six in [false, true] {
        let mut w = World::new(1);
        let port = established(&mut w, six);
        w.in_to(0, &from_server(six).tcp(NIC, (443, port), ACK, (5001, 1001), 500, &[1; 100]));
        w.install(0, &policy([]));
        let core = w.fw.core();
        assert_eq!(core.v4.flows.len() + core.v6.flows.len(), 0, "gone without a packet");
        w.refused_from_net(
            &from_server(six).tcp(NIC, (443, port), ACK, (5101, 1001), 500, &[1; 100]),
            DropReason::NoFlow,
        );
        w.dropped(0, &to_server(six, 0).tcp(mac(0), CLIENT, ACK, (1001, 5101), 500, b"x"));
        // Restored, what is in the middle does not go on, what begins does.
        w.install(0, &accept_all());
        let middle = to_server(six, 0).tcp(mac(0), CLIENT, ACK, (1001, 5101), 500, b"x");
        w.refused(0, &middle, DropReason::TcpNotSyn);
        assert!(w.at_client(0).is_empty());
        established(&mut w, six);
    }
}

#[test]
fn a_rejected_connection_is_reset() {
    for six in [false, true] {
        let mut w = World::new(1);
        let port = established(&mut w, six);
        w.in_to(0, &from_server(six).tcp(NIC, (443, port), ACK, (5001, 1001), 500, &[1; 100]));
        w.install(0, &policy([everything(Action::Reject)]));
        // Who only listens hears of it, with the number that it expects.
        assert_eq!(reset_at(&mut w, 0), (RST | ACK, 5101, 1001));
        w.refused_from_net(
            &from_server(six).tcp(NIC, (443, port), ACK, (5101, 1001), 500, &[1; 100]),
            DropReason::NoFlow,
        );
        // Who missed it says something, and hears it then.
        let segment = to_server(six, 0).tcp(mac(0), CLIENT, ACK, (1001, 5001), 500, b"x");
        w.refused(0, &segment, DropReason::Policy);
        assert_eq!(reset_at(&mut w, 0), (RST, 5001, 0));
        // A reset is never answered, an opening by the error that is due.
        w.dropped(0, &to_server(six, 0).tcp(mac(0), CLIENT, RST, (1001, 0), 0, b""));
        w.rejected(0, &to_server(six, 0).tcp(mac(0), CLIENT, SYN, (1, 0), 500, b""));
        // It is told only so often.
        for _ in 0..100 {
            w.client_sends(0, &segment);
        }
        assert!((10..=40).contains(&w.at_client(0).len()));
    }
}

#[test]
fn the_packet_that_comes_first_is_judged_first() {
    // Rules and a packet lie ready in the same round; whichever link is served first.
    for turn in 0..4 {
        let mut w = World::new(1);
        let port = established(&mut w, false);
        for _ in 0..turn {
            w.fw.poll(w.now);
        }
        let program = assemble(&policy([everything(Action::Reject)])).unwrap();
        w.fw.core.install(2, 2, Program::load(&program).unwrap()).unwrap();
        let data = from_server(false).tcp(NIC, (443, port), ACK, (5001, 1001), 500, &[1; 100]);
        w.net.send(&link::Meta::default(), &[&data]).unwrap();
        w.net.publish();
        w.run();
        assert_eq!(reset_at(&mut w, 0), (RST | ACK, 5001, 1001));
        assert!(flows4(&w).is_empty());
    }
}

#[test]
fn what_is_still_allowed_goes_on() {
    let mut w = World::new(2);
    let port = established(&mut w, false);
    w.out(1, &to_server(false, 1).udp(mac(1), (1, 2), b""));
    assert!(flows4(&w).iter().all(|flow| flow.rule == 0));
    let tcp = Rule { protocols: Protocols::TCP, ..everything(Action::Accept) };
    let udp = Rule { protocols: Protocols::UDP, ..everything(Action::Accept) };
    w.install(0, &policy([udp, tcp]));
    assert_eq!(w.hits(0), (vec![0, 0], 0), "a second look is no decision");
    let of = |w: &World, link| flows4(w).into_iter().find(|flow| flow.link == link).unwrap();
    let current = w.fw.core().common.generation;
    assert_eq!((of(&w, 2).rule, of(&w, 2).generation), (1, current));
    assert_eq!((of(&w, 3).rule, of(&w, 3).generation), (0, current));
    assert_eq!(of(&w, 2).tracker.state(), State::Established);
    w.in_to(0, &from_server(false).tcp(NIC, (443, port), ACK, (5001, 1001), 500, b"data"));
    // Another client's rules are nothing to this one.
    w.install(1, &policy([]));
    assert_eq!(flows4(&w).len(), 1);
    w.out(0, &to_server(false, 0).tcp(mac(0), CLIENT, ACK, (1001, 5005), 500, b"data"));
}

#[test]
fn errors_about_a_flow_that_may_not_be_are_refused() {
    let mut w = World::new(1);
    let sent = w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), &[7; 100]));
    let program = assemble(&policy([])).unwrap();
    w.fw.core.install(2, 2, Program::load(&program).unwrap()).unwrap();
    w.refused_from_net(&from_server(false).error(NIC, (3, 3), 0, &sent[14..]), DropReason::IcmpQuote);
}

#[test]
fn generations_wrap_around() {
    let mut w = World::with_flows(2, 64);
    w.fw.core.common.generation = u16::MAX - 2;
    w.install(0, &accept_all());
    w.install(1, &accept_all());
    w.out(0, &to_server(false, 0).udp(mac(0), (1, 9), b""));
    w.out(1, &to_server(false, 1).udp(mac(1), (1, 9), b""));
    let program = |action| Program::load(&assemble(&policy([everything(action)])).unwrap()).unwrap();
    // Many changes before anybody looks at a flow, over the end of the numbers.
    for number in 0..3 {
        w.fw.core.install(2, number, program(Action::Accept)).unwrap();
        w.fw.core.install(3, number, program(Action::Accept)).unwrap();
        for flow in flows4(&w) {
            assert!(w.fw.core().common.generation.wrapping_sub(flow.generation) <= 2);
        }
    }
    assert!(w.fw.core().common.generation < 10);
    // The one change that matters, at every place around the end.
    for start in u16::MAX - 4..=u16::MAX {
        let mut w = World::with_flows(2, 64);
        w.fw.core.common.generation = start;
        w.out(0, &to_server(false, 0).udp(mac(0), (1, 9), b""));
        w.out(1, &to_server(false, 1).udp(mac(1), (1, 9), b""));
        w.fw.core.install(3, 1, program(Action::Accept)).unwrap();
        w.fw.core.install(2, 1, program(Action::Drop)).unwrap();
        w.dropped(0, &to_server(false, 0).udp(mac(0), (1, 9), b""));
        w.out(1, &to_server(false, 1).udp(mac(1), (1, 9), b""));
    }
    w.fw.core.install(3, 9, program(Action::Drop)).unwrap();
    assert_eq!(flows4(&w).len(), 2);
    w.out(0, &to_server(false, 0).udp(mac(0), (1, 9), b""));
    w.dropped(1, &to_server(false, 1).udp(mac(1), (1, 9), b""));
    assert_eq!(flows4(&w).len(), 1);
    // However clients and rules come and go.
    for number in 0..300 {
        w.fw.core.common.policy.forget(3);
        w.fw.core.install(3, number, program(Action::Accept)).unwrap();
        let behind = |flow: &Flow<_>| w.fw.core().common.generation.wrapping_sub(flow.generation);
        assert!(flows4(&w).iter().all(|flow| behind(flow) <= 64));
    }
}

/// Accepts what goes to the odd or to the even ports below 64, and rejects or drops the rest.
fn half(odd: bool) -> Policy {
    let rule = |n: u16| Rule {
        protocols: Protocols::UDP,
        destination_ports: Ports { first: n, last: n },
        ..everything(Action::Accept)
    };
    policy((1..64).filter(|n| (n % 2 == 1) == odd).map(rule))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Old and new rules allow nothing in common. Every burst is judged by the one or the other, none by both; and
    /// every one after the first that was judged by the new ones too.
    #[test]
    fn no_burst_is_judged_by_a_mixture(
        turns in 0..8u8, swap_at in 0..6usize, long in any::<bool>(),
        bursts in prop::collection::vec(prop::collection::vec(1..64u16, 1..32), 8),
    ) {
        let mut w = World::with_flows(1, 1024);
        w.install(0, &half(true));
        // A long program comes in pieces, between which bursts are served.
        let mut new = half(false);
        if long {
            let more = |n| Rule { destination_ports: port(n), protocols: Protocols::TCP, ..everything(Action::Drop) };
            new.rules.extend((100..1100).map(more));
        }
        let program = assemble(&new).unwrap();
        let total = u32::try_from(program.len()).unwrap();
        for port in 1..64u16 {
            w.client_sends(0, &to_server(false, 0).udp(mac(0), (7, port), b""));
        }
        drain(&mut w.net);
        for _ in 0..turns {
            w.fw.poll(w.now);
        }
        let mut pieces = program.chunks(3000).enumerate();
        let (mut by_new, mut sent_all) = (false, false);
        for (number, burst) in bursts.iter().enumerate() {
            for port in burst {
                let frame = to_server(false, 0).udp(mac(0), (7, *port), b"");
                w.clients[0].send(&link::Meta::default(), &[&frame]).unwrap();
            }
            w.clients[0].publish();
            if number >= swap_at {
                match pieces.next() {
                    Some((at, piece)) => {
                        let offset = u32::try_from(at * 3000).unwrap();
                        let bytes = piece.iter().copied().collect();
                        let message = control::message::ToFirewall::Rules { port: 2, generation: 2, total, offset, bytes };
                        let mut buffer = [0; control::codec::MAX_LEN];
                        let bytes = control::codec::encode(&message, &mut buffer).unwrap();
                        w.dom0.send(&link::Meta::MESSAGE, &[bytes]).unwrap();
                        w.dom0.publish();
                    }
                    None => sent_all = true,
                }
            }
            w.now += 5;
            w.fw.poll(w.now);
            let passed: Vec<u16> = drain(&mut w.net).iter().map(|(_, frame)| ends(frame).3).collect();
            let expected = |odd: bool| burst.iter().copied().filter(|n| (n % 2 == 1) == odd).collect::<Vec<_>>();
            by_new |= passed != expected(true);
            prop_assert_eq!(passed, expected(!by_new), "burst {}", number);
            prop_assert!(by_new || !sent_all);
        }
    }

    /// However flows and programs come and go, and wherever the look at flows stands: when it is done, each limit counts
    /// the flows that its rule allowed.
    #[test]
    fn live_connections_are_counted_exactly(
        steps in prop::collection::vec((0..6u8, 0..64u16, any::<bool>()), 1..60),
    ) {
        let mut w = World::with_flows(2, 300);
        let limited = |most, protocols| Rule { connections: Some(most), protocols, ..everything(Action::Accept) };
        let programs = [
            policy([limited(5, Protocols::UDP), limited(9, Protocols::ALL)]),
            policy([limited(9, Protocols::ALL)]),
            policy([limited(5, Protocols::ICMP), limited(5, Protocols::UDP), limited(5, Protocols::ALL)]),
            policy([everything(Action::Accept)]),
        ]
        .map(|policy| Program::load(&assemble(&policy).unwrap()).unwrap());
        for (what, number, six) in steps {
            let n = usize::from(number % 2);
            let path = to_server(six, n);
            match what {
                0..=2 => w.client_sends(n, &path.udp(mac(n), (number + 1, 4433), b"")),
                3 => w.client_sends(n, &path.echo(mac(n), true, number, b"")),
                4 => {
                    let link = u8::try_from(n + 2).unwrap();
                    let program = programs[usize::from(number / 2) % 4].clone();
                    w.fw.core.install(link, 1, program).unwrap();
                    if six {
                        w.fw.core.sweep();
                    }
                }
                _ => {
                    // Expiry without a look at the rest.
                    w.now += 100_000_000;
                    w.fw.core.set_time(w.now);
                    while !w.fw.core.expire() {}
                }
            }
        }
        while !w.fw.core.sweep() {}
        let core = w.fw.core();
        for link in [2, 3] {
            let mut counts = std::collections::HashMap::new();
            let v4 = (0..core.v4.flows.capacity()).filter_map(|n| core.v4.flows.get(n));
            let v4 = v4.filter(|flow| flow.is_live()).map(|flow| (flow.link, flow.rule));
            let v6 = (0..core.v6.flows.capacity()).filter_map(|n| core.v6.flows.get(n));
            let v6 = v6.filter(|flow| flow.is_live()).map(|flow| (flow.link, flow.rule));
            for (_, rule) in v4.chain(v6).filter(|(of, _)| *of == link) {
                *counts.entry(rule).or_insert(0) += 1;
            }
            let rules = core.common.policy.of(link).unwrap();
            for (rule, _, most) in rules.program().limited() {
                let count = counts.get(&rule).copied().unwrap_or(0);
                prop_assert_eq!(rules.live(rule), Some(count));
                prop_assert!(count <= most.unwrap());
            }
        }
    }
}
