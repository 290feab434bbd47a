//! The chain on the host: a client's link, the real firewallvm, a real link, the real netvm, and a card whose cable
//! the test holds. Virtual time, no virtual machine.

use std::net::Ipv4Addr;

use abi::link_device::Role;
use control::{
    codec,
    message::{Client, FromDomain, ToFirewall},
};
use firewallvm::{Firewall, Next, state::Setup};
use link::{Csum, Geometry, Gso, GsoKind, Kind, Link, MAX_PAYLOAD, Meta, host, host::CountBell};
use netvm::{
    Netvm, Progress,
    fake::{Cable, Card},
};
use pnet_packet::{
    MutablePacket, Packet,
    arp::{ArpPacket, MutableArpPacket},
    ethernet::{EtherType, EtherTypes, EthernetPacket, MutableEthernetPacket},
    ip::{IpNextHeaderProtocol, IpNextHeaderProtocols},
    ipv4::{self, Ipv4Packet, MutableIpv4Packet},
    tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket},
    udp::{self, MutableUdpPacket, UdpPacket},
};

use rules_program::{
    assemble,
    policy::{Action, Direction, Policy, Rule},
};

const CARD: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_MAC: [u8; 6] = [2, 0x62, 0x6B, 0, 0, 1];
const FIREWALL_MAC: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 6);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 5);
const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

struct Chain {
    cable: Cable,
    netvm: Netvm<Card<Cable>, CountBell>,
    firewall: Firewall<CountBell>,
    client: Link<CountBell>,
    dom0: Link<CountBell>,
    epoch: u64,
    now_us: u64,
    /// IPv4 packets that left on the cable.
    out: Vec<Vec<u8>>,
}

impl Chain {
    /// Everything attached, one client described, the address acquired.
    fn new() -> Self {
        let setup = Setup { v4_flows: 256, v6_flows: 64, seed: [7; 64] };
        let mut firewall = Firewall::new(&setup).unwrap();
        let (near, dom0) = host::pair(Geometry::DEFAULT, 1).unwrap();
        firewall.attach(0, Role::Dom0, near);
        let (near, client) = host::pair(Geometry::DEFAULT, 1).unwrap();
        firewall.attach(2, Role::Downstream, near);
        let cable = Cable::default();
        let netvm = Netvm::new(Card { mac: CARD, wire: cable.clone() }, 1).unwrap();
        let mut chain = Self { cable, netvm, firewall, client, dom0, epoch: 1, now_us: 1, out: Vec::new() };
        chain.connect();
        chain.describe();
        chain.pass(2_000_000);
        assert_eq!(chain.netvm.uplink().v4.as_ref().map(|v4| v4.address), Some(UPLINK));
        chain.out.clear();
        chain
    }

    /// A fresh link between the two domains.
    fn connect(&mut self) {
        self.epoch += 1;
        let (a, b) = host::pair(Geometry::DEFAULT, self.epoch).unwrap();
        self.firewall.detach(1);
        self.firewall.attach(1, Role::Upstream, a);
        self.netvm.attach_firewall(1, b);
    }

    /// netvm is killed; another one takes its place.
    fn replace_netvm(&mut self) {
        self.netvm = Netvm::new(Card { mac: CARD, wire: self.cable.clone() }, 2).unwrap();
        self.connect();
    }

    fn describe(&mut self) {
        let client = Client {
            name: "work".try_into().unwrap(),
            mac: CLIENT_MAC,
            v4: CLIENT,
            v4_gateway: GATEWAY,
            v4_prefix: 30,
            v6_prefix: None,
            mtu: 1500,
        };
        let rule = Rule::any(Direction::Outward, Action::Accept);
        let program = assemble(&Policy { rules: vec![rule], ..Policy::default() }).unwrap();
        let client = ToFirewall::Client { port: 2, client };
        for message in std::iter::once(client).chain(ToFirewall::rules(2, 1, &program)) {
            let mut buffer = [0; codec::MAX_LEN];
            let bytes = codec::encode(&message, &mut buffer).unwrap();
            self.dom0.send(&Meta::MESSAGE, &[bytes]).unwrap();
        }
        self.dom0.publish();
    }

    /// Runs both domains until both sleep.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let netvm = self.netvm.step(self.now_us).unwrap();
            let firewall = self.firewall.poll(self.now_us);
            let carried = self.carry();
            // A busy firewall lingers before it sleeps; time has to move for that.
            self.now_us += 1;
            if !carried && matches!(netvm, Progress::Idle { .. }) && matches!(firewall, Next::Idle { .. }) {
                return;
            }
        }
        panic!("the chain never sleeps");
    }

    fn pass(&mut self, us: u64) {
        for _ in 0..us / 100_000 {
            self.settle();
            self.now_us += 100_000;
        }
        self.settle();
    }

    /// The segment: a router that answers ARP and DHCP.
    fn carry(&mut self) -> bool {
        let mut carried = false;
        while let Some(frame) = self.cable.receive() {
            carried = true;
            let packet = EthernetPacket::new(&frame).unwrap();
            assert_eq!(packet.get_source().octets(), CARD, "no other station is behind the card");
            let answer = match packet.get_ethertype() {
                EtherTypes::Arp => arp_answer(packet.payload()),
                EtherTypes::Ipv4 => dhcp_answer(packet.payload()),
                _ => None,
            };
            match answer {
                Some(answer) => self.cable.send(answer),
                None if packet.get_ethertype() == EtherTypes::Ipv4 => {
                    assert_eq!(packet.get_destination().octets(), ROUTER_MAC);
                    self.out.push(packet.payload().to_vec());
                }
                None => {}
            }
        }
        carried
    }

    fn client_sends(&mut self, packet: &[u8], meta: Meta) {
        let frame = ethernet(FIREWALL_MAC, CLIENT_MAC, EtherTypes::Ipv4, packet);
        self.client.send(&meta, &[&frame]).unwrap();
        self.client.publish();
        self.settle();
    }

    fn network_sends(&mut self, packet: &[u8]) {
        let frame = ethernet(CARD, ROUTER_MAC, EtherTypes::Ipv4, packet);
        self.cable.send(frame);
        self.settle();
    }

    /// IPv4 packets that reached the client.
    fn at_client(&mut self) -> Vec<Vec<u8>> {
        let (mut packets, mut buffer) = (Vec::new(), vec![0; MAX_PAYLOAD]);
        while let Some((meta, len)) = self.client.recv(&mut buffer).unwrap() {
            assert_eq!(meta.kind, Kind::Frame);
            let frame = EthernetPacket::new(&buffer[..len]).unwrap();
            if frame.get_ethertype() == EtherTypes::Ipv4 {
                assert_eq!(frame.get_destination().octets(), CLIENT_MAC);
                packets.push(frame.payload().to_vec());
            }
        }
        self.client.release();
        packets
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: EtherType, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + body.len()];
    let mut packet = MutableEthernetPacket::new(&mut frame).unwrap();
    packet.set_destination(to.into());
    packet.set_source(from.into());
    packet.set_ethertype(kind);
    packet.set_payload(body);
    frame
}

fn ip(from: Ipv4Addr, to: Ipv4Addr, next: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 20 + payload.len()];
    let len = u16::try_from(body.len()).unwrap();
    let mut packet = MutableIpv4Packet::new(&mut body).unwrap();
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(len);
    packet.set_ttl(64);
    packet.set_next_level_protocol(next);
    packet.set_source(from);
    packet.set_destination(to);
    packet.set_payload(payload);
    let sum = ipv4::checksum(&packet.to_immutable());
    packet.set_checksum(sum);
    body
}

fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let mut packet = MutableUdpPacket::new(&mut bytes).unwrap();
    packet.set_source(from.1);
    packet.set_destination(to.1);
    packet.set_length(u16::try_from(8 + payload.len()).unwrap());
    packet.payload_mut().copy_from_slice(payload);
    let sum = udp::ipv4_checksum(&packet.to_immutable(), &from.0, &to.0);
    packet.set_checksum(sum);
    ip(from.0, to.0, IpNextHeaderProtocols::Udp, &bytes)
}

/// A TCP segment: flags, sequence and acknowledgement numbers, payload.
fn segment(
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    (flags, sequence, acknowledgement): (u8, u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; 20 + payload.len()];
    let mut packet = MutableTcpPacket::new(&mut bytes).unwrap();
    packet.set_source(from.1);
    packet.set_destination(to.1);
    packet.set_sequence(sequence);
    packet.set_acknowledgement(acknowledgement);
    packet.set_data_offset(5);
    packet.set_flags(flags);
    packet.set_window(0xFFFF);
    packet.set_payload(payload);
    let sum = tcp::ipv4_checksum(&packet.to_immutable(), &from.0, &to.0);
    packet.set_checksum(sum);
    ip(from.0, to.0, IpNextHeaderProtocols::Tcp, &bytes)
}

fn arp_answer(body: &[u8]) -> Option<Vec<u8>> {
    let asked = ArpPacket::new(body)?;
    if asked.get_target_proto_addr() != ROUTER {
        return None;
    }
    let mut body = body.to_vec();
    let mut answer = MutableArpPacket::new(&mut body)?;
    answer.set_operation(pnet_packet::arp::ArpOperations::Reply);
    answer.set_sender_hw_addr(ROUTER_MAC.into());
    answer.set_sender_proto_addr(ROUTER);
    answer.set_target_hw_addr(asked.get_sender_hw_addr());
    answer.set_target_proto_addr(asked.get_sender_proto_addr());
    Some(ethernet(CARD, ROUTER_MAC, EtherTypes::Arp, &body))
}

fn dhcp_answer(packet: &[u8]) -> Option<Vec<u8>> {
    let packet = Ipv4Packet::new(packet)?;
    let asked = UdpPacket::new(packet.payload()).filter(|udp| udp.get_destination() == 67)?;
    let question = asked.payload();
    let kind = question[240..].windows(3).find(|option| option[..2] == [53, 1])?[2];
    let mut body = vec![0; 240];
    body[..4].copy_from_slice(&[2, 1, 6, 0]);
    body[4..8].copy_from_slice(&question[4..8]);
    body[16..20].copy_from_slice(&UPLINK.octets());
    body[28..34].copy_from_slice(&CARD);
    body[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    body.extend([53, 1, if kind == 1 { 2 } else { 5 }, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 14, 16]);
    body.extend([1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 6, 4, 192, 0, 2, 53, 255]);
    let reply = datagram((ROUTER, 67), (Ipv4Addr::BROADCAST, 68), &body);
    Some(ethernet([0xFF; 6], ROUTER_MAC, EtherTypes::Ipv4, &reply))
}

/// Source, destination and source port of a packet on the cable, its checksums verified.
fn udp_parts(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr, u16, Vec<u8>) {
    let ip = Ipv4Packet::new(packet).unwrap();
    assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
    let udp = UdpPacket::new(ip.payload()).unwrap();
    assert_eq!(udp.get_checksum(), udp::ipv4_checksum(&udp, &ip.get_source(), &ip.get_destination()));
    (ip.get_source(), ip.get_destination(), udp.get_source(), udp.payload().to_vec())
}

#[test]
fn a_question_goes_out_from_the_uplink_and_its_answer_comes_back() {
    let mut chain = Chain::new();
    chain.client_sends(&datagram((CLIENT, 5000), (FAR, 53), b"question"), Meta::default());
    assert_eq!(chain.out.len(), 1);
    let (source, destination, port, payload) = udp_parts(&chain.out[0]);
    assert_eq!((source, destination, payload), (UPLINK, FAR, b"question".to_vec()));
    chain.network_sends(&datagram((FAR, 53), (UPLINK, port), b"answer"));
    let got = chain.at_client();
    let (source, destination, _, payload) = udp_parts(&got[0]);
    assert_eq!((source, destination, payload), (FAR, CLIENT, b"answer".to_vec()));
    chain.network_sends(&datagram((FAR, 53), (UPLINK, port.wrapping_add(1)), b"unasked"));
    chain.network_sends(&datagram((FAR, 54), (UPLINK, port), b"unasked"));
    assert_eq!(chain.at_client().len(), 0);
}

#[test]
fn a_connection_goes_on_when_netvm_is_replaced() {
    let mut chain = Chain::new();
    chain.client_sends(&datagram((CLIENT, 5000), (FAR, 53), b"before"), Meta::default());
    let (_, _, port, _) = udp_parts(&chain.out[0]);
    for round in 0..3 {
        chain.replace_netvm();
        chain.pass(1_000_000);
        chain.network_sends(&datagram((FAR, 53), (UPLINK, port), b"after"));
        assert_eq!(chain.at_client().len(), 1, "round {round}");
        chain.out.clear();
        chain.client_sends(&datagram((CLIENT, 5000), (FAR, 53), b"again"), Meta::default());
        assert_eq!(udp_parts(&chain.out[0]).2, port, "round {round}");
    }
}

#[test]
fn sixty_kilobytes_of_tcp_cross_as_one_frame_and_leave_as_segments() {
    let mut chain = Chain::new();
    let (us, them) = ((CLIENT, 6000), (FAR, 443));
    chain.client_sends(&segment(us, them, (TcpFlags::SYN, 1000, 0), b""), Meta::default());
    let syn = Ipv4Packet::new(&chain.out[0]).unwrap();
    let port = TcpPacket::new(syn.payload()).unwrap().get_source();
    let answer = segment(them, (UPLINK, port), (TcpFlags::SYN | TcpFlags::ACK, 9000, 1001), b"");
    chain.network_sends(&answer);
    assert_eq!(chain.at_client().len(), 1);
    chain.client_sends(&segment(us, them, (TcpFlags::ACK, 1001, 9001), b""), Meta::default());
    chain.out.clear();
    let payload: Vec<u8> = (0..60_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let mut packet = segment(us, them, (TcpFlags::ACK | TcpFlags::PSH, 1001, 9001), &payload);
    let partial = packet::checksum::pseudo_v4(CLIENT, FAR, 6, 60_020).fold();
    packet[36..38].copy_from_slice(&partial.to_be_bytes());
    let gso = Some(Gso { kind: GsoKind::Tcp4, size: 1460, header_len: 54 });
    let meta = Meta { csum: Csum::Partial { start: 34, offset: 16 }, gso, ..Meta::default() };
    chain.client_sends(&packet, meta);
    assert_eq!(chain.out.len(), 60_000_usize.div_ceil(1460));
    let mut got = Vec::new();
    for packet in &chain.out {
        let ip = Ipv4Packet::new(packet).unwrap();
        assert_eq!((ip.get_source(), ip.get_checksum()), (UPLINK, ipv4::checksum(&ip)));
        let tcp = TcpPacket::new(ip.payload()).unwrap();
        assert_eq!(tcp.get_checksum(), tcp::ipv4_checksum(&tcp, &UPLINK, &FAR));
        assert_eq!(usize::try_from(tcp.get_sequence() - 1001).unwrap(), got.len());
        got.extend_from_slice(tcp.payload());
    }
    assert_eq!(got, payload);
}

#[test]
fn a_busy_chain_rings_few_doorbells() {
    let mut chain = Chain::new();
    let packet = datagram((CLIENT, 5000), (FAR, 53), &[0; 100]);
    let frame = ethernet(FIREWALL_MAC, CLIENT_MAC, EtherTypes::Ipv4, &packet);
    chain.client_sends(&packet, Meta::default());
    chain.out.clear();
    let before = chain.client.counters().rings;
    for _ in 0..100 {
        for _ in 0..64 {
            chain.client.send(&Meta::default(), &[&frame]).unwrap();
        }
        chain.client.publish();
        // Two rounds: a domain may take less than this in one.
        for _ in 0..2 {
            let _ = chain.firewall.poll(chain.now_us);
            chain.netvm.step(chain.now_us).unwrap();
            chain.carry();
            chain.now_us += 1;
        }
    }
    chain.settle();
    assert_eq!(chain.out.len(), 6400);
    let rings = chain.client.counters().rings - before;
    assert!(rings <= 6400 / 256, "{rings} doorbells for 6400 packets");
}

#[test]
fn both_domains_say_hello() {
    let mut chain = Chain::new();
    let mut buffer = [0; codec::MAX_LEN];
    let (_, len) = chain.dom0.recv(&mut buffer).unwrap().unwrap();
    let hello: FromDomain = codec::decode(&buffer[..len]).unwrap();
    assert!(matches!(hello, FromDomain::Hello { kind, .. } if kind == "firewallvm"));
}
