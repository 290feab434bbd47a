//! A torvm that was taken over: whatever it sends on its link to firewallvm, nothing comes out towards netvm but TCP to
//! relays. The real firewallvm, links in memory, the rules that dom0 computes.

#[path = "tor_detector/packets.rs"]
#[expect(dead_code, reason = "shared with the detector's tests")]
mod packets;

use abi::link_device::Role;
use control::codec;
use control::message::{Client, NetToFirewall, ToFirewall, Uplink, V4};
use dom0::rules::Rules;
use firewallvm::{Firewall, Next, state::Setup};
use first_hop::address::{DNS_V4, OUR_MAC};
use link::{Geometry, Link, MAX_PAYLOAD, Meta, host, host::CountBell};
use packets::{
    ACK, SMOLTCP_OPTIONS, SYN, Segment, Way, arp, datagram, icmp, icmpv6, ipv4, ipv6, repaired, segment,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tests::lab::cable::Frame;

const NIC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const MAC: [u8; 6] = [2, 0x62, 0x6b, 0, 0, 5];
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 6);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 5);
const RELAYS: [(Ipv4Addr, u16); 3] = [
    (Ipv4Addr::new(203, 0, 113, 5), 9001),
    (Ipv4Addr::new(203, 0, 113, 6), 443),
    (Ipv4Addr::new(203, 0, 113, 7), 443),
];
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const TTL: u8 = 64;

/// firewallvm with a torvm as its only client.
struct World {
    firewall: Firewall<CountBell>,
    dom0: Link<CountBell>,
    net: Link<CountBell>,
    torvm: Link<CountBell>,
    now_us: u64,
}

impl World {
    fn new(relays: &[(Ipv4Addr, u16)]) -> Self {
        let mut firewall =
            Firewall::new(&Setup { v4_flows: 4096, v6_flows: 4096, seed: [7; 64] }).expect("memory");
        let mut attach = |port, role| {
            let (near, far) = host::pair(Geometry::DEFAULT, 1).expect("a link");
            firewall.attach(port, role, near);
            far
        };
        let [dom0, net, torvm] = [(0, Role::Dom0), (1, Role::Upstream), (2, Role::Downstream)]
            .map(|(port, role)| attach(port, role));
        let mut world = Self { firewall, dom0, net, torvm, now_us: 1_000_000 };
        let client = Client {
            name: "tor".try_into().expect("a short name"),
            mac: MAC,
            v4: OURS,
            v4_gateway: GATEWAY,
            v4_prefix: 30,
            v6_prefix: None,
            mtu: 1500,
        };
        world.order(&ToFirewall::Client { port: 2, client });
        world.allow(1, relays);
        let v4 =
            V4 { address: UPLINK, prefix: 24, gateway: Some(ROUTER), dns: [ROUTER].into_iter().collect() };
        let uplink = Uplink { link_up: true, mac: NIC, mtu: 1500, v4: Some(v4), v6: None };
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(&NetToFirewall::Uplink(uplink), &mut buffer).expect("a short message");
        world.net.send(&Meta::MESSAGE, &[bytes]).expect("room");
        world.net.publish();
        world.run();
        drain(&mut world.net);
        world
    }

    /// The rules that dom0 makes of these relays.
    fn allow(&mut self, generation: u32, relays: &[(Ipv4Addr, u16)]) {
        let relays: BTreeSet<SocketAddr> = relays.iter().map(|relay| (*relay).into()).collect();
        self.rules(generation, &dom0::tor::rules::text(&relays));
    }

    fn rules(&mut self, generation: u32, text: &str) {
        let rules = Rules::compile("tor", Some(text), 0).unwrap();
        let program = rules_program::assemble(rules.policy()).expect("few relays");
        for message in ToFirewall::rules(2, generation, &program) {
            self.order(&message);
        }
    }

    fn order(&mut self, message: &ToFirewall) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).expect("a short message");
        self.dom0.send(&Meta::MESSAGE, &[bytes]).expect("room");
        self.dom0.publish();
        self.run();
        drain(&mut self.dom0);
    }

    fn run(&mut self) {
        for _ in 0..100_000 {
            self.now_us += 5;
            if let Next::Idle { .. } = self.firewall.poll(self.now_us) {
                return;
            }
        }
        panic!("the firewall never sleeps");
    }

    /// torvm sends a frame; what comes out towards netvm.
    fn sends(&mut self, frame: &[u8]) -> Vec<Frame> {
        self.torvm.send(&Meta::default(), &[frame]).expect("room");
        self.torvm.publish();
        self.run();
        drain(&mut self.torvm);
        drain(&mut self.net)
    }

    /// The network sends a packet to the uplink; what comes to torvm.
    fn answers(&mut self, frame: &[u8]) -> Vec<Frame> {
        self.net.send(&Meta::default(), &[frame]).expect("room");
        self.net.publish();
        self.run();
        drain(&mut self.torvm)
    }
}

fn drain(link: &mut Link<CountBell>) -> Vec<Frame> {
    let (mut frames, mut buffer) = (Vec::new(), vec![0; MAX_PAYLOAD]);
    while let Some((_, length)) = link.recv(&mut buffer).expect("the link's protocol is kept") {
        frames.push(Frame(buffer[..length].to_vec()));
    }
    link.release();
    frames
}

fn way(to: (Ipv4Addr, u16)) -> Way {
    Way { macs: (MAC, OUR_MAC), from: (OURS, 30_000), to }
}

fn bare(flags: u8) -> Segment<'static> {
    Segment { sequence: 1, flags, options: if flags == SYN { SMOLTCP_OPTIONS } else { &[] }, payload: &[] }
}

/// Whether a frame to netvm is a whole TCP segment to a relay, from the uplink's address.
fn is_to_relay(frame: &Frame) -> bool {
    let Some((from, IpAddr::V4(to))) = frame.addresses() else { return false };
    let whole = frame.0.get(12..14) == Some(&[8, 0]) && frame.0[20] & 0x3f == 0 && frame.0[21] == 0;
    let port = frame.ports(6).map(|(_, port)| port);
    whole && from == IpAddr::V4(UPLINK) && RELAYS.iter().any(|relay| relay.0 == to && Some(relay.1) == port)
}

/// A connection to a relay works: the test could notice what comes out.
#[test]
fn relays_are_reached() {
    let mut world = World::new(&RELAYS);
    for relay in RELAYS {
        let out = world.sends(&segment(way(relay), TTL, bare(SYN)));
        assert!(out.len() == 1 && is_to_relay(&out[0]), "{relay:?}: {out:x?}");
        let port = out[0].ports(6).unwrap().0;
        let back = Way { macs: (NIC, OUR_MAC), from: relay, to: (UPLINK, port) };
        let answer = Segment { sequence: 9, flags: SYN | ACK, options: &[], payload: &[] };
        let mut frame = segment(back, TTL, answer);
        // It acknowledges the SYN.
        frame[42..46].copy_from_slice(&2u32.to_be_bytes());
        let heard = world.answers(&mended(frame, back));
        assert_eq!(heard.len(), 1, "{relay:?}");
    }
}

/// With the TCP checksum that belongs to it.
fn mended(mut frame: Vec<u8>, way: Way) -> Vec<u8> {
    let mut header = pnet_packet::tcp::MutableTcpPacket::new(&mut frame[34..]).unwrap();
    header.set_checksum(pnet_packet::tcp::ipv4_checksum(&header.to_immutable(), &way.from.0, &way.to.0));
    frame
}

/// Where a torvm that was taken over might want to go.
fn strangers() -> Vec<(Ipv4Addr, u16)> {
    let mut strangers = Vec::new();
    for address in [STRANGER, ROUTER, UPLINK, GATEWAY, OURS, DNS_V4[0], DNS_V4[1], Ipv4Addr::BROADCAST] {
        strangers.extend([53, 80, 443, 853, 9001].map(|port| (address, port)));
    }
    for number in [1, 0x7f00_0001, 0x0a89_000a, 0xa9fe_0001, 0xe000_00fb, 0xc000_02ff, 0xcb00_7104] {
        strangers.extend([443, 9001].map(|port| (Ipv4Addr::from_bits(number), port)));
    }
    // A relay's address with another relay's port, and any other.
    strangers.extend([(RELAYS[0].0, 443), (RELAYS[1].0, 9001), (RELAYS[1].0, 442), (RELAYS[2].0, 0)]);
    strangers
}

fn attempts() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for stranger in strangers() {
        frames.extend((0..=255).map(|flags| segment(way(stranger), TTL, bare(flags))));
        frames.push(datagram(way(stranger), b"anything"));
    }
    for (relay, payload) in RELAYS.iter().flat_map(|relay| [(relay, &[0x5a; 40]), (relay, &[0; 40])]) {
        frames
            .extend((0..=255).filter(|protocol| *protocol != 6).map(|p| ipv4(way(*relay), TTL, p, payload)));
        frames.extend((0..=255).map(|kind| ipv4(way(*relay), TTL, 1, &icmp(kind, 0, payload))));
        frames.push(datagram(way(*relay), payload));
    }
    frames.extend((0..=255).map(|protocol| ipv4(way((STRANGER, 443)), TTL, protocol, &[0x5a; 40])));
    frames.extend(fragments());
    frames.extend(beside_ipv4());
    frames.extend(as_somebody_else());
    frames
}

/// The first part says a relay's port, the later ones belong to something else; and the other way round.
fn fragments() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for to in [RELAYS[0], (RELAYS[0].0, 80), (STRANGER, 9001)] {
        for (high, low) in [(0x20, 0), (0x20, 1), (0, 1), (0, 3), (0x20, 3), (0x1f, 0xff), (0x80, 1)] {
            let mut frame = segment(way(to), TTL, bare(SYN));
            (frame[20], frame[21]) = (high, low);
            frames.push(repaired(frame));
        }
    }
    frames
}

/// IPv6, ARP, and what is no protocol at all.
fn beside_ipv4() -> Vec<Vec<u8>> {
    let us = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x62, 0x6bff, 0xfe00);
    let far: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let mapped = Ipv4Addr::to_ipv6_mapped(&RELAYS[0].0);
    let macs = (MAC, OUR_MAC);
    let mut frames = Vec::new();
    for to in [far, mapped, "ff02::1".parse().unwrap(), "ff02::fb".parse().unwrap()] {
        frames.extend((0..=255).map(|next| ipv6(macs, (us, to), (next, 64), &[0; 40])));
        frames.extend((0..=255).map(|kind| icmpv6(macs, (us, to), kind, &[0; 20])));
    }
    for target in [STRANGER, ROUTER, RELAYS[0].0, GATEWAY] {
        frames.extend([1, 2, 3].map(|operation| arp((MAC, [0xff; 6]), operation, OURS, target)));
    }
    let good = segment(way(RELAYS[0]), TTL, bare(SYN));
    frames.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for kind in [0u16, 46, 0x8100, 0x88a8, 0x8847, 0x8863, 0x88cc, 0xffff] {
        let mut frame = good.clone();
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frames.push(frame);
    }
    frames
}

/// From addresses that it does not have.
fn as_somebody_else() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for from in [GATEWAY, UPLINK, ROUTER, RELAYS[0].0, STRANGER, Ipv4Addr::new(10, 137, 0, 10)] {
        for to in [RELAYS[0], (STRANGER, 443)] {
            let forged = Way { from: (from, 30_000), ..way(to) };
            frames.extend([SYN, ACK].map(|flags| segment(forged, TTL, bare(flags))));
        }
    }
    for mac in [OUR_MAC, NIC, [0xff; 6], [2, 0x62, 0x6b, 0, 0, 6]] {
        let forged = Way { macs: (mac, OUR_MAC), ..way((STRANGER, 443)) };
        frames.push(segment(forged, TTL, bare(SYN)));
    }
    frames
}

/// What comes out, when all of it is tried, that is not to a relay.
fn leaked(world: &mut World) -> Vec<Frame> {
    let attempts = attempts();
    assert!(attempts.len() > 10_000, "{}", attempts.len());
    let mut leaked = Vec::new();
    for frame in attempts.iter().filter(|frame| !frame.is_empty()) {
        leaked.extend(world.sends(frame).into_iter().filter(|out| !is_to_relay(out)));
    }
    leaked
}

/// The same attempts with rules that let everything out: they are attempts.
#[test]
fn with_other_rules_much_comes_out() {
    let mut world = World::new(&[]);
    world.rules(2, "accept\n");
    let leaked = leaked(&mut world);
    let protocols: BTreeSet<u8> = leaked.iter().filter_map(|frame| Some(frame.transport()?.0)).collect();
    assert!(
        leaked.len() > 100 && protocols.is_superset(&[1, 6, 17].into()),
        "{} {protocols:?}",
        leaked.len()
    );
}

#[test]
fn nothing_comes_out_but_to_relays() {
    let mut world = World::new(&RELAYS);
    let leaked = leaked(&mut world);
    assert!(leaked.is_empty(), "{} leaks, the first: {:x?}", leaked.len(), leaked[0]);
    // It serves as before.
    assert_eq!(world.sends(&segment(way(RELAYS[1]), TTL, bare(SYN))).len(), 1);
}

/// Before dom0 knows a relay nothing at all comes out; when a relay is gone its connections are, too.
#[test]
fn without_relays_nothing_comes_out() {
    let mut world = World::new(&[]);
    for relay in RELAYS {
        assert_eq!(world.sends(&segment(way(relay), TTL, bare(SYN))), []);
    }
    world.allow(2, &RELAYS[..2]);
    assert_eq!(world.sends(&segment(way(RELAYS[0]), TTL, bare(SYN))).len(), 1);
    assert_eq!(world.sends(&segment(way(RELAYS[2]), TTL, bare(SYN))), []);
    world.allow(3, &RELAYS[1..]);
    // What is left of it may be told to end, and nothing else.
    for flags in [ACK, SYN] {
        let out = world.sends(&segment(way(RELAYS[0]), TTL, bare(flags)));
        assert_eq!(out, [], "flags {flags}");
    }
    assert_eq!(world.sends(&segment(way(RELAYS[2]), TTL, bare(SYN))).len(), 1);
}

/// As many relays as the public network has, on as many ports; and numbers that look like chance.
fn whole_network() -> (Vec<(Ipv4Addr, u16)>, impl Iterator<Item = u64>) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut numbers = std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    });
    let relay = |(place, number): (usize, u64)| {
        let address = Ipv4Addr::from_bits(0x2000_0000 | (number >> 36) as u32);
        let port = if place % 3 == 0 { 1024 + (number & 0x7fff) as u16 } else { [443, 9001][place % 2] };
        (address, port)
    };
    let relays = numbers.by_ref().take(9_000).enumerate().map(relay).collect();
    (relays, numbers)
}

/// Every relay of a whole network is reached, and none of twenty thousand other places.
#[test]
fn whole_network_is_reached_and_nothing_else() {
    let (relays, mut numbers) = whole_network();
    // As many connections as one client may have at once.
    for some in relays.chunks(500) {
        let mut world = World::new(&relays);
        for (place, relay) in some.iter().enumerate() {
            let out = world.sends(&segment(way(*relay), TTL, bare(SYN)));
            let to = out.first().map(|frame| (frame.addresses().unwrap().1, frame.ports(6).unwrap().1));
            assert_eq!((out.len(), to), (1, Some((relay.0.into(), relay.1))), "relay {place}");
        }
    }
    let known: BTreeSet<_> = relays.iter().copied().collect();
    let mut world = World::new(&relays);
    for place in 0..20_000 {
        let number = numbers.next().unwrap();
        let (address, _) = if place % 2 == 0 {
            relays[(number >> 33) as usize % relays.len()]
        } else {
            (Ipv4Addr::from_bits((number >> 32) as u32), 0)
        };
        let to = (address, [443, 9001, 53, (number & 0xffff) as u16][place % 4]);
        if !known.contains(&to) {
            assert_eq!(world.sends(&segment(way(to), TTL, bare(SYN))), [], "{to:?}");
        }
    }
}
