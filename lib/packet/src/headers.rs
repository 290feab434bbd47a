//! Parses a frame once into [`Headers`]: the only parser that the firewall calls.

use crate::{
    Fault,
    arp::Arp,
    ethernet::{self, Ethernet},
    icmp::Icmp,
    icmpv6::Icmpv6,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    tcp::Tcp,
    udp::Udp,
};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An IP packet.
    Ip(Headers),
    /// Address resolution.
    Arp(Ethernet, Arp),
}

/// An IP packet's headers. Every length and offset was checked against the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Ethernet.
    pub ethernet: Ethernet,
    /// IP.
    pub network: Network,
    /// What IP carries.
    pub transport: Transport,
    /// Where the transport header starts in the frame; in a fragment: where its payload starts.
    pub transport_at: usize,
    /// Where the transport's payload starts in the frame.
    pub payload_at: usize,
    /// Where the IP packet ends in the frame; what follows is padding.
    pub end: usize,
}

/// The IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4(Ipv4),
    /// IPv6, its extension headers walked.
    V6(Ipv6),
}

/// The transport header, or a fragment that has to be put together first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP over IPv4.
    Icmp(Icmp),
    /// ICMP over IPv6.
    Icmpv6(Icmpv6),
    /// Part of a datagram.
    Fragment(Fragment),
}

/// Part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Names the datagram, with addresses and protocol.
    pub identification: u32,
    /// What the datagram carries: the number after the fragment header in IPv6.
    pub protocol: u8,
    /// Position in the datagram in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

impl Headers {
    /// The transport payload's length in bytes.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.end.saturating_sub(self.payload_at)
    }

    /// The IP packet's length in bytes.
    #[inline]
    #[must_use]
    pub const fn ip_len(&self) -> usize {
        self.end.saturating_sub(ethernet::HEADER_LEN)
    }

    /// Hops left.
    #[inline]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        match &self.network {
            Network::V4(ip) => ip.ttl,
            Network::V6(ip) => ip.hop_limit,
        }
    }
}

/// Parses a frame.
///
/// # Errors
/// The first [`Fault`] found.
#[inline(always)]
pub fn parse(frame: &[u8]) -> Result<Frame, Fault> {
    let (header, body) = frame.split_first_chunk().ok_or(Fault::Truncated)?;
    let ethernet = Ethernet::parse(header);
    match ethernet.ethertype {
        ethernet::IPV4 => parse_v4(ethernet, body).map(Frame::Ip),
        ethernet::IPV6 => parse_v6(ethernet, body).map(Frame::Ip),
        ethernet::ARP => Ok(Frame::Arp(ethernet, Arp::parse(body)?)),
        _ => Err(Fault::EtherType),
    }
}

#[inline(always)]
fn parse_v4(ethernet: Ethernet, packet: &[u8]) -> Result<Headers, Fault> {
    let ip = Ipv4::parse(packet.first_chunk().ok_or(Fault::Truncated)?)?;
    let total = usize::from(ip.total_len);
    let packet = packet.get(..total).ok_or(Fault::IpLength)?;
    let payload = packet.get(ipv4::HEADER_LEN..).ok_or(Fault::IpLength)?;
    let at = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    let (transport, len) = if ip.more_fragments || ip.fragment_offset != 0 {
        let fragment = Fragment {
            identification: u32::from(ip.identification),
            protocol: ip.protocol,
            offset: ip.fragment_offset,
            more: ip.more_fragments,
        };
        (fragment_shape(fragment, payload.len())?, 0)
    } else {
        match ip.protocol {
            ipv4::ICMP => (Transport::Icmp(Icmp::parse(payload)?), crate::icmp::HEADER_LEN),
            other => parse_transport(other, payload)?,
        }
    };
    Ok(Headers {
        ethernet,
        network: Network::V4(ip),
        transport,
        transport_at: at,
        payload_at: at + len,
        end: ethernet::HEADER_LEN + total,
    })
}

#[inline(never)]
fn parse_v6(ethernet: Ethernet, packet: &[u8]) -> Result<Headers, Fault> {
    let (fixed, rest) = packet.split_first_chunk().ok_or(Fault::Truncated)?;
    let ip = Ipv6::parse(fixed)?;
    let payload = rest.get(..usize::from(ip.payload_len)).ok_or(Fault::IpLength)?;
    let chain = ipv6::walk(ip.next, payload)?;
    let payload = payload.get(chain.len..).ok_or(Fault::ExtensionHeader)?;
    let at = ethernet::HEADER_LEN + ipv6::HEADER_LEN + chain.len;
    let (transport, len) = match (chain.fragment, chain.protocol) {
        (Some(header), protocol) => {
            let fragment = Fragment {
                identification: header.identification,
                protocol,
                offset: header.offset,
                more: header.more,
            };
            (fragment_shape(fragment, payload.len())?, 0)
        }
        (None, ipv6::ICMPV6) => (Transport::Icmpv6(Icmpv6::parse(payload)?), crate::icmpv6::HEADER_LEN),
        (None, other) => parse_transport(other, payload)?,
    };
    let end = ethernet::HEADER_LEN + ipv6::HEADER_LEN + usize::from(ip.payload_len);
    Ok(Headers { ethernet, network: Network::V6(ip), transport, transport_at: at, payload_at: at + len, end })
}

#[inline(always)]
fn parse_transport(protocol: u8, payload: &[u8]) -> Result<(Transport, usize), Fault> {
    match protocol {
        ipv4::TCP => Tcp::parse(payload).map(|(tcp, len)| (Transport::Tcp(tcp), len)),
        ipv4::UDP => Udp::parse(payload).map(|udp| (Transport::Udp(udp), crate::udp::HEADER_LEN)),
        _ => Err(Fault::Protocol),
    }
}

/// All but the last fragment carry a multiple of 8 bytes, none is empty, none reaches beyond 64 KiB.
fn fragment_shape(fragment: Fragment, len: usize) -> Result<Transport, Fault> {
    let end = usize::from(fragment.offset) + len;
    if len == 0 || end > 0xFFFF || (fragment.more && !len.is_multiple_of(8)) {
        return Err(Fault::FragmentShape);
    }
    Ok(Transport::Fragment(fragment))
}

#[cfg(test)]
#[path = "headers/tests.rs"]
mod tests;
