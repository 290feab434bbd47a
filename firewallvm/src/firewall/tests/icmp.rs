//! ICMP errors: only about what was sent, translated inside and out.
use super::world::*;
use crate::verdict::DropReason;

/// Kind and code of: port unreachable, hops exceeded, too big.
fn kinds(six: bool) -> [((u8, u8), u32); 3] {
    if six { [((1, 4), 0), ((3, 0), 0), ((2, 0), 1400)] } else { [((3, 3), 0), ((11, 0), 0), ((3, 4), 1400)] }
}

#[test]
fn an_error_about_a_flow_finds_its_client() {
    for six in [false, true] {
        let mut w = World::new(1);
        let original = to_server(six, 0).udp(mac(0), (5000, 4433), &[7; 100]);
        let sent = w.out(0, &original);
        let router = if six {
            Path::Six(v6("2001:db8:aaaa::1"), uplink6())
        } else {
            Path::Four(Ipv4Addr::new(203, 0, 113, 1), UPLINK4)
        };
        for (kind, word) in kinds(six) {
            let got = w.in_to(0, &router.error(NIC, kind, word, &sent[14..]));
            let h = headers(&got);
            assert_eq!(ends(&got).2, ends(&original).0);
            // Inside is the packet as the client sent it, but for the hop that it went.
            let mut expected = original[14..].to_vec();
            let at = if six { 7 } else { 8 };
            expected[at] -= 1;
            let inner = &got[h.payload_at..h.end];
            assert_eq!(inner[at], expected[at]);
            let skip = if six { 0 } else { 12 };
            assert_eq!(inner[skip..], expected[skip..]);
        }
        // From the server itself too.
        w.in_to(0, &from_server(six).error(NIC, kinds(six)[0].0, 0, &sent[14..]));
    }
}

#[test]
fn an_error_that_quotes_what_was_not_sent_is_refused() {
    for six in [false, true] {
        let mut w = World::new(2);
        let sent = w.out(0, &to_server(six, 0).udp(mac(0), (5000, 4433), &[7; 100]));
        let sender = from_server(six);
        let kind = kinds(six)[0].0;
        let ip = if six { 40 } else { 20 };
        let good = sent[14..].to_vec();
        let change = |at: usize| {
            let mut quoted = good.clone();
            quoted[at] ^= 1;
            quoted
        };
        // Ports, destination, source, protocol; nothing but the exact tuple will do.
        let (source_at, destination_at) = if six { (23, 39) } else { (15, 19) };
        for at in [ip, ip + 1, ip + 2, ip + 3, source_at, destination_at] {
            w.refused_from_net(&sender.error(NIC, kind, 0, &change(at)), DropReason::IcmpQuote);
        }
        w.refused_from_net(&sender.error(NIC, kind, 0, &good[..ip + 7]), DropReason::IcmpQuote);
        w.refused_from_net(&sender.error(NIC, kind, 0, &[]), DropReason::IcmpQuote);
        // The packet as the client wrote it: the inside is not known outside.
        let inside = to_server(six, 0).udp(mac(0), (5000, 4433), &[7; 100]);
        w.refused_from_net(&sender.error(NIC, kind, 0, &inside[14..]), DropReason::IcmpQuote);
        let mut broken = sender.error(NIC, kind, 0, &good);
        *broken.last_mut().unwrap() ^= 0x55;
        w.refused_from_net(&broken, DropReason::IcmpChecksum);
        // An MTU that no path has.
        let (too_big, mtu) = if six { ((2, 0), 1279) } else { ((3, 4), 551) };
        w.refused_from_net(&sender.error(NIC, too_big, mtu, &good), DropReason::IcmpMtu);
    }
}

#[test]
fn tcp_errors_must_quote_a_sequence_number_in_flight() {
    for six in [false, true] {
        let mut w = World::new(1);
        let sent = w.out(0, &to_server(six, 0).tcp(mac(0), (5000, 443), 2, (1_000_000, 0), 64000, b""));
        let kind = kinds(six)[0].0;
        w.in_to(0, &from_server(six).error(NIC, kind, 0, &sent[14..]));
        let at = 14 + if six { 40 } else { 20 } + 4;
        for sequence in [1_000_002u32, 1_500_000, 0x8000_0000, 900_000] {
            let mut forged = sent.clone();
            forged[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
            w.refused_from_net(&from_server(six).error(NIC, kind, 0, &forged[14..]), DropReason::IcmpQuote);
        }
    }
}

#[test]
fn an_error_about_an_echo_and_one_from_a_name_server() {
    let mut w = World::new(1);
    let sent = w.out(0, &to_server(false, 0).echo(mac(0), true, 7, b"abcdefgh"));
    let got = w.in_to(0, &from_server(false).error(NIC, (11, 0), 0, &sent[14..]));
    let h = headers(&got);
    assert_eq!(got[h.payload_at + 24..h.payload_at + 26], [0, 7], "the client's identifier");
    let question = Path::Four(client4(0), Ipv4Addr::new(10, 139, 1, 1)).udp(mac(0), (5353, 53), b"?");
    let sent = w.out(0, &question);
    let got = w.in_to(0, &Path::Four(RESOLVER4, UPLINK4).error(NIC, (3, 3), 0, &sent[14..]));
    assert_eq!(ends(&got).0, std::net::IpAddr::from([10, 139, 1, 1]));
    let h = headers(&got);
    assert_eq!(got[h.payload_at + 16..h.payload_at + 20], [10, 139, 1, 1]);
}

#[test]
fn a_client_reports_errors_about_what_came_for_it_only() {
    for six in [false, true] {
        let mut w = World::new(1);
        let there = to_server(six, 0);
        let port = ends(&w.out(0, &there.udp(mac(0), (5000, 4433), b""))).1;
        let answer = from_server(six).udp(NIC, (4433, port), &[1; 50]);
        let got = w.in_to(0, &answer);
        let kind = kinds(six)[0].0;
        let sent = w.out(0, &there.error(mac(0), kind, 0, &got[14..]));
        let h = headers(&sent);
        let skip = if six { 8 } else { 12 };
        assert_eq!(sent[h.payload_at + skip..h.end], answer[14 + skip..], "the packet as the server sent it");
        let mut other = got.clone();
        let at = 14 + if six { 40 } else { 20 };
        other[at] ^= 1;
        w.refused(0, &there.error(mac(0), kind, 0, &other[14..]), DropReason::IcmpQuote);
        // To someone else than who sent it.
        let elsewhere = if six {
            Path::Six(client6(0), v6("2001:db8::77"))
        } else {
            Path::Four(client4(0), Ipv4Addr::new(203, 0, 113, 7))
        };
        w.refused(0, &elsewhere.error(mac(0), kind, 0, &got[14..]), DropReason::IcmpQuote);
    }
}

#[test]
fn redirects_and_questions_of_other_kinds_are_dropped() {
    let mut w = World::new(1);
    let sent = w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), &[7; 100]));
    for kind in [4, 5, 9, 10, 13, 15, 17, 30, 42] {
        w.refused_from_net(&from_server(false).error(NIC, (kind, 0), 0, &sent[14..]), DropReason::IcmpType);
        w.refused(0, &to_server(false, 0).error(mac(0), (kind, 0), 0, &sent[14..]), DropReason::IcmpType);
    }
    for kind in [133, 134, 135, 136, 137, 130, 143, 151, 200] {
        w.refused_from_net(&from_server(true).error(NIC, (kind, 0), 0, &sent[14..]), DropReason::IcmpType);
    }
}

#[test]
fn the_client_learns_the_path_mtu_and_that_hops_ran_out() {
    for six in [false, true] {
        let mut w = World::new(1);
        let mut narrow = uplink();
        narrow.mtu = 1400;
        w.uplink(&narrow);
        w.at_client(0);
        let long = to_server(six, 0).udp(mac(0), (5000, 4433), &[7; 1440]);
        let before = w.drops(DropReason::TooBig);
        w.client_sends(0, &long);
        assert!(w.at_net().is_empty());
        assert_eq!(w.drops(DropReason::TooBig), before + 1);
        let mut got = w.at_client(0);
        assert_eq!(got.len(), 1);
        let (_, frame) = got.pop().unwrap();
        assert_sound(&frame);
        let h = headers(&frame);
        match h.transport {
            Transport::Icmp(i) => assert_eq!((i.kind, i.code, i.sequence), (3, 4, 1400)),
            Transport::Icmpv6(i) => assert_eq!((i.kind, i.code, i.mtu()), (2, 0, 1400)),
            other => panic!("{other:?}"),
        }
        let quoted = &frame[h.payload_at..h.end];
        assert_eq!(quoted[..], long[14..14 + quoted.len()]);

        let mut last = to_server(six, 0).udp(mac(0), (5000, 33434), b"traceroute");
        last[if six { 21 } else { 22 }] = 1;
        if !six {
            last[24..26].copy_from_slice(&[0, 0]);
            let sum = packet::checksum::Sum::new().bytes(&last[14..34]).finish();
            last[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        w.client_sends(0, &last);
        let frame = w.at_client(0).pop().unwrap().1;
        assert_sound(&frame);
        let ours: std::net::IpAddr = if six { v6("fd09:24ef:4179:1::1").into() } else { gateway4(0).into() };
        assert_eq!(ends(&frame).0, ours);
        assert!(w.at_net().is_empty());
    }
}

#[test]
fn the_network_learns_the_mtu_of_a_clients_link() {
    let mut w = World::new(1);
    let mut client = w.description(0);
    client.mtu = 1280;
    w.tell(&control::message::ToFirewall::Client { port: 2, client });
    w.at_client(0);
    for six in [false, true] {
        let port = ends(&w.out(0, &to_server(six, 0).udp(mac(0), (5000, 4433), b""))).1;
        let before = w.drops(DropReason::TooBig);
        w.net_sends(&from_server(six).udp(NIC, (4433, port), &[1; 1300]));
        assert!(w.at_client(0).is_empty());
        assert_eq!(w.drops(DropReason::TooBig), before + 1);
        let frame = w.at_net().pop().unwrap().1;
        assert_sound(&frame);
        let ours: std::net::IpAddr = if six { uplink6().into() } else { UPLINK4.into() };
        assert_eq!(ends(&frame).0, ours);
    }
}

#[test]
fn errors_to_a_client_are_rationed_and_never_about_errors() {
    let mut w = World::new(2);
    w.uplink(&control::message::Uplink { v4: None, v6: None, ..uplink() });
    w.at_client(0);
    for _ in 0..500 {
        w.clients[0]
            .send(&link::Meta::default(), &[&to_server(false, 0).udp(mac(0), (5000, 1), b"")])
            .unwrap();
    }
    w.clients[0].publish();
    w.run();
    let told = w.at_client(0).len();
    assert!((20..60).contains(&told), "{told}");
    assert_eq!(w.drops(DropReason::NoUplink), 500);
    // The other client has its own ration.
    w.client_sends(1, &to_server(false, 1).udp(mac(1), (5000, 1), b""));
    assert_eq!(w.at_client(1).iter().filter(|(_, f)| f[12..14] == [8, 0]).count(), 1);
}
