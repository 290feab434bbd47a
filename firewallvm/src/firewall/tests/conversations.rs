//! Whole conversations, both directions.
use super::world::*;
use crate::verdict::DropReason;
use abi::link_device::Role;
use control::message::ToFirewall;
use link::{Geometry, host::pair};

#[test]
fn udp_there_and_back() {
    for six in [false, true] {
        let mut w = World::new(1);
        let sent = w.out(0, &to_server(six, 0).udp(mac(0), (5000, 4433), b"ping"));
        let (source, port, destination, to) = ends(&sent);
        let expected: std::net::IpAddr = if six { uplink6().into() } else { UPLINK4.into() };
        assert_eq!((source, to), (expected, 4433));
        assert!(port >= 1024);
        assert_eq!(headers(&sent).hop_limit(), 63);
        assert_eq!(&sent[headers(&sent).payload_at..], b"ping");
        let got = w.in_to(0, &from_server(six).udp(NIC, (4433, port), b"pong"));
        let (source, from, to, to_port) = ends(&got);
        assert_eq!((source, from), (destination, 4433));
        assert_eq!((to, to_port), (ends(&to_server(six, 0).udp(mac(0), (5000, 4433), b"")).0, 5000));
        assert_eq!(&got[headers(&got).payload_at..], b"pong");
    }
}

#[test]
fn tcp_from_syn_to_fin() {
    for six in [false, true] {
        let mut w = World::new(1);
        let (there, back) = (to_server(six, 0), from_server(six));
        let (syn, fin, ack) = (2, 1, 16);
        let sent = w.out(0, &there.tcp(mac(0), (40000, 443), syn, (100, 0), 64240, b""));
        let p = ends(&sent).1;
        let c = (40000, 443);
        let s = (443, p);
        w.in_to(0, &back.tcp(NIC, s, syn | ack, (9000, 101), 65160, b""));
        w.out(0, &there.tcp(mac(0), c, ack, (101, 9001), 502, b""));
        w.out(0, &there.tcp(mac(0), c, ack, (101, 9001), 502, b"GET / HTTP/1.0\r\n\r\n"));
        w.in_to(0, &back.tcp(NIC, s, ack, (9001, 119), 509, &[b'x'; 1400]));
        w.in_to(0, &back.tcp(NIC, s, ack | fin, (10401, 119), 509, b""));
        w.out(0, &there.tcp(mac(0), c, ack | fin, (119, 10402), 502, b""));
        w.in_to(0, &back.tcp(NIC, s, ack, (10402, 120), 509, b""));
        let flows = |w: &World| w.fw.core().v4.flows.len() + w.fw.core().v6.flows.len();
        assert_eq!(flows(&w), 1);
        w.wait(300);
        assert_eq!(flows(&w), 0, "closed connections are forgotten");
        w.refused_from_net(&back.tcp(NIC, s, ack, (10402, 120), 509, b""), DropReason::NoFlow);
    }
}

#[test]
fn echo_there_and_back() {
    for six in [false, true] {
        let mut w = World::new(1);
        let sent = w.out(0, &to_server(six, 0).echo(mac(0), true, 7, b"abcdefgh"));
        let id = ends(&sent).1;
        let got = w.in_to(0, &from_server(six).echo(NIC, false, id, b"abcdefgh"));
        assert_eq!(ends(&got).1, 7);
        w.refused_from_net(&from_server(six).echo(NIC, false, id ^ 1, b"abcdefgh"), DropReason::NoFlow);
        w.refused_from_net(&from_server(six).echo(NIC, true, id, b"abcdefgh"), DropReason::IcmpType);
        w.refused(0, &to_server(six, 0).echo(mac(0), false, 7, b""), DropReason::IcmpType);
    }
}

#[test]
fn nothing_comes_in_unasked() {
    let mut w = World::new(2);
    for six in [false, true] {
        for port in [22, 80, 1024, 5353, 65535] {
            w.refused_from_net(&from_server(six).udp(NIC, (4433, port), b"x"), DropReason::NoFlow);
            w.refused_from_net(
                &from_server(six).tcp(NIC, (4433, port), 2, (1, 0), 100, b""),
                DropReason::NoFlow,
            );
        }
    }
    w.refused_from_net(
        &Path::Four(SERVER4, Ipv4Addr::new(192, 168, 7, 21)).udp(NIC, (1, 1), b""),
        DropReason::NotOurs,
    );
    // An answer from someone else than who was asked.
    let port = ends(&w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""))).1;
    let other = Path::Four(Ipv4Addr::new(198, 51, 100, 10), UPLINK4);
    w.refused_from_net(&other.udp(NIC, (4433, port), b""), DropReason::NoFlow);
    w.refused_from_net(&from_server(false).udp(NIC, (4434, port), b""), DropReason::NoFlow);
}

#[test]
fn virtual_name_servers_are_the_uplinks() {
    let mut w = World::new(1);
    let question = Path::Four(client4(0), Ipv4Addr::new(10, 139, 1, 2));
    let sent = w.out(0, &question.udp(mac(0), (5353, 53), b"?"));
    let (_, port, to, _) = ends(&sent);
    assert_eq!(to, std::net::IpAddr::from(RESOLVER4), "the first one when there is only one");
    let got = w.in_to(0, &Path::Four(RESOLVER4, UPLINK4).udp(NIC, (53, port), b"!"));
    assert_eq!(ends(&got).0, std::net::IpAddr::from([10, 139, 1, 2]));
    let six = Path::Six(client6(0), v6("fd09:24ef:4179::53"));
    let sent = w.out(0, &six.tcp(mac(0), (5353, 53), 2, (1, 0), 1000, b""));
    assert_eq!(ends(&sent).2, std::net::IpAddr::from(v6("2001:db8:7::53")));
    w.refused(0, &question.udp(mac(0), (5353, 80), b""), DropReason::NotForUs);
    w.refused(0, &question.echo(mac(0), true, 1, b""), DropReason::NotForUs);
    let mut silent = uplink();
    silent.v4.as_mut().unwrap().dns.clear();
    w.uplink(&silent);
    w.refused(0, &question.udp(mac(0), (5354, 53), b"?"), DropReason::NoResolver);
    // A resolver that lies inside is no resolver.
    silent.v4.as_mut().unwrap().dns.push(client4(0)).unwrap();
    w.uplink(&silent);
    w.refused(0, &question.udp(mac(0), (5354, 53), b"?"), DropReason::NoResolver);
}

#[test]
fn flows_outlive_netvm_and_its_link() {
    let mut w = World::new(1);
    let (there, back) = (to_server(false, 0), from_server(false));
    let port = ends(&w.out(0, &there.udp(mac(0), (5000, 4433), b""))).1;
    w.fw.detach(1);
    let before = w.drops(DropReason::NoUplink);
    w.client_sends(0, &there.udp(mac(0), (5000, 4433), b""));
    assert_eq!(w.drops(DropReason::NoUplink), before + 1);
    let (net, ours) = pair(Geometry::DEFAULT, 2).unwrap();
    w.net = net;
    w.fw.attach(1, Role::Upstream, ours);
    // netvm comes up without an address first, then gets the same one.
    w.uplink(&control::message::Uplink { v4: None, v6: None, ..uplink() });
    w.refused(0, &there.udp(mac(0), (5000, 4433), b""), DropReason::NoUplink);
    w.uplink(&uplink());
    w.at_net();
    assert_eq!(w.at_client(0).len(), 2, "advertisements: IPv6 gone, IPv6 back");
    assert_eq!(ends(&w.out(0, &there.udp(mac(0), (5000, 4433), b""))).1, port);
    w.in_to(0, &back.udp(NIC, (4433, port), b""));
    // Another address ends what can no longer work.
    let mut moved = uplink();
    moved.v4.as_mut().unwrap().address = Ipv4Addr::new(192, 168, 8, 3);
    w.uplink(&moved);
    assert_eq!(w.fw.core().v4.flows.len(), 0);
    w.at_client(0);
    let sent = w.out(0, &there.udp(mac(0), (5000, 4433), b""));
    assert_eq!(ends(&sent).0, std::net::IpAddr::from([192, 168, 8, 3]));
}

#[test]
fn a_forgotten_client_leaves_nothing() {
    let mut w = World::new(2);
    let port = ends(&w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""))).1;
    w.out(1, &to_server(false, 1).udp(mac(1), (5000, 4433), b""));
    w.tell(&ToFirewall::ForgetClient { port: 2 });
    assert_eq!(w.fw.core().v4.flows.len(), 1);
    w.refused_from_net(&from_server(false).udp(NIC, (4433, port), b""), DropReason::NoFlow);
    // Nothing that arrives on its port is looked at now.
    w.client_sends(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""));
    assert!(w.at_net().is_empty());
    let client = w.description(0);
    let before = w.drops(DropReason::Policy);
    w.tell(&ToFirewall::Client { port: 2, client });
    assert!(w.at_net().is_empty());
    assert_eq!(
        w.drops(DropReason::Policy),
        before + 1,
        "what waited on the link is judged now, and has no rules"
    );
}

#[test]
fn dom0_hears_what_it_asks() {
    use control::message::FromDomain;
    let mut w = World::new(1);
    w.refused(0, &to_server(false, 0).udp([2, 0, 0, 0, 0, 9], (1, 2), b""), DropReason::SourceMac);
    w.tell(&ToFirewall::Ping { nonce: 77 });
    assert!(w.at_dom0().contains(&FromDomain::Pong { nonce: 77 }));
    w.tell(&ToFirewall::GetCounters);
    let mut counters = std::collections::HashMap::new();
    let mut messages = w.at_dom0();
    assert!(matches!(messages.last(), Some(FromDomain::Counters { more: false, .. })));
    for message in messages.drain(..) {
        let FromDomain::Counters { counters: batch, .. } = message else { panic!() };
        counters.extend(batch.into_iter().map(|(name, count)| (name.to_string(), count)));
    }
    assert_eq!(counters["drop_source_mac"], 1);
    assert!(counters.len() >= DropReason::ALL.len());
    assert!(counters["received"] > 0);
}

#[test]
fn a_description_that_contradicts_itself_or_another_is_refused() {
    let mut w = World::new(1);
    let good = w.description(5);
    let bad = [
        control::message::Client { v4: client4(0), ..good.clone() },
        control::message::Client { v4_gateway: good.v4, ..good.clone() },
        control::message::Client { v4_gateway: Ipv4Addr::new(10, 0, 0, 1), ..good.clone() },
        control::message::Client { v4_prefix: 33, ..good.clone() },
        control::message::Client { v6_prefix: Some(client6(5)), ..good.clone() },
        control::message::Client { v6_prefix: Some(prefix6(0)), ..good.clone() },
        control::message::Client { mac: [1; 6], ..good.clone() },
        control::message::Client { mtu: 500, ..good.clone() },
    ];
    for client in bad {
        let before = w.drops(DropReason::Message);
        w.tell(&ToFirewall::Client { port: 7, client: client.clone() });
        assert_eq!(w.drops(DropReason::Message), before + 1, "{client:?}");
        assert!(w.fw.core().client(7).is_none());
    }
    w.tell(&ToFirewall::Client { port: 7, client: good });
    assert!(w.fw.core().client(7).is_some());
}
