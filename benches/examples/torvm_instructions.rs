//! Instructions of torvm's networks: `torvm_instructions to_client|from_client|from_client_long [CONNECTIONS]`, under
//! callgrind as `count_torvm_instructions` says. One connection carries bytes, the others are established and idle. Prints
//! how many KiB were carried.

use control::message::Client;
use link::{Csum, Geometry, Gso, GsoKind, Link, Meta, host};
use packet::{
    checksum::pseudo_v4,
    ethernet::{self, Ethernet},
    headers::{Frame, Headers, Transport, parse},
    ipv4::Ipv4,
    tcp::{ACK, SYN},
};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};
use torvm::{
    net::{Net, TRANSPARENT},
    sockets::{SocketId, SocketKind, Sockets as _},
};

type End = Link<host::CountBell>;

const US: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What the gateway program writes at once: the payload of one cell.
const CELL: usize = 498;
const ROUNDS: usize = 1000;
const CLIENTS: u8 = 4;

fn address(port: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 137, port, 2)
}

/// A client's segment; its checksum is left to others, as a client's kernel does it.
fn segment(
    link: u8,
    port: u16,
    (flags, sequence, acknowledgement): (u8, u32, u32),
    payload: &[u8],
) -> (Meta, Vec<u8>) {
    let mut tcp = vec![0; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&443_u16.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = flags;
    tcp[14] = 0xFF;
    if flags == SYN {
        // MSS 1460, window scale 7.
        tcp[12] = 7 << 4;
        tcp.extend_from_slice(&[2, 4, 5, 0xb4, 3, 3, 7, 1]);
    }
    tcp.extend_from_slice(payload);
    let sum = pseudo_v4(address(link), FAR, 6, u32::try_from(tcp.len()).unwrap()).fold();
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let ip = Ipv4 {
        source: address(link),
        destination: FAR,
        ttl: 64,
        protocol: 6,
        total_len: u16::try_from(20 + tcp.len()).unwrap(),
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0,
    };
    let ethernet = Ethernet { destination: US, source: MAC, ethertype: ethernet::IPV4 };
    let gso = (payload.len() > 1460).then_some(Gso { kind: GsoKind::Tcp4, size: 1460, header_len: 54 });
    let meta = Meta { csum: Csum::Partial { start: 34, offset: 16 }, gso, ..Meta::default() };
    (meta, [&ethernet.emit()[..], &ip.emit(), &tcp].concat())
}

struct Bench {
    net: Net<End>,
    peers: Vec<End>,
    now_us: u64,
    buffer: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let mut net = Net::new([1, 2]);
        let mut peers = Vec::new();
        for port in 2..2 + CLIENTS {
            let v4_gateway = Ipv4Addr::new(10, 137, port, 1);
            let v4 = address(port);
            let client = Client {
                name: Default::default(),
                mac: MAC,
                v4,
                v4_gateway,
                v4_prefix: 24,
                v6_prefix: None,
                mtu: 1500,
            };
            assert!(net.set_client(port, &client));
            let (ours, theirs) = host::pair(Geometry::DEFAULT, 1).expect("the usual geometry");
            assert!(net.attach(port, ours));
            peers.push(theirs);
        }
        Self { net, peers, now_us: 1, buffer: vec![0; link::MAX_PAYLOAD] }
    }

    fn give(&mut self, link: u8, (meta, frame): &(Meta, Vec<u8>)) {
        let peer = &mut self.peers[usize::from(link) - 2];
        peer.send(meta, &[frame]).expect("room");
        peer.publish();
    }

    fn rest(&mut self) {
        while self.net.poll(self.now_us) {}
    }

    /// The next segment that came for a client.
    fn take(&mut self, link: u8) -> Option<(packet::tcp::Tcp, usize)> {
        let peer = &mut self.peers[usize::from(link) - 2];
        let (_, len) = peer.recv(&mut self.buffer).expect("an honest peer")?;
        peer.release();
        match parse(&self.buffer[..len]) {
            Ok(Frame::Ip(headers @ Headers { transport: Transport::Tcp(tcp), .. })) => {
                Some((tcp, headers.payload_len()))
            }
            other => panic!("{other:?}"),
        }
    }

    /// A connection of a client's; gives our next number.
    fn establish(&mut self, link: u8, port: u16, listener: SocketId) -> (SocketId, u32) {
        self.give(link, &segment(link, port, (SYN, 0, 0), &[]));
        self.rest();
        let (tcp, _) = self.take(link).expect("an answer");
        let next = tcp.sequence.wrapping_add(1);
        self.give(link, &segment(link, port, (ACK, 1, next), &[]));
        self.rest();
        (self.net.accept(listener).expect("a connection").0, next)
    }
}

/// What the layer does while bytes go to a client: the program's writes, then a poll.
#[inline(never)]
fn serve_out(net: &mut Net<End>, id: SocketId, cell: &[u8], cells: usize, now_us: u64) {
    for _ in 0..cells {
        assert_eq!(net.send(id, black_box(cell)), Ok(cell.len()));
    }
    while net.poll(now_us) {}
}

/// What the layer does while bytes come from a client: a poll, then the program's reads.
#[inline(never)]
fn serve_in(net: &mut Net<End>, id: SocketId, buffer: &mut [u8], now_us: u64) -> usize {
    while net.poll(now_us) {}
    let mut read = 0;
    while let Ok(len @ 1..) = net.receive(id, buffer) {
        read += len;
    }
    while net.poll(now_us) {}
    read
}

fn to_client(bench: &mut Bench, id: SocketId, mut next: u32) -> usize {
    let mut carried = 0;
    for _ in 0..ROUNDS {
        serve_out(&mut bench.net, id, &[0x5A; CELL], 64, bench.now_us);
        let mut acknowledge = Vec::new();
        let mut frames = 0;
        while let Some((tcp, len)) = bench.take(2) {
            assert_eq!(tcp.sequence, next);
            next = next.wrapping_add(u32::try_from(len).unwrap());
            carried += len;
            frames += 1;
            if frames % 2 == 0 || len > 1460 {
                acknowledge.push(segment(2, 1000, (ACK, 1, next), &[]));
            }
        }
        acknowledge.push(segment(2, 1000, (ACK, 1, next), &[]));
        for frame in &acknowledge {
            bench.give(2, frame);
        }
        bench.now_us += 1000;
    }
    assert_eq!(carried, ROUNDS * 64 * CELL);
    carried
}

fn from_client(bench: &mut Bench, id: SocketId, next: u32, (size, count): (usize, usize)) -> usize {
    let (mut carried, mut sequence) = (0, 1_u32);
    let payload = vec![0x5A; size];
    let mut buffer = vec![0; 16_384];
    for _ in 0..ROUNDS {
        for _ in 0..count {
            bench.give(2, &segment(2, 1000, (ACK, sequence, next), &payload));
            sequence = sequence.wrapping_add(u32::try_from(size).unwrap());
        }
        carried += serve_in(&mut bench.net, id, &mut buffer, bench.now_us);
        while bench.take(2).is_some() {}
        bench.now_us += 1000;
    }
    assert_eq!(carried, ROUNDS * size * count);
    carried
}

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let connections: u16 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut bench = Bench::new();
    let listener = bench.net.open(SocketKind::Stream).expect("a socket");
    bench.net.bind(listener, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, TRANSPARENT)).expect("a port");
    bench.net.listen(listener, 16).expect("a listener");
    let (id, next) = bench.establish(2, 1000, listener);
    for n in 1..connections {
        let link = 2 + u8::try_from(n % u16::from(CLIENTS)).unwrap();
        bench.establish(link, 1000 + n, listener);
    }
    let carried = match mode.as_str() {
        "to_client" => to_client(&mut bench, id, next),
        "from_client" => from_client(&mut bench, id, next, (1460, 22)),
        "from_client_long" => from_client(&mut bench, id, next, (32_000, 1)),
        other => panic!("what is '{other}'?"),
    };
    println!("{}", carried / 1024);
}
