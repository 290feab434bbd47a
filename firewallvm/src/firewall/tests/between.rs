//! Connections between clients: where the rules of both name the other.

use super::{rules::*, world::*};
use crate::verdict::DropReason;
use control::message::{Fate, FromDomain, ToFirewall};
use rules_program::policy::{Action, Direction, Policy, Protocols, Rule, Target};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Rules of which the targets are one other domain.
fn about(client: usize, rules: impl IntoIterator<Item = Rule>) -> Policy {
    let rules = rules.into_iter().map(|rule| Rule { targets: vec![Target::Domain(0)], ..rule });
    Policy { domains: vec![name(client).as_str().into()], ..policy(rules) }
}

/// This client may connect to that one, as far as its own rules go.
fn out_to(client: usize) -> Policy {
    about(client, [everything(Action::Accept)])
}

/// That client may connect to this one, as far as this one's rules go.
fn in_from(client: usize) -> Policy {
    about(client, [Rule { direction: Direction::Inward, ..everything(Action::Accept) }])
}

/// Client 0 may connect to client 1.
fn world() -> World {
    let mut w = World::new(3);
    w.install(0, &out_to(1));
    w.install(1, &in_from(0));
    w
}

fn path(six: bool, from: usize, to: usize) -> Path {
    if six { Path::Six(client6(from), client6(to)) } else { Path::Four(client4(from), client4(to)) }
}

/// Sends a client's frame and gives the one that reaches another client.
#[track_caller]
fn across(w: &mut World, from: usize, to: usize, frame: &[u8]) -> Vec<u8> {
    w.client_sends(from, frame);
    let drops: Vec<_> = w.fw.core().drops.iter().filter(|(_, count)| *count > 0).collect();
    let mut got = w.at_client(to);
    assert_eq!(got.len(), 1, "{drops:?}");
    assert!(w.at_net().is_empty() && w.at_client(from).is_empty());
    let frame = got.pop().unwrap().1;
    assert_sound(&frame);
    assert_eq!(frame[..6], mac(to));
    frame
}

/// An uplink that takes nothing any more, whatever the reason, holds clients up for a second at most: what goes on
/// between them goes on, also for who sends to the network without end.
#[test]
fn a_network_that_stands_still_does_not_part_the_clients() {
    let mut w = world();
    w.install(0, &Policy { rules: [out_to(1).rules, accept_all().rules].concat(), ..out_to(1) });
    let flood = to_server(false, 0).udp(mac(0), (1, 4433), &[1; 1400]);
    while w.clients[0].send(&link::Meta::default(), &[&flood]).is_ok() {
        w.clients[0].publish();
        w.run();
    }
    w.now += 2_000_000;
    w.run();
    assert!(w.drops(DropReason::QueueFull) > 0);
    w.client_sends(0, &path(false, 0, 1).udp(mac(0), (5000, 80), b"hello"));
    assert_eq!(w.at_client(1).pop().map(|(_, frame)| ends(&frame).3), Some(80));
    // It reads again: nothing is lost any more.
    assert!(!w.at_net().is_empty());
    w.out(0, &flood);
    let before = w.drops(DropReason::QueueFull);
    for _ in 0..1000 {
        w.client_sends(0, &flood);
        w.at_net();
    }
    assert_eq!(w.drops(DropReason::QueueFull), before);
}

#[test]
fn both_ends_say_so_and_it_passes_untranslated() {
    for six in [false, true] {
        let mut w = world();
        let (there, back) = (path(six, 0, 1), path(six, 1, 0));
        let sent = there.udp(mac(0), (5000, 53), b"hello");
        let got = across(&mut w, 0, 1, &sent);
        assert_eq!(ends(&got), ends(&sent));
        let hop = if six { 21 } else { 22 };
        assert_eq!(got[hop], sent[hop] - 1);
        across(&mut w, 0, 1, &sent);
        let answer = back.udp(mac(1), (53, 5000), b"hello yourself");
        assert_eq!(ends(&across(&mut w, 1, 0, &answer)), ends(&answer));
        across(&mut w, 0, 1, &there.echo(mac(0), true, 7, b"ping"));
        across(&mut w, 1, 0, &back.echo(mac(1), false, 7, b"ping"));
        assert_eq!(w.hits(0), (vec![2], 0));
        assert_eq!(w.hits(1), (vec![2], 0));
        // The other way nothing begins, nor in the name of a third, nor to a third.
        w.refused(1, &back.udp(mac(1), (53, 5001), b""), DropReason::Isolation);
        w.refused(1, &back.echo(mac(1), true, 8, b""), DropReason::Isolation);
        w.refused(2, &there.udp(mac(2), (5000, 53), b""), DropReason::Spoofed);
        w.refused(0, &path(six, 0, 2).udp(mac(0), (5000, 53), b""), DropReason::Isolation);
        w.refused(2, &path(six, 2, 1).udp(mac(2), (5000, 53), b""), DropReason::Isolation);
        w.refused_from_net(&there.udp(NIC, (5000, 53), b""), DropReason::Spoofed);
    }
}

#[test]
fn tcp_is_watched_between_clients_too() {
    for six in [false, true] {
        let mut w = world();
        let (there, back) = (path(six, 0, 1), path(six, 1, 0));
        w.refused(0, &there.tcp(mac(0), (9, 22), ACK, (1, 1), 100, b""), DropReason::TcpNotSyn);
        across(&mut w, 0, 1, &there.tcp(mac(0), (9, 22), SYN, (100, 0), 1000, b""));
        w.refused(1, &back.tcp(mac(1), (22, 9), SYN | ACK, (500, 7), 1000, b""), DropReason::TcpWindow);
        across(&mut w, 1, 0, &back.tcp(mac(1), (22, 9), SYN | ACK, (500, 101), 1000, b""));
        across(&mut w, 0, 1, &there.tcp(mac(0), (9, 22), ACK, (101, 501), 1000, b"data"));
        w.refused(1, &back.tcp(mac(1), (22, 9), 4, (9_000_000, 0), 0, b""), DropReason::TcpWindow);
        across(&mut w, 1, 0, &back.tcp(mac(1), (22, 9), ACK, (501, 105), 1000, b"data"));
    }
}

#[test]
fn one_end_is_not_enough() {
    let accept_all_is_about_the_network = (accept_all(), in_from(0));
    let only_out = (out_to(1), accept_all());
    let only_in = (policy([]), in_from(0));
    let wrong_name = (out_to(2), in_from(0));
    let wrong_source = (out_to(1), in_from(2));
    let wrong_way = (out_to(1), out_to(0));
    for (a, b) in [accept_all_is_about_the_network, only_out, only_in, wrong_name, wrong_source, wrong_way] {
        let mut w = World::new(3);
        w.install(0, &a);
        w.install(1, &b);
        for six in [false, true] {
            w.refused(0, &path(six, 0, 1).udp(mac(0), (5000, 53), b""), DropReason::Isolation);
            assert!(w.at_client(0).is_empty() && w.at_client(1).is_empty());
        }
    }
    // A third client is never asked about.
    let mut w = World::new(2);
    w.install(0, &about(1, [everything(Action::Reject)]));
    w.rejected(0, &path(false, 0, 1).udp(mac(0), (5000, 53), b""));
    w.install(0, &out_to(1));
    w.install(1, &about(0, [Rule { direction: Direction::Inward, ..everything(Action::Reject) }]));
    w.rejected(0, &path(true, 0, 1).udp(mac(0), (5000, 53), b""));
    assert!(w.at_client(1).is_empty());
}

#[test]
fn a_domain_is_who_has_its_name_now() {
    let mut w = world();
    let frame = path(false, 0, 1).udp(mac(0), (5000, 53), b"");
    across(&mut w, 0, 1, &frame);
    // Somebody else takes its place.
    let mut other = w.description(1);
    other.name = "somebody-else".try_into().unwrap();
    w.tell(&ToFirewall::Client { port: 3, client: other });
    assert_eq!(w.fw.core().v4.flows.len(), 0, "its connections are over");
    w.install(1, &in_from(0));
    w.at_client(1);
    w.refused(0, &frame, DropReason::Isolation);
    w.tell(&ToFirewall::ForgetClient { port: 3 });
    w.refused(0, &frame, DropReason::Isolation);
    let client = w.description(1);
    w.tell(&ToFirewall::Client { port: 3, client });
    w.at_client(1);
    w.refused(0, &frame, DropReason::Isolation);
    w.install(1, &in_from(0));
    across(&mut w, 0, 1, &frame);
}

#[test]
fn an_edit_of_either_end_cuts_it() {
    for (end, edited) in [(0, policy([])), (1, policy([]))] {
        let mut w = world();
        let (there, back) = (path(true, 0, 1), path(true, 1, 0));
        across(&mut w, 0, 1, &there.udp(mac(0), (5000, 53), b""));
        across(&mut w, 1, 0, &back.udp(mac(1), (53, 5000), b""));
        w.install(2, &policy([]));
        across(&mut w, 1, 0, &back.udp(mac(1), (53, 5000), b""));
        w.install(end, &edited);
        assert_eq!(w.fw.core().v6.flows.len(), 0);
        w.refused(0, &there.udp(mac(0), (5000, 53), b""), DropReason::Isolation);
        w.refused(1, &back.udp(mac(1), (53, 5000), b""), DropReason::Isolation);
    }
    // Rejected, both ends hear of it.
    let mut w = world();
    let (there, back) = (path(false, 0, 1), path(false, 1, 0));
    across(&mut w, 0, 1, &there.tcp(mac(0), (9, 22), SYN, (100, 0), 1000, b""));
    across(&mut w, 1, 0, &back.tcp(mac(1), (22, 9), SYN | ACK, (500, 101), 1000, b""));
    w.install(0, &about(1, [everything(Action::Reject)]));
    for n in [0, 1] {
        let got = w.at_client(n).pop().unwrap().1;
        assert_sound(&got);
        let Transport::Tcp(t) = headers(&got).transport else { panic!() };
        assert_eq!((t.flags, t.sequence), (4 | 16, if n == 0 { 501 } else { 101 }));
    }
}

#[test]
fn errors_find_their_way_between_clients() {
    for six in [false, true] {
        let mut w = world();
        let sent = path(six, 0, 1).udp(mac(0), (5000, 99), b"hello");
        let got = across(&mut w, 0, 1, &sent);
        let kind = if six { (1, 4) } else { (3, 3) };
        let told = across(&mut w, 1, 0, &path(six, 1, 0).error(mac(1), kind, 0, &got[14..]));
        assert_eq!(ends(&told).0, ends(&sent).2);
        let h = headers(&told);
        let ports = h.payload_at + if six { 40 } else { 20 };
        assert_eq!(told[ports..ports + 4], [&5000u16.to_be_bytes()[..], &99u16.to_be_bytes()].concat());
        // About what it never got, nothing passes.
        let mut other = got.clone();
        other[if six { 14 + 41 } else { 14 + 21 }] ^= 1;
        let error = path(six, 1, 0).error(mac(1), kind, 0, &other[14..]);
        w.refused(1, &error, DropReason::IcmpQuote);
        // Our own: longer than the other's link takes, no hop left.
        let mut small = w.description(1);
        small.mtu = 1280;
        w.tell(&ToFirewall::Client { port: 3, client: small });
        w.at_client(1);
        w.refused(0, &path(six, 0, 1).udp(mac(0), (5000, 99), &[1; 1400]), DropReason::TooBig);
        let told = w.at_client(0).pop().unwrap().1;
        match headers(&told).transport {
            Transport::Icmp(m) => assert_eq!((m.kind, m.code, m.sequence), (3, 4, 1280)),
            Transport::Icmpv6(m) => assert_eq!((m.kind, m.mtu()), (2, 1280)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_ends_count_log_and_limit() {
    let mut w = World::new(2);
    let out = Rule { log: true, connections: Some(9), ..everything(Action::Accept) };
    let inward =
        Rule { direction: Direction::Inward, connections: Some(2), log: true, ..everything(Action::Accept) };
    w.install(0, &about(1, [out]));
    w.install(1, &about(0, [inward.clone()]));
    for number in 1..=2 {
        across(&mut w, 0, 1, &path(false, 0, 1).udp(mac(0), (5000, number), b""));
    }
    w.refused(0, &path(false, 0, 1).udp(mac(0), (5000, 3), b""), DropReason::Isolation);
    let decisions: Vec<_> = w
        .at_dom0()
        .into_iter()
        .filter_map(|m| {
            if let FromDomain::Decision(d) = m {
                Some((d.port, d.inward, d.fate, d.source, d.destination))
            } else {
                None
            }
        })
        .collect();
    let ends = |n| ((client4(0).into(), 5000), (client4(1).into(), n));
    let told = |port, inward, n| (port, inward, Fate::Accepted, ends(n).0, ends(n).1);
    assert_eq!(
        decisions,
        [told(2, false, 1), told(3, true, 1), told(2, false, 2), told(3, true, 2), told(2, false, 3)]
    );
    let live = |w: &World, port| w.fw.core().common.policy.of(port).unwrap().live(0);
    assert_eq!((live(&w, 2), live(&w, 3)), (Some(2), Some(2)));
    // Another program at one end takes its own count along, the other's stays.
    w.install(1, &about(0, [Rule { protocols: Protocols::UDP, ..inward.clone() }]));
    assert_eq!((live(&w, 2), live(&w, 3)), (Some(2), Some(2)));
    w.install(1, &about(0, [Rule { connections: Some(1), ..inward }]));
    assert_eq!((live(&w, 2), live(&w, 3)), (Some(1), Some(1)));
    w.wait(130);
    assert_eq!((live(&w, 2), live(&w, 3)), (Some(0), Some(0)));
}

#[test]
fn clients_reach_each_other_without_an_uplink() {
    let mut w = world();
    w.uplink(&control::message::Uplink::default());
    // Router advertisements.
    for n in 0..3 {
        w.at_client(n);
    }
    for six in [false, true] {
        across(&mut w, 0, 1, &path(six, 0, 1).udp(mac(0), (5000, 53), b""));
        across(&mut w, 1, 0, &path(six, 1, 0).udp(mac(1), (53, 5000), b""));
    }
    // Another address on the uplink is nothing to them.
    let mut elsewhere = uplink();
    elsewhere.v4.as_mut().unwrap().address = Ipv4Addr::new(192, 168, 8, 3);
    w.uplink(&uplink());
    w.uplink(&elsewhere);
    for n in 0..3 {
        w.at_client(n);
    }
    across(&mut w, 1, 0, &path(false, 1, 0).udp(mac(1), (53, 5000), b""));
}
