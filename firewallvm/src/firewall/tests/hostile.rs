//! Random, mutated and interleaved frames: nothing panics, nothing is emitted to the wrong side.
use super::{rules::*, world::*};
use crate::address::Address as _;
use first_hop::address::OUR_MAC;
use link::{Csum, Gso, GsoKind, Kind, Meta};
use proptest::prelude::*;
use rules_program::policy::{Action, Direction, Policy, Ports, Rule, Target};

/// Whatever leaves to the network bears our address, whatever arrives at a client is addressed to it.
fn check(w: &mut World) {
    for (meta, frame) in w.at_net() {
        assert_eq!(meta.kind, Kind::Frame);
        let h = headers(&frame);
        assert_eq!((h.ethernet.destination, h.ethernet.source), (NIC, OUR_MAC));
        assert_eq!(h.end, frame.len(), "no padding of a client's leaves");
        match h.network {
            Network::V4(ip) => {
                assert_eq!(ip.source, UPLINK4);
                assert!(!ip.destination.is_internal() && !ip.destination.is_bad_destination());
            }
            Network::V6(ip) => {
                assert_eq!(ip.source, uplink6());
                assert!(!ip.destination.is_internal() && !ip.destination.is_bad_destination());
            }
        }
    }
    for n in 0..w.clients.len() {
        for (_, frame) in w.at_client(n) {
            assert_eq!(frame[6..12], OUR_MAC);
            assert!(frame[..6] == mac(n) || frame[0] & 1 != 0);
            if let Ok(Frame::Ip(h)) = parse(&frame) {
                let (_, _, to, _) = ends(&frame);
                let own = to == std::net::IpAddr::from(client4(n))
                    || matches!(to, std::net::IpAddr::V6(to) if to.is_multicast() || to.segments()[0] == 0xfe80
                        || to.segments()[..4] == prefix6(n).segments()[..4])
                    || to == std::net::IpAddr::from(Ipv4Addr::BROADCAST);
                assert!(own, "{h:?}");
            }
        }
    }
}

fn meta() -> impl Strategy<Value = Meta> {
    let csum = prop_oneof![
        6 => Just(Csum::None),
        1 => Just(Csum::Verified),
        2 => (0u16..80, 0u16..20).prop_map(|(start, offset)| Csum::Partial { start, offset }),
        2 => Just(Csum::Partial { start: 34, offset: 16 }),
    ];
    let gso = prop_oneof![
        4 => Just(None),
        1 => (prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)], 1u16..2000, 0u16..80)
            .prop_map(|(kind, size, header_len)| Some(Gso { kind, size, header_len })),
    ];
    let any = (csum, gso).prop_map(|(csum, gso)| Meta { kind: Kind::Frame, csum, gso });
    prop_oneof![Just(Meta::default()), any]
}

/// A good frame of one of the kinds that the firewall deals with.
fn good(kind: u8, n: usize, ports: (u16, u16), data: &[u8], inward: bool) -> Vec<u8> {
    let six = kind & 1 == 1;
    let (path, from) = match inward {
        true => (from_server(six), NIC),
        false if ports.1.is_multiple_of(3) && six => (Path::Six(client6(n), client6(1 - n)), mac(n)),
        false if ports.1.is_multiple_of(3) => (Path::Four(client4(n), client4(1 - n)), mac(n)),
        false => (to_server(six, n), mac(n)),
    };
    let ports = (ports.0.max(1), ports.1.max(1));
    match kind / 2 % 7 {
        0 => path.udp(from, ports, data),
        1 => path.tcp(from, ports, 2, (1, 0), 100, b""),
        2 => path.tcp(from, ports, 16, (2, 2), 100, data),
        3 => path.echo(from, !inward, ports.0, data),
        4 => path.error(from, if six { (2, 0) } else { (3, 4) }, 1400, data),
        5 => Path::Six(v6("fe80::5"), v6("ff02::2")).error(from, (133 + (ports.0 % 5) as u8, 0), 0, data),
        _ => {
            let mut dhcp = vec![1, 1, 6, 0];
            dhcp.resize(240, 0);
            dhcp[28..34].copy_from_slice(&from);
            dhcp[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
            dhcp.extend([53, 1, 1]);
            dhcp.extend(data);
            Path::Four(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST).udp(from, (68, 67), &dhcp)
        }
    }
}

#[derive(Clone, Debug)]
struct Step {
    side: u8,
    meta: Meta,
    frame: Vec<u8>,
}

fn step() -> impl Strategy<Value = Step> {
    let mutated = (
        (
            any::<u8>(),
            0usize..2,
            any::<(u16, u16)>(),
            proptest::collection::vec(any::<u8>(), 0..120),
            any::<bool>(),
        ),
        // Half of them whole, so that what comes later meets flows.
        prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        ],
        proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
        any::<bool>(),
    )
        .prop_map(|((kind, n, ports, data, inward), edits, cut, repair)| {
            let mut frame = good(kind, n, ports, &data, inward);
            for (at, value) in edits {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            // A wrong IP checksum would hide most of what lies behind it.
            if repair && frame.len() >= 34 && frame[12..14] == [8, 0] {
                frame[24..26].copy_from_slice(&[0, 0]);
                let sum = packet::checksum::Sum::new().bytes(&frame[14..34]).finish();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            (if inward { 2 } else { u8::try_from(n).unwrap() }, frame)
        });
    let noise = (0u8..3, proptest::collection::vec(any::<u8>(), 0..200));
    (prop_oneof![8 => mutated, 1 => noise], meta()).prop_map(|((side, frame), meta)| Step {
        side,
        meta,
        frame,
    })
}

/// Rules of two clients that lead everywhere: out, in at forwarded ports, and from the first to the second.
fn rich() -> [Policy; 2] {
    let domain = |client| Policy { domains: vec![name(client).as_str().into()], ..Policy::default() };
    let across = |direction| Rule {
        direction,
        targets: vec![Target::Domain(0)],
        connections: Some(20),
        log: true,
        ..everything(Action::Accept)
    };
    let ports = Ports { first: 1, last: 32_000 };
    let forward = Rule {
        direction: Direction::Inward,
        destination_ports: ports,
        connections: Some(10),
        ..everything(Action::Forward { to_port: Some(80) })
    };
    [
        Policy { rules: vec![across(Direction::Outward), forward, everything(Action::Accept)], ..domain(1) },
        Policy { rules: vec![across(Direction::Inward), everything(Action::Accept)], ..domain(0) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 5000 }))]
    #[test]
    fn hostile_frames(steps in proptest::collection::vec(step(), 1..80)) {
        let mut w = World::with_flows(2, 64);
        let rules = rich();
        for (n, policy) in rules.iter().enumerate() {
            w.install(n, policy);
        }
        // Some flows to hit.
        for six in [false, true] {
            w.out(0, &to_server(six, 0).udp(mac(0), (5000, 4433), b""));
            w.out(1, &to_server(six, 1).tcp(mac(1), (5000, 443), 2, (1, 0), 100, b""));
        }
        for (number, Step { side, meta, frame }) in steps.into_iter().enumerate() {
            // What the link itself refuses does not get to the firewall.
            let link = match side { 2 => &mut w.net, n => &mut w.clients[usize::from(n)] };
            if link.send(&meta, &[&frame]).is_ok() {
                link.publish();
            }
            if number % 16 == 15 {
                w.install(0, &policy([everything(Action::Reject)]));
                w.install(0, &rules[0]);
            }
            if number % 5 == 4 {
                w.now += 700_000;
                w.run();
                check(&mut w);
            }
        }
        w.run();
        check(&mut w);
        prop_assert_eq!(w.drops(crate::verdict::DropReason::Internal), 0);
        let core = w.fw.core();
        prop_assert!(core.v4.flows.len() <= 64 && core.v6.flows.len() <= 64);
    }
}
