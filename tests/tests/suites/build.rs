//! Packets, written field by field; checksums by an implementation that is not the firewall's.

use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::util;
use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// Source and destination, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
}

impl Path {
    pub(crate) fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }

    /// Protocol number of ICMP.
    pub(crate) fn icmp(self) -> u8 {
        if self.from.is_ipv4() { 1 } else { 58 }
    }

    /// Type numbers of echo request and reply.
    pub(crate) fn echo(self) -> [u8; 2] {
        if self.from.is_ipv4() { [8, 0] } else { [128, 129] }
    }

    /// An IP packet with the hop limit 64.
    pub(crate) fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.from, self.to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.four(&Four { protocol, ..Four::default() }, payload),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let len = u16::try_from(payload.len()).expect("a short payload").to_be_bytes();
                let head = [0x60, 0, 0, 0, len[0], len[1], protocol, 64];
                [&head[..], &from.octets(), &to.octets(), payload].concat()
            }
            _ => panic!("two families"),
        }
    }

    /// An IPv4 packet with these fields.
    pub(crate) fn four(self, fields: &Four, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from, self.to) else { panic!("not IPv4") };
        assert!(fields.options.len().is_multiple_of(4), "options are padded");
        let header = 20 + fields.options.len();
        let len = u16::try_from(header + payload.len()).expect("a short payload").to_be_bytes();
        let offset = u16::try_from(fields.offset / 8).expect("in range") | u16::from(fields.more) << 13;
        let [o0, o1] = (offset | u16::from(fields.whole_only) << 14).to_be_bytes();
        let [i0, i1] = fields.id.to_be_bytes();
        let first = 0x40 | u8::try_from(header / 4).expect("short options");
        let mut packet = [
            &[first, 0, len[0], len[1], i0, i1, o0, o1, fields.ttl, fields.protocol, 0, 0],
            &from.octets()[..],
        ]
        .concat();
        packet.extend(to.octets());
        packet.extend(&fields.options);
        let sum = util::checksum(&packet, 5).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        packet.extend(payload);
        packet
    }

    /// One fragment of a datagram: its position in bytes, whether more follow, its bytes.
    pub(crate) fn fragment(self, protocol: u8, id: u16, (at, more, bytes): (usize, bool, &[u8])) -> Vec<u8> {
        if self.from.is_ipv4() {
            let fields = Four { protocol, id, offset: at, more, ..Four::default() };
            return self.four(&fields, bytes);
        }
        self.packet(44, &fragment_header(protocol, id, at, more, bytes))
    }

    /// The transport checksum, to be written at `at`.
    fn sum(self, protocol: u8, bytes: &[u8], at: usize) -> [u8; 2] {
        let number = IpNextHeaderProtocol(protocol);
        let sum = match (self.from, self.to, protocol) {
            (_, _, 1) => util::checksum(bytes, at / 2),
            (IpAddr::V4(from), IpAddr::V4(to), _) => {
                util::ipv4_checksum(bytes, at / 2, &[], &from, &to, number)
            }
            (IpAddr::V6(from), IpAddr::V6(to), _) => {
                util::ipv6_checksum(bytes, at / 2, &[], &from, &to, number)
            }
            _ => panic!("two families"),
        };
        sum.to_be_bytes()
    }

    fn summed(self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        bytes[at..at + 2].fill(0);
        let sum = self.sum(protocol, &bytes, at);
        bytes[at..at + 2].copy_from_slice(&sum);
        bytes
    }

    /// A UDP header and payload.
    pub(crate) fn udp(self, (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + payload.len()).expect("a short payload");
        let head = [from.to_be_bytes(), to.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
        self.summed(UDP, [&head[..], payload].concat(), 6)
    }

    /// A TCP header and payload.
    pub(crate) fn tcp(self, (from, to): (u16, u16), segment: &Segment<'_>) -> Vec<u8> {
        let words = 5 + segment.options.len() / 4;
        let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
        bytes.extend(segment.sequence.to_be_bytes());
        bytes.extend(segment.ack.to_be_bytes());
        bytes.extend([u8::try_from(words << 4).expect("short options"), segment.flags]);
        bytes.extend(segment.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(segment.options);
        bytes.extend(segment.payload);
        self.summed(TCP, bytes, 16)
    }

    /// An ICMP message of this family: type, code, the second word, the rest.
    pub(crate) fn message(self, (kind, code): (u8, u8), word: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let head = [kind, code, 0, 0, word[0], word[1], word[2], word[3]];
        self.summed(self.icmp(), [&head[..], rest].concat(), 2)
    }

    /// An echo request (or, with `kind` 1, reply) with sequence number 1.
    pub(crate) fn ping(self, kind: usize, id: u16, payload: &[u8]) -> Vec<u8> {
        let [i0, i1] = id.to_be_bytes();
        self.message((self.echo()[kind], 0), [i0, i1, 0, 1], payload)
    }
}

/// IPv4 fields.
#[derive(Clone, Debug)]
pub(crate) struct Four {
    pub(crate) protocol: u8,
    pub(crate) id: u16,
    pub(crate) offset: usize,
    pub(crate) more: bool,
    pub(crate) whole_only: bool,
    pub(crate) ttl: u8,
    pub(crate) options: Vec<u8>,
}

impl Default for Four {
    fn default() -> Self {
        Self { protocol: UDP, id: 7, offset: 0, more: false, whole_only: false, ttl: 64, options: Vec::new() }
    }
}

/// A TCP segment's fields.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment<'a> {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// An IPv6 fragment header and what follows it.
pub(crate) fn fragment_header(next: u8, id: u16, at: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let [o0, o1] = (u16::try_from(at).expect("in range") & !7 | u16::from(more)).to_be_bytes();
    let [i0, i1] = id.to_be_bytes();
    [&[next, 0, o0, o1, 0, 0, i0, i1][..], bytes].concat()
}

/// An extension header of options, padded to a multiple of eight bytes.
pub(crate) fn options_header(next: u8, options: &[u8]) -> Vec<u8> {
    let mut header = [&[next, 0][..], options].concat();
    match 8 - header.len() % 8 {
        8 => {}
        1 => header.push(0),
        pad => {
            header.extend([1, u8::try_from(pad - 2).expect("short")]);
            header.resize(header.len() + pad - 2, 0);
        }
    }
    header[1] = u8::try_from(header.len() / 8 - 1).expect("short options");
    header
}

/// An Ethernet frame around an IP packet.
pub(crate) fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xDD] } else { [8, 0] };
    [&to[..], &from, &kind, packet].concat()
}
