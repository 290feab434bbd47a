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
    tcp::{ACK, SYN},
    udp::Udp,
};
/// Frames in a burst.
pub(crate) const BURST: usize = 32;
/// Clients among which the flows are shared, where they fit.
const CLIENTS: u8 = 8;
/// Clients that a table is full with: no client gets more than its share.
const ALL_CLIENTS: u8 = 30;
/// Where a packet comes from and goes to.
type Ends = ((Ipv4Addr, u16), (Ipv4Addr, u16));
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 20);

/// What the flows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// UDP.
    Udp,
    /// TCP, established.
    Tcp,
}

/// A firewall to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Flows that clients have opened.
    pub(crate) flows: u32,
    /// Flows that the table has room for.
    pub(crate) capacity: u32,
    /// What they are of.
    pub(crate) wire: Wire,
    /// Rules of every client in front of the one that accepts.
    pub(crate) rules: u32,
}

/// A frame: 60 bytes, the smallest; the card adds four.
pub(crate) type Small = [u8; 60];

/// A firewall, the far ends of its links, and frames for its flows.
pub(crate) struct Bench {
    firewall: Firewall<CountBell>,
    shape: Shape,
    dom0: Link<CountBell>,
    net: Link<CountBell>,
    clients: Vec<Link<CountBell>>,
    /// Per client, in random order: the packets that belong to the flows.
    out: Vec<Vec<Small>>,
    /// In random order over all clients: the answers.
    back: Vec<Small>,
    buffer: Vec<u8>,
    at: usize,
    now: u64,
    random: u64,
    fresh: u32,
}

/// Sequence numbers at which the sides of every TCP connection begin.
const CLIENT_START: u32 = 1000;
const REMOTE_START: u32 = 5000;

/// A UDP packet.
pub(crate) fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Small {
    let payload = [0x42; 18];
    let mut udp = Udp { source_port: source.1, destination_port: destination.1, len: 26, checksum: 0 };
    let pseudo = pseudo_v4(source.0, destination.0, ipv4::UDP, 26);
    udp.checksum = pseudo.bytes(&udp.emit()).bytes(&payload).finish();
    frame((source.0, destination.0), ipv4::UDP, &[&udp.emit()[..], &payload].concat())
}

/// A TCP segment: 6 bytes, or none with SYN.
pub(crate) fn tcp(
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
) -> Small {
    let payload: &[u8] = if flags & SYN == 0 { &[0x42; 6] } else { &[] };
    let mut segment = Vec::new();
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    segment.extend(payload);
    let len = u32::try_from(segment.len()).expect("short");
    let sum = pseudo_v4(source.0, destination.0, ipv4::TCP, len).bytes(&segment).finish();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    frame((source.0, destination.0), ipv4::TCP, &segment)
}

fn frame((source, destination): (Ipv4Addr, Ipv4Addr), protocol: u8, segment: &[u8]) -> Small {
    let ip = Ipv4 {
        source,
        destination,
        ttl: 64,
        protocol,
        total_len: u16::try_from(20 + segment.len()).expect("short"),
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0,
    };
    let [.., c, d] = source.octets();
    let ethernet = Ethernet {
        destination: [0xFE, 255, 255, 255, 255, 255],
        source: [2, 0x62, 0x6B, 0, c, d],
        ethertype: IPV4,
    };
    let mut bytes = [&ethernet.emit()[..], &ip.emit(), segment].concat();
    bytes.resize(60, 0);
    bytes.try_into().expect("60 bytes")
}

pub(crate) fn address(client: u8) -> Ipv4Addr {
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

/// Rules that are not about the bench's packets, and one that accepts them.
fn rules(count: u32) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for n in 0..count {
        let (a, b, port) = (n / 250 % 250, n % 250, 1 + n % 60_000);
        let _ = writeln!(text, "drop 100.64.{a}.{b} tcp {port}");
    }
    text + "accept\n"
}

impl Bench {
    /// A firewall whose clients opened flows.
    pub(crate) fn new(shape: Shape) -> Self {
        let setup = Setup { v4_flows: shape.capacity, v6_flows: 64, seed: [0x5A; 64] };
        let mut firewall = Firewall::new(&setup).expect("memory");
        let (dom0, ours) = pair(Geometry::DEFAULT, 1).expect("a link");
        firewall.attach(0, Role::Dom0, ours);
        let (net, ours) = pair(Geometry::DEFAULT, 1).expect("a link");
        firewall.attach(1, Role::Upstream, ours);
        let mut bench = Self {
            firewall,
            shape,
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
        let clients = if shape.flows > shape.capacity / 2 { ALL_CLIENTS } else { CLIENTS };
        for client in 0..clients {
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
        bench.open();
        bench
    }

    /// Bytes of the firewall's tables of IPv4 flows.
    pub(crate) fn memory(&self) -> usize {
        self.firewall.core().v4.flows.memory()
    }

    /// Flows in the table.
    pub(crate) fn flows(&self) -> u32 {
        self.firewall.core().v4.flows.len()
    }

    fn introduce(&mut self, client: u8) {
        let message = ToFirewall::Client { port: client + 2, client: description(client) };
        self.tell(&message);
        let program = rules_compiler::compile(&rules(self.shape.rules), 0).expect("valid rules").program;
        ToFirewall::rules(client + 2, 1, &program).for_each(|piece| self.tell(&piece));
    }

    fn tell(&mut self, message: &ToFirewall) {
        let mut buffer = vec![0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).expect("short");
        self.dom0.send(&Meta::MESSAGE, &[bytes]).expect("room");
        self.dom0.publish();
        self.settle();
        while self.dom0.recv(&mut self.buffer).expect("an honest peer").is_some() {}
        self.dom0.release();
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

    fn shuffle(&mut self, frames: &mut [Small]) {
        for last in (1..frames.len()).rev() {
            let other = usize::try_from(self.next_random() % (last as u64 + 1)).expect("an index");
            frames.swap(last, other);
        }
    }

    /// Opens the flows and remembers a packet of each for both directions.
    fn open(&mut self) {
        let (flows, count) = (self.shape.flows, u32::try_from(self.clients.len()).expect("few"));
        for client in 0..u8::try_from(count).expect("few") {
            let mut frames = Vec::new();
            let mine: Vec<u32> = (0..flows).filter(|n| n % count == u32::from(client)).collect();
            for burst in mine.chunks(BURST) {
                let ends = burst.iter().map(|n| {
                    let remote = Ipv4Addr::from_bits(0xC633_6400 + n / 512);
                    let port = 1024 + u16::try_from(n % 50_000).expect("in range");
                    ((address(client), port), (remote, 4433))
                });
                self.open_burst(client, &ends.collect::<Vec<_>>(), &mut frames);
            }
            self.shuffle(&mut frames);
            self.out.push(frames);
        }
        assert_eq!(self.back.len(), flows as usize, "every flow was opened");
        let mut back = std::mem::take(&mut self.back);
        self.shuffle(&mut back);
        self.back = back;
    }

    fn open_burst(&mut self, client: u8, ends: &[Ends], frames: &mut Vec<Small>) {
        let link = usize::from(client);
        let tcp_from = |(source, destination): Ends, flags, numbers| tcp(source, destination, flags, numbers);
        for ends in ends {
            let first = match self.shape.wire {
                Wire::Udp => udp(ends.0, ends.1),
                Wire::Tcp => tcp_from(*ends, SYN, (CLIENT_START, 0)),
            };
            self.clients[link].send(&Meta::default(), &[&first]).expect("room");
        }
        self.clients[link].publish();
        self.settle();
        let mut back = Vec::new();
        while let Some((_, len)) = self.net.recv(&mut self.buffer).expect("an honest peer") {
            let sent = &self.buffer[..len];
            let port = u16::from_be_bytes([sent[34], sent[35]]);
            back.push(((Ipv4Addr::new(sent[30], sent[31], sent[32], sent[33]), 4433), (UPLINK, port)));
        }
        self.net.release();
        if self.shape.wire == Wire::Udp {
            frames.extend(ends.iter().map(|ends| udp(ends.0, ends.1)));
            self.back.extend(back.iter().map(|ends| udp(ends.0, ends.1)));
            return;
        }
        for ends in &back {
            let answer = tcp_from(*ends, SYN | ACK, (REMOTE_START, CLIENT_START + 1));
            self.net.send(&Meta::default(), &[&answer]).expect("room");
        }
        self.net.publish();
        self.settle();
        self.drain(false);
        for ends in ends {
            let data = tcp_from(*ends, ACK, (CLIENT_START + 1, REMOTE_START + 1));
            self.clients[link].send(&Meta::default(), &[&data]).expect("room");
            frames.push(data);
        }
        self.clients[link].publish();
        self.settle();
        assert_eq!(self.drain(true), ends.len(), "connections are established");
        self.back.extend(back.iter().map(|ends| tcp_from(*ends, ACK, (REMOTE_START + 1, CLIENT_START + 1))));
    }

    /// One burst of known flows from one client; only the firewall's part is timed.
    pub(crate) fn outward(&mut self, burst: usize) -> Duration {
        self.at += 1;
        let client = self.at % self.clients.len();
        let frames = &self.out[client];
        for n in 0..burst {
            let frame = &frames[(self.at / self.clients.len() * burst + n) % frames.len()];
            self.clients[client].send(&Meta::default(), &[frame]).expect("room");
        }
        self.clients[client].publish();
        let took = self.poll();
        assert_eq!(self.drain(true), burst, "every packet came out");
        took
    }

    /// One burst of answers; only the firewall's part is timed.
    pub(crate) fn inward(&mut self, burst: usize) -> Duration {
        self.at += 1;
        for n in 0..burst {
            let frame = &self.back[(self.at * burst + n) % self.back.len()];
            self.net.send(&Meta::default(), &[frame]).expect("room");
        }
        self.net.publish();
        let took = self.poll();
        assert_eq!(self.drain(false), burst, "every packet came out");
        took
    }

    /// One burst of packets that each open a flow; only the firewall's part is timed.
    pub(crate) fn opening(&mut self, burst: usize) -> Duration {
        for _ in 0..burst {
            self.fresh += 1;
            let remote = Ipv4Addr::from_bits(0xCB00_7100 + self.fresh % 199);
            let ends =
                ((address(0), 1024 + u16::try_from(self.fresh % 60_000).expect("in range")), (remote, 443));
            let first = match self.shape.wire {
                Wire::Udp => udp(ends.0, ends.1),
                Wire::Tcp => tcp(ends.0, ends.1, SYN, (CLIENT_START, 0)),
            };
            self.clients[0].send(&Meta::default(), &[&first]).expect("room");
        }
        self.clients[0].publish();
        let took = self.poll();
        assert_eq!(self.drain(true), burst, "every packet came out");
        // As many as the client may have in a table of 262,144.
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

/// What is measured: one call of the loop, which takes the burst from its link and puts it on the others.
#[inline(never)]
fn serve(firewall: &mut Firewall<CountBell>, now: u64) {
    firewall.poll(now);
}
