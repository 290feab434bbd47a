//! IP options, extension headers, multicast listener messages: OpenBSD's `regress/sys/netinet6/rh0` and
//! `regress/sys/net/pf_opts` (Alexander Bluhm, ISC licence), by RFC 5095, RFC 7126, RFC 8200 and RFC 9673.

use crate::build::{Four, frame, options_header};
use crate::world::{FIREWALL_MAC, World, client_mac, client6, far6, outside, ways_out};
use std::net::Ipv6Addr;

/// Drops nothing: `Ok`; else the counter.
type Expected = Result<(), &'static str>;

const PASSES: Expected = Ok(());
const OPTIONS: Expected = Err("drop_ip_options");
const CHAIN: Expected = Err("drop_extension_header");

fn check(name: &str, packet: &[u8], expected: Expected) {
    let seen = World::new().client_sends(0, packet);
    match expected {
        Ok(()) => assert!(seen.net.len() == 1 && seen.drops.is_empty(), "{name}: {seen:?}"),
        Err(reason) => {
            assert!(seen.sent() == 0 && seen.drops.get(reason) == Some(&1), "{name}: {seen:?}");
        }
    }
}

/// RFC 7126 §4: source routes, recorded routes, timestamps, router alert and what nobody knows are dropped.
#[test]
fn ipv4_options_are_dropped() {
    let [path, _] = ways_out(0);
    let cases: [(&str, Vec<u8>); 10] = [
        ("end of options", vec![0, 0, 0, 0]),
        ("no operation", vec![1, 1, 1, 1]),
        ("router alert", vec![148, 4, 0, 0]),
        ("record route", vec![7, 7, 4, 0, 0, 0, 0, 0]),
        ("timestamp", vec![68, 8, 5, 0, 0, 0, 0, 0]),
        ("loose source route", vec![131, 7, 4, 192, 0, 2, 1, 0]),
        ("strict source route", vec![137, 7, 4, 192, 0, 2, 1, 0]),
        ("unknown", vec![3, 4, 0, 0]),
        ("longer than the header", vec![148, 40, 0, 0]),
        ("as many as there can be", vec![1; 40]),
    ];
    for (name, options) in cases {
        let fields = Four { protocol: 1, options, ..Four::default() };
        check(name, &path.four(&fields, &path.ping(0, 9, b"ABCDEFGHIJKLMNOP")), OPTIONS);
    }
}

/// An answer with options does not get in either.
#[test]
fn ipv4_options_are_dropped_from_the_network() {
    let [path, _] = ways_out(0);
    let mut world = World::new();
    let seen = world.out(&path.packet(1, &path.ping(0, 9, b"x")));
    let id = u16::from_be_bytes([seen.transport[4], seen.transport[5]]);
    let back = outside(path).back();
    let fields = Four { protocol: 1, options: vec![148, 4, 0, 0], ..Four::default() };
    world.net_sends(&back.four(&fields, &back.ping(1, id, b"x"))).assert_dropped("drop_ip_options");
    world.inward(&back.packet(1, &back.ping(1, id, b"x")));
}

/// IGMP is for the link; there is no router of groups behind it.
#[test]
fn igmp_is_dropped_with_and_without_router_alert() {
    let [path, _] = ways_out(0);
    let groups = crate::build::Path { to: "224.0.0.22".parse().expect("an address"), ..path };
    let report = [0x22, 0, 0xF9, 0x02, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
    let fields = Four { protocol: 2, ttl: 1, ..Four::default() };
    check("igmp", &groups.four(&fields, &report), Err("drop_protocol"));
    let alert = Four { options: vec![148, 4, 0, 0], ..fields };
    check("igmp with router alert", &groups.four(&alert, &report), OPTIONS);
}

/// RFC 8200 §4.3: hop-by-hop options stand first or not at all; RFC 9673 §5: not more than a few; all well-formed.
#[test]
fn hop_by_hop_options_are_well_formed_and_few() {
    let [_, path] = ways_out(0);
    let ping = path.ping(0, 9, b"ABCDEFGHIJKLMNOP");
    let hop = |options: &[u8]| path.packet(0, &[options_header(58, options), ping.clone()].concat());
    let raw = |header: &[u8]| path.packet(0, &[header, &ping].concat());
    check("padding of six", &hop(&[1, 4, 0, 0, 0, 0]), PASSES);
    check("padding of ones", &hop(&[0; 6]), PASSES);
    check("router alert", &hop(&[5, 2, 0, 0]), PASSES);
    check("eight options", &hop(&[0x1E, 0].repeat(8)), PASSES);
    check("nine options", &hop(&[0x1E, 0].repeat(9)), CHAIN);
    check("option beyond the header", &raw(&[58, 0, 5, 9, 0, 0, 0, 0]), CHAIN);
    check("option without its length", &raw(&[58, 0, 1, 3, 0, 0, 0, 5]), CHAIN);
    check("header beyond the packet", &raw(&[58, 200, 1, 4, 0, 0, 0, 0]), CHAIN);
    check("jumbogram", &raw(&[58, 0, 0xC2, 4, 0, 1, 0, 0]), Err("drop_jumbogram"));
    let twice = [options_header(0, &[0; 6]), options_header(58, &[0; 6]), ping.clone()].concat();
    check("twice", &path.packet(0, &twice), CHAIN);
    let second = [options_header(0, &[0; 6]), options_header(58, &[0; 6]), ping.clone()].concat();
    check("behind destination options", &path.packet(60, &second), CHAIN);
}

#[test]
fn destination_options_are_well_formed_and_at_most_two_headers() {
    let [_, path] = ways_out(0);
    let ping = path.ping(0, 9, b"ABCDEFGHIJKLMNOP");
    let chain = |count: usize| {
        let mut bytes = vec![0; 0];
        for n in 0..count {
            bytes.extend(options_header(if n + 1 == count { 58 } else { 60 }, &[1, 4, 0, 0, 0, 0]));
        }
        path.packet(60, &[&bytes[..], &ping].concat())
    };
    check("one", &chain(1), PASSES);
    check("two", &chain(2), PASSES);
    check("three", &chain(3), CHAIN);
    check(
        "home address",
        &path.packet(
            60,
            &[options_header(58, &[[0xC9, 16].as_slice(), &[0; 16]].concat()), ping.clone()].concat(),
        ),
        PASSES,
    );
    check(
        "a chain longer than any use",
        &path.packet(
            60,
            &[
                options_header(58, &[[1, 240].as_slice(), &[0; 240]].concat()),
                options_header(58, &[0; 6]),
                ping.clone(),
            ]
            .concat(),
        ),
        Err("drop_icmp_type"),
    );
}

/// Filters look at what the chain ends with, never at the fixed header's field: what cannot be walked is dropped.
#[test]
fn what_is_behind_headers_that_are_not_walked_is_dropped() {
    let [_, path] = ways_out(0);
    for next in [4, 41, 47, 50, 51, 59, 132, 135, 139, 140, 253, 255] {
        check(
            &format!("header {next}"),
            &path.packet(next, &[58, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0]),
            Err("drop_protocol"),
        );
    }
}

/// RFC 5095: no routing header of type 0 passes, whatever it says; no other type is needed by anybody here.
#[test]
fn routing_headers_are_dropped() {
    let [_, path] = ways_out(0);
    let hops = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|n| Ipv6Addr::from_bits(far6().to_bits() + n as u128 + 1).octets()).collect()
    };
    let ping = path.ping(0, 9, b"ABCDEFGHIJKLMNOP");
    let rh = |kind: u8, count: usize, left: u8| {
        let len = u8::try_from(count * 2).expect("few");
        [&[58, len, kind, left, 0, 0, 0, 0], &hops(count)[..], &ping].concat()
    };
    let dropped = Err("drop_routing_header");
    check("empty", &path.packet(43, &rh(0, 0, 0)), dropped);
    check("final", &path.packet(43, &rh(0, 2, 0)), dropped);
    check("route", &path.packet(43, &rh(0, 2, 2)), dropped);
    check("more left than there are", &path.packet(43, &rh(0, 2, 200)), dropped);
    check("type 2", &path.packet(43, &rh(2, 1, 1)), dropped);
    check("segment routing", &path.packet(43, &rh(4, 2, 1)), dropped);
    check("behind options", &path.packet(60, &[options_header(43, &[0; 6]), rh(0, 2, 2)].concat()), dropped);
    check("none, for comparison", &path.packet(58, &ping), PASSES);
    for (name, body) in
        [("frag empty", rh(0, 0, 0)), ("frag final", rh(0, 2, 0)), ("frag route", rh(0, 2, 2))]
    {
        let mut world = World::new();
        world
            .client_sends(0, &path.fragment(43, 4, (0, true, &body[..8])))
            .assert_dropped("drop_routing_header");
        assert_eq!(world.client_sends(0, &path.fragment(43, 4, (8, false, &body[8..]))).sent(), 0, "{name}");
    }
    // Behind destination options, in the first piece or in the second.
    let hidden = [options_header(43, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), rh(0, 2, 2)].concat();
    for (at, reason) in
        [(8, "drop_extension_header"), (16, "drop_routing_header"), (64, "drop_routing_header")]
    {
        let mut world = World::new();
        world.client_sends(0, &path.fragment(60, 4, (0, true, &hidden[..at]))).assert_dropped(reason);
        assert_eq!(world.client_sends(0, &path.fragment(60, 4, (at, false, &hidden[at..]))).sent(), 0);
    }
}

/// MLD with and without router alert stays on the link, and so does what pretends to be MLD.
#[test]
fn multicast_listener_messages_stay_on_the_link() {
    let local: Ipv6Addr = "fe80::62:6bff:fe00:1".parse().expect("an address");
    let all = "ff02::16".parse::<Ipv6Addr>().expect("an address");
    let path = crate::build::Path { from: local.into(), to: all.into() };
    let report = path.message((143, 0), [0, 0, 0, 1], &[[4, 0, 0, 0].as_slice(), &all.octets()].concat());
    let with = |options: &[u8]| {
        let mut packet = path.packet(0, &[options_header(58, options), report.clone()].concat());
        packet[7] = 1;
        packet
    };
    let mut world = World::new();
    world.client_sends(0, &with(&[5, 2, 0, 0])).assert_absorbed();
    world.client_sends(0, &with(&[1, 4, 0, 0, 0, 0])).assert_absorbed();
    world.client_sends(0, &with(&[5, 9, 0, 0])).assert_dropped("drop_extension_header");
    let mut bare = path.packet(58, &report);
    bare[7] = 1;
    world.client_sends(0, &bare).assert_absorbed();
    // To somebody in the network it is no listener message but a type that is not forwarded.
    let [_, out] = ways_out(0);
    let stray = out.message((143, 0), [0, 0, 0, 1], &[0; 20]);
    world.client_sends(0, &out.packet(58, &stray)).assert_dropped("drop_icmp_type");
    // Nor does one come in.
    let back = outside(out).back();
    let query = back.message((130, 0), [0; 4], &[0; 16]);
    world.net_sends(&back.packet(58, &query)).assert_dropped("drop_icmp_type");
}

/// Lengths that disagree: version, header length, total length, checksum.
#[test]
fn headers_that_contradict_the_frame_are_dropped() {
    let [four, six] = ways_out(0);
    let good4 = four.packet(17, &four.udp((4000, 7), &[b'x'; 64]));
    let good6 = six.packet(17, &six.udp((4000, 7), b"payload!"));
    let altered = |good: &[u8], at: usize, value: u8| {
        let mut packet = good.to_vec();
        packet[at] = value;
        frame(FIREWALL_MAC, client_mac(0), &packet)
    };
    // (byte, value, whether the IPv4 checksum is made right again, counter)
    let cases = [
        (0, 0x44, "drop_ip_header"),
        (0, 0x40, "drop_ip_header"),
        (0, 0x4F, "drop_ip_options"),
        (2, 0xFF, "drop_ip_length"),
        (3, 19, "drop_ip_length"),
        (3, 27, "drop_transport_length"),
    ];
    for (at, value, reason) in cases {
        let mut bytes = altered(&good4, at, value);
        bytes[12..14].copy_from_slice(&[8, 0]);
        if at != 0 {
            let sum = pnet_packet::util::checksum(&bytes[14..34], 5).to_be_bytes();
            bytes[24..26].copy_from_slice(&sum);
        }
        World::new().frame_from_client(0, &bytes).assert_dropped(reason);
    }
    World::new().frame_from_client(0, &altered(&good4, 8, 63)).assert_dropped("drop_ip_checksum");
    for (at, value, reason) in
        [(0, 0x50, "drop_ip_header"), (4, 0xFF, "drop_ip_length"), (5, 7, "drop_transport_length")]
    {
        let mut bytes = altered(&good6, at, value);
        bytes[12..14].copy_from_slice(&[0x86, 0xDD]);
        World::new().frame_from_client(0, &bytes).assert_dropped(reason);
    }
    // IPv4 announced as IPv6 and the reverse.
    let mut crossed = frame(FIREWALL_MAC, client_mac(0), &good4);
    crossed[12..14].copy_from_slice(&[0x86, 0xDD]);
    World::new().frame_from_client(0, &crossed).assert_dropped("drop_ip_header");
}

/// A frame cut anywhere is dropped for one reason, and leaves nothing behind.
#[test]
fn a_frame_cut_anywhere_is_dropped_once() {
    for path in ways_out(0) {
        let whole = frame(FIREWALL_MAC, client_mac(0), &path.packet(17, &path.udp((4000, 7), b"payload!")));
        let mut world = World::new();
        for len in 14..whole.len() {
            let seen = world.frame_from_client(0, &whole[..len]);
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{len}: {seen:?}");
        }
        assert_eq!(world.flows(), 0);
    }
    assert!(crate::world::in_prefix(0, client6(0)));
}
