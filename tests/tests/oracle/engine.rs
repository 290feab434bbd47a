//! The real firewall with real links in memory, as firewallvm's image has it; the test holds their other ends.

use crate::oracle::{cases::Client, wire::CLIENT_MAC};
use abi::link_device::Role;
use control::{
    codec,
    message::{self, FromDomain, NetToFirewall, ToFirewall, Uplink, V4, V6},
};
use firewallvm::{Firewall, Next, state::Setup};
use link::{
    Geometry, Kind, Link, Meta,
    host::{CountBell, pair},
};
use rules_program::policy::Policy;
use std::net::Ipv6Addr;

const DOM0: u8 = 0;
/// The port of the uplink.
pub(crate) const UPLINK: u8 = 1;
/// The port of the client that sends.
pub(crate) const CLIENT: u8 = 2;
/// The port of the other domain.
pub(crate) const PEER: u8 = 3;
/// Microseconds between two cases: enough for one more error to be told.
const PAUSE_US: u64 = 20_000;

pub(crate) struct Engine {
    firewall: Firewall<CountBell>,
    links: Vec<Link<CountBell>>,
    now: u64,
}

/// What came out of the engine: at the uplink, the client and the other domain.
pub(crate) struct Out {
    pub net: Vec<Vec<u8>>,
    pub client: Vec<Vec<u8>>,
    pub peer: Vec<Vec<u8>>,
}

impl Engine {
    /// An engine whose uplink is up, without clients.
    pub(crate) fn new() -> Self {
        let setup = Setup { v4_flows: 4096, v6_flows: 4096, seed: [7; 64] };
        let mut firewall = Firewall::new(&setup).unwrap();
        let mut links = Vec::new();
        for (port, role) in [
            (DOM0, Role::Dom0),
            (UPLINK, Role::Upstream),
            (CLIENT, Role::Downstream),
            (PEER, Role::Downstream),
        ] {
            let (theirs, ours) = pair(Geometry::DEFAULT, 1).unwrap();
            firewall.attach(port, role, ours);
            links.push(theirs);
        }
        let mut engine = Self { firewall, links, now: 1_000_000 };
        engine.run();
        let v4 = V4 {
            address: "192.168.7.20".parse().unwrap(),
            prefix: 24,
            gateway: Some("192.168.7.1".parse().unwrap()),
            dns: ["192.168.7.1".parse().unwrap()].into_iter().collect(),
        };
        let v6 = V6 {
            address: "2001:db8:7::20".parse().unwrap(),
            prefix: 64,
            gateway: Some("fe80::1".parse().unwrap()),
            dns: ["2001:db8:7::53".parse().unwrap()].into_iter().collect(),
        };
        let uplink =
            Uplink { link_up: true, mac: [0x52, 0x54, 0, 1, 2, 3], mtu: 1400, v4: Some(v4), v6: Some(v6) };
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(&NetToFirewall::Uplink(uplink), &mut buffer).unwrap();
        engine.send(UPLINK, &Meta::MESSAGE, bytes);
        engine.run();
        engine
    }

    /// Adds a client and puts its rules in force.
    pub(crate) fn add(&mut self, port: u8, name: &str, client: &Client, policy: &Policy) {
        let [a, b, c, d, ..] = client.v6.segments();
        let described = message::Client {
            name: name.try_into().unwrap(),
            mac: CLIENT_MAC,
            v4: client.v4,
            v4_gateway: (client.v4.to_bits() - 1).into(),
            v4_prefix: 30,
            v6_prefix: Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
            mtu: 1500,
        };
        self.tell(&ToFirewall::Client { port, client: described });
        let program = rules_program::assemble(policy).unwrap();
        ToFirewall::rules(port, 1, &program).for_each(|piece| self.tell(&piece));
        let said = self.at_dom0();
        let answered = said
            .iter()
            .any(|message| matches!(message, FromDomain::Rules { port: p, refused: None, .. } if *p == port));
        assert!(answered, "the rules are not in force: {said:?}");
        // Router advertisements.
        self.collect();
    }

    fn tell(&mut self, message: &ToFirewall) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).unwrap().to_vec();
        self.send(DOM0, &Meta::MESSAGE, &bytes);
        self.run();
    }

    fn send(&mut self, port: u8, meta: &Meta, bytes: &[u8]) {
        let link = &mut self.links[usize::from(port)];
        link.send(meta, &[bytes]).unwrap();
        link.publish();
    }

    /// Polls until there is nothing to do.
    fn run(&mut self) {
        for _ in 0..100_000 {
            self.now += 5;
            if let Next::Idle { .. } = self.firewall.poll(self.now) {
                return;
            }
        }
        panic!("never idle");
    }

    fn at_dom0(&mut self) -> Vec<FromDomain> {
        let messages = drain(&mut self.links[usize::from(DOM0)]);
        messages
            .iter()
            .filter(|(kind, _)| *kind == Kind::Message)
            .map(|(_, b)| codec::decode(b).unwrap())
            .collect()
    }

    /// Sends frames of the client, or to its uplink, and gives what comes of them.
    pub(crate) fn send_frames(&mut self, port: u8, frames: &[Vec<u8>]) -> Out {
        self.now += PAUSE_US;
        for frame in frames {
            self.send(port, &Meta::default(), frame);
            self.run();
        }
        self.at_dom0();
        self.collect()
    }

    /// Waits until what is in pieces is given up (RFC 8200 §4.5: 60 seconds).
    pub(crate) fn forget_pieces(&mut self) {
        self.now += 61_000_000;
        self.run();
        self.collect();
    }

    fn collect(&mut self) -> Out {
        let mut frames = |port: u8| {
            let all = drain(&mut self.links[usize::from(port)]);
            all.into_iter().filter(|(kind, _)| *kind == Kind::Frame).map(|(_, bytes)| bytes).collect()
        };
        Out { net: frames(UPLINK), client: frames(CLIENT), peer: frames(PEER) }
    }
}

fn drain(link: &mut Link<CountBell>) -> Vec<(Kind, Vec<u8>)> {
    let mut buffer = vec![0; link::MAX_PAYLOAD];
    let mut all = Vec::new();
    while let Some((meta, len)) = link.recv(&mut buffer).unwrap() {
        all.push((meta.kind, buffer[..len].to_vec()));
    }
    link.release();
    all
}
