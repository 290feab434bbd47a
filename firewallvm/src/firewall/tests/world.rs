//! A firewall with real links in memory, and the packets to put into them.
#![expect(clippy::too_many_arguments, reason = "a packet has that many fields")]
use super::rules::accept_all;
use crate::{Firewall, Next, state::Setup, verdict::DropReason};
use abi::link_device::Role;
use control::{
    codec,
    message::{Client, FromDomain, NetToFirewall, ToFirewall, Uplink, V4, V6},
};
pub(super) use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::address::{OUR_LINK_LOCAL, OUR_MAC};
use link::{
    Geometry, Kind, Link, Meta,
    host::{CountBell, pair},
};
pub(super) use packet::headers::{Frame, Headers, Network, Transport, parse};
use packet::{ethernet::Mac, ipv4::Ipv4, ipv6::Ipv6, udp::Udp};
use pnet_packet::{icmp::IcmpPacket, icmpv6::Icmpv6Packet, tcp::TcpPacket, udp::UdpPacket};

pub(super) type Sent = (Meta, Vec<u8>);

pub(super) const UPLINK4: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 20);
pub(super) const SERVER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
pub(super) const RESOLVER4: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
pub(super) const NIC: Mac = [0x52, 0x54, 0, 1, 2, 3];

pub(super) fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}
pub(super) fn uplink6() -> Ipv6Addr {
    v6("2001:db8:7::20")
}
pub(super) fn server6() -> Ipv6Addr {
    v6("2001:db8:ffff::9")
}
pub(super) fn mac(client: usize) -> Mac {
    [2, 0x62, 0x6b, 0, 0, u8::try_from(client + 1).unwrap()]
}
pub(super) fn client4(client: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0A89_0002 + 4 * u32::try_from(client + 1).unwrap())
}
pub(super) fn gateway4(client: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(client4(client).to_bits() - 1)
}
pub(super) fn client6(client: usize) -> Ipv6Addr {
    let n = u16::try_from(client + 1).unwrap();
    Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, n, 0x62, 0x6bff, 0xfe00, n)
}
pub(super) fn prefix6(client: usize) -> Ipv6Addr {
    let n = u16::try_from(client + 1).unwrap();
    Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, n, 0, 0, 0, 0)
}

pub(super) fn name(client: usize) -> control::message::Name {
    format!("client-{client}").as_str().try_into().unwrap()
}

/// What netvm says when all is well.
pub(super) fn uplink() -> Uplink {
    let v4 =
        V4 { address: UPLINK4, prefix: 24, gateway: Some(RESOLVER4), dns: [RESOLVER4].into_iter().collect() };
    let v6 = V6 {
        address: uplink6(),
        prefix: 64,
        gateway: Some(v6("fe80::1")),
        dns: [v6("2001:db8:7::53")].into_iter().collect(),
    };
    Uplink { link_up: true, mac: NIC, mtu: 1500, v4: Some(v4), v6: Some(v6) }
}

pub(super) struct World {
    pub(super) fw: Firewall<CountBell>,
    pub(super) dom0: Link<CountBell>,
    pub(super) net: Link<CountBell>,
    pub(super) clients: Vec<Link<CountBell>>,
    pub(super) now: u64,
}

impl World {
    pub(super) fn new(clients: usize) -> Self {
        Self::with_flows(clients, 4096)
    }

    pub(super) fn with_flows(clients: usize, flows: u32) -> Self {
        let setup = Setup {
            v4_flows: flows,
            v6_flows: flows,
            seed: core::array::from_fn(|i| u8::try_from(i).unwrap()),
        };
        let mut fw = Firewall::new(&setup).unwrap();
        let (dom0, ours) = pair(Geometry::DEFAULT, 1).unwrap();
        fw.attach(0, Role::Dom0, ours);
        let (net, ours) = pair(Geometry::DEFAULT, 1).unwrap();
        fw.attach(1, Role::Upstream, ours);
        let mut world = Self { fw, dom0, net, clients: Vec::new(), now: 1_000_000 };
        for n in 0..clients {
            let (theirs, ours) = pair(Geometry::DEFAULT, 1).unwrap();
            world.clients.push(theirs);
            let port = u8::try_from(n + 2).unwrap();
            world.fw.attach(port, Role::Downstream, ours);
            world.tell(&ToFirewall::Client { port, client: world.description(n) });
            world.install(n, &accept_all());
        }
        world.uplink(&uplink());
        world.run();
        for n in 0..clients {
            world.at_client(n);
        }
        world.at_dom0();
        world
    }

    pub(super) fn description(&self, n: usize) -> Client {
        Client {
            name: name(n),
            mac: mac(n),
            v4: client4(n),
            v4_gateway: gateway4(n),
            v4_prefix: 30,
            v6_prefix: Some(prefix6(n)),
            mtu: 1500,
        }
    }

    pub(super) fn tell(&mut self, message: &ToFirewall) {
        let mut buffer = [0; codec::MAX_LEN];
        let bytes = codec::encode(message, &mut buffer).unwrap();
        self.dom0.send(&Meta::MESSAGE, &[bytes]).unwrap();
        self.dom0.publish();
        self.run();
    }

    pub(super) fn uplink(&mut self, uplink: &Uplink) {
        let mut buffer = [0; 512];
        let bytes = codec::encode(&NetToFirewall::Uplink(uplink.clone()), &mut buffer).unwrap();
        self.net.send(&Meta::MESSAGE, &[bytes]).unwrap();
        self.net.publish();
        self.run();
    }

    /// Polls until there is nothing to do; a bug that never goes idle fails.
    pub(super) fn run(&mut self) {
        for _ in 0..100_000 {
            self.now += 5;
            if let Next::Idle { .. } = self.fw.poll(self.now) {
                return;
            }
        }
        panic!("never idle");
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1_000_000;
            self.run();
        }
        // Router advertisements.
        for n in 0..self.clients.len() {
            self.at_client(n);
        }
    }

    pub(super) fn client_sends(&mut self, n: usize, frame: &[u8]) {
        self.client_sends_with(n, &Meta::default(), frame);
    }

    pub(super) fn client_sends_with(&mut self, n: usize, meta: &Meta, frame: &[u8]) {
        self.clients[n].send(meta, &[frame]).unwrap();
        self.clients[n].publish();
        self.run();
    }

    pub(super) fn net_sends(&mut self, frame: &[u8]) {
        self.net_sends_with(&Meta::default(), frame);
    }

    pub(super) fn net_sends_with(&mut self, meta: &Meta, frame: &[u8]) {
        self.net.send(meta, &[frame]).unwrap();
        self.net.publish();
        self.run();
    }

    pub(super) fn at_net(&mut self) -> Vec<Sent> {
        drain(&mut self.net)
    }

    pub(super) fn at_client(&mut self, n: usize) -> Vec<Sent> {
        drain(&mut self.clients[n])
    }

    pub(super) fn at_dom0(&mut self) -> Vec<FromDomain> {
        let messages = drain(&mut self.dom0).into_iter();
        messages
            .map(|(meta, bytes)| {
                assert_eq!(meta.kind, Kind::Message);
                codec::decode(&bytes).unwrap()
            })
            .collect()
    }

    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.fw.core().drops.get(reason)
    }

    /// The frame goes nowhere, for this reason.
    #[track_caller]
    pub(super) fn refused(&mut self, n: usize, frame: &[u8], reason: DropReason) {
        let before = self.drops(reason);
        self.client_sends(n, frame);
        let all: Vec<_> = self.fw.core().drops.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(self.drops(reason), before + 1, "{all:?}");
        assert!(self.at_net().is_empty());
    }

    /// The frame from the network goes nowhere, for this reason.
    #[track_caller]
    pub(super) fn refused_from_net(&mut self, frame: &[u8], reason: DropReason) {
        let before = self.drops(reason);
        self.net_sends(frame);
        let all: Vec<_> = self.fw.core().drops.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(self.drops(reason), before + 1, "{all:?}");
        for n in 0..self.clients.len() {
            assert!(self.at_client(n).is_empty());
        }
    }

    /// Sends a client's frame and gives the one frame that reaches the network, its checksums verified.
    #[track_caller]
    pub(super) fn out(&mut self, n: usize, frame: &[u8]) -> Vec<u8> {
        self.client_sends(n, frame);
        let drops: Vec<_> = self.fw.core().drops.iter().filter(|(_, count)| *count > 0).collect();
        let mut sent = self.at_net();
        assert_eq!(sent.len(), 1, "{drops:?}");
        let (_, frame) = sent.pop().unwrap();
        assert_sound(&frame);
        assert_eq!((&frame[..6], &frame[6..12]), (&NIC[..], &OUR_MAC[..]));
        frame
    }

    /// Sends the network's frame and gives the one frame that reaches this client, its checksums verified.
    #[track_caller]
    pub(super) fn in_to(&mut self, n: usize, frame: &[u8]) -> Vec<u8> {
        self.net_sends(frame);
        let drops: Vec<_> = self.fw.core().drops.iter().filter(|(_, count)| *count > 0).collect();
        let mut sent = self.at_client(n);
        assert_eq!(sent.len(), 1, "{drops:?}");
        let (_, frame) = sent.pop().unwrap();
        assert_sound(&frame);
        assert_eq!((&frame[..6], &frame[6..12]), (&mac(n)[..], &OUR_MAC[..]));
        frame
    }
}

pub(super) fn drain(link: &mut Link<CountBell>) -> Vec<Sent> {
    let mut buffer = vec![0; link::MAX_PAYLOAD];
    let mut all = Vec::new();
    while let Some((meta, len)) = link.recv(&mut buffer).unwrap() {
        all.push((meta, buffer[..len].to_vec()));
    }
    link.release();
    all
}

pub(super) fn headers(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

/// Addresses as text, whatever the family.
pub(super) fn ends(frame: &[u8]) -> (std::net::IpAddr, u16, std::net::IpAddr, u16) {
    let h = headers(frame);
    let (s, d) = match h.network {
        Network::V4(ip) => (ip.source.into(), ip.destination.into()),
        Network::V6(ip) => (ip.source.into(), ip.destination.into()),
    };
    let (sp, dp) = match h.transport {
        Transport::Tcp(t) => (t.source_port, t.destination_port),
        Transport::Udp(t) => (t.source_port, t.destination_port),
        Transport::Icmp(t) => (t.identifier, 0),
        Transport::Icmpv6(t) => (t.identifier, 0),
        Transport::Fragment(_) => (0, 0),
    };
    (s, sp, d, dp)
}

/// From and to, either family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    Four(Ipv4Addr, Ipv4Addr),
    Six(Ipv6Addr, Ipv6Addr),
}

impl Path {
    fn sum(self, protocol: u8, bytes: &[u8]) -> (usize, u16) {
        match (self, protocol) {
            (Self::Four(s, d), 6) => {
                (16, pnet_packet::tcp::ipv4_checksum(&TcpPacket::new(bytes).unwrap(), &s, &d))
            }
            (Self::Six(s, d), 6) => {
                (16, pnet_packet::tcp::ipv6_checksum(&TcpPacket::new(bytes).unwrap(), &s, &d))
            }
            (Self::Four(s, d), 17) => {
                (6, pnet_packet::udp::ipv4_checksum(&UdpPacket::new(bytes).unwrap(), &s, &d))
            }
            (Self::Six(s, d), 17) => {
                (6, pnet_packet::udp::ipv6_checksum(&UdpPacket::new(bytes).unwrap(), &s, &d))
            }
            (Self::Six(s, d), _) => {
                (2, pnet_packet::icmpv6::checksum(&Icmpv6Packet::new(bytes).unwrap(), &s, &d))
            }
            (Self::Four(..), _) => (2, pnet_packet::icmp::checksum(&IcmpPacket::new(bytes).unwrap())),
        }
    }

    pub(super) fn icmp_protocol(self) -> u8 {
        if matches!(self, Self::Four(..)) { 1 } else { 58 }
    }

    /// Ethernet from `from`, IP, and `payload`, whose transport checksum is filled in.
    pub(super) fn frame(self, from: Mac, protocol: u8, mut payload: Vec<u8>) -> Vec<u8> {
        let (at, sum) = self.sum(protocol, &payload);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self.raw(from, protocol, &payload)
    }

    pub(super) fn raw(self, from: Mac, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = [OUR_MAC, from].concat();
        let len = u16::try_from(payload.len()).unwrap();
        match self {
            Self::Four(source, destination) => {
                frame.extend([8, 0]);
                let ip = Ipv4 {
                    source,
                    destination,
                    ttl: 64,
                    protocol,
                    total_len: len + 20,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    identification: 0,
                };
                frame.extend(ip.emit());
            }
            Self::Six(source, destination) => {
                frame.extend([0x86, 0xdd]);
                let ip = Ipv6 { source, destination, hop_limit: 64, next: protocol, payload_len: len };
                frame.extend(ip.emit());
            }
        }
        frame.extend(payload);
        frame
    }

    pub(super) fn udp(self, from: Mac, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len() + 8).unwrap();
        let header = Udp { source_port: ports.0, destination_port: ports.1, len, checksum: 0 };
        self.frame(from, 17, [&header.emit()[..], data].concat())
    }

    pub(super) fn tcp(
        self,
        from: Mac,
        ports: (u16, u16),
        flags: u8,
        (seq, ack): (u32, u32),
        window: u16,
        data: &[u8],
    ) -> Vec<u8> {
        let mut t = Vec::new();
        t.extend(ports.0.to_be_bytes());
        t.extend(ports.1.to_be_bytes());
        t.extend(seq.to_be_bytes());
        t.extend(ack.to_be_bytes());
        t.extend([0x50, flags]);
        t.extend(window.to_be_bytes());
        t.extend([0; 4]);
        if flags & 2 != 0 {
            // MSS 1460, NOP, window scale 7
            t[12] = 0x70;
            t.extend([2, 4, 5, 0xb4, 1, 3, 3, 7]);
        }
        t.extend(data);
        self.frame(from, 6, t)
    }

    pub(super) fn echo(self, from: Mac, request: bool, id: u16, data: &[u8]) -> Vec<u8> {
        let kind = match (self, request) {
            (Self::Four(..), true) => 8,
            (Self::Four(..), false) => 0,
            (Self::Six(..), true) => 128,
            (Self::Six(..), false) => 129,
        };
        let mut t = vec![kind, 0, 0, 0];
        t.extend(id.to_be_bytes());
        t.extend([0, 1]);
        t.extend(data);
        self.frame(from, self.icmp_protocol(), t)
    }

    /// An ICMP error about an IP packet.
    pub(super) fn error(self, from: Mac, (kind, code): (u8, u8), word: u32, quoted: &[u8]) -> Vec<u8> {
        let mut t = vec![kind, code, 0, 0];
        t.extend(word.to_be_bytes());
        t.extend(quoted);
        self.frame(from, self.icmp_protocol(), t)
    }
}

/// The path of a client to the server, either family, and of the server's answers.
pub(super) fn to_server(six: bool, n: usize) -> Path {
    if six { Path::Six(client6(n), server6()) } else { Path::Four(client4(n), SERVER4) }
}
pub(super) fn from_server(six: bool) -> Path {
    if six { Path::Six(server6(), uplink6()) } else { Path::Four(SERVER4, UPLINK4) }
}

/// Every checksum, recomputed by pnet.
#[track_caller]
pub(super) fn assert_sound(frame: &[u8]) {
    let h = headers(frame);
    let path = match h.network {
        Network::V4(ip) => {
            let pnet = pnet_packet::ipv4::Ipv4Packet::new(&frame[14..]).unwrap();
            assert_eq!(pnet.get_checksum(), pnet_packet::ipv4::checksum(&pnet), "IP checksum");
            Path::Four(ip.source, ip.destination)
        }
        Network::V6(ip) => Path::Six(ip.source, ip.destination),
    };
    let protocol = match h.transport {
        Transport::Tcp(_) => 6,
        Transport::Udp(_) => 17,
        Transport::Icmp(_) => 1,
        Transport::Icmpv6(_) => 58,
        Transport::Fragment(_) => return,
    };
    let bytes = &frame[h.transport_at..h.end];
    let (at, sum) = path.sum(protocol, bytes);
    let read = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    if !(protocol == 17 && read == 0) {
        let sum = if protocol == 17 && sum == 0 { 0xffff } else { sum };
        assert_eq!(read, sum, "transport checksum");
    }
}

pub(super) fn link_local() -> Ipv6Addr {
    OUR_LINK_LOCAL
}
