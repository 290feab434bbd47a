//! Packets, each marked so that it is known again in what comes out.

use crate::oracle::{
    odd::Odd,
    outcome::Tag,
    pieces::Cut,
    wire::{Ends, ICMP, ICMPV6, TCP, UDP, V4, V6},
};
use rules_program::question::Transport;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Bytes of data behind a transport header.
const DATA: usize = 56;
/// The same of a packet that is too long for the uplink, whose MTU is 1400.
const LONG: usize = 1420;

/// The virtual name servers.
pub(crate) const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 139, 1, 1), Ipv4Addr::new(10, 139, 1, 2)];

/// A client's addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Client {
    /// The one behind the peer's tap.
    pub(crate) const PEER: Self = Self {
        v4: Ipv4Addr::new(10, 137, 200, 6),
        v6: Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0xff00, 0, 0, 0, 0x66),
    };

    /// The client of this number.
    pub(crate) fn number(n: u16) -> Self {
        let v4 = Ipv4Addr::from_bits(0x0A89_0002 + 4 * u32::from(n + 1));
        Self { v4, v6: Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, n + 1, 0, 0, 0, 0x66) }
    }
}

/// Transport protocol and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    Udp(u16, u16),
    /// Ports, flags.
    Tcp(u16, u16, u8),
    /// Type, code.
    Icmp(u8, u8),
    /// Any protocol with nothing that could be its header.
    Other(u8),
}

/// What else is particular.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Whole,
    /// IPv4 options.
    Options(&'static [u8]),
    /// IPv6 extension headers: number and bytes.
    Chain(Vec<Extension>),
    Pieces(Cut),
    /// Longer than the uplink takes, and not to be cut.
    Long,
    /// Longer than the uplink takes; IPv4 routers may cut it.
    Divisible,
    Lie(Lie),
    Spoofed(IpAddr),
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension {
    pub number: u8,
    pub bytes: &'static [u8],
    pub odd: Odd,
}

/// A field that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    HeaderLength(i8),
    Length(i16),
    Version(u8),
    IpChecksum,
    TransportChecksum,
    /// A checksum of 0.
    NoChecksum,
    /// Added to the length that a UDP header says.
    UdpLength(i16),
    /// TCP's header length in words.
    TcpHeader(u8),
}

/// A packet before it has an address to come from.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub remote: IpAddr,
    pub body: Body,
    pub hops: u8,
    pub shape: Shape,
}

/// What an ordinary first packet asks the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    pub remote: IpAddr,
    pub transport: Transport,
}

/// A packet, or the fragments of one.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub tag: Tag,
    pub spec: Spec,
    pub frames: Vec<Vec<u8>>,
    pub odd: BTreeSet<Odd>,
    /// What rules may ask of it, if it is of a protocol that they know.
    pub transport: Option<Transport>,
    /// What it asks the rules, if nothing that matters is odd.
    pub plain: Option<Plain>,
}

impl Spec {
    /// The packet as this client sends it; `None` when it makes no sense: parts of different families.
    pub(crate) fn build(self, tag: Tag, client: &Client) -> Option<Case> {
        let mut source = if self.remote.is_ipv4() { IpAddr::V4(client.v4) } else { IpAddr::V6(client.v6) };
        if let Shape::Spoofed(other) = self.shape {
            source = other;
        }
        if source.is_ipv4() != self.remote.is_ipv4() {
            return None;
        }
        let ends = Ends { source, destination: self.remote };
        let (protocol, payload) = self.payload(ends, tag)?;
        let frames = match (source, self.remote) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.v4(source, destination, tag, (protocol, &payload))?
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.v6(source, destination, tag, (protocol, &payload))?
            }
            _ => return None,
        };
        let odd = self.odd();
        let transport = match self.body {
            Body::Udp(source, destination) => Some(Transport::Udp { source, destination }),
            Body::Tcp(source, destination, _) => Some(Transport::Tcp { source, destination }),
            Body::Icmp(..) if source.is_ipv4() => Some(Transport::Icmp { kind: 8 }),
            Body::Icmp(..) => Some(Transport::Icmpv6 { kind: 128 }),
            Body::Other(_) => None,
        };
        let plain = transport
            .filter(|_| odd.iter().all(|it| it.is_harmless()))
            .map(|transport| Plain { remote: self.remote, transport });
        Some(Case { tag, spec: self, frames, odd, transport, plain })
    }

    fn payload(&self, ends: Ends, tag: Tag) -> Option<(u8, Vec<u8>)> {
        let data = tag.data(if matches!(self.shape, Shape::Long | Shape::Divisible) { LONG } else { DATA });
        let lie = if let Shape::Lie(lie) = self.shape { Some(lie) } else { None };
        let (protocol, mut bytes, sum_at) = match self.body {
            Body::Udp(s, d) => (UDP, ends.udp((s, d), &data), 6),
            Body::Tcp(s, d, flags) => (TCP, ends.tcp((s, d), flags, &data), 16),
            Body::Icmp(..) => {
                let (kind, code) = self.icmp()?;
                let identifier = u16::try_from(tag.0 & 0xFFFF).ok()?;
                let protocol = if ends.source.is_ipv4() { ICMP } else { ICMPV6 };
                (protocol, ends.icmp((kind, code), identifier, &data), 2)
            }
            Body::Other(protocol) => (protocol, data, 0),
        };
        match (lie, protocol) {
            (Some(Lie::TransportChecksum), TCP | UDP | ICMP | ICMPV6) => bytes[sum_at] ^= 0x55,
            (Some(Lie::NoChecksum), UDP) => bytes[6..8].fill(0),
            (Some(Lie::UdpLength(off)), UDP) => {
                let len = i16::try_from(bytes.len()).ok()? + off;
                bytes[4..6].copy_from_slice(&len.to_be_bytes());
            }
            (Some(Lie::TcpHeader(words)), TCP) => bytes[12] = words << 4,
            (Some(Lie::TransportChecksum | Lie::NoChecksum | Lie::UdpLength(_) | Lie::TcpHeader(_)), _) => {
                return None;
            }
            _ => {}
        }
        Some((protocol, bytes))
    }

    /// Type and code; an ordinary one is the echo request of the family.
    fn icmp(&self) -> Option<(u8, u8)> {
        match self.body {
            Body::Icmp(0, 0) => Some((if self.remote.is_ipv4() { 8 } else { 128 }, 0)),
            Body::Icmp(kind, code) => Some((kind, code)),
            _ => None,
        }
    }

    fn v4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        tag: Tag,
        (protocol, payload): (u8, &[u8]),
    ) -> Option<Vec<Vec<u8>>> {
        let identification = u16::try_from(tag.0 & 0xFFFF).ok()?;
        let mut ip = V4 {
            source,
            destination,
            ttl: self.hops,
            protocol,
            identification,
            fragment: 0,
            options: vec![],
            ihl_off: 0,
            length_off: 0,
            checksum_off: 0,
        };
        match &self.shape {
            Shape::Options(options) => ip.options = options.to_vec(),
            Shape::Chain(_) => return None,
            Shape::Pieces(cut) => {
                let pieces = cut.pieces(payload)?;
                return Some(pieces.iter().map(|piece| piece.v4(&ip)).collect());
            }
            Shape::Lie(Lie::HeaderLength(off)) => ip.ihl_off = *off,
            Shape::Lie(Lie::Length(off)) => ip.length_off = *off,
            Shape::Lie(Lie::IpChecksum) => ip.checksum_off = 0x101,
            Shape::Lie(Lie::Version(_)) => return None,
            Shape::Long => ip.fragment = 0x4000,
            Shape::Divisible | Shape::Whole | Shape::Spoofed(_) | Shape::Lie(_) => {}
        }
        Some(vec![ip.frame(payload)])
    }

    fn v6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        tag: Tag,
        (protocol, payload): (u8, &[u8]),
    ) -> Option<Vec<Vec<u8>>> {
        let (hop_limit, chain) = (self.hops, vec![]);
        let mut ip = V6 { source, destination, hop_limit, chain, protocol, length_off: 0, version: 6 };
        match &self.shape {
            Shape::Options(_) | Shape::Divisible | Shape::Lie(Lie::HeaderLength(_) | Lie::IpChecksum) => {
                return None;
            }
            Shape::Chain(chain) => ip.chain = chain.iter().map(|e| (e.number, e.bytes.to_vec())).collect(),
            Shape::Pieces(cut) => {
                let pieces = cut.pieces(payload)?;
                return Some(pieces.iter().map(|piece| piece.v6(&ip, tag.0)).collect());
            }
            Shape::Lie(Lie::Length(off)) => ip.length_off = *off,
            Shape::Lie(Lie::Version(6)) => return None,
            Shape::Lie(Lie::Version(version)) => ip.version = *version,
            Shape::Long | Shape::Whole | Shape::Spoofed(_) | Shape::Lie(_) => {}
        }
        Some(vec![ip.frame(payload)])
    }

    /// What tells its connection apart from the others of one client.
    pub(crate) fn connection(&self) -> Option<(IpAddr, Body)> {
        match self.body {
            Body::Udp(s, d) => Some((self.remote, Body::Udp(s, d))),
            Body::Tcp(s, d, _) => Some((self.remote, Body::Tcp(s, d, 0))),
            Body::Icmp(..) | Body::Other(_) => None,
        }
    }

    /// What is odd about it.
    pub(crate) fn odd(&self) -> BTreeSet<Odd> {
        let mut odd = BTreeSet::new();
        let mut note = |it: Odd, is: bool| {
            if is {
                odd.insert(it);
            }
        };
        note(Odd::NoHop, self.hops <= 1);
        let (destination, inside, ours) = class(self.remote);
        note(Odd::Destination, destination);
        note(Odd::Inside, inside);
        note(Odd::Ours, ours);
        let dns = matches!(self.body, Body::Udp(_, 53) | Body::Tcp(_, 53, _));
        note(Odd::NotDns, SERVERS.iter().any(|server| self.remote == *server) && !dns);
        match self.body {
            Body::Udp(s, d) => note(Odd::PortZero, s == 0 || d == 0),
            Body::Tcp(s, d, flags) => {
                note(Odd::PortZero, s == 0 || d == 0);
                note(Odd::NotSyn, flags != 2);
            }
            Body::Icmp(..) => {
                let echo = if self.remote.is_ipv4() { (8, 0) } else { (128, 0) };
                note(Odd::NotEcho, self.icmp() != Some(echo));
            }
            Body::Other(_) => note(Odd::Protocol, true),
        }
        match &self.shape {
            Shape::Whole | Shape::Divisible => {}
            Shape::Long => note(Odd::TooLong, true),
            Shape::Options(_) => note(Odd::Options, true),
            Shape::Spoofed(_) => note(Odd::Spoofed, true),
            Shape::Chain(chain) => {
                chain.iter().for_each(|extension| note(extension.odd, true));
                let late = chain.iter().skip(1).any(|extension| extension.number == 0);
                let count = |number| chain.iter().filter(|extension| extension.number == number).count();
                note(Odd::HeaderOrder, late || count(60) > 2 || count(44) > 1);
            }
            Shape::Pieces(cut) => cut.odd(self.body).into_iter().for_each(|it| note(it, true)),
            Shape::Lie(Lie::NoChecksum) if self.remote.is_ipv4() => {}
            Shape::Lie(lie) => note(lie.odd(self.remote), true),
        }
        odd
    }
}

impl Lie {
    const fn odd(self, remote: IpAddr) -> Odd {
        match self {
            Self::HeaderLength(_) | Self::Version(_) => Odd::Header,
            Self::Length(1..) => Odd::LongerThanFrame,
            Self::Length(_) => Odd::CutByLength,
            Self::IpChecksum => Odd::IpChecksum,
            Self::NoChecksum if remote.is_ipv6() => Odd::NoChecksum6,
            Self::TransportChecksum | Self::NoChecksum => Odd::TransportChecksum,
            // A header of 60 bytes fits; only the checksum does not.
            Self::TcpHeader(15) => Odd::TransportChecksum,
            Self::UdpLength(_) | Self::TcpHeader(_) => Odd::TransportLength,
        }
    }
}

/// Whether an address is not to be forwarded to, inside, or the router's.
fn class(address: IpAddr) -> (bool, bool, bool) {
    match address {
        IpAddr::V4(a) => {
            let o = a.octets();
            let bad = o[0] == 0 || o[0] == 127 || o[0] >= 224 || (o[0] == 169 && o[1] == 254);
            (
                bad,
                o[0] == 10 && (o[1] == 137 || (o[1] == 139 && o[2] == 1 && !SERVERS.contains(&a))),
                a == Ipv4Addr::new(192, 168, 7, 20),
            )
        }
        IpAddr::V6(a) => {
            let s = a.segments();
            let bad = matches!(s, [0, 0, 0, 0, 0, 0 | 0xffff, ..]) || s[0] >= 0xfe80;
            (bad, s[..3] == [0xfd09, 0x24ef, 0x4179], a == "2001:db8:7::20".parse::<Ipv6Addr>().unwrap())
        }
    }
}
