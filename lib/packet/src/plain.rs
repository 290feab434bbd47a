//! The common case of [`headers`](crate::headers) and [`rewrite`](crate::rewrite), judged on a frame's first 64 bytes.
//!
//! A plain packet is TCP or UDP over IPv4 without options or fragmentation, in order in every respect that
//! [`headers::parse`](crate::headers::parse) looks at but perhaps its ports, with hops left, and neither SYN nor RST. What is not plain is not
//! wrong: it takes the long way, which says what it is. Addresses are kept as they lie in the frame, read as
//! little-endian numbers; a one's complement sum does not mind.

use crate::{
    ethernet::{self, Ethernet, Mac},
    headers::{Headers, Network, Transport},
    ipv4::{self, Ipv4},
    rewrite::{Endpoints, Field},
    tcp::{self, ACK, RST, SYN, Tcp},
    udp::{self, Udp},
};

use core::net::Ipv4Addr;

/// Bytes that hold every header of a plain packet, TCP options aside.
pub const HEAD: usize = 64;
/// A 32-bit number's range; as four octets of ones it is 0 to a one's complement sum.
const LOW: u64 = 0xFFFF_FFFF;
/// Where the transport header starts.
const TRANSPORT_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
/// Offsets of fields in the frame.
const TTL_AT: usize = 22;
const PROTOCOL_AT: usize = 23;
const IP_SUM_AT: usize = 24;
const ADDRESSES_AT: usize = 26;
const UDP_SUM_AT: usize = TRANSPORT_AT + udp::CHECKSUM_AT;
const TCP_SUM_AT: usize = TRANSPORT_AT + tcp::CHECKSUM_AT;

/// Ethernet addresses that every plain packet of a link has.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    first: u64,
    first_mask: u64,
    second: u64,
    second_mask: u64,
}

impl Station {
    /// A link on which this station speaks to us.
    #[must_use]
    pub const fn between(source: Mac, destination: Mac) -> Self {
        let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (destination, source);
        Self {
            first: u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
            first_mask: u64::MAX,
            second: u64::from_le_bytes([s2, s3, s4, s5, 0x08, 0x00, 0x45, 0]),
            second_mask: u64::MAX >> 8,
        }
    }

    /// A link on which whoever likes speaks to whomever.
    #[must_use]
    pub const fn any() -> Self {
        let second = u64::from_le_bytes([0, 0, 0, 0, 0x08, 0x00, 0x45, 0]);
        Self { first: 0, first_mask: 0, second, second_mask: (u64::MAX >> 8) ^ LOW }
    }
}

/// Addresses and ports as they lie in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source address, and above it the destination address.
    pub addresses: u64,
    /// Destination port, and above it the source port.
    pub ports: u32,
}

impl Ends {
    /// The same as they will lie in a frame.
    #[inline(always)]
    #[must_use]
    pub fn of(ends: &Endpoints<Ipv4Addr>) -> Self {
        let [source, destination] =
            [ends.source, ends.destination].map(|address| u64::from(u32::from_le_bytes(address.octets())));
        Self {
            addresses: source | destination << 32,
            ports: u32::from(ends.source_port) << 16 | u32::from(ends.destination_port),
        }
    }
}

/// A plain packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Addresses and ports.
    pub ends: Ends,
    /// Transport protocol: UDP or TCP.
    pub protocol: u8,
}

#[inline(always)]
fn word<const N: usize>(head: &[u8; HEAD], at: usize) -> [u8; N] {
    // Constant offsets: the check is made when this is compiled.
    head.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[inline(always)]
fn word_mut<const N: usize>(head: &mut [u8; HEAD], at: usize, value: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value;
    }
}

/// Length of the IP packet.
#[inline(always)]
#[must_use]
pub fn ip_len(head: &[u8; HEAD]) -> usize {
    usize::from(u16::from_be_bytes(word(head, 16)))
}

/// Recognises a plain packet in a frame of `len` bytes that starts with `head`; what of `head` is beyond them is not
/// looked at.
#[inline(always)]
#[must_use]
pub fn recognise(head: &[u8; HEAD], len: usize, station: &Station) -> Option<Plain> {
    let [a, b, c, d] = [0, 8, 16, 24].map(|at| u64::from_le_bytes(word(head, at)));
    // Both Ethernet addresses, the EtherType, IPv4 without options; no fragment.
    let strange = (a ^ station.first) & station.first_mask
        | (b ^ station.second) & station.second_mask
        | (c >> 32) & 0xFF3F;
    let rest = (b >> 48) + u64::from(u16::from_le_bytes(word(head, 32)));
    let total = ip_len(head);
    let hops = c >> 48 & 0xFF;
    // The sum is not 0, as it includes the version.
    let sum = add(add(c, d), rest);
    if strange != 0 || !is_multiple(sum) || hops <= 1 || total + ethernet::HEADER_LEN > len {
        return None;
    }
    let protocol = protocol(head);
    let payload = total.wrapping_sub(ipv4::HEADER_LEN);
    let fits = match protocol {
        ipv4::UDP => total >= ipv4::HEADER_LEN + udp::HEADER_LEN && udp_len(head) == payload,
        ipv4::TCP => {
            let header = usize::from(head[46] >> 4) * 4;
            total >= ipv4::HEADER_LEN + header
                && header >= tcp::HEADER_LEN
                && head[47] & (SYN | RST | ACK) == ACK
        }
        _ => false,
    };
    fits.then(|| Plain { ends: ends(head), protocol })
}

/// The addresses and ports of a plain packet.
#[inline(always)]
#[must_use]
pub fn ends(head: &[u8; HEAD]) -> Ends {
    Ends {
        addresses: u64::from_le_bytes(word(head, ADDRESSES_AT)),
        ports: u32::from_be_bytes(word(head, TRANSPORT_AT)),
    }
}

/// The transport protocol of a plain packet.
#[inline(always)]
#[must_use]
pub const fn protocol(head: &[u8; HEAD]) -> u8 {
    head[PROTOCOL_AT]
}

#[inline(always)]
fn udp_len(head: &[u8; HEAD]) -> usize {
    usize::from(u16::from_be_bytes(word(head, TRANSPORT_AT + 4)))
}

/// The TCP header of a plain packet, and the length of its payload.
#[inline(always)]
#[must_use]
pub fn segment(head: &[u8; HEAD]) -> (Tcp, usize) {
    let (tcp, header) = Tcp::fields(&word(head, TRANSPORT_AT));
    (tcp, ip_len(head).wrapping_sub(ipv4::HEADER_LEN + header))
}

/// All headers of a plain UDP packet, as [`headers::parse`](crate::headers::parse) gives them; `None` for another
/// protocol, and when a port is 0.
#[inline(always)]
#[must_use]
pub fn udp_headers(head: &[u8; HEAD]) -> Option<Headers> {
    let udp = Udp::fields(&word(head, TRANSPORT_AT));
    if protocol(head) != ipv4::UDP || udp.source_port == 0 || udp.destination_port == 0 {
        return None;
    }
    Some(Headers {
        ethernet: Ethernet::parse(&word(head, 0)),
        network: Network::V4(Ipv4::fields(&word(head, ethernet::HEADER_LEN))),
        transport: Transport::Udp(udp),
        transport_at: TRANSPORT_AT,
        payload_at: TRANSPORT_AT + udp::HEADER_LEN,
        end: ethernet::HEADER_LEN + ip_len(head),
    })
}

/// Adds in one's complement.
#[inline(always)]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Whether a number is a multiple of 65,535, which has this inverse modulo 2⁶⁴.
#[inline(always)]
const fn is_multiple(number: u64) -> bool {
    const INVERSE: u64 = 0xFFFE_FFFE_FFFE_FFFF;
    const _: () = assert!(INVERSE.wrapping_mul(0xFFFF) == 1);
    number.wrapping_mul(INVERSE) <= u64::MAX / 0xFFFF
}

/// Folds a sum of a few 32-bit numbers. Only a sum of zeros gives 0.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let (low, carry) = ((sum & LOW) as u32).overflowing_add((sum >> 32) as u32);
    let sum = low + carry as u32;
    // Each half of this sum of both halves has the other one's carry.
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The sum of both halves.
#[inline(always)]
const fn halves(number: u64) -> u64 {
    (number & LOW) + (number >> 32)
}

/// Gives a plain packet new addresses and ports, takes one hop off its TTL, and keeps both checksums what they were:
/// right or wrong.
#[inline(always)]
pub fn rewrite(head: &mut [u8; HEAD], (destination, source): (&Mac, &Mac), to: Ends, field: Field) {
    let was = u64::from_le_bytes(word(head, ADDRESSES_AT));
    let ports = u32::from_le_bytes(word(head, TRANSPORT_AT));
    let new_ports = to.ports.swap_bytes();
    let addresses = halves(to.addresses) + (2 * LOW - halves(was));
    // One hop less: 1 less in the number that TTL and protocol are here, and the complement of what was there before.
    let ip_sum = !u16::from_le_bytes(word(head, IP_SUM_AT));
    let ip_sum = !fold(addresses + u64::from(ip_sum) + 0xFFFE);
    let delta = addresses + u64::from(new_ports) + (LOW - u64::from(ports));
    word_mut(head, 0, *destination);
    word_mut(head, 6, *source);
    head[TTL_AT] = head[TTL_AT].wrapping_sub(1);
    word_mut(head, IP_SUM_AT, ip_sum.to_le_bytes());
    word_mut(head, ADDRESSES_AT, to.addresses.to_le_bytes());
    word_mut(head, TRANSPORT_AT, new_ports.to_le_bytes());
    transport_sum(head, (delta, halves(to.addresses)), field);
}

/// Brings the transport checksum up to date, or writes the sum of the pseudo header where that is what it holds.
#[inline(always)]
fn transport_sum(head: &mut [u8; HEAD], (delta, addresses): (u64, u64), field: Field) {
    let is_udp = head[PROTOCOL_AT] == ipv4::UDP;
    let at = if is_udp { UDP_SUM_AT } else { TCP_SUM_AT };
    if field == Field::Partial {
        let len = ip_len(head).wrapping_sub(ipv4::HEADER_LEN);
        let len = u16::try_from(len).unwrap_or(0).swap_bytes();
        let sum = addresses + u64::from(u16::from_be_bytes([head[PROTOCOL_AT], 0])) + u64::from(len);
        return word_mut(head, at, fold(sum).to_le_bytes());
    }
    if is_udp {
        let old = u16::from_le_bytes(word(head, UDP_SUM_AT));
        let new = !fold(delta + u64::from(!old));
        // 0 says that there is no checksum.
        let new = if new == 0 { 0xFFFF } else { new };
        word_mut(head, UDP_SUM_AT, if old == 0 { 0 } else { new }.to_le_bytes());
    } else {
        let old = u16::from_le_bytes(word(head, TCP_SUM_AT));
        word_mut(head, TCP_SUM_AT, (!fold(delta + u64::from(!old))).to_le_bytes());
    }
}

#[cfg(test)]
#[path = "plain/tests.rs"]
mod tests;
