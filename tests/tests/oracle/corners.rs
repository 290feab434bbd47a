//! Where packets come from: the corners of every field.

use crate::oracle::{
    cases::{Body, Extension, Lie, Shape, Spec},
    odd::Odd,
    pieces,
    policies::NETS,
};
use ipnet::IpNet;
use proptest::{prelude::*, sample::select};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn ext(number: u8, bytes: &'static [u8], odd: Odd) -> Extension {
    Extension { number, bytes, odd }
}

/// Headers of every kind that RFC 8200 and its successors know, and one that nobody does.
const EXTENSIONS: &[Extension] = &[
    ext(0, &[0, 0, 1, 4, 0, 0, 0, 0], Odd::OptionsHeader),
    ext(0, &[0, 0, 5, 2, 0, 0, 1, 0], Odd::OptionsHeader),
    ext(0, &[0, 0, 0xC2, 4, 0, 1, 0, 0], Odd::Jumbo),
    ext(60, &[0, 0, 1, 4, 0, 0, 0, 0], Odd::OptionsHeader),
    ext(60, &[0, 1, 0x1E, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Odd::OptionsHeader),
    ext(0, &[0, 0, 0x9E, 4, 0, 0, 0, 0], Odd::DiscardOption),
    ext(
        43,
        &[0, 2, 0, 1, 0, 0, 0, 0, 0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        Odd::RoutingHeader,
    ),
    ext(43, &[0, 0, 0, 0, 0, 0, 0, 0], Odd::RoutingHeader),
    ext(
        43,
        &[0, 2, 2, 1, 0, 0, 0, 0, 0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        Odd::RoutingHeader,
    ),
    ext(
        43,
        &[0, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        Odd::RoutingHeader,
    ),
    ext(44, &[0, 0, 0, 0, 0xA5, 0xA5, 0, 1], Odd::Atomic),
    ext(51, &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Odd::Protocol),
    ext(135, &[0, 0, 5, 0, 0, 0, 0, 0], Odd::Protocol),
    ext(253, &[0, 0, 0, 0, 0, 0, 0, 0], Odd::Protocol),
];

/// No operation and end; record route; timestamp; loose and strict source route; router alert; one too long.
const OPTIONS: &[&[u8]] = &[
    &[1, 1, 1, 0],
    &[7, 7, 4, 0, 0, 0, 0, 0],
    &[68, 8, 5, 0, 0, 0, 0, 0],
    &[131, 7, 4, 8, 8, 8, 8, 0],
    &[137, 7, 4, 8, 8, 8, 8, 0],
    &[148, 4, 0, 0],
    &[7, 200, 4, 0],
];

/// The first and the last address of every network that rules name, those beside them, and some of each special kind.
fn addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for net in NETS {
        match net.parse().unwrap() {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let four = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                all.extend(four.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
            }
            IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let four = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                all.extend(four.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
            }
        }
    }
    let more = [
        "9.9.9.9",
        "198.51.100.77",
        "198.51.100.130",
        "10.139.1.1",
        "10.139.1.2",
        "2001:db8:ffff:1::1",
        "2a00::1",
        "192.168.7.1",
    ];
    all.extend(more.map(|text| text.parse::<IpAddr>().unwrap()));
    all
}

/// What is not to be forwarded to.
const SPECIAL: [&str; 18] = [
    "0.0.0.1",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.251",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "192.168.7.20",
    "10.137.255.77",
    "::1",
    "::ffff:8.8.8.8",
    "fe80::77",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8:7::20",
    "fd09:24ef:4179:ffff::1",
    "::8.8.8.8",
];

const PORTS: [u16; 16] = [0, 1, 52, 53, 54, 79, 80, 81, 443, 1023, 1024, 7999, 8000, 8101, 40_000, 65_535];

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => select(&PORTS[1..]), 2 => 1024..=65_535u16]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        8 => (port(), port()).prop_map(|(s, d)| Body::Udp(s, d)),
        8 => (port(), port()).prop_map(|(s, d)| Body::Tcp(s, d, 2)),
        4 => Just(Body::Icmp(0, 0)),
    ]
}

fn odd_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (select(&[0u16, 1][..]), select(&[0u16, 80][..])).prop_map(|(s, d)| Body::Udp(s, d)),
        (select(&[0u16, 1][..]), select(&[0u16, 80][..])).prop_map(|(s, d)| Body::Tcp(s, d, 2)),
        (port(), port(), 0..64u8).prop_map(|(s, d, flags)| Body::Tcp(s, d, flags)),
        (any::<u8>(), 0..2u8).prop_map(|(kind, code)| Body::Icmp(kind, code)),
        select(&[0, 2, 4, 33, 41, 47, 50, 58, 59, 89, 103, 132, 136, 253, 255][..]).prop_map(Body::Other),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        select(&[-5, -1, 1, 10][..]).prop_map(Lie::HeaderLength),
        select(&[-60i16, -8, -1, 1, 8, 1000][..]).prop_map(Lie::Length),
        select(&[0, 4, 5, 6, 15][..]).prop_map(Lie::Version),
        Just(Lie::IpChecksum),
        Just(Lie::TransportChecksum),
        Just(Lie::NoChecksum),
        select(&[-64i16, -8, -1, 1, 8][..]).prop_map(Lie::UdpLength),
        select(&[0, 4, 15][..]).prop_map(Lie::TcpHeader),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let chain = proptest::collection::vec(select(EXTENSIONS), 1..4);
    let sources = [
        "10.137.0.1",
        "8.8.8.8",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "192.168.7.20",
        "2001:db8::1",
        "::1",
        "fd09:24ef:4179:eeee::1",
        "ff02::1",
    ];
    prop_oneof![
        2 => select(OPTIONS).prop_map(Shape::Options),
        6 => chain.prop_map(Shape::Chain),
        6 => pieces::cut().prop_map(Shape::Pieces),
        1 => Just(Shape::Long),
        1 => Just(Shape::Divisible),
        4 => lie().prop_map(Shape::Lie),
        1 => select(sources.to_vec()).prop_map(|text| Shape::Spoofed(text.parse().unwrap())),
    ]
}

/// An ordinary first packet.
pub(crate) fn plain() -> impl Strategy<Value = Spec> {
    (select(addresses()), body(), select(&[2, 64, 255][..])).prop_map(|(remote, body, hops)| Spec {
        remote,
        body,
        hops,
        shape: Shape::Whole,
    })
}

/// A packet that is odd in one way, or in a few.
pub(crate) fn odd() -> impl Strategy<Value = Spec> {
    let special = select(&SPECIAL[..]).prop_map(|text| text.parse::<IpAddr>().unwrap());
    let part = prop_oneof![
        2 => special.prop_map(Part::Remote),
        3 => odd_body().prop_map(|body| Part::Body(body, Shape::Whole)),
        1 => select(&[0u8, 1][..]).prop_map(Part::Hops),
        8 => shape().prop_map(Part::Shape),
        1 => (odd_body(), shape()).prop_map(|(body, shape)| Part::Body(body, shape)),
    ];
    (plain(), part).prop_map(|(spec, part)| match part {
        Part::Remote(remote) => Spec { remote, ..spec },
        Part::Body(body, shape) => Spec { body, shape, ..spec },
        Part::Hops(hops) => Spec { hops, ..spec },
        Part::Shape(shape) => Spec { shape, ..spec },
    })
}

/// What is changed of an ordinary packet.
#[derive(Clone, Debug)]
enum Part {
    Remote(IpAddr),
    Body(Body, Shape),
    Hops(u8),
    Shape(Shape),
}
