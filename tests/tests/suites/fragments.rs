//! Datagrams in pieces, both families, both directions. The cases and their names are those of OpenBSD's
//! `regress/sys/netinet/frag` and `regress/sys/netinet6/frag6` (Alexander Bluhm, ISC licence); what is expected is
//! the rule of RFC 5722 for both families: an overlap ends the datagram.

use crate::build::{Four, Path, UDP, fragment_header, options_header};
use crate::world::{World, outside, ways_out};

/// Where a piece's bytes come from.
#[derive(Clone, Copy, Debug)]
enum Bytes {
    /// The datagram's own, up to this position.
    Until(usize),
    /// So many that are not the datagram's.
    Other(usize),
}

use Bytes::{Other, Until};

/// A piece: position, whether more follow, bytes.
type Piece = (usize, bool, Bytes);

/// The name, the bytes of payload behind the echo's header, the pieces in the order in which they are sent, and
/// whether the datagram arrives.
type Case = (&'static str, usize, &'static [Piece], bool);

const MORE: bool = true;
const LAST: bool = false;

/// Positions count the eight bytes of the echo's header.
const CASES: &[Case] = &[
    ("two pieces", 16, &[(0, MORE, Until(16)), (16, LAST, Until(24))], true),
    ("order 0 2 1", 16, &[(0, MORE, Until(8)), (16, LAST, Until(24)), (8, MORE, Until(16))], true),
    ("order 1 0 2", 16, &[(8, MORE, Until(16)), (0, MORE, Until(8)), (16, LAST, Until(24))], true),
    ("order 1 2 0", 16, &[(8, MORE, Until(16)), (16, LAST, Until(24)), (0, MORE, Until(8))], true),
    ("order 2 0 1", 16, &[(16, LAST, Until(24)), (0, MORE, Until(8)), (8, MORE, Until(16))], true),
    ("order 2 1 0", 16, &[(16, LAST, Until(24)), (8, MORE, Until(16)), (0, MORE, Until(8))], true),
    ("last of no multiple of eight", 13, &[(0, MORE, Until(16)), (16, LAST, Until(21))], true),
    ("a piece that never comes", 16, &[(0, MORE, Until(8)), (16, LAST, Until(24))], false),
    ("overhead", 16, &[(0, MORE, Until(8)), (8, MORE, Until(16)), (8, LAST, Other(16))], false),
    ("overhead0", 16, &[(0, MORE, Until(16)), (8, LAST, Other(16))], false),
    ("overhead1", 16, &[(0, MORE, Until(16)), (8, MORE, Other(8)), (16, LAST, Until(24))], false),
    ("overtail", 16, &[(16, LAST, Until(24)), (8, MORE, Other(8)), (0, MORE, Until(16))], false),
    ("overtail0", 16, &[(8, LAST, Other(16)), (0, MORE, Until(16))], false),
    ("overtail1", 16, &[(8, LAST, Until(24)), (8, MORE, Other(8)), (0, MORE, Until(8))], false),
    (
        "overdrop",
        16,
        &[
            (0, MORE, Until(16)),
            (8, LAST, Other(16)),
            (0, MORE, Until(8)),
            (8, MORE, Until(16)),
            (16, LAST, Until(24)),
        ],
        false,
    ),
    ("the same piece twice", 16, &[(0, MORE, Until(16)), (0, MORE, Until(16)), (16, LAST, Until(24))], false),
    (
        "covers all that came",
        24,
        &[(8, MORE, Until(16)), (16, MORE, Until(24)), (0, MORE, Other(32)), (24, LAST, Until(32))],
        false,
    ),
    ("mf0long", 16, &[(8, LAST, Until(24)), (24, LAST, Other(8)), (0, MORE, Until(8))], false),
    ("mf0middle", 16, &[(0, MORE, Until(16)), (8, LAST, Other(8)), (16, LAST, Until(24))], false),
    ("mf0short", 24, &[(16, LAST, Until(32)), (8, LAST, Other(16)), (0, MORE, Until(16))], false),
    ("mf1end", 16, &[(16, LAST, Until(24)), (8, MORE, Other(16)), (0, MORE, Until(16))], false),
    ("more behind the last", 16, &[(0, MORE, Until(16)), (16, LAST, Until(24)), (24, MORE, Other(8))], true),
    // FreeBSD's frag-adjhole, frag-overindex and frag-overreplace; the last two around byte 4096, where pf has an index.
    (
        "adjhole",
        32,
        &[(0, MORE, Until(16)), (16, MORE, Until(32)), (8, MORE, Until(24)), (32, LAST, Until(40))],
        false,
    ),
    (
        "overindex",
        5112,
        &[
            (0, MORE, Until(2048)),
            (2048, MORE, Until(4096)),
            (4088, MORE, Other(16)),
            (4104, LAST, Until(5120)),
        ],
        false,
    ),
    (
        "overreplace",
        5112,
        &[
            (0, MORE, Until(2048)),
            (2048, MORE, Until(3072)),
            (4088, MORE, Other(16)),
            (3072, MORE, Until(4096)),
            (4096, LAST, Until(5120)),
        ],
        false,
    ),
    ("zerofirst", 16, &[(0, MORE, Other(0)), (0, MORE, Until(16)), (16, LAST, Until(24))], true),
    ("zerosecond", 16, &[(0, MORE, Until(16)), (0, MORE, Other(0)), (16, LAST, Until(24))], true),
    ("zero last", 16, &[(0, MORE, Until(24)), (24, LAST, Other(0))], false),
    ("more, of no multiple of eight", 16, &[(0, MORE, Until(13)), (13, LAST, Until(24))], false),
];

/// The pieces of `datagram`.
fn cut(path: Path, protocol: u8, id: u16, datagram: &[u8], pieces: &[Piece]) -> Vec<Vec<u8>> {
    let other = [0xEE; 64];
    let one = |(at, more, bytes): &Piece| {
        let bytes = match bytes {
            Until(end) => &datagram[*at..*end],
            Other(len) => &other[..*len],
        };
        path.fragment(protocol, id, (*at, *more, bytes))
    };
    pieces.iter().map(one).collect()
}

/// Sends a ping of client 0; gives the identifier that the network saw.
fn identifier(world: &mut World, path: Path) -> u16 {
    let seen = world.out(&path.packet(path.icmp(), &path.ping(0, 9, b"first")));
    u16::from_be_bytes([seen.transport[4], seen.transport[5]])
}

fn payload(len: usize) -> Vec<u8> {
    (b'A'..=b'Z').cycle().take(len).collect()
}

#[test]
fn a_clients_datagram_arrives_whole_or_not_at_all() {
    for (name, len, pieces, arrives) in CASES {
        for path in ways_out(0) {
            let mut world = World::new();
            let ping = path.ping(0, 9, &payload(*len));
            let mut got = Vec::new();
            for piece in cut(path, path.icmp(), 77, &ping, pieces) {
                got.extend(world.client_sends(0, &piece).net);
            }
            assert_eq!(got.len(), usize::from(*arrives), "{name}, {path:?}");
            if let [frame] = &got[..] {
                assert!(frame.ends_with(&payload(*len)), "{name}, {path:?}");
            }
        }
    }
}

#[test]
fn the_networks_datagram_arrives_whole_or_not_at_all() {
    for (name, len, pieces, arrives) in CASES {
        for path in ways_out(0) {
            let mut world = World::new();
            let id = identifier(&mut world, path);
            let back = outside(path).back();
            let pong = back.ping(1, id, &payload(*len));
            let mut got = Vec::new();
            for piece in cut(back, path.icmp(), 77, &pong, pieces) {
                got.extend(world.net_sends(&piece).client[0].clone());
            }
            assert_eq!(got.len(), usize::from(*arrives), "{name}, {path:?}");
            if let [frame] = &got[..] {
                assert!(frame.ends_with(&payload(*len)), "{name}, {path:?}");
            }
        }
    }
}

/// What still comes of a datagram with an overlap is dropped until its time is over (RFC 5722 §4).
#[test]
fn after_an_overlap_no_further_piece_counts() {
    for path in ways_out(0) {
        let mut world = World::new();
        let ping = path.ping(0, 9, &payload(16));
        let bad = [(0, MORE, Until(16)), (8, LAST, Other(16))];
        cut(path, path.icmp(), 5, &ping, &bad).iter().for_each(|piece| drop(world.client_sends(0, piece)));
        let good = cut(path, path.icmp(), 5, &ping, &[(0, MORE, Until(16)), (16, LAST, Until(24))]);
        for piece in &good {
            world.client_sends(0, piece).assert_dropped("drop_fragment_overlap");
        }
        let seen = world.pass(61);
        assert!(seen.drops.is_empty(), "its pieces were counted already: {seen:?}");
        let sent: usize = good.iter().map(|piece| world.client_sends(0, piece).net.len()).sum();
        assert_eq!(sent, 1, "a minute later the identification is free: {path:?}");
    }
}

/// Overlapping datagrams must not lock out those that follow.
#[test]
fn overlaps_take_nobodys_room() {
    for path in ways_out(0) {
        let mut world = World::new();
        let ping = path.ping(0, 9, &payload(16));
        for id in 100..120 {
            let bad = [(0, MORE, Until(16)), (8, LAST, Other(16))];
            cut(path, path.icmp(), id, &ping, &bad)
                .iter()
                .for_each(|piece| drop(world.client_sends(0, piece)));
        }
        let good = cut(path, path.icmp(), 5, &ping, &[(0, MORE, Until(16)), (16, LAST, Until(24))]);
        let sent: usize = good.iter().map(|piece| world.client_sends(0, piece).net.len()).sum();
        assert_eq!(sent, 1, "{path:?}");
    }
}

#[test]
fn a_piece_that_does_not_come_within_a_minute_ends_the_datagram() {
    for path in ways_out(0) {
        let mut world = World::new();
        let ping = path.ping(0, 9, &payload(40));
        let pieces: Vec<Piece> = (0..6).map(|n| (n * 8, n < 5, Until(n * 8 + 8))).collect();
        for piece in &cut(path, path.icmp(), 5, &ping, &pieces)[..5] {
            world.client_sends(0, piece).assert_absorbed();
            let seen = world.pass(15);
            let late = seen.drops.get("drop_fragment_timeout").copied().unwrap_or(0);
            assert!(late <= 1, "{seen:?}");
        }
        world.client_sends(0, &cut(path, path.icmp(), 5, &ping, &pieces)[5]).assert_absorbed();
        assert_eq!(world.flows(), 0, "{path:?}");
    }
}

/// One sender has so many datagrams in the making; the other client and the network are not concerned.
#[test]
fn unfinished_datagrams_take_room_of_their_sender_only() {
    for (mine, yours) in ways_out(0).into_iter().zip(ways_out(1)) {
        let mut world = World::new();
        let first = |path: Path, id| path.fragment(path.icmp(), id, (0, MORE, &path.ping(0, 9, &[0; 8])[..]));
        let mut refused = 0;
        for id in 0..50 {
            refused += world
                .client_sends(0, &first(mine, id))
                .drops
                .get("drop_fragment_quota")
                .copied()
                .unwrap_or(0);
        }
        assert!(refused >= 40, "{refused}");
        let ping = yours.ping(0, 9, &payload(16));
        let pieces = cut(yours, yours.icmp(), 1, &ping, &[(0, MORE, Until(16)), (16, LAST, Until(24))]);
        let sent: usize = pieces.iter().map(|piece| world.client_sends(1, piece).net.len()).sum();
        assert_eq!(sent, 1);
    }
}

/// A datagram of 64 KiB in pieces of 424 bytes, shuffled: the longest that there is, cut again for the uplink.
#[test]
fn the_longest_datagram_passes_in_any_order() {
    for path in ways_out(0) {
        let mut world = World::new();
        let longest = if path.from.is_ipv4() { 65_535 - 20 } else { 65_535 };
        let body: Vec<u8> = (0..longest - 8).map(|i: usize| i.to_le_bytes()[0]).collect();
        let ping = path.ping(0, 9, &body);
        let count = longest.div_ceil(424);
        let mut order: Vec<usize> = (0..count).map(|i| (i * 101) % count).collect();
        order.sort_by_key(|n| (n * 7919) % 155);
        let mut sent = Vec::new();
        for n in order {
            let end = longest.min((n + 1) * 424);
            let piece = path.fragment(path.icmp(), 3, (n * 424, end < longest, &ping[n * 424..end]));
            let seen = world.client_sends(0, &piece);
            assert!(seen.drops.is_empty(), "{seen:?}");
            sent.extend(seen.net);
        }
        assert_eq!(sent.len(), longest.div_ceil(if path.from.is_ipv4() { 1480 } else { 1448 }), "{path:?}");
    }
}

/// The ping of death: a last piece whose end lies beyond the longest packet.
#[test]
fn nothing_reaches_beyond_the_longest_packet() {
    for path in ways_out(0) {
        let limit = if path.from.is_ipv4() { 65_515 } else { 65_535 };
        for (at, len, good) in [
            (65_528, 8, false),
            (65_528, 7, limit == 65_535),
            (65_512, 3, true),
            (65_512, 4, limit != 65_515),
        ] {
            let mut world = World::new();
            let seen = world.client_sends(0, &path.fragment(path.icmp(), 3, (at, LAST, &vec![0; len])));
            if good {
                seen.assert_absorbed();
            } else {
                seen.assert_dropped("drop_fragment_shape");
            }
        }
    }
}

/// RFC 1858, RFC 3128: a first piece too short for the ports, and one that would overwrite flags. The rules see the
/// whole datagram or nothing.
#[test]
fn tiny_pieces_show_the_rules_nothing_false() {
    let [path, _] = ways_out(0);
    let mut world = World::new();
    let tcp = path.tcp((1024, 80), &crate::build::Segment { flags: crate::build::SYN, ..Default::default() });
    world.client_sends(0, &path.fragment(6, 4, (0, MORE, &tcp[..8]))).assert_absorbed();
    let seen = world.client_sends(0, &path.fragment(6, 4, (8, LAST, &tcp[8..])));
    assert_eq!((seen.net.len(), world.flows()), (1, 1), "put together it is an ordinary SYN");
    let mut world = World::new();
    let ack = path.tcp((1024, 80), &crate::build::Segment { flags: crate::build::ACK, ..Default::default() });
    world.client_sends(0, &path.fragment(6, 4, (0, MORE, &[&ack[..], &[0; 4]].concat()))).assert_absorbed();
    world.client_sends(0, &path.fragment(6, 4, (8, LAST, &tcp[8..]))).assert_dropped("drop_fragment_overlap");
    assert_eq!(world.flows(), 0);
}

#[test]
fn udp_may_be_cut_behind_its_header_or_within_its_payload() {
    for path in ways_out(0) {
        for at in [8, 16] {
            let mut world = World::new();
            let udp = path.udp((4000, 7), b"ABCDEFGHIJKLMNOP");
            world.client_sends(0, &path.fragment(UDP, 4, (0, MORE, &udp[..at]))).assert_absorbed();
            let seen = world.client_sends(0, &path.fragment(UDP, 4, (at, LAST, &udp[at..])));
            assert_eq!(seen.net.len(), 1, "{path:?} {at}");
        }
    }
}

/// Padding of the Ethernet frame is no part of a piece.
#[test]
fn padding_is_not_taken_for_payload() {
    for path in ways_out(0) {
        let mut world = World::new();
        let ping = path.ping(0, 9, &payload(16));
        let pieces = cut(path, path.icmp(), 4, &ping, &[(0, MORE, Until(16)), (16, LAST, Until(24))]);
        let mut seen = Default::default();
        for piece in pieces {
            seen = world.client_sends(0, &[&piece[..], b"0123"].concat());
        }
        assert_eq!(seen.net.len(), 1);
        assert!(seen.net[0].ends_with(&payload(16)));
    }
}

/// RFC 7126: options are no part of what is forwarded, in pieces either.
#[test]
fn pieces_with_options_are_dropped() {
    let [path, _] = ways_out(0);
    let fields = Four { protocol: 1, more: true, options: vec![1, 1, 1, 1], ..Four::default() };
    World::new().client_sends(0, &path.four(&fields, &[0; 8])).assert_dropped("drop_ip_options");
}

/// RFC 6946: a whole packet behind a fragment header is no piece, whatever pieces of that name are around.
#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let [_, path] = ways_out(0);
    let mut world = World::new();
    let ping = path.ping(0, 9, &payload(16));
    // overatomic: what came before has the same identification and would overlap.
    world.client_sends(0, &path.fragment(58, 4, (8, LAST, &[0xEE; 16]))).assert_absorbed();
    let seen = world.client_sends(0, &path.fragment(58, 4, (0, LAST, &ping)));
    assert!(seen.net.len() == 1 && seen.net[0].ends_with(&payload(16)));
    // mf0atomic, shortatomic: the pieces around it are untouched.
    let mut world = World::new();
    world.careless = true;
    world.client_sends(0, &path.fragment(58, 4, (0, MORE, &ping[..16]))).assert_absorbed();
    let short = world.client_sends(0, &path.fragment(58, 4, (0, LAST, &ping[..8])));
    assert_eq!(
        short.sent(),
        1,
        "an echo without payload (its checksum is its receiver's business): {short:?}"
    );
    assert_eq!(world.client_sends(0, &path.fragment(58, 4, (16, LAST, &ping[16..]))).net.len(), 1);
}

/// RFC 8200 §4.5: the first piece has its place in the chain; what may only stand before it must not follow.
#[test]
fn nothing_that_belongs_before_a_fragment_header_follows_it() {
    let [_, path] = ways_out(0);
    let ping = path.ping(0, 9, &payload(16));
    let chains: [(u8, Vec<u8>, &str); 3] = [
        (0, options_header(58, &[1, 4, 0, 0, 0, 0]), "drop_extension_header"),
        (43, vec![58, 0, 0, 0, 0, 0, 0, 0], "drop_routing_header"),
        (44, fragment_header(58, 8, 0, true, &[]), "drop_extension_header"),
    ];
    for (next, header, reason) in chains {
        let whole = [&header[..], &ping].concat();
        let mut world = World::new();
        world.client_sends(0, &path.fragment(next, 4, (0, MORE, &whole[..24]))).assert_dropped(reason);
        assert_eq!(world.client_sends(0, &path.fragment(next, 4, (24, LAST, &whole[24..]))).sent(), 0);
        // The same as an atomic fragment.
        World::new().client_sends(0, &path.fragment(next, 4, (0, LAST, &whole))).assert_dropped(reason);
    }
}

/// RFC 7112 §5: a first piece without the whole chain, transport header included, hides something.
#[test]
fn the_first_piece_holds_the_whole_chain() {
    let [_, path] = ways_out(0);
    let options = options_header(58, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0]);
    let whole = [&options[..], &path.ping(0, 9, &payload(16))].concat();
    // The options are cut; the echo's header is missing; nothing is.
    for (at, passes) in [(8, false), (options.len(), false), (options.len() + 8, true)] {
        let mut world = World::new();
        let first = world.client_sends(0, &path.fragment(60, 4, (0, MORE, &whole[..at])));
        let second = world.client_sends(0, &path.fragment(60, 4, (at, LAST, &whole[at..])));
        if passes {
            assert_eq!(second.net.len(), 1);
            assert_eq!(second.net[0].len(), 14 + 40 + whole.len());
        } else {
            first.assert_dropped("drop_extension_header");
            assert_eq!(second.sent(), 0);
        }
    }
}

/// Headers before the fragment header concern every router on the way; such datagrams are refused as a whole.
#[test]
fn pieces_behind_options_are_dropped() {
    let [_, path] = ways_out(0);
    let ping = path.ping(0, 9, &payload(16));
    let mut world = World::new();
    let piece = |at, more, bytes| {
        [options_header(44, &[1, 4, 0, 0, 0, 0]), fragment_header(58, 4, at, more, bytes)].concat()
    };
    world
        .client_sends(0, &path.packet(0, &piece(0, MORE, &ping[..16])))
        .assert_dropped("drop_extension_header");
    assert_eq!(world.client_sends(0, &path.packet(0, &piece(16, LAST, &ping[16..]))).sent(), 0);
}

/// CVE-2019-5597 (FreeBSD-SA-19:05.pf): a fragment header far behind, after headers that are not walked.
#[test]
fn a_fragment_header_behind_authentication_headers_is_not_believed() {
    let [_, path] = ways_out(0);
    let mut world = World::new();
    world.client_sends(0, &path.fragment(UDP, 4, (0, MORE, &[b'A'; 8]))).assert_absorbed();
    let mut chain = vec![51, 200, 0, 0, 0, 0, 0, 0];
    chain.extend([b'X'; 800]);
    chain.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend(fragment_header(UDP, 4, 8, false, &[b'B'; 8]));
    world.client_sends(0, &path.packet(51, &chain)).assert_dropped("drop_protocol");
}

/// More pieces than a datagram may have end it; fewer than 256 do not.
#[test]
fn a_datagram_of_too_many_pieces_is_given_up() {
    for path in ways_out(0) {
        for (count, arrives) in [(65, true), (256, true), (257, false)] {
            let mut world = World::new();
            let ping = path.ping(0, 9, &vec![0x41; count * 8 - 8]);
            let mut sent = 0;
            for n in 0..count {
                let piece = path.fragment(path.icmp(), 4, (n * 8, n + 1 < count, &ping[n * 8..n * 8 + 8]));
                sent += world.client_sends(0, &piece).net.len();
            }
            assert_eq!(sent > 0, arrives, "{count}");
        }
    }
}
