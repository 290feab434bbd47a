//! Links of queues, and peers at their other ends.

use super::super::*;
use crate::{
    errno::Errno,
    sockets::{Half, SocketId, SocketKind, Sockets as _},
};
use link::{Csum, Meta};
use packet::{
    checksum::{Sum, pseudo_v4, pseudo_v6},
    headers::{Frame, Network, Transport, parse},
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, DeviceCapabilities, Medium},
    socket::{tcp, udp},
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    vec::Vec,
};

/// What lies on a link.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) to_net: VecDeque<(Meta, Vec<u8>)>,
    pub(super) from_net: VecDeque<(Meta, Vec<u8>)>,
    /// How many frames may lie there on the way out.
    pub(super) room: Option<usize>,
    pub(super) fault: bool,
    /// What we send is lost, and kept for the test.
    pub(super) deaf: bool,
    pub(super) lost: Vec<Vec<u8>>,
    /// Of so many frames that we send one is lost.
    pub(super) lossy: Option<usize>,
    sent: usize,
    pub(super) plain: bool,
}

/// Our end of a link.
#[derive(Clone, Default)]
pub(super) struct End(pub(super) Rc<RefCell<Queues>>);

impl Frames for End {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<(Meta, usize)>, PortFault> {
        let mut queues = self.0.borrow_mut();
        if queues.fault {
            return Err(PortFault("test"));
        }
        Ok(queues.to_net.pop_front().map(|(meta, frame)| {
            buffer[..frame.len()].copy_from_slice(&frame);
            (meta, frame.len())
        }))
    }

    fn send(&mut self, meta: &Meta, frame: &[u8]) -> bool {
        if !self.has_room(frame.len()) {
            return false;
        }
        let mut queues = self.0.borrow_mut();
        queues.sent += 1;
        if queues.deaf || queues.lossy.is_some_and(|n| queues.sent.is_multiple_of(n)) {
            queues.lost.push(frame.to_vec());
        } else {
            queues.from_net.push_back((*meta, frame.to_vec()));
        }
        true
    }

    fn has_room(&mut self, _: usize) -> bool {
        let queues = self.0.borrow();
        queues.room.is_none_or(|room| queues.from_net.len() < room)
    }

    fn flush(&mut self) {}

    fn finishes_checksums(&self) -> bool {
        !self.0.borrow().plain
    }

    fn arm(&mut self) -> bool {
        self.0.borrow().to_net.is_empty()
    }
}

/// Completes a checksum that was left to us, as a network card does.
pub(super) fn complete(meta: &Meta, frame: &mut [u8]) {
    let Csum::Partial { start, offset } = meta.csum else { return };
    let Ok(Frame::Ip(headers)) = parse(frame) else { panic!("metadata without a packet") };
    assert_eq!((usize::from(start), usize::from(offset)), (headers.transport_at, 16));
    let at = usize::from(start) + usize::from(offset);
    let pseudo = pseudo(&headers);
    assert_eq!(frame[at..at + 2], pseudo.fold().to_be_bytes(), "the sum of the pseudo header");
    frame[at..at + 2].fill(0);
    let sum = pseudo.bytes(&frame[headers.transport_at..headers.end]).finish();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The pseudo header of a segment.
fn pseudo(headers: &packet::headers::Headers) -> Sum {
    let len = u32::try_from(headers.end - headers.transport_at).unwrap();
    match headers.network {
        Network::V4(ip) => pseudo_v4(ip.source, ip.destination, 6, len),
        Network::V6(ip) => pseudo_v6(ip.source, ip.destination, 6, len),
    }
}

/// Cuts a long frame, as a network card does.
fn cut(meta: &Meta, mut frame: Vec<u8>) -> VecDeque<Vec<u8>> {
    let Some(gso) = meta.gso else {
        complete(meta, &mut frame);
        return [frame].into();
    };
    let v4 = frame[14] >> 4 == 4;
    assert_eq!(gso.kind, if v4 { link::GsoKind::Tcp4 } else { link::GsoKind::Tcp6 });
    let tcp = if v4 { 34 } else { 54 };
    let (head, payload) = frame.split_at(usize::from(gso.header_len));
    let first = u32::from_be_bytes(head[tcp + 4..tcp + 8].try_into().unwrap());
    let mut pieces = VecDeque::new();
    for (n, piece) in payload.chunks(usize::from(gso.size)).enumerate() {
        let at = n * usize::from(gso.size);
        let mut frame = [head, piece].concat();
        if v4 {
            let total = u16::try_from(frame.len() - 14).unwrap();
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            frame[24..26].fill(0);
            let sum = Sum::new().bytes(&frame[14..34]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            let len = u16::try_from(frame.len() - 54).unwrap();
            frame[18..20].copy_from_slice(&len.to_be_bytes());
        }
        let number = first.wrapping_add(u32::try_from(at).unwrap());
        frame[tcp + 4..tcp + 8].copy_from_slice(&number.to_be_bytes());
        if at + piece.len() < payload.len() {
            frame[tcp + 13] &= !9; // neither FIN nor PSH
        }
        let Ok(Frame::Ip(headers)) = parse(&frame) else { panic!("cut badly") };
        frame[tcp + 16..tcp + 18].fill(0);
        let sum = pseudo(&headers).bytes(&frame[tcp..]).finish();
        frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        pieces.push_back(frame);
    }
    pieces
}

/// The other end of a link, with a whole stack behind it.
pub(super) struct Peer {
    end: End,
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    /// Everything that ever came, in order.
    pub(super) seen: Vec<Vec<u8>>,
    mtu: usize,
    now: Instant,
}

struct Card<'a>(&'a End, &'a mut Vec<Vec<u8>>, usize);

impl phy::Device for Card<'_> {
    type RxToken<'t>
        = In
    where
        Self: 't;
    type TxToken<'t>
        = Out<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(In, Out<'_>)> {
        let (meta, frame) = self.0.0.borrow_mut().from_net.pop_front()?;
        let mut pieces = cut(&meta, frame);
        let frame = pieces.pop_front()?;
        let mut queues = self.0.0.borrow_mut();
        while let Some(piece) = pieces.pop_back() {
            queues.from_net.push_front((Meta::default(), piece));
        }
        drop(queues);
        self.1.push(frame.clone());
        Some((In(frame), Out(self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        Some(Out(self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.2 + 14;
        capabilities
    }
}

struct In(Vec<u8>);

impl phy::RxToken for In {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Out<'a>(&'a End);

impl phy::TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.0.borrow_mut().to_net.push_back((Meta::default(), frame));
        result
    }
}

impl Peer {
    pub(super) fn new(end: End, mac: [u8; 6], address: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = 7;
        let mut seen = Vec::new();
        let mut interface = Interface::new(config, &mut Card(&end, &mut seen, 1500), Instant::ZERO);
        interface.update_ip_addrs(|a| a.push(IpCidr::new(address.into(), 24)).unwrap());
        if let Some(gateway) = gateway {
            interface.routes_mut().add_default_ipv4_route(gateway).unwrap();
        }
        Self { end, interface, sockets: SocketSet::new(vec![]), seen, mtu: 1500, now: Instant::ZERO }
    }

    /// Gives it an IPv6 address, and a router.
    fn with_v6(mut self, address: Ipv6Addr) -> Self {
        self.interface.update_ip_addrs(|a| a.push(IpCidr::new(address.into(), 64)).unwrap());
        let router = first_hop::address::OUR_LINK_LOCAL;
        self.interface.routes_mut().add_default_ipv6_route(router).unwrap();
        self
    }

    pub(super) fn poll(&mut self, now_us: u64) {
        self.now = Instant::from_micros(i64::try_from(now_us).unwrap());
        let mut card = Card(&self.end, &mut self.seen, self.mtu);
        self.interface.poll(self.now, &mut card, &mut self.sockets);
    }

    pub(super) fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub(super) fn connect(&mut self, port: u16, to: impl Into<SocketAddr>) -> SocketHandle {
        let to = to.into();
        let handle = self.tcp();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (to.ip(), to.port()), port).unwrap();
        handle
    }

    pub(super) fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.tcp();
        self.get(handle).listen(port).unwrap();
        handle
    }

    pub(super) fn get(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 16_384]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Everything that waits to be read.
    pub(super) fn read(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut all = Vec::new();
        while self.get(handle).can_recv() {
            self.get(handle).recv(|bytes| (bytes.len(), all.extend_from_slice(bytes))).unwrap();
        }
        all
    }
}

pub(super) const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const RELAY_MAC: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
pub(super) const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// A question for the address of a name, with this identifier.
pub(super) fn question(id: u16) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]].concat()
}

pub(super) fn client_mac(n: u8) -> [u8; 6] {
    [2, 0x62, 0x6b, 0, 0, n]
}

pub(super) fn client_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 137, n, 2)
}

pub(super) fn gateway(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 137, n, 1)
}

pub(super) fn described(n: u8) -> Client {
    Client {
        name: "work".try_into().unwrap(),
        mac: client_mac(n),
        v4: client_address(n),
        v4_gateway: gateway(n),
        v4_prefix: 24,
        v6_prefix: None,
        mtu: 1500,
    }
}

/// The client's /64.
pub(super) fn prefix(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, n.into(), 0, 0, 0, 0)
}

/// The IPv6 address that a client has in [`World::with_v6`].
pub(super) fn client_v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix(n).to_bits() | 6)
}

/// The same client with IPv6.
pub(super) fn described_v6(n: u8) -> Client {
    Client { v6_prefix: Some(prefix(n)), ..described(n) }
}

pub(super) fn described_uplink() -> Client {
    Client { mac: UPLINK_MAC, v4: OURS, v4_gateway: RELAY, ..described(0) }
}

/// An uplink with a relay on it, two clients on ports 2 and 3, and us.
pub(super) struct World {
    pub(super) net: Net<End>,
    pub(super) now_us: u64,
    pub(super) relay: Peer,
    pub(super) clients: Vec<Peer>,
    pub(super) ends: Vec<End>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(described, |_, peer| peer)
    }

    /// The same with clients that have IPv6.
    pub(super) fn with_v6() -> Self {
        Self::of(described_v6, |n, peer| peer.with_v6(client_v6(n)))
    }

    fn of(described: fn(u8) -> Client, equip: fn(u8, Peer) -> Peer) -> Self {
        let ends: Vec<End> = (0..4).map(|_| End::default()).collect();
        let mut net = Net::new([3, 4]);
        assert!(net.set_uplink(&described_uplink()));
        for n in [2, 3] {
            assert!(net.set_client(n, &described(n)));
            assert!(net.attach(n, ends[usize::from(n)].clone()));
        }
        assert!(net.attach(UPLINK, ends[1].clone()));
        let relay = Peer::new(ends[1].clone(), RELAY_MAC, RELAY, None);
        let clients = [2u8, 3].map(|n| {
            let end = ends[usize::from(n)].clone();
            equip(n, Peer::new(end, client_mac(n), client_address(n), Some(gateway(n))))
        });
        Self { net, now_us: 1_000_000, relay, clients: clients.into(), ends }
    }

    /// Lets everybody act until nobody has anything to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let worked = self.net.poll(self.now_us);
            self.relay.poll(self.now_us);
            for client in &mut self.clients {
                client.poll(self.now_us);
            }
            let quiet = self.ends.iter().all(|end| end.0.borrow().to_net.is_empty());
            if !worked && quiet && self.net.arm() {
                return;
            }
        }
        panic!("never quiet");
    }

    /// Lets time pass, in steps.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now_us += 10_000;
            self.settle();
        }
    }

    /// A listener on this port.
    pub(super) fn listen(&mut self, port: u16) -> SocketId {
        let id = self.net.open(SocketKind::Stream).unwrap();
        self.net.bind(id, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
        self.net.listen(id, 16).unwrap();
        id
    }

    /// A connection to the relay, which listens on this port.
    pub(super) fn connect(&mut self, port: u16) -> (SocketId, SocketHandle) {
        let theirs = self.relay.listen(port);
        let ours = self.net.open(SocketKind::Stream).unwrap();
        assert_eq!(self.net.connect(ours, SocketAddrV4::new(RELAY, port)), Err(Errno::INPROGRESS));
        self.settle();
        assert_eq!(self.relay.get(theirs).state(), tcp::State::Established);
        (ours, theirs)
    }

    /// A client's connection to a listener: its end and ours.
    pub(super) fn accept(
        &mut self,
        client: usize,
        listener: SocketId,
        to: impl Into<SocketAddr>,
    ) -> (SocketHandle, SocketId) {
        let port = 40_000 + u16::try_from(self.clients[client].sockets.iter().count()).unwrap();
        let theirs = self.clients[client].connect(port, to);
        self.settle();
        let (ours, peer) = self.net.accept(listener).unwrap();
        assert_eq!(peer, SocketAddrV4::new(client_address(u8::try_from(client).unwrap() + 2), port));
        (theirs, ours)
    }

    /// The first client asks, the program answers and has no more to say, the client closes its side.
    pub(super) fn converse(&mut self, theirs: SocketHandle, ours: SocketId) {
        self.clients[0].get(theirs).send_slice(b"GET").unwrap();
        self.settle();
        assert_eq!(self.read(ours), b"GET");
        assert_eq!(self.net.send(ours, b"200"), Ok(3));
        self.net.shutdown(ours, Half::Write).unwrap();
        self.settle();
        assert_eq!(self.clients[0].read(theirs), b"200");
        assert_eq!(self.clients[0].get(theirs).state(), tcp::State::CloseWait);
        self.clients[0].get(theirs).close();
        self.settle();
    }

    /// The program's socket for questions.
    pub(super) fn resolver(&mut self) -> SocketId {
        let id = self.net.open(SocketKind::Datagram).unwrap();
        self.net.bind(id, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
        id
    }

    /// The program takes the first client's questions, asked from port 5353, and answers them in the other order: each
    /// answer comes once, to nobody else, and from who was asked.
    pub(super) fn answer(&mut self, resolver: SocketId, asking: SocketHandle, asked: &[(u16, IpAddress)]) {
        let mut out = [0; 512];
        let peer = SocketAddrV4::new(client_address(2), 5353);
        for (id, _) in asked {
            let (len, from) = self.net.receive_from(resolver, &mut out).unwrap();
            assert_eq!((&out[..len], from), (&question(*id)[..], peer));
        }
        assert_eq!(self.net.receive_from(resolver, &mut out), Err(Errno::AGAIN));
        for (id, server) in asked.iter().rev() {
            assert_eq!(self.net.send_to(resolver, &question(*id), peer), Ok(question(*id).len()));
            self.settle();
            let socket = self.clients[0].sockets.get_mut::<udp::Socket<'_>>(asking);
            let (len, meta) = socket.recv_slice(&mut out).unwrap();
            assert_eq!((&out[..len], meta.endpoint), (&question(*id)[..], (*server, 53).into()));
        }
        let other = SocketAddrV4::new(client_address(3), 5353);
        for peer in [peer, other] {
            assert_eq!(self.net.send_to(resolver, &question(7), peer), Err(Errno::HOSTUNREACH));
        }
    }

    /// Everything that waits to be read.
    pub(super) fn read(&mut self, id: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 10_000];
        while let Ok(len @ 1..) = self.net.receive(id, &mut buffer) {
            all.extend_from_slice(&buffer[..len]);
        }
        all
    }

    /// Puts a frame of a client's on its link, by hand.
    pub(super) fn inject(&mut self, port: u8, frame: Vec<u8>) {
        self.ends[usize::from(port)].0.borrow_mut().to_net.push_back((Meta::default(), frame));
    }

    /// Everything that ever left on the uplink is ARP of ours, or TCP from our address to the relay.
    pub(super) fn assert_uplink_clean(&self, ports: &[u16]) {
        for frame in &self.relay.seen {
            assert_eq!(frame[6..12], UPLINK_MAC);
            match parse(frame).unwrap() {
                Frame::Arp(_, arp) => assert_eq!((arp.sender, arp.target), (OURS, RELAY)),
                Frame::Ip(headers) => {
                    let Network::V4(ip) = headers.network else { panic!("IPv6 on the uplink") };
                    let Transport::Tcp(tcp) = headers.transport else {
                        panic!("not TCP on the uplink: {headers:?}")
                    };
                    assert_eq!((ip.source, ip.destination), (OURS, RELAY));
                    assert!(ports.contains(&tcp.destination_port), "{tcp:?}");
                }
            }
        }
    }
}

/// An IPv4 frame by pnet, which knows nothing of our code.
pub(super) fn ip_frame(
    (source_mac, destination_mac): ([u8; 6], [u8; 6]),
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    use pnet_packet::ipv4::{MutableIpv4Packet, checksum};
    let mut frame = [&destination_mac[..], &source_mac, &[8, 0], &vec![0; 20 + payload.len()]].concat();
    let mut ip = MutableIpv4Packet::new(&mut frame[14..]).unwrap();
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(u16::try_from(20 + payload.len()).unwrap());
    ip.set_ttl(64);
    ip.set_next_level_protocol(pnet_packet::ip::IpNextHeaderProtocol(protocol));
    ip.set_source(source);
    ip.set_destination(destination);
    ip.set_payload(payload);
    let sum = checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    frame
}

/// A datagram's frame.
pub(super) fn udp_frame(
    macs: ([u8; 6], [u8; 6]),
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    use pnet_packet::udp::{MutableUdpPacket, ipv4_checksum};
    let mut datagram = vec![0; 8 + payload.len()];
    let mut udp = MutableUdpPacket::new(&mut datagram).unwrap();
    udp.set_source(source.1);
    udp.set_destination(destination.1);
    udp.set_length(u16::try_from(8 + payload.len()).unwrap());
    udp.set_payload(payload);
    let sum = ipv4_checksum(&udp.to_immutable(), &source.0, &destination.0);
    udp.set_checksum(sum);
    ip_frame(macs, source.0, destination.0, 17, &datagram)
}

/// A segment's frame: flags as in the header, numbers, and a payload.
pub(super) fn tcp_frame(
    macs: ([u8; 6], [u8; 6]),
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    (flags, sequence, acknowledgement): (u8, u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    use pnet_packet::tcp::{MutableTcpPacket, ipv4_checksum};
    let mut segment = vec![0; 20 + payload.len()];
    let mut tcp = MutableTcpPacket::new(&mut segment).unwrap();
    tcp.set_source(source.1);
    tcp.set_destination(destination.1);
    tcp.set_sequence(sequence);
    tcp.set_acknowledgement(acknowledgement);
    tcp.set_data_offset(5);
    tcp.set_flags(flags);
    tcp.set_window(60_000);
    tcp.set_payload(payload);
    let sum = ipv4_checksum(&tcp.to_immutable(), &source.0, &destination.0);
    tcp.set_checksum(sum);
    ip_frame(macs, source.0, destination.0, 6, &segment)
}
