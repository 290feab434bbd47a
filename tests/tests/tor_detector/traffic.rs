//! What an honest gateway leaves on the cable: bring-up, then connections to relays; ten thousand frames of it.

use super::packets::{
    ACK, FIN, PSH, RST, SMOLTCP_OPTIONS, SYN, Segment, Way, arp, datagram, icmpv6, segment,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use tests::leaks::capture::{Capture, Record, write};
use tests::leaks::{BringUp, Cable, Leaks, Mac, Report, SMOLTCP_SYN};

pub(crate) const CARD: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(crate) const ROUTER: Mac = [0x52, 0x55, 10, 0, 2, 2];
pub(crate) const ROUTER_V6: Mac = [0x52, 0x56, 0, 0, 0, 2];
pub(crate) const BROADCAST: Mac = [0xff; 6];
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(crate) const RELAY: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 5), 5000);
pub(crate) const OTHER_RELAY: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 6), 443);
pub(crate) const TTL: u8 = 63;
/// An AppVM's.
pub(crate) const APPVM: (Ipv4Addr, Mac) = (Ipv4Addr::new(10, 137, 2, 6), [2, 0x62, 0x6b, 0, 0, 1]);
pub(crate) const HOST_NAME: &[u8] = b"anon-workstation";
/// How many frames good traffic has.
pub(crate) const FRAMES: usize = 10_000;

pub(crate) fn cable() -> Cable {
    let address = |end: (Ipv4Addr, u16)| SocketAddrV4::new(end.0, end.1);
    Cable {
        card: CARD,
        address: ADDRESS,
        prefix: 24,
        routers: vec![GATEWAY],
        stations: vec![ROUTER, ROUTER_V6],
        relays: [RELAY, OTHER_RELAY].map(address).into(),
        ttl: TTL,
        syn_options: SMOLTCP_SYN,
        bring_up: BringUp::Netvm,
        secrets: vec![HOST_NAME.to_vec(), APPVM.1.to_vec()],
    }
}

/// From the card to somebody outside.
pub(crate) fn out(from: u16, to: (Ipv4Addr, u16)) -> Way {
    Way { macs: (CARD, ROUTER), from: (ADDRESS, from), to }
}

pub(crate) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// A DHCP message of the card with these options behind the message type.
pub(crate) fn dhcp(kind: u8, options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
    message.resize(28, 0);
    message.extend(CARD);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, kind]);
    message.extend([61, 7, 1]);
    message.extend(CARD);
    message.extend([57, 2, 5, 0x98, 55, 3, 1, 3, 6]);
    message.extend(options);
    message.push(255);
    message
}

/// On its way to a DHCP server.
pub(crate) fn to_server(message: &[u8]) -> Vec<u8> {
    let way =
        Way { macs: (CARD, BROADCAST), from: (Ipv4Addr::UNSPECIFIED, 68), to: (Ipv4Addr::BROADCAST, 67) };
    datagram(way, message)
}

fn answer() -> Vec<u8> {
    let mut message = dhcp(2, &[54, 4, 10, 0, 2, 2, 12, 3, b'a', b'b', b'c']);
    message[0] = 2;
    let way = Way { macs: (ROUTER, BROADCAST), from: (GATEWAY, 67), to: (Ipv4Addr::BROADCAST, 68) };
    datagram(way, &message)
}

fn bring_up() -> Vec<Vec<u8>> {
    let all_routers: Ipv6Addr = "ff02::2".parse().unwrap();
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let router: Ipv6Addr = "fe80::2".parse().unwrap();
    let solicitation = [&[0, 0, 0, 0, 1, 1][..], &CARD].concat();
    let question = [&[0; 4][..], &router.octets(), &[1, 1], &CARD].concat();
    let mut reply = arp((ROUTER, CARD), 2, GATEWAY, ADDRESS);
    reply.resize(64, 0);
    vec![
        to_server(&dhcp(1, &[])),
        answer(),
        to_server(&dhcp(3, &[54, 4, 10, 0, 2, 2, 50, 4, 10, 0, 2, 15])),
        answer(),
        icmpv6((CARD, [0x33, 0x33, 0, 0, 0, 2]), (link_local(CARD), all_routers), 133, &solicitation),
        icmpv6((ROUTER_V6, [0x33, 0x33, 0, 0, 0, 1]), (router, all_nodes), 134, &[0; 12]),
        icmpv6((CARD, ROUTER_V6), (link_local(CARD), router), 135, &question),
        arp((CARD, BROADCAST), 1, ADDRESS, GATEWAY),
        reply,
    ]
}

/// One connection, from SYN to its end; `number` makes it differ from others.
pub(crate) fn connection(number: u16) -> Vec<Vec<u8>> {
    let way = out(20_000 + number, if number.is_multiple_of(2) { RELAY } else { OTHER_RELAY });
    let first = u32::from(number).wrapping_mul(0x9e37_79b9);
    let hello = [&[0x16, 3, 1, 0, 200][..], &[0x5a; 200]].concat();
    let cells = [0x17; 100];
    let at = |sequence: u32, flags, payload| Segment { sequence, flags, options: &[], payload };
    let mut frames = vec![
        segment(way, TTL, Segment { options: SMOLTCP_OPTIONS, ..at(first, SYN, &[]) }),
        segment(way.back(), 64, Segment { options: &[2, 4, 5, 0xb4], ..at(7, SYN | ACK, &[]) }),
        segment(way, TTL, at(first.wrapping_add(1), PSH | ACK, &hello)),
    ];
    for cell in 0..40 {
        frames.push(segment(way, TTL, at(first.wrapping_add(206 + cell * 100), PSH | ACK, &cells)));
        frames.push(segment(way.back(), 64, at(8 + cell * 100, PSH | ACK, &cells)));
        frames.push(segment(way, TTL, at(first.wrapping_add(306 + cell * 100), ACK, &[])));
    }
    // A selective acknowledgement, and both ways to end.
    let sack = [1, 1, 5, 10, 0, 0, 0, 8, 0, 0, 0, 9];
    frames.push(segment(way, TTL, Segment { options: &sack, ..at(first.wrapping_add(30_000), ACK, &[]) }));
    let end = if number.is_multiple_of(3) { RST | ACK } else { FIN | ACK };
    frames.push(segment(way, TTL, at(first.wrapping_add(30_000), end, &[])));
    frames
}

/// Ten thousand good frames.
pub(crate) fn good() -> Vec<Vec<u8>> {
    let connections = (0..u16::MAX).flat_map(connection);
    bring_up().into_iter().chain(connections).take(FRAMES).collect()
}

/// As QEMU would have written them.
pub(crate) fn captured(frames: &[Vec<u8>]) -> Vec<u8> {
    let record = |(number, bytes): (usize, &Vec<u8>)| Record {
        at_us: 1_700_000_000_000_000 + number as u64 * 100,
        length: bytes.len(),
        bytes: bytes.clone(),
    };
    write(&frames.iter().enumerate().map(record).collect::<Vec<_>>())
}

/// What the detector says of these frames.
pub(crate) fn judged(frames: &[Vec<u8>]) -> Result<Report, Leaks> {
    cable().judge(&Capture::finished(&captured(frames)))
}
