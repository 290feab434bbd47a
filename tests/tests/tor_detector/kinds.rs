//! Every kind of leak.

use super::packets::{
    ACK, FIN, LINUX_OPTIONS, PSH, RST, SMOLTCP_OPTIONS, SYN, Segment, Way, arp, datagram, datagram_v6,
    ethernet, icmp, icmpv6, ipv4, ipv6, repaired, segment,
};
use super::traffic::{
    ADDRESS, APPVM, BROADCAST, CARD, FRAMES, GATEWAY, HOST_NAME, RELAY, ROUTER, ROUTER_V6, TTL, dhcp, good,
    judged, link_local, out, to_server,
};
use std::net::{Ipv4Addr, Ipv6Addr};
use tests::leaks::{BringUp, capture::Capture};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// In the middle of the first connection to the first relay, whose port is 20,000.
const ESTABLISHED: u16 = 20_000;

/// A name, the frame, and what the detector must say of it.
type Case = (&'static str, Vec<u8>, &'static str);

fn bare(sequence: u32, flags: u8) -> Segment<'static> {
    Segment { sequence, flags, options: &[], payload: &[] }
}

fn syn() -> Segment<'static> {
    Segment { options: SMOLTCP_OPTIONS, ..bare(1, SYN) }
}

/// A question for the address of `example.com`.
fn question() -> Vec<u8> {
    [&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7][..], b"example", &[3], b"com", &[0, 0, 1, 0, 1]].concat()
}

fn udp(port: u16, to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    datagram(out(port, to), payload)
}

fn group(macs: [u8; 6], to: (Ipv4Addr, u16)) -> Way {
    Way { macs: (CARD, macs), from: (ADDRESS, to.1), to }
}

fn tcp_to_strangers() -> Vec<Case> {
    let to = |port| out(40_000, (SERVER, port));
    vec![
        ("a web server", segment(to(80), TTL, syn()), "not a relay"),
        ("a relay's port elsewhere", segment(to(RELAY.1), TTL, syn()), "not a relay"),
        ("a relay's other port", segment(out(40_000, (RELAY.0, 80)), TTL, syn()), "not a relay"),
        ("another relay's port", segment(out(40_000, (RELAY.0, 443)), TTL, syn()), "not a relay"),
        ("DNS over TCP", segment(to(53), TTL, syn()), "not a relay"),
        ("DNS over TLS", segment(to(853), TTL, syn()), "not a relay"),
        // What is left over when Tor has stopped and the client closes.
        ("a stray FIN", segment(to(443), TTL, bare(9, FIN | ACK)), "not a relay"),
        ("a stray RST", segment(to(443), TTL, bare(9, RST)), "not a relay"),
        ("a stray RST-ACK", segment(to(443), TTL, bare(9, RST | ACK)), "not a relay"),
        ("a stray ACK", segment(to(443), TTL, bare(9, ACK)), "not a relay"),
        (
            "a relay's segment of a connection that nobody opened",
            segment(out(40_001, RELAY), TTL, bare(9, FIN | ACK)),
            "nobody opened",
        ),
        (
            "an answer to a connection from outside",
            segment(out(RELAY.1, RELAY), TTL, bare(9, SYN | ACK)),
            "strange flags",
        ),
        ("a connection from a relay", segment(out(40_000, RELAY).back(), 64, bare(9, SYN)), "strange flags"),
        ("a stranger's answer", segment(to(80).back(), 64, bare(9, SYN | ACK)), "not a relay"),
    ]
}

fn datagrams() -> Vec<Case> {
    let mdns = (Ipv4Addr::new(224, 0, 0, 251), 5353);
    let llmnr = (Ipv4Addr::new(224, 0, 0, 252), 5355);
    let netbios = (Ipv4Addr::new(10, 0, 2, 255), 137);
    let mut quic = vec![0xc3, 0, 0, 0, 1, 8];
    quic.resize(1200, 7);
    vec![
        ("a question to the router's name server", udp(4000, (GATEWAY, 53), &question()), "UDP from"),
        ("a question to a public name server", udp(4000, (SERVER, 53), &question()), "UDP from"),
        ("a question to a relay's address", udp(4000, (RELAY.0, 53), &question()), "UDP from"),
        ("DNS over QUIC", udp(4000, (SERVER, 853), &quic), "UDP from"),
        ("QUIC", udp(4000, (SERVER, 443), &quic), "UDP from"),
        ("NTP", udp(123, (SERVER, 123), &[0x23; 48]), "UDP from"),
        ("mDNS", datagram(group([1, 0, 0x5e, 0, 0, 251], mdns), &question()), "UDP from"),
        ("LLMNR", datagram(group([1, 0, 0x5e, 0, 0, 252], llmnr), &question()), "UDP from"),
        ("NetBIOS names", datagram(group(BROADCAST, netbios), &question()), "UDP from"),
        ("UDP to a relay's port", udp(4000, RELAY, b"x"), "UDP from"),
        ("DHCP's ports to a stranger", udp(68, (SERVER, 67), &dhcp(1, &[])), "DHCP from"),
        ("DHCP's ports with something else", udp(68, (GATEWAY, 67), &question()), "cut short"),
    ]
}

fn other_protocols() -> Vec<Case> {
    let way = out(0, (SERVER, 0));
    let over_ip = |protocol, payload: &[u8]| ipv4(way, TTL, protocol, payload);
    let quoted = over_ip(17, &[0; 8])[14..].to_vec();
    vec![
        ("an echo request", over_ip(1, &icmp(8, 0, &[0; 60])), "protocol 1 "),
        ("an echo reply", over_ip(1, &icmp(0, 0, &[0; 60])), "protocol 1 "),
        ("a timestamp request", over_ip(1, &icmp(13, 0, &[0; 16])), "protocol 1 "),
        ("a timestamp reply", over_ip(1, &icmp(14, 0, &[0; 16])), "protocol 1 "),
        ("an ICMP error", over_ip(1, &icmp(3, 3, &[&[0; 4][..], &quoted].concat())), "protocol 1 "),
        ("an echo to a relay", ipv4(out(0, RELAY), TTL, 1, &icmp(8, 0, &[0; 60])), "protocol 1 "),
        ("IGMP", over_ip(2, &icmp(0x16, 0, &[224, 0, 0, 251])), "protocol 2 "),
        ("GRE", over_ip(47, &[0; 24]), "protocol 47 "),
        ("ESP", over_ip(50, &[0; 24]), "protocol 50 "),
        ("SCTP", over_ip(132, &[0; 24]), "protocol 132 "),
        ("IPv6 in IPv4", over_ip(41, &[0x60; 40]), "protocol 41 "),
        ("protocol 255", over_ip(255, &[]), "protocol 255 "),
        ("a VLAN's frame", ethernet((CARD, ROUTER), 0x8100, &[0; 50]), "EtherType 0x8100"),
        ("LLDP", ethernet((CARD, [1, 0x80, 0xc2, 0, 0, 14]), 0x88cc, &[0; 50]), "EtherType 0x88cc"),
        ("802.3 with a length", ethernet((CARD, ROUTER), 46, &[0; 46]), "EtherType 0x002e"),
        ("an experiment's", ethernet((CARD, ROUTER), 0x88b5, &[0; 46]), "EtherType 0x88b5"),
    ]
}

fn version_6() -> Vec<Case> {
    let us = link_local(CARD);
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let nodes = (CARD, [0x33, 0x33, 0, 0, 0, 1]);
    let (all, server) = (address("ff02::1"), address("2001:db8::7"));
    let inner = address("fd09:24ef:4179:1::6");
    let about = |target: Ipv6Addr| [&[0; 4][..], &target.octets(), &[1, 1], &CARD].concat();
    let appvm = [&[0, 0, 0, 0, 1, 1][..], &APPVM.1].concat();
    vec![
        ("mDNS over IPv6", datagram_v6(nodes, (us, address("ff02::fb")), (5353, 5353), &question()), "IPv6"),
        ("LLMNR over IPv6", datagram_v6(nodes, (us, address("ff02::1:3")), (5355, 5355), b"x"), "IPv6"),
        ("DHCPv6", datagram_v6(nodes, (us, address("ff02::1:2")), (546, 547), b"x"), "IPv6"),
        ("a question over IPv6", datagram_v6((CARD, ROUTER_V6), (us, server), (4, 53), &question()), "IPv6"),
        ("TCP over IPv6", ipv6((CARD, ROUTER_V6), (us, server), (6, 64), &[0; 20]), "IPv6 protocol 6"),
        ("echo on the link", icmpv6(nodes, (us, all), 128, &[0; 8]), "ICMPv6 type 128"),
        ("echo to a server", icmpv6((CARD, ROUTER_V6), (us, server), 128, &[0; 8]), "ICMPv6 type 128"),
        ("a group's report", ipv6(nodes, (us, all), (0, 1), &[58, 0, 5, 2, 0, 0, 1, 0]), "IPv6 protocol 0"),
        ("a fragment", ipv6(nodes, (us, all), (44, 255), &[58, 0, 0, 1, 0, 0, 0, 1]), "IPv6 protocol 44"),
        ("an inner address asks", icmpv6(nodes, (inner, all), 135, &about(us)), "ICMPv6 from fd09"),
        (
            "an AppVM's link-local asks",
            icmpv6(nodes, (link_local(APPVM.1), all), 133, &[0; 4]),
            "ICMPv6 from",
        ),
        ("a question about a server", icmpv6(nodes, (us, all), 135, &about(server)), "about 2001:db8"),
        ("an advertisement for another", icmpv6(nodes, (us, all), 136, &about(inner)), "strange option"),
        ("an AppVM's solicitation", icmpv6(nodes, (us, all), 133, &appvm), "secret"),
        ("a router's advertisement by us", icmpv6(nodes, (us, all), 134, &[0; 12]), "ICMPv6 type 134"),
        ("a solicitation to a server", icmpv6(nodes, (us, server), 133, &[0; 4]), "ICMPv6 type 133"),
        ("IPv6 cut short", ethernet((CARD, ROUTER_V6), 0x86dd, &[0x60; 30]), "cut short"),
    ]
}

fn identities() -> Vec<Case> {
    let opened = out(41_000, RELAY);
    let named = |option: u8, text: &[u8]| {
        let length = u8::try_from(text.len()).unwrap();
        to_server(&dhcp(1, &[&[option, length][..], text].concat()))
    };
    let mut from_appvm = opened;
    from_appvm.from.0 = APPVM.0;
    let mut appvms_card = opened;
    appvms_card.macs.0 = APPVM.1;
    let mut strangers_card = opened;
    strangers_card.macs.0 = [2, 0x62, 0x6b, 0, 0, 9];
    let in_flow = |options: &[u8], payload: &[u8]| {
        let flags = if payload.is_empty() { ACK } else { PSH | ACK };
        segment(out(ESTABLISHED, RELAY), TTL, Segment { sequence: 99, flags, options, payload })
    };
    let linux = Segment { options: LINUX_OPTIONS, ..syn() };
    let without_times = Segment { options: &[2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7], ..syn() };
    let mut numbered = segment(opened, TTL, syn());
    numbered[19] = 77;
    let mut classed = segment(opened, TTL, syn());
    classed[15] = 0x10;
    let name = [b"GET / HTTP/1.1\r\nHost: ", HOST_NAME].concat();
    vec![
        ("an AppVM's address", segment(from_appvm, TTL, syn()), "not the card's address"),
        ("an AppVM's card", segment(appvms_card, TTL, syn()), "secret"),
        ("an unknown card", segment(strangers_card, TTL, syn()), "neither the card's"),
        ("an AppVM's time to live", segment(opened, TTL - 1, syn()), "time to live 62"),
        ("TCP timestamps in a SYN", segment(opened, TTL, linux), "options of another stack"),
        ("Linux without timestamps", segment(opened, TTL, without_times), "options of another stack"),
        (
            "TCP timestamps later",
            in_flow(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[]),
            "options of another stack",
        ),
        ("a packet counter", repaired(numbered), "identification"),
        ("a traffic class", repaired(classed), "traffic class"),
        ("a host name in DHCP", named(12, HOST_NAME), "secret"),
        ("any host name in DHCP", named(12, b"laptop"), "DHCP option 12"),
        ("a domain name in DHCP", named(81, b"\0\0\0a.example"), "DHCP option 81"),
        ("a vendor in DHCP", named(60, b"udhcp 1.35"), "DHCP option 60"),
        ("another client in DHCP", named(61, &[1, 2, 3, 4, 5, 6, 7]), "DHCP option 61"),
        ("a foreign address wanted", named(50, &APPVM.0.octets()), "DHCP option 50"),
        ("a host name inside of a connection", in_flow(&[], &name), "secret"),
        ("ARP as an AppVM", arp((CARD, BROADCAST), 1, APPVM.0, GATEWAY), "ARP as 10.137"),
        ("ARP for a server", arp((CARD, BROADCAST), 1, ADDRESS, SERVER), "ARP about"),
        ("ARP for a neighbour", arp((CARD, BROADCAST), 1, ADDRESS, Ipv4Addr::new(10, 0, 2, 3)), "ARP about"),
        ("ARP for another address", arp((CARD, ROUTER), 2, APPVM.0, GATEWAY), "ARP as"),
    ]
}

fn malformed() -> Vec<Case> {
    let whole = segment(out(ESTABLISHED, RELAY), TTL, bare(99, ACK));
    let opening = segment(out(41_000, RELAY), TTL, syn());
    let changed = |at: usize, value: u8| {
        let mut frame = whole.clone();
        frame[at] = value;
        repaired(frame)
    };
    let padded = |padding: &[u8]| [&whole[..], padding].concat();
    let flags = |flags| segment(out(ESTABLISHED, RELAY), TTL, bare(99, flags));
    let data = |payload| Segment { payload, ..bare(1, SYN) };
    let mut damaged = whole.clone();
    damaged[24] ^= 1;
    let mut option_header = whole.clone();
    option_header[14] = 0x46;
    option_header.splice(34..34, [1, 1, 1, 0]);
    option_header[17] += 4;
    vec![
        ("no frame at all", Vec::new(), "no Ethernet header"),
        ("half an Ethernet header", whole[..10].to_vec(), "no Ethernet header"),
        ("an Ethernet header alone", whole[..14].to_vec(), "cut short"),
        ("half an IPv4 header", whole[..30].to_vec(), "cut short"),
        ("a packet cut short", whole[..50].to_vec(), "longer than its frame"),
        ("a long frame", padded(&[0; 1500]), "longer than a frame"),
        ("bytes behind the packet", padded(b"secret"), "padding"),
        ("many bytes behind the packet", padded(&[0; 40]), "after the packet"),
        ("a fragment, the first", changed(20, 0x20), "fragment"),
        ("a fragment, a later one", changed(21, 10), "fragment"),
        ("the evil bit", changed(20, 0xc0), "fragment"),
        ("version 5", changed(14, 0x55), "version 5"),
        ("a header too short", changed(14, 0x44), "header of 4 words"),
        ("options in IPv4", repaired(option_header), "header of 6 words"),
        ("a total length too short", changed(17, 10), "padding"),
        ("a wrong IPv4 checksum", damaged, "IPv4 checksum"),
        ("a wrong TCP checksum", changed(50, 0xee), "TCP checksum"),
        ("no flags", flags(0), "strange flags"),
        ("all flags", flags(0xff), "strange flags"),
        ("SYN and FIN", flags(SYN | FIN), "strange flags"),
        ("FIN alone", flags(FIN), "strange flags"),
        ("an urgent segment", flags(ACK | 32), "strange flags"),
        ("ECN in TCP", flags(ACK | 64), "strange flags"),
        ("data in a SYN", segment(out(41_000, RELAY), TTL, Segment { payload: b"x", ..syn() }), "with data"),
        ("a SYN without options", segment(out(41_000, RELAY), TTL, data(&[])), "options of another stack"),
        ("TCP cut short", ipv4(out(1, RELAY), TTL, 6, &opening[34..50]), "cut short"),
        ("to nobody's card", ethernet((CARD, [2; 6]), 0x0800, &whole[14..]), "nobody has"),
        ("ARP of another network", ethernet((CARD, BROADCAST), 0x0806, &[1; 28]), "other than IPv4"),
        (
            "ARP cut short",
            arp((CARD, BROADCAST), 1, ADDRESS, GATEWAY)[..30].to_vec(),
            "longer than its frame",
        ),
    ]
}

/// Not the last one: a leak is found wherever it is.
fn position(case: usize) -> usize {
    150 + case * 6_131 % (FRAMES - 150)
}

#[test]
fn each_kind_is_found_among_ten_thousand() {
    let good = good();
    assert_eq!(good.len(), FRAMES);
    let groups = [tcp_to_strangers(), datagrams(), other_protocols(), version_6(), identities(), malformed()];
    let cases = groups.concat();
    for (number, (name, frame, expected)) in cases.iter().enumerate() {
        let mut frames = good.clone();
        frames.insert(position(number), frame.clone());
        let leaks = judged(&frames).expect_err(name);
        let found: Vec<_> = leaks.found.iter().map(|leak| (leak.index, leak.why.as_str())).collect();
        assert_eq!(found.len(), 1, "{name}: {leaks}");
        assert_eq!(found[0].0, position(number), "{name}: {leaks}");
        assert!(found[0].1.contains(expected), "{name}, expected '{expected}': {leaks}");
    }
    assert!(cases.len() > 100, "{}", cases.len());
}

#[test]
fn good_frames_are_no_leaks() {
    let report = judged(&good()).unwrap_or_else(|leaks| panic!("{leaks}"));
    assert_eq!((report.frames, report.relays().len()), (FRAMES, 2));
    assert_eq!(report.causes.values().sum::<usize>(), FRAMES);
    assert_eq!(report.relay_frames(), FRAMES - 9);
    assert!(report.connections > 70, "{}", report.connections);
}

/// The first bytes of a connection are TLS, or it is none to a relay.
#[test]
fn plain_text_to_a_relay_is_a_leak() {
    let mut frames = good();
    let way = out(41_000, RELAY);
    let request = Segment { sequence: 2, flags: PSH | ACK, options: &[], payload: b"GET /tor/ HTTP/1.0\r\n" };
    frames.extend([segment(way, TTL, syn()), segment(way, TTL, request)]);
    let leaks = judged(&frames).unwrap_err();
    assert_eq!((leaks.found.len(), leaks.found[0].index), (1, FRAMES + 1), "{leaks}");
    assert!(leaks.found[0].why.contains("TLS handshake"), "{leaks}");
    assert!(leaks.to_string().contains("47 45 54 20 2f"), "the frame's bytes are shown: {leaks}");
}

/// Where the card has its address from the start, neither DHCP nor IPv6 is its own; a router announces itself now and
/// then all the same, to everybody, and to nobody else.
#[test]
fn a_fixed_address_needs_arp_alone() {
    let mut cable = super::traffic::cable();
    cable.bring_up = BringUp::Arp;
    let capture = Capture::finished(&super::traffic::captured(&good()));
    let leaks = cable.judge(&capture).unwrap_err();
    assert_eq!(leaks.found.iter().map(|leak| leak.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6], "{leaks}");
    let router = "fe80::2".parse().unwrap();
    let (card, all): (_, Ipv6Addr) = (link_local(CARD), "ff02::1".parse().unwrap());
    let nodes = [0x33, 0x33, 0, 0, 0, 1];
    for (what, frame) in [
        ("an answer to the card", icmpv6((ROUTER_V6, CARD), (router, card), 134, &[0; 12])),
        ("an announcement by the card", icmpv6((CARD, nodes), (card, all), 134, &[0; 12])),
        ("a question", icmpv6((ROUTER_V6, nodes), (router, all), 135, &[0; 20])),
    ] {
        let capture = Capture::finished(&super::traffic::captured(&[frame]));
        assert_eq!(cable.judge(&capture).unwrap_err().found.len(), 1, "{what}");
    }
}
