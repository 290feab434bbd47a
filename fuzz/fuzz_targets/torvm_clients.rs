//! The Tor gateway's networks where a client and everybody behind the uplink are the fuzzer, and the program too: frames of
//! any kind, segments that fit the connections that there are, calls in any order, time that passes. Nothing panics, the
//! networks come to rest, and what leaves on the uplink is ARP or TCP of a connection that the program began.
#![no_main]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
};

use control::message::Client;
use libfuzzer_sys::fuzz_target;
use link::{Csum, Gso, GsoKind, Meta};
use packet::{
    checksum::{pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet},
    headers::{Frame, Headers, Network, Transport, parse},
    ipv4::Ipv4,
    ipv6::Ipv6,
};
use torvm::{
    frames::{Frames, PortFault},
    net::{Net, TRANSPARENT, UPLINK},
    sockets::{Half, SocketId, SocketKind, Sockets},
};

const US: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ROUTER_ADVERTISEMENT: u8 = 134;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 1);
const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 1, 0, 0, 0, 0);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 1, 0, 0, 0, 6);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 1, 0, 0, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

#[derive(Default)]
struct Queues {
    to_net: VecDeque<(Meta, Vec<u8>)>,
    from_net: VecDeque<Vec<u8>>,
    full: bool,
}

#[derive(Clone, Default)]
struct End(Rc<RefCell<Queues>>);

impl Frames for End {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        let Some((meta, frame)) = self.0.borrow_mut().to_net.pop_front() else { return Ok(None) };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(Some((meta, frame.len())))
    }

    fn send(&mut self, _: &Meta, frame: &[u8]) -> bool {
        let mut queues = self.0.borrow_mut();
        if !queues.full {
            queues.from_net.push_back(frame.to_vec());
        }
        !queues.full
    }

    fn has_room(&mut self, _: usize) -> bool {
        !self.0.borrow().full
    }

    fn flush(&mut self) {}

    fn arm(&mut self) -> bool {
        self.0.borrow().to_net.is_empty()
    }
}

/// What was last said in a connection: the ends as the other side sees them, and the numbers that go on from there.
type Said = BTreeMap<(SocketAddr, SocketAddr), (u32, u32)>;

struct World {
    net: Net<End>,
    client: End,
    uplink: End,
    now_us: u64,
    sockets: Vec<SocketId>,
    peers: BTreeSet<SocketAddrV4>,
    said: [Said; 2],
}

fn described(mac: [u8; 6], v4: Ipv4Addr, v4_gateway: Ipv4Addr) -> Client {
    Client {
        name: Default::default(),
        mac,
        v4,
        v4_gateway,
        v4_prefix: 24,
        v6_prefix: Some(PREFIX),
        mtu: 1500,
    }
}

/// What comes to the client is for it, or for everybody on its link where the router tells of itself.
fn check_client(frame: &[u8]) {
    let to = match parse(frame) {
        Ok(Frame::Ip(Headers { transport: Transport::Icmpv6(message), .. }))
            if message.kind == ROUTER_ADVERTISEMENT && frame[..6] == ALL_NODES =>
        {
            ALL_NODES
        }
        _ => CLIENT_MAC,
    };
    assert_eq!((&frame[..6], &frame[6..12]), (&to[..], &US[..]));
}

/// Deltas that matter to sequence numbers.
const DELTAS: [u32; 16] = [
    0,
    0,
    0,
    0,
    0,
    1,
    0xFFFF_FFFF,
    100,
    0xFFFF_FF9C,
    1460,
    65_535,
    65_536,
    0x4000_0000,
    0xC000_0000,
    0x7FFF_FFFF,
    0x8000_0000,
];

impl World {
    fn new() -> Self {
        let (client, uplink) = (End::default(), End::default());
        let mut net = Net::new([1, 2]);
        assert!(net.set_uplink(&described(UPLINK_MAC, OURS, ROUTER)));
        assert!(net.set_client(2, &described(CLIENT_MAC, CLIENT, GATEWAY)));
        assert!(net.attach(UPLINK, uplink.clone()) && net.attach(2, client.clone()));
        let said = [Said::new(), Said::new()];
        let mut world =
            Self { net, client, uplink, now_us: 1, sockets: Vec::new(), peers: BTreeSet::new(), said };
        for port in [TRANSPARENT, 9050] {
            let id = world.net.open(SocketKind::Stream).unwrap();
            world.net.bind(id, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
            world.net.listen(id, 8).unwrap();
            world.sockets.push(id);
        }
        let id = world.net.open(SocketKind::Datagram).unwrap();
        world.net.bind(id, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5300)).unwrap();
        world.sockets.push(id);
        world
    }

    /// Polls until there is nothing to do, and looks at what came out.
    fn rest(&mut self) {
        let rested = (0..2000).any(|_| !self.net.poll(self.now_us) && self.net.arm());
        if !rested {
            let last = |end: &End| {
                let queues = end.0.borrow();
                queues.from_net.iter().rev().take(3).map(|frame| parse(frame)).collect::<Vec<_>>()
            };
            panic!("the networks never rest: {:?} {:?}", last(&self.client), last(&self.uplink));
        }
        let out: Vec<_> = self.client.0.borrow_mut().from_net.drain(..).collect();
        for frame in out {
            check_client(&frame);
            self.note(0, &frame);
        }
        let out: Vec<_> = self.uplink.0.borrow_mut().from_net.drain(..).collect();
        for frame in out {
            self.check_uplink(&frame);
            self.note(1, &frame);
        }
    }

    fn check_uplink(&mut self, frame: &[u8]) {
        assert_eq!(frame[6..12], UPLINK_MAC);
        match parse(frame).expect("a sound frame") {
            Frame::Arp(_, arp) => {
                assert_eq!((arp.sender, arp.sender_mac), (OURS, UPLINK_MAC));
                if arp.target == ROUTER && frame[..6] == [0xFF; 6] {
                    let reply = packet::arp::Arp {
                        operation: packet::arp::Operation::Reply,
                        sender_mac: NEXT_HOP,
                        sender: ROUTER,
                        target_mac: UPLINK_MAC,
                        target: OURS,
                    };
                    let reply = (Meta::default(), reply.emit(UPLINK_MAC).to_vec());
                    self.uplink.0.borrow_mut().to_net.push_back(reply);
                }
            }
            Frame::Ip(Headers { network: Network::V4(ip), transport: Transport::Tcp(tcp), .. }) => {
                assert_eq!(ip.source, OURS);
                let peer = SocketAddrV4::new(ip.destination, tcp.destination_port);
                assert!(self.peers.contains(&peer), "to {peer}, whom the program never called");
            }
            other => panic!("{other:?} on the uplink"),
        }
    }

    /// Remembers a segment's numbers.
    fn note(&mut self, side: usize, frame: &[u8]) {
        let Ok(Frame::Ip(headers)) = parse(frame) else { return };
        let Transport::Tcp(tcp) = &headers.transport else { return };
        let (source, destination): (IpAddr, IpAddr) = match &headers.network {
            Network::V4(ip) => (ip.source.into(), ip.destination.into()),
            Network::V6(ip) => (ip.source.into(), ip.destination.into()),
        };
        let len = u32::try_from(headers.payload_len()).unwrap() + u32::from(tcp.flags & 3 != 0);
        let ours = SocketAddr::new(source, tcp.source_port);
        let theirs = SocketAddr::new(destination, tcp.destination_port);
        self.said[side].insert((theirs, ours), (tcp.acknowledgement, tcp.sequence.wrapping_add(len)));
    }

    /// A segment from the client (side 0) or a relay (1), of a connection that there is or of a new one.
    fn segment(&mut self, side: usize, bytes: &[u8]) {
        let [which, flags, deltas, window, options, len, ..] = *bytes else { return };
        let bytes = &bytes[6..];
        let known = self.said[side].iter().nth(usize::from(which & 0x7F) % self.said[side].len().max(1));
        let (client, gateway, far): (IpAddr, IpAddr, IpAddr) = if flags & 0x40 == 0 {
            (CLIENT.into(), GATEWAY.into(), Ipv4Addr::new(9, 9, 9, which).into())
        } else {
            let far = Ipv6Addr::new(0x2001, u16::from(which), 0, 0, 0, 0, 0, 9);
            (CLIENT_V6.into(), GATEWAY_V6.into(), far.into())
        };
        let to = SocketAddr::new(if flags & 0x80 == 0 { gateway } else { far }, 9050);
        let fresh = ((SocketAddr::new(client, 1024 + u16::from(which)), to), (7, 0));
        let ((from, to), (sequence, acknowledgement)) = match known {
            Some((ends, numbers)) if which & 0x80 == 0 => (*ends, *numbers),
            _ if side == 0 => fresh,
            _ => return,
        };
        let options = &bytes[..(usize::from(options) % 11 * 4).min(bytes.len() / 4 * 4)];
        let payload = vec![len; usize::from(len) * if len & 1 == 0 { 1 } else { 257 }];
        let segment_len = 20 + options.len() + payload.len();
        if 20 + segment_len > 65_535 {
            return;
        }
        let mut segment = vec![0; 20];
        segment[..2].copy_from_slice(&from.port().to_be_bytes());
        segment[2..4].copy_from_slice(&to.port().to_be_bytes());
        let sequence = sequence.wrapping_add(DELTAS[usize::from(deltas & 15)]);
        let acknowledgement = acknowledgement.wrapping_add(DELTAS[usize::from(deltas >> 4)]);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        segment[12] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        segment[13] = flags & 0x3F;
        segment[14] = window;
        segment.extend_from_slice(options);
        segment.extend_from_slice(&payload);
        let segment_len = u32::try_from(segment_len).unwrap();
        let (pseudo, at, kind) = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (pseudo_v4(from, to, 6, segment_len), 34, GsoKind::Tcp4),
            (IpAddr::V6(from), IpAddr::V6(to)) => (pseudo_v6(from, to, 6, segment_len), 54, GsoKind::Tcp6),
            _ => unreachable!("ends of one family"),
        };
        let checksum = pseudo.bytes(&segment).finish().to_be_bytes();
        segment[16..18].copy_from_slice(&checksum);
        let long = segment_len > 1480;
        let gso = long.then_some(Gso { kind, size: 1420, header_len: at + 20 });
        let csum = if long { Csum::Partial { start: at, offset: 16 } } else { Csum::None };
        let frame = ip_frame(side, (from.ip(), to.ip()), 6, &segment);
        self.give(side, Meta { csum, gso, ..Meta::default() }, frame);
    }

    fn give(&mut self, side: usize, meta: Meta, frame: Vec<u8>) {
        let end = if side == 0 { &self.client } else { &self.uplink };
        end.0.borrow_mut().to_net.push_back((meta, frame));
    }

    /// A call of the program.
    fn call(&mut self, bytes: &[u8]) {
        let [which, call, more, ..] = *bytes else { return };
        let Some(id) = self.sockets.get(usize::from(which) % self.sockets.len().max(1)).copied() else {
            return;
        };
        let any = SocketAddrV4::new(CLIENT, 1024 + u16::from(more));
        match call % 14 {
            0 => self.sockets.extend(self.net.open(SocketKind::Stream)),
            1 => {
                let peer = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, more % 4), 9001);
                if self.net.connect(id, peer).is_err_and(|error| error == torvm::errno::Errno::INPROGRESS) {
                    self.peers.insert(peer);
                }
            }
            2 => self.sockets.extend(self.net.accept(id).map(|(id, _)| id)),
            3 => drop(self.net.send(id, &vec![more; usize::from(more) * 300])),
            4 => drop(self.net.receive(id, &mut vec![0; usize::from(more) * 300])),
            5 => drop(self.net.shutdown(id, if more & 1 == 0 { Half::Write } else { Half::Read })),
            6 => self.net.set_reset_on_close(id, more & 1 == 0),
            7 | 8 => {
                self.net.close(id);
                self.sockets.retain(|other| *other != id);
                assert!(self.net.readiness(id).bits == 0 && self.net.peer(id).is_err(), "closed");
            }
            9 => drop(self.net.take_error(id)),
            10 => drop(self.net.receive_from(id, &mut [0; 600])),
            11 => drop(self.net.send_to(id, &[more; 40], any)),
            12 => drop((self.net.readiness(id), self.net.local(id), self.net.original_destination(id))),
            _ if more == 0 => {
                self.net.end_program();
                self.sockets.clear();
            }
            _ => drop(self.net.listen(id, u32::from(more))),
        }
    }

    /// The machine around us changes.
    fn machine(&mut self, what: u8) {
        match what % 8 {
            0 => drop(self.net.detach(2)),
            1 => drop(self.net.attach(2, self.client.clone())),
            2 => drop(self.net.detach(UPLINK)),
            3 => drop(self.net.attach(UPLINK, self.uplink.clone())),
            4 => self.net.forget_client(2),
            5 => drop(self.net.set_client(2, &described(CLIENT_MAC, CLIENT, GATEWAY))),
            6 => {
                let full = self.client.0.borrow().full;
                self.client.0.borrow_mut().full = !full;
            }
            _ => {
                let full = self.uplink.0.borrow().full;
                self.uplink.0.borrow_mut().full = !full;
            }
        }
    }
}

fn ip_frame(side: usize, addresses: (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let (ethertype, ip) = match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip = Ipv4 {
                source,
                destination,
                ttl: 64,
                protocol,
                total_len: 20 + len,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                identification: 0,
            };
            (ethernet::IPV4, ip.emit().to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = Ipv6 { source, destination, hop_limit: 255, next: protocol, payload_len: len };
            (ethernet::IPV6, ip.emit().to_vec())
        }
        _ => unreachable!("addresses of one family"),
    };
    let (destination, source) = if side == 0 { (US, CLIENT_MAC) } else { (UPLINK_MAC, NEXT_HOP) };
    let ethernet = Ethernet { destination, source, ethertype };
    [&ethernet.emit()[..], &ip, payload].concat()
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut rest = data;
    while let [op, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        let side = usize::from(op >> 7);
        match op % 8 {
            0 | 1 => world.segment(side, bytes),
            2 | 3 => world.call(bytes),
            4 => world.now_us += u64::from(*op) << (len % 24),
            5 => {
                let frame = match side {
                    0 => [&US[..], &CLIENT_MAC, bytes].concat(),
                    _ => [&UPLINK_MAC[..], &NEXT_HOP, bytes].concat(),
                };
                world.give(side, Meta::default(), frame);
            }
            6 => {
                let addresses: (IpAddr, IpAddr) = match (side, len & 4) {
                    (0, 0) => (CLIENT.into(), Ipv4Addr::new(9, 9, 9, 9).into()),
                    (0, _) => (CLIENT_V6.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into()),
                    _ => (ROUTER.into(), OURS.into()),
                };
                let protocol = [17, if addresses.0.is_ipv4() { 1 } else { 58 }, 6, 47];
                let frame = ip_frame(side, addresses, protocol[usize::from(*len % 4)], bytes);
                world.give(side, Meta::default(), frame);
            }
            _ => world.machine(*len),
        }
        world.rest();
    }
});
