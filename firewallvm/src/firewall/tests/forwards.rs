//! Ports of the uplink's address that rules forward to clients.

use super::{rules::*, world::*};
use crate::verdict::DropReason;
use rules_program::policy::{Action, Direction, Policy, Ports, Protocols, Rule, Target};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Forwards what comes to these ports.
pub(super) fn forward(protocols: Protocols, ports: Ports, to_port: Option<u16>) -> Rule {
    Rule {
        direction: Direction::Inward,
        protocols,
        destination_ports: ports,
        ..everything(Action::Forward { to_port })
    }
}

fn web() -> Policy {
    policy([forward(Protocols::TCP.and(Protocols::UDP), port(8080), Some(80))])
}

#[test]
fn the_network_reaches_a_forwarded_port() {
    for six in [false, true] {
        let mut w = World::new(2);
        w.install(1, &web());
        let back = to_server(six, 1);
        // UDP: translated on the way in, and back on the way out, although no outward rule would allow that.
        let sent = from_server(six).udp(NIC, (5000, 8080), b"hello");
        let got = w.in_to(1, &sent);
        assert_eq!(ends(&got), (ends(&sent).0, 5000, ends(&back.udp(mac(1), (80, 1), b"")).0, 80));
        let hop = if six { 21 } else { 22 };
        assert_eq!(got[hop], sent[hop] - 1);
        let answer = w.out(1, &back.udp(mac(1), (80, 5000), b"hello yourself"));
        assert_eq!(ends(&answer), (ends(&sent).2, 8080, ends(&sent).0, 5000));
        w.dropped(1, &back.udp(mac(1), (81, 5000), b"that was not asked"));
        w.dropped(1, &back.udp(mac(1), (80, 5001), b"nor that"));
        // TCP, watched from its first segment.
        let (there, s) = (from_server(six), (6000, 8080));
        w.in_to(1, &there.tcp(NIC, s, SYN, (100, 0), 1000, b""));
        let c = (80, 6000);
        w.refused(1, &back.tcp(mac(1), c, SYN | ACK, (500, 77), 1000, b""), DropReason::TcpWindow);
        let answer = w.out(1, &back.tcp(mac(1), c, SYN | ACK, (500, 101), 1000, b""));
        assert_eq!((ends(&answer).1, ends(&answer).3), (8080, 6000));
        w.in_to(1, &there.tcp(NIC, s, ACK, (101, 501), 1000, b"GET"));
        w.out(1, &back.tcp(mac(1), c, ACK, (501, 104), 1000, b"200"));
        w.refused_from_net(&there.tcp(NIC, s, 4, (90_000_000, 0), 0, b""), DropReason::TcpWindow);
        assert_eq!(w.hits(1), (vec![2], 2));
    }
}

#[test]
fn only_what_is_forwarded_comes_in() {
    let mut w = World::new(2);
    let here =
        Rule { targets: vec![Target::V4("198.51.100.9/32".parse().unwrap())], ..web().rules.remove(0) };
    let there = Rule { targets: vec![Target::AnyV6], ..forward(Protocols::TCP, port(22), None) };
    let no = Rule { direction: Direction::Inward, destination_ports: port(22), ..everything(Action::Reject) };
    let no = Rule { protocols: Protocols::TCP, ..no };
    w.install(0, &policy([here, there, no, everything(Action::Accept)]));
    let (v4, v6_) = (from_server(false), from_server(true));
    let stranger = Path::Four(Ipv4Addr::new(198, 51, 100, 10), UPLINK4);
    w.in_to(0, &v4.udp(NIC, (1, 8080), b""));
    w.refused_from_net(&stranger.udp(NIC, (1, 8080), b""), DropReason::Policy);
    w.refused_from_net(&v6_.udp(NIC, (1, 8080), b""), DropReason::Policy);
    w.refused_from_net(&v4.udp(NIC, (1, 8081), b""), DropReason::NoFlow);
    w.refused_from_net(&v4.udp(NIC, (1, 22), b""), DropReason::NoFlow);
    w.refused_from_net(&v4.echo(NIC, true, 1, b""), DropReason::IcmpType);
    assert!(w.at_net().is_empty());
    // To the same port, without another one given.
    let got = w.in_to(0, &v6_.tcp(NIC, (1, 22), SYN, (1, 0), 100, b""));
    assert_eq!(ends(&got).3, 22);
    // What is not a beginning begins nothing.
    w.refused_from_net(&v6_.tcp(NIC, (2, 22), ACK, (1, 1), 100, b""), DropReason::TcpNotSyn);
    assert!(w.at_net().is_empty());
    // Rejected: who tried is told, from our address.
    w.refused_from_net(&v4.tcp(NIC, (1, 22), SYN, (1, 0), 100, b""), DropReason::Policy);
    let told = w.at_net().pop().unwrap().1;
    assert_sound(&told);
    assert_eq!(ends(&told).0, std::net::IpAddr::from(UPLINK4));
    assert!(matches!(headers(&told).transport, Transport::Icmp(m) if (m.kind, m.code) == (3, 13)));
    // From inside the address is not reached, nor may an inside address come from outside.
    let inside = Path::Four(client4(1), UPLINK4);
    w.refused(1, &inside.udp(mac(1), (1, 8080), b""), DropReason::Destination);
    w.refused_from_net(&inside.udp(NIC, (1, 8080), b""), DropReason::Spoofed);
    let dying = {
        let mut frame = v4.udp(NIC, (2, 8080), b"");
        frame[22] = 1;
        let sum = pnet_packet::ipv4::checksum(&pnet_packet::ipv4::Ipv4Packet::new(&frame[14..]).unwrap());
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    w.refused_from_net(&dying, DropReason::HopLimit);
    // Without the client there is no port.
    w.tell(&control::message::ToFirewall::ForgetClient { port: 2 });
    w.refused_from_net(&v4.udp(NIC, (3, 8080), b""), DropReason::NoFlow);
}

#[test]
fn a_port_goes_to_one_client() {
    let mut w = World::new(2);
    w.install(0, &web());
    let other =
        |ports, protocols| rules_program::assemble(&policy([forward(protocols, ports, None)])).unwrap();
    for (ports, protocols) in [
        (port(8080), Protocols::TCP),
        (Ports { first: 8000, last: 9000 }, Protocols::UDP),
        (Ports { first: 8080, last: 8081 }, Protocols::ALL),
    ] {
        w.send_rules(1, 7, &other(ports, protocols));
        let told = w.told_of_rules();
        assert!(matches!(&told[..], [(1, 7, Some(why))] if why.contains("forwarded")), "{told:?}");
    }
    w.out(1, &to_server(false, 1).udp(mac(1), (1, 2), b"its rules are the old ones"));
    w.in_to(0, &from_server(false).udp(NIC, (1, 8080), b""));
    w.install(1, &policy([forward(Protocols::UDP, port(8081), None)]));
    w.in_to(1, &from_server(false).udp(NIC, (1, 8081), b""));
    // The same client's rules may overlap as they like, and give the port up.
    let ranges = [(8080, 8090), (8082, 8085), (8070, 8080)];
    let rules = ranges.map(|(first, last)| forward(Protocols::TCP, Ports { first, last }, None));
    w.install(0, &policy(rules));
    for number in [8070, 8080, 8083, 8090] {
        w.in_to(0, &from_server(false).tcp(NIC, (9, number), SYN, (1, 0), 100, b""));
    }
    w.refused_from_net(&from_server(false).udp(NIC, (9, 8080), b""), DropReason::NoFlow);
    w.install(1, &policy([forward(Protocols::UDP, port(8080), None)]));
    w.in_to(1, &from_server(false).udp(NIC, (9, 8080), b""));
}

#[test]
fn address_translation_keeps_off_forwarded_ports() {
    let mut w = World::with_flows(2, 16384);
    let most = Ports { first: 1024, last: 1024 + 32_255 };
    let program = |last| {
        let ports = Ports { first: 1, last };
        rules_program::assemble(&policy([forward(Protocols::UDP, ports, None)])).unwrap()
    };
    w.send_rules(0, 5, &program(most.last + 1));
    assert!(matches!(&w.told_of_rules()[..], [(0, 5, Some(_))]));
    w.send_rules(0, 6, &program(most.last));
    assert_eq!(w.told_of_rules(), [(0, 6, None)]);
    for number in 1..2000 {
        let sent = w.out(1, &to_server(false, 1).udp(mac(1), (number, 4433), b""));
        assert!(!most.contains(ends(&sent).1), "{}", ends(&sent).1);
    }
    // Another protocol's ports are others.
    let outside = |w: &mut World, number| {
        let sent = w.out(1, &to_server(false, 1).tcp(mac(1), (number, 443), SYN, (1, 0), 100, b""));
        ends(&sent).1
    };
    assert!((1..100).any(|number| most.contains(outside(&mut w, number))));
}

#[test]
fn forwarded_connections_follow_the_rules() {
    let mut w = World::new(1);
    w.install(0, &web());
    let sent = from_server(false).udp(NIC, (5000, 8080), b"");
    w.in_to(0, &sent);
    // The same under another number: it goes on.
    w.install(0, &policy([everything(Action::Accept), web().rules.remove(0)]));
    w.in_to(0, &sent);
    w.out(0, &to_server(false, 0).udp(mac(0), (80, 5000), b""));
    // To another port inside: that one is over, the next packet begins another.
    w.install(0, &policy([forward(Protocols::UDP, port(8080), Some(81))]));
    assert_eq!(w.fw.core().v4.flows.len(), 0);
    assert_eq!(ends(&w.in_to(0, &sent)).3, 81);
    w.install(0, &accept_all());
    w.refused_from_net(&sent, DropReason::NoFlow);
    // A limit counts what comes in, too.
    let one = Rule { connections: Some(1), ..web().rules.remove(0) };
    w.install(0, &policy([one]));
    w.in_to(0, &sent);
    w.refused_from_net(&from_server(false).udp(NIC, (5001, 8080), b""), DropReason::Policy);
}

#[test]
fn errors_about_forwarded_connections_pass_both_ways() {
    for six in [false, true] {
        let mut w = World::new(1);
        w.install(0, &web());
        let got = w.in_to(0, &from_server(six).udp(NIC, (5000, 8080), b"hello"));
        let kind = if six { (1, 4) } else { (3, 3) };
        let told = w.out(0, &to_server(six, 0).error(mac(0), kind, 0, &got[14..]));
        let h = headers(&told);
        let inner = &told[h.payload_at..h.end];
        let at = if six { 40 } else { 20 };
        assert_eq!(inner[at + 2..at + 4], 8080u16.to_be_bytes(), "it quotes what was sent");
        let answer = w.out(0, &to_server(six, 0).udp(mac(0), (80, 5000), b"answer"));
        w.in_to(0, &from_server(six).error(NIC, kind, 0, &answer[14..]));
    }
}

#[test]
fn who_fills_a_forwarded_port_hurts_one_client() {
    let mut w = World::with_flows(2, 512);
    w.install(0, &web());
    let mut refused = 0;
    for number in 1..512 {
        let before = w.drops(DropReason::FlowQuota);
        w.net_sends(&from_server(false).udp(NIC, (number, 8080), b""));
        refused += w.drops(DropReason::FlowQuota) - before;
    }
    assert!(refused > 400, "{refused}");
    for number in 1..=8 {
        w.out(1, &to_server(false, 1).udp(mac(1), (number, 4433), b""));
    }
}

#[test]
fn a_wrong_hint_opens_nothing_to_an_inside_address() {
    let mut w = World::new(1);
    w.install(0, &web());
    let mut client = w.description(3);
    (client.v4, client.v4_gateway, client.v4_prefix) =
        (Ipv4Addr::new(172, 20, 0, 2), Ipv4Addr::new(172, 20, 0, 1), 24);
    w.tell(&control::message::ToFirewall::Client { port: 9, client });
    for (source, expected) in [(Ipv4Addr::new(172, 20, 0, 77), Some(DropReason::Spoofed)), (SERVER4, None)] {
        let frame = Path::Four(source, UPLINK4).udp(NIC, (5000, 8080), b"");
        let headers = headers(&frame);
        let packet = crate::decide::Packet {
            frame: &frame,
            headers: &headers,
            offload: crate::offload::Offload::NONE,
            origin: crate::decide::Origin::Whole,
            hint: crate::firewall::carrier::find(&w.fw.core, &headers, 1, abi::link_device::Role::Upstream)
                .map(|hint| crate::decide::Hint { flow: Some(0), ..hint }),
        };
        let verdict = crate::from_net::judge(&mut w.fw.core, &packet, 1);
        match expected {
            Some(reason) => assert_eq!(verdict, reason.into()),
            None => assert!(matches!(verdict, crate::verdict::Verdict::ToClient(2, _)), "{verdict:?}"),
        }
    }
}
