//! Frames byte by byte, right or wrong as a test wants them. Nothing of Bulkhead's own packet code is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0x62, 0x6B, 0, 0, 1];
pub(crate) const ROUTER_MAC: [u8; 6] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// The ones' complement sum of RFC 1071.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// From and to, of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Ends {
    fn pseudo(self, protocol: u8, len: usize) -> Vec<u8> {
        let len = u32::try_from(len).unwrap().to_be_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                [&s.octets()[..], &d.octets(), &[0, protocol], &len[2..]].concat()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                [&s.octets()[..], &d.octets(), &len, &[0, 0, 0, protocol]].concat()
            }
            other => panic!("two families: {other:?}"),
        }
    }

    /// Fills in the checksum at `at`, of everything and, but for ICMP, the pseudo header.
    fn summed(self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let pseudo = if protocol == ICMP { vec![] } else { self.pseudo(protocol, bytes.len()) };
        let sum = match checksum(&[&pseudo, &bytes]) {
            0 if protocol == UDP => 0xFFFF,
            sum => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    pub(crate) fn udp(self, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + data.len()).unwrap();
        let words = [ports.0, ports.1, len, 0].map(u16::to_be_bytes).concat();
        self.summed(UDP, [&words[..], data].concat(), 6)
    }

    pub(crate) fn tcp(self, ports: (u16, u16), flags: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = [ports.0, ports.1].map(u16::to_be_bytes).concat();
        let acknowledgement = if flags & 0x10 == 0 { 0u32 } else { 77 };
        bytes.extend([0x1234_5678u32, acknowledgement].map(u32::to_be_bytes).concat());
        bytes.extend([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
        bytes.extend(data);
        self.summed(TCP, bytes, 16)
    }

    /// ICMP or ICMPv6, as the family has it.
    pub(crate) fn icmp(self, (kind, code): (u8, u8), identifier: u16, data: &[u8]) -> Vec<u8> {
        let protocol = if self.source.is_ipv4() { ICMP } else { ICMPV6 };
        let mut bytes = vec![kind, code, 0, 0];
        bytes.extend(identifier.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(data);
        self.summed(protocol, bytes, 2)
    }
}

/// An IPv4 header; the fields that follow from others can be set wrong.
#[derive(Clone, Debug)]
pub(crate) struct V4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub protocol: u8,
    pub identification: u16,
    /// The flags and the offset in units of 8 bytes.
    pub fragment: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Added to the right header length in words.
    pub ihl_off: i8,
    /// Added to the right total length.
    pub length_off: i16,
    /// Added to the right checksum.
    pub checksum_off: u16,
}

impl V4 {
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = i8::try_from(header / 4).unwrap();
        let total = i16::try_from(header + payload.len()).unwrap().wrapping_add(self.length_off);
        let mut ip = vec![0x40 | words.wrapping_add(self.ihl_off).cast_unsigned() & 15, 0];
        ip.extend(total.cast_unsigned().to_be_bytes());
        ip.extend(self.identification.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        ip.extend(&self.options);
        let sum = checksum(&[&ip]).wrapping_add(self.checksum_off);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(0x0800, &[&ip, payload])
    }
}

/// An IPv6 header, likewise.
#[derive(Clone, Debug)]
pub(crate) struct V6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    /// Extension headers: each one's number and bytes, the first of which will be the next one's number.
    pub chain: Vec<(u8, Vec<u8>)>,
    /// What comes behind them.
    pub protocol: u8,
    /// Added to the right payload length.
    pub length_off: i16,
    pub version: u8,
}

impl V6 {
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut extensions = Vec::new();
        let next = |n: usize| self.chain.get(n).map_or(self.protocol, |(number, _)| *number);
        for (n, (_, bytes)) in self.chain.iter().enumerate() {
            let at = extensions.len();
            extensions.extend(bytes);
            extensions[at] = next(n + 1);
        }
        let len = i16::try_from(extensions.len() + payload.len()).unwrap().wrapping_add(self.length_off);
        let mut ip = vec![self.version << 4, 0, 0, 0];
        ip.extend(len.cast_unsigned().to_be_bytes());
        ip.extend([next(0), self.hop_limit]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        ethernet(0x86DD, &[&ip, &extensions, payload])
    }
}

/// A frame of the client for the router.
fn ethernet(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    [&ROUTER_MAC[..], &CLIENT_MAC, &kind.to_be_bytes(), &parts.concat()].concat()
}
