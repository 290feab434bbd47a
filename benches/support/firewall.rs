//! A firewall with real links in memory, loaded with flows; shared by the bench and the instruction count.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use abi::link_device::Role;
use control::{
    codec,
    message::{Client, NetToFirewall, ToFirewall, Uplink, V4},
};
use firewallvm::{Firewall, Next, state::Setup};
use link::{
    Geometry, Link, Meta,
    host::{CountBell, pair},
};
use packet::{
    checksum::pseudo_v4,
    ethernet::{Ethernet, IPV4},
    ipv4::{self, Ipv4},
    udp::Udp,
};
use rules_program::{
    assemble,
    policy::{Action, Direction, Policy, Ports, Protocols, Rule},
};

/// Frames in a burst.
pub(crate) const BURST: usize = 32;
/// Clients among which the flows are shared.
const CLIENTS: u8 = 8;
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 20);

/// A firewall, the far ends of its links, and frames for its flows.
pub(crate) struct Bench {
    firewall: Firewall<CountBell>,
    dom0: Link<CountBell>,
    net: Link<CountBell>,
    clients: Vec<Link<CountBell>>,
    /// Per client, in random order: the packets that belong to the flows.
    out: Vec<Vec<[u8; 60]>>,
    /// In random order over all clients: the answers.
    back: Vec<[u8; 60]>,
    buffer: Vec<u8>,
    at: usize,
    now: u64,
    random: u64,
    fresh: u32,
}

/// A UDP packet in the smallest Ethernet frame (60 bytes; the card adds four).
fn frame(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> [u8; 60] {
    let payload = [0x42; 18];
    let mut udp = Udp { source_port: source.1, destination_port: destination.1, len: 26, checksum: 0 };
    let pseudo = pseudo_v4(source.0, destination.0, ipv4::UDP, 26);
    udp.checksum = pseudo.bytes(&udp.emit()).bytes(&payload).finish();
    let ip = Ipv4 {
        source: source.0,
        destination: destination.0,
        ttl: 64,
        protocol: ipv4::UDP,
        total_len: 46,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0,
    };
    let [.., c, d] = source.0.octets();
    let ethernet = Ethernet {
        destination: [0xFE, 255, 255, 255, 255, 255],
        source: [2, 0x62, 0x6B, 0, c, d],
        ethertype: IPV4,
    };
    let bytes = [&ethernet.emit()[..], &ip.emit(), &udp.emit(), &payload].concat();
    bytes.try_into().expect("60 bytes")
}

fn address(client: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0A89_0002 + 4 * u32::from(client + 1))
}

fn description(client: u8) -> Client {
    let [.., c, d] = address(client).octets();
    Client {
        name: "bench".try_into().expect("short"),
        mac: [2, 0x62, 0x6B, 0, c, d],
        v4: address(client),
        v4_gateway: Ipv4Addr::from_bits(address(client).to_bits() - 1),
        v4_prefix: 30,
        v6_prefix: None,
        mtu: 1500,
    }
}

/// One rule: everything outward is accepted.
fn accept_all() -> Policy {
    let rule = Rule {
        direction: Direction::Outward,
        action: Action::Accept,
        targets: Vec::new(),
        protocols: Protocols::ALL,
        destination_ports: Ports::ALL,
        source_ports: Ports::ALL,
        icmp_type: None,
        rate: None,
        connections: None,
        log: false,
        line: 0,
    };
    Policy { rules: vec![rule], ..Policy::default() }
}

impl Bench {
    /// A firewall whose clients opened `flows` flows.
    pub(crate) fn new(flows: u32, capacity: u32) -> Self {
        let setup = Setup { v4_flows: capacity, v6_flows: 64, seed: [0x5A; 64] };
        let mut firewall = Firewall::new(&setup).expect("memory");
        let (dom0, ours) = pair(Geometry::DEFAULT, 1).expect("a link");
        firewall.attach(0, Role::Dom0, ours);
        let (net, ours) = pair(Geometry::DEFAULT, 1).expect("a link");
        firewall.attach(1, Role::Upstream, ours);
        let mut bench = Self {
            firewall,
            dom0,
            net,
            clients: Vec::new(),
            out: Vec::new(),
            back: Vec::new(),
            buffer: vec![0; link::MAX_PAYLOAD],
            at: 0,
            now: 1_000_000,
            random: 88_172_645_463_325_252,
            fresh: 0,
        };
        for client in 0..CLIENTS {
            let (theirs, ours) = pair(Geometry::DEFAULT, 1).expect("a link");
            bench.clients.push(theirs);
            bench.firewall.attach(client + 2, Role::Downstream, ours);
            bench.introduce(client);
        }
        let v4 = V4 { address: UPLINK, prefix: 24, gateway: None, dns: [].into_iter().collect() };
        let uplink = Uplink { link_up: true, mac: [0x52; 6], mtu: 1500, v4: Some(v4), v6: None };
        let mut buffer = [0; 512];
        let message = codec::encode(&NetToFirewall::Uplink(uplink), &mut buffer).expect("short");
        bench.net.send(&Meta::MESSAGE, &[message]).expect("room");
        bench.net.publish();
        bench.settle();
        bench.open(flows);
        bench
    }

    fn introduce(&mut self, client: u8) {
        let message = ToFirewall::Client { port: client + 2, client: description(client) };
        self.tell(&message);
        let program = assemble(&accept_all()).expect("small");
        let total = u32::try_from(program.len()).expect("small");
        let bytes = program.into_iter().collect();
        self.tell(&ToFirewall::Rules { port: client + 2, generation: 1, total, offset: 0, bytes });
    }

    fn tell(&mut self, message: &ToFirewall) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).expect("short");
        self.dom0.send(&Meta::MESSAGE, &[bytes]).expect("room");
        self.dom0.publish();
        self.settle();
    }

    fn settle(&mut self) {
        while self.firewall.poll(self.now) == Next::Busy {
            self.now += 1;
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn shuffle(&mut self, frames: &mut [[u8; 60]]) {
        for last in (1..frames.len()).rev() {
            let other = usize::try_from(self.next_random() % (last as u64 + 1)).expect("an index");
            frames.swap(last, other);
        }
    }

    /// Opens the flows and remembers a packet of each for both directions.
    fn open(&mut self, flows: u32) {
        for client in 0..CLIENTS {
            let mut frames = Vec::new();
            for n in (0..flows).filter(|n| n % u32::from(CLIENTS) == u32::from(client)) {
                let remote = Ipv4Addr::from_bits(0xC633_6400 + n / 512);
                let port = 1024 + u16::try_from(n % 50_000).expect("in range");
                frames.push(frame((address(client), port), (remote, 4433)));
            }
            for burst in frames.chunks(BURST) {
                for frame in burst {
                    self.clients[usize::from(client)].send(&Meta::default(), &[frame]).expect("room");
                }
                self.clients[usize::from(client)].publish();
                self.settle();
                while let Some((_, len)) = self.net.recv(&mut self.buffer).expect("an honest peer") {
                    let sent = &self.buffer[..len];
                    let port = u16::from_be_bytes([sent[34], sent[35]]);
                    let remote = Ipv4Addr::new(sent[30], sent[31], sent[32], sent[33]);
                    self.back.push(frame_back(remote, port));
                }
                self.net.release();
            }
            self.shuffle(&mut frames);
            self.out.push(frames);
        }
        assert_eq!(self.back.len(), flows as usize, "every flow was opened");
        let mut back = std::mem::take(&mut self.back);
        self.shuffle(&mut back);
        self.back = back;
    }

    /// One burst of known flows from one client; only the firewall's part is timed.
    pub(crate) fn outward(&mut self) -> Duration {
        self.at += 1;
        let client = self.at % self.clients.len();
        let frames = &self.out[client];
        for n in 0..BURST {
            let frame = &frames[(self.at / self.clients.len() * BURST + n) % frames.len()];
            self.clients[client].send(&Meta::default(), &[frame]).expect("room");
        }
        self.clients[client].publish();
        let took = self.poll();
        assert_eq!(self.drain(true), BURST, "every packet came out");
        took
    }

    /// One burst of answers; only the firewall's part is timed.
    pub(crate) fn inward(&mut self) -> Duration {
        self.at += 1;
        for n in 0..BURST {
            let frame = &self.back[(self.at * BURST + n) % self.back.len()];
            self.net.send(&Meta::default(), &[frame]).expect("room");
        }
        self.net.publish();
        let took = self.poll();
        assert_eq!(self.drain(false), BURST, "every packet came out");
        took
    }

    /// One burst of packets that each open a flow; only the firewall's part is timed.
    pub(crate) fn opening(&mut self) -> Duration {
        for _ in 0..BURST {
            self.fresh += 1;
            let remote = Ipv4Addr::from_bits(0xCB00_7100 + self.fresh % 199);
            let port = 1024 + u16::try_from(self.fresh % 60_000).expect("in range");
            let frame = frame((address(0), port), (remote, 443));
            self.clients[0].send(&Meta::default(), &[&frame]).expect("room");
        }
        self.clients[0].publish();
        let took = self.poll();
        assert_eq!(self.drain(true), BURST, "every packet came out");
        if self.fresh.is_multiple_of(32 * 1024) {
            self.tell(&ToFirewall::ForgetClient { port: 2 });
            self.introduce(0);
        }
        took
    }

    fn poll(&mut self) -> Duration {
        self.now += 20;
        let start = Instant::now();
        serve(&mut self.firewall, self.now);
        start.elapsed()
    }

    fn drain(&mut self, at_net: bool) -> usize {
        let mut frames = 0;
        let ends = if at_net { std::slice::from_mut(&mut self.net) } else { &mut self.clients[..] };
        for end in ends {
            while end.recv(&mut self.buffer).expect("an honest peer").is_some() {
                frames += 1;
            }
            end.release();
        }
        frames
    }
}

fn frame_back(remote: Ipv4Addr, port: u16) -> [u8; 60] {
    frame((remote, 4433), (UPLINK, port))
}

/// What is measured: one call of the loop, which takes the burst from its link and puts it on the others.
#[inline(never)]
fn serve(firewall: &mut Firewall<CountBell>, now: u64) {
    firewall.poll(now);
}
