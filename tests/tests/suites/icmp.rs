//! ICMP errors and the packets that they quote; path MTU: FreeBSD's `CVE-2019-5598` and `icmp` tests, OpenBSD's
//! `regress/sys/netinet/pmtu` and `regress/sys/net/pf_forward`, by RFC 792, RFC 4443, RFC 5508 and RFC 5927.

use crate::build::{ACK, Four, Path, SYN, Segment};
use crate::world::{World, gateway4, outside, ways_out};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A router between the uplink and the far host.
fn router(path: Path) -> IpAddr {
    if path.to.is_ipv4() {
        Ipv4Addr::new(203, 0, 113, 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into()
    }
}

/// Unreachable port, no hops left, too big: type, code and second word.
fn errors(path: Path) -> [((u8, u8), [u8; 4]); 3] {
    if path.to.is_ipv4() {
        [((3, 3), [0; 4]), ((11, 0), [0; 4]), ((3, 4), [0, 0, 0x05, 0x14])]
    } else {
        [((1, 4), [0; 4]), ((3, 0), [0; 4]), ((2, 0), [0, 0, 0x05, 0x14])]
    }
}

/// An error from `from` about `quoted` to the sender of `about`.
fn error(from: IpAddr, about: Path, ((kind, code), word): ((u8, u8), [u8; 4]), quoted: &[u8]) -> Vec<u8> {
    let path = Path { from, to: about.from };
    path.packet(path.icmp(), &path.message((kind, code), word, quoted))
}

/// Client 0 sends UDP; gives what the network saw.
fn udp_flow(world: &mut World, path: Path) -> Vec<u8> {
    let seen = world.client_sends(0, &path.packet(17, &path.udp((4000, 53), b"question")));
    assert_eq!(seen.net.len(), 1);
    seen.net[0][14..].to_vec()
}

#[test]
fn an_error_about_a_living_flow_is_translated_inside_and_out() {
    for path in ways_out(0) {
        for what in errors(path) {
            for from in [path.to, router(path)] {
                let mut world = World::new();
                let quoted = udp_flow(&mut world, path);
                let got = world.inward(&error(from, outside(path), what, &quoted));
                assert_eq!((got.from, got.to), (from, path.from), "{what:?}");
                assert_eq!(got.transport[..2], [what.0.0, what.0.1]);
                // The client recognises its own packet: addresses and ports as it sent them.
                let inner = &got.transport[8..];
                let original = path.packet(17, &path.udp((4000, 53), b"question"));
                let addresses = if path.from.is_ipv4() { 12..20 } else { 8..40 };
                assert_eq!(inner[addresses.clone()], original[addresses.clone()]);
                assert_eq!(
                    inner[addresses.end..addresses.end + 4],
                    original[addresses.end..addresses.end + 4]
                );
            }
        }
    }
}

/// CVE-2019-5598 (FreeBSD-SA-19:06.pf): the error's own addresses fit the flow, the packet that it quotes does not.
#[test]
fn an_error_that_quotes_what_was_not_sent_is_dropped() {
    for path in ways_out(0) {
        let mut world = World::new();
        let quoted = udp_flow(&mut world, path);
        let ends = if path.from.is_ipv4() { (12, 16, 20) } else { (8, 24, 40) };
        // Source, destination, source port, destination port, protocol: each other than what was sent.
        let protocol_at = if path.from.is_ipv4() { 9 } else { 6 };
        for (at, name) in [
            (ends.0, "source"),
            (ends.1, "destination"),
            (ends.2, "port"),
            (ends.2 + 2, "service"),
            (protocol_at, "protocol"),
        ] {
            for flip in [1, 0x17] {
                let mut other = quoted.clone();
                other[at] ^= flip;
                for what in errors(path) {
                    let seen = world.net_sends(&error(path.to, outside(path), what, &other));
                    assert!(
                        seen.sent() == 0 && seen.drops.get("drop_icmp_quote") == Some(&1),
                        "{name}: {seen:?}"
                    );
                }
            }
        }
        // As in FreeBSD's script: addresses that nobody here has.
        if path.from.is_ipv4() {
            let strangers =
                Path { from: Ipv4Addr::new(4, 3, 2, 1).into(), to: Ipv4Addr::new(1, 2, 3, 4).into() };
            let other = strangers.packet(17, &strangers.udp((1234, 53), b""));
            world
                .net_sends(&error(path.to, outside(path), errors(path)[0], &other))
                .assert_dropped("drop_icmp_quote");
        }
        // The client's own address, as the network must not know it.
        let inside = path.packet(17, &path.udp((4000, 53), b"question"));
        world
            .net_sends(&error(path.to, outside(path), errors(path)[0], &inside))
            .assert_dropped("drop_icmp_quote");
    }
}

#[test]
fn an_error_whose_quotation_is_cut_or_malformed_is_dropped() {
    for path in ways_out(0) {
        let mut world = World::new();
        let quoted = udp_flow(&mut world, path);
        let header = if path.from.is_ipv4() { 20 } else { 40 };
        for len in 0..header + 8 {
            world
                .net_sends(&error(path.to, outside(path), errors(path)[0], &quoted[..len]))
                .assert_dropped("drop_icmp_quote");
        }
        world.inward(&error(path.to, outside(path), errors(path)[0], &quoted[..header + 8]));
        let mut version = quoted.clone();
        version[0] ^= 0x10;
        world
            .net_sends(&error(path.to, outside(path), errors(path)[0], &version))
            .assert_dropped("drop_icmp_quote");
        let mut wrong = error(path.to, outside(path), errors(path)[0], &quoted);
        wrong[header + 3] ^= 1;
        world.net_sends(&wrong).assert_dropped("drop_icmp_checksum");
    }
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4: an error about an error, or about a later fragment, is nobody's.
#[test]
fn an_error_about_an_error_or_a_later_fragment_is_dropped() {
    for path in ways_out(0) {
        let mut world = World::new();
        let quoted = udp_flow(&mut world, path);
        let out = outside(path);
        let about = error(path.from, Path { from: path.to, ..path }, errors(path)[0], &quoted);
        let about = [&about[..], &quoted].concat();
        world.net_sends(&error(path.to, out, errors(path)[0], &about)).assert_dropped("drop_icmp_quote");
        let later = out.fragment(17, 4, (8, false, &out.udp((4000, 53), b"x")));
        world.net_sends(&error(path.to, out, errors(path)[0], &later)).assert_dropped("drop_icmp_quote");
    }
}

/// RFC 5927 §4.1: an error about TCP must quote a sequence number that may be in flight.
#[test]
fn an_error_about_a_segment_that_is_not_in_flight_is_dropped() {
    for path in ways_out(0) {
        let mut world = World::new();
        let syn = Segment { flags: SYN, sequence: 1000, window: 8192, ..Segment::default() };
        let seen = world.client_sends(0, &path.packet(6, &path.tcp((4000, 80), &syn)));
        let quoted = seen.net[0][14..].to_vec();
        let at = if path.from.is_ipv4() { 24 } else { 44 };
        let with = |sequence: u32| {
            let mut other = quoted.clone();
            other[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
            error(router(path), outside(path), errors(path)[2], &other)
        };
        world.inward(&with(1000));
        for sequence in [1002, 5000, 0x8000_0000, 1000_u32.wrapping_sub(70_000)] {
            world.net_sends(&with(sequence)).assert_dropped("drop_icmp_quote");
        }
    }
}

/// RFC 5927 §7, RFC 8201 §4: nobody's path is narrower than 552 (IPv4) or 1280 (IPv6) bytes.
#[test]
fn an_mtu_that_no_path_has_is_dropped() {
    for path in ways_out(0) {
        let mut world = World::new();
        let quoted = udp_flow(&mut world, path);
        let (kind, _) = errors(path)[2];
        let floor: u16 = if path.from.is_ipv4() { 552 } else { 1280 };
        for (mtu, passes) in [(0, false), (68, false), (floor - 1, false), (floor, true), (1400, true)] {
            let [m0, m1] = mtu.to_be_bytes();
            let packet = error(router(path), outside(path), (kind, [0, 0, m0, m1]), &quoted);
            let seen = world.net_sends(&packet);
            if passes {
                assert_eq!(seen.client[0].len(), 1);
            } else {
                seen.assert_dropped("drop_icmp_mtu");
            }
        }
    }
}

/// RFC 7126 and RFC 6633: redirects, timestamps, masks, quenches, router discovery, node information: none passes,
/// in either direction, also when it quotes a living flow.
#[test]
fn other_types_are_not_forwarded() {
    for path in ways_out(0) {
        let types: &[u8] = if path.from.is_ipv4() {
            &[4, 5, 9, 10, 13, 14, 15, 16, 17, 18, 30, 40, 42, 253]
        } else {
            &[5, 100, 127, 138, 139, 140, 141, 142, 144, 145, 151, 155, 160, 200, 255]
        };
        let mut world = World::new();
        let quoted = udp_flow(&mut world, path);
        for kind in types {
            let out = outside(path).back();
            let seen = world.net_sends(&out.packet(out.icmp(), &out.message((*kind, 0), [0; 4], &quoted)));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{kind}: {seen:?}");
            let seen =
                world.client_sends(0, &path.packet(path.icmp(), &path.message((*kind, 0), [0; 4], &quoted)));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{kind}: {seen:?}");
        }
    }
}

/// An echo request from outside opens nothing; a reply passes for who asked, with the identifier that was sent.
#[test]
fn echoes_come_in_only_as_answers() {
    for path in ways_out(0) {
        let mut world = World::new();
        let back = outside(path).back();
        world.net_sends(&back.packet(path.icmp(), &back.ping(0, 9, b"x"))).assert_dropped("drop_icmp_type");
        world.net_sends(&back.packet(path.icmp(), &back.ping(1, 9, b"x"))).assert_dropped("drop_no_flow");
        let sent = world.out(&path.packet(path.icmp(), &path.ping(0, 9, b"x")));
        let id = u16::from_be_bytes([sent.transport[4], sent.transport[5]]);
        let got = world.inward(&back.packet(path.icmp(), &back.ping(1, id, b"x")));
        assert_eq!(got.transport[4..6], [0, 9]);
        let stranger = Path { from: router(path), ..back };
        world
            .net_sends(&stranger.packet(path.icmp(), &stranger.ping(1, id, b"x")))
            .assert_dropped("drop_no_flow");
        world
            .net_sends(&back.packet(path.icmp(), &back.ping(1, id ^ 1, b"x")))
            .assert_dropped("drop_no_flow");
        // A reply that a client makes up is no flow either.
        world
            .client_sends(0, &path.packet(path.icmp(), &path.ping(1, 9, b"x")))
            .assert_dropped("drop_icmp_type");
    }
}

/// A client's errors about packets that came for it leave from the uplink's address; made-up ones do not leave.
#[test]
fn a_clients_error_leaves_only_about_what_came_for_it() {
    for path in ways_out(0) {
        let mut world = World::new();
        let sent = udp_flow(&mut world, path);
        let at = if path.from.is_ipv4() { 20 } else { 40 };
        let port = u16::from_be_bytes([sent[at], sent[at + 1]]);
        let back = outside(path).back();
        let got = world.net_sends(&back.packet(17, &back.udp((53, port), b"answer")));
        let came = got.client[0][0][14..].to_vec();
        let refusal =
            |quoted: &[u8]| path.packet(path.icmp(), &path.message(errors(path)[0].0, [0; 4], quoted));
        let seen = world.client_sends(0, &refusal(&came));
        assert_eq!(seen.net.len(), 1, "{seen:?}");
        let quoted = &seen.net[0][14 + at + 8..];
        let original = back.packet(17, &back.udp((53, port), b"answer"));
        assert_eq!(quoted[at..at + 4], original[at..at + 4], "the far host recognises its own ports");
        let mut other = came;
        other[at + 2] ^= 1;
        world.client_sends(0, &refusal(&other)).assert_dropped("drop_icmp_quote");
    }
}

/// FreeBSD's `icmp.py`, `test_inner_match`: a client's error that quotes a living flow, sent to somebody else.
#[test]
fn a_clients_error_goes_to_who_sent_what_it_quotes() {
    for path in ways_out(0) {
        let mut world = World::new();
        let sent = world.out(&path.packet(path.icmp(), &path.ping(0, 9, b"x")));
        let id = u16::from_be_bytes([sent.transport[4], sent.transport[5]]);
        let back = outside(path).back();
        let came = world.net_sends(&back.packet(path.icmp(), &back.ping(1, id, b"x")));
        let quoted = came.client[0][0][14..].to_vec();
        let elsewhere = Path { to: router(path), ..path };
        let stray = elsewhere.message(errors(path)[0].0, [0; 4], &quoted);
        world.client_sends(0, &elsewhere.packet(path.icmp(), &stray)).assert_dropped("drop_icmp_quote");
    }
}

/// FreeBSD's `icmp.py`, `test_id_conflict`: two clients use the same echo identifier towards the same host.
#[test]
fn two_clients_with_one_identifier_get_their_own_answers() {
    for (mine, yours) in ways_out(0).into_iter().zip(ways_out(1)) {
        let mut world = World::new();
        let mut ids = Vec::new();
        for (n, path) in [mine, yours].into_iter().enumerate() {
            let seen = world.client_sends(n, &path.packet(path.icmp(), &path.ping(0, 42, b"same")));
            let at = if path.from.is_ipv4() { 38 } else { 58 };
            ids.push(u16::from_be_bytes([seen.net[0][at], seen.net[0][at + 1]]));
        }
        assert_ne!(ids[0], ids[1]);
        for n in [1, 0] {
            let back = outside(mine).back();
            let seen = world.net_sends(&back.packet(mine.icmp(), &back.ping(1, ids[n], b"same")));
            assert_eq!((seen.client[n].len(), seen.client[1 - n].len()), (1, 0));
            let at = if mine.from.is_ipv4() { 38 } else { 58 };
            assert_eq!(seen.client[n][0][at..at + 2], [0, 42]);
        }
    }
}

/// What does not fit the uplink and may not be cut is answered with what fits (pf_forward's `ping_mtu`); the answer
/// quotes the client's own packet, its checksum as it was (pf_fragment's `*_cksum`).
#[test]
fn too_long_a_packet_is_answered_with_the_mtu() {
    for path in ways_out(0) {
        let mut world = World::new();
        world.uplink(1300);
        let ping = path.ping(0, 9, &[b'x'; 1400]);
        let packet = match path.from {
            IpAddr::V4(_) => path.four(&Four { protocol: 1, whole_only: true, ..Four::default() }, &ping),
            IpAddr::V6(_) => path.packet(58, &ping),
        };
        let seen = world.client_sends(0, &packet);
        assert_eq!((seen.net.len(), seen.client[0].len(), seen.drops.get("drop_too_big")), (0, 1, Some(&1)));
        let answer = &seen.client[0][0][14..];
        if path.from.is_ipv4() {
            assert_eq!((&answer[20..22], &answer[24..28]), (&[3, 4][..], &[0, 0, 0x05, 0x14][..]));
            assert_eq!(answer[12..16], gateway4(0).octets());
            assert_eq!(answer[28..56], packet[..28]);
        } else {
            assert_eq!((&answer[40..42], &answer[44..48]), (&[2, 0][..], &[0, 0, 0x05, 0x14][..]));
            assert_eq!(answer[48..], packet[..answer.len() - 48]);
            assert!(answer.len() <= 1280);
        }
        // What may be cut is cut.
        if path.from.is_ipv4() {
            assert_eq!(world.client_sends(0, &path.packet(1, &ping)).net.len(), 2);
        }
    }
}

/// No hop left: the client is told (that is how a route is traced); nothing from outside is, nor an error.
#[test]
fn a_packet_without_hops_is_answered_to_clients_only() {
    for path in ways_out(0) {
        let mut world = World::new();
        let at = if path.from.is_ipv4() { 8 } else { 7 };
        for hops in [0, 1] {
            let mut packet = path.packet(17, &path.udp((4000, 33_434), b"trace"));
            packet[at] = hops;
            if path.from.is_ipv4() {
                let sum = pnet_packet::util::checksum(&packet[..20], 5).to_be_bytes();
                packet[10..12].copy_from_slice(&sum);
            }
            let seen = world.client_sends(0, &packet);
            assert_eq!(
                (seen.net.len(), seen.client[0].len(), seen.drops.get("drop_hop_limit")),
                (0, 1, Some(&1))
            );
        }
        let quoted = udp_flow(&mut world, path);
        let mut late = error(path.to, outside(path), errors(path)[0], &quoted);
        late[at] = 1;
        if path.from.is_ipv4() {
            let sum = pnet_packet::util::checksum(&late[..20], 5).to_be_bytes();
            late[10..12].copy_from_slice(&sum);
        }
        world.net_sends(&late).assert_dropped("drop_hop_limit");
    }
}

/// Errors that the firewall sends are limited per client (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): one client's flood
/// leaves the other's alone.
#[test]
fn answers_are_limited_per_client() {
    let [path, _] = ways_out(0);
    let [other, _] = ways_out(1);
    let mut world = World::new();
    let mut answered = 0;
    let dying = |path: Path| {
        let fields = Four { ttl: 1, ..Four::default() };
        path.four(&fields, &path.udp((4000, 33_434), b"trace"))
    };
    for _ in 0..200 {
        answered += world.client_sends(0, &dying(path)).client[0].len();
    }
    assert!((20..60).contains(&answered), "{answered}");
    assert_eq!(world.client_sends(1, &dying(other)).client[1].len(), 1);
}

/// One client learns nothing about another's packets, and cannot have it told anything.
#[test]
fn no_error_crosses_from_client_to_client() {
    for (mine, yours) in ways_out(0).into_iter().zip(ways_out(1)) {
        let mut world = World::new();
        let sent = world.client_sends(1, &yours.packet(17, &yours.udp((4000, 53), b"question")));
        assert_eq!(sent.net.len(), 1);
        let quoted = yours.back().packet(17, &yours.back().udp((53, 4000), b"answer"));
        let forged = Path { from: mine.from, to: yours.from };
        let packet = forged.packet(forged.icmp(), &forged.message(errors(mine)[0].0, [0; 4], &quoted));
        let seen = world.client_sends(0, &packet);
        assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{seen:?}");
        let spoofed = Path { from: yours.from, to: mine.to };
        let packet = spoofed.packet(spoofed.icmp(), &spoofed.message(errors(mine)[0].0, [0; 4], &quoted));
        world.client_sends(0, &packet).assert_dropped("drop_spoofed");
    }
}

/// A segment with an acknowledgement for a connection that does not exist opens none and is not answered.
#[test]
fn nothing_is_said_to_who_probes() {
    for path in ways_out(0) {
        let mut world = World::new();
        let back = outside(path).back();
        for flags in [SYN, ACK, SYN | ACK, 4, 0, 63] {
            let segment = Segment { flags, sequence: 1, ack: 1, window: 100, ..Segment::default() };
            let seen = world.net_sends(&back.packet(6, &back.tcp((80, 4000), &segment)));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{flags}: {seen:?}");
        }
        for port in [0, 1, 53, 67, 68, 137, 1024, 33_434, 65_535] {
            let seen = world.net_sends(&back.packet(17, &back.udp((53, port), b"hello")));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{port}: {seen:?}");
        }
        assert_eq!(world.flows(), 0);
    }
}
