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
    /// The headers of nothing: what [`parse_into`] writes over.
    pub const NONE: Self = Self {
        ethernet: Ethernet { destination: [0; 6], source: [0; 6], ethertype: 0 },
        network: Network::V4(Ipv4::fields(&[0; ipv4::HEADER_LEN])),
        transport: Transport::Fragment(Fragment { identification: 0, protocol: 0, offset: 0, more: false }),
        transport_at: 0,
        payload_at: 0,
        end: 0,
    };

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

/// What [`parse_into`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP packet: all headers are set.
    Ip,
    /// Address resolution: only the Ethernet header is set.
    Arp,
}

/// Parses a frame.
///
/// # Errors
/// The first [`Fault`] found.
pub fn parse(frame: &[u8]) -> Result<Frame, Fault> {
    let mut headers = Headers::NONE;
    match parse_into(frame, &mut headers)? {
        Kind::Ip => Ok(Frame::Ip(headers)),
        Kind::Arp => {
            let body = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
            Ok(Frame::Arp(headers.ethernet, Arp::parse(body)?))
        }
    }
}

/// Parses a frame into `headers`, which saves the packet path moving them about. After a fault they mean nothing.
///
/// # Errors
/// The first [`Fault`] found.
#[inline(always)]
pub fn parse_into(frame: &[u8], headers: &mut Headers) -> Result<Kind, Fault> {
    let (header, body) = frame.split_first_chunk().ok_or(Fault::Truncated)?;
    headers.ethernet = Ethernet::parse(header);
    match headers.ethernet.ethertype {
        ethernet::IPV4 => parse_v4(body, headers),
        ethernet::IPV6 => parse_v6(body, headers),
        ethernet::ARP => Ok(Kind::Arp),
        _ => Err(Fault::EtherType),
    }
}

#[inline(always)]
fn parse_v4(packet: &[u8], headers: &mut Headers) -> Result<Kind, Fault> {
    let ip = Ipv4::parse(packet.first_chunk().ok_or(Fault::Truncated)?)?;
    let total = usize::from(ip.total_len);
    let packet = packet.get(..total).ok_or(Fault::IpLength)?;
    let payload = packet.get(ipv4::HEADER_LEN..).ok_or(Fault::IpLength)?;
    let at = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    headers.network = Network::V4(ip);
    headers.transport_at = at;
    headers.end = ethernet::HEADER_LEN + total;
    if ip.more_fragments || ip.fragment_offset != 0 {
        let fragment = Fragment {
            identification: u32::from(ip.identification),
            protocol: ip.protocol,
            offset: ip.fragment_offset,
            more: ip.more_fragments,
        };
        headers.transport = fragment_shape(fragment, payload.len())?;
        headers.payload_at = at;
        return Ok(Kind::Ip);
    }
    let len = match ip.protocol {
        ipv4::ICMP => {
            headers.transport = Transport::Icmp(Icmp::parse(payload)?);
            crate::icmp::HEADER_LEN
        }
        other => parse_transport(other, payload, headers)?,
    };
    headers.payload_at = at + len;
    Ok(Kind::Ip)
}

#[inline(never)]
fn parse_v6(packet: &[u8], headers: &mut Headers) -> Result<Kind, Fault> {
    let (fixed, rest) = packet.split_first_chunk().ok_or(Fault::Truncated)?;
    let ip = Ipv6::parse(fixed)?;
    let payload = rest.get(..usize::from(ip.payload_len)).ok_or(Fault::IpLength)?;
    let chain = ipv6::walk(ip.next, payload)?;
    let payload = payload.get(chain.len..).ok_or(Fault::ExtensionHeader)?;
    let at = ethernet::HEADER_LEN + ipv6::HEADER_LEN + chain.len;
    headers.network = Network::V6(ip);
    headers.transport_at = at;
    headers.end = ethernet::HEADER_LEN + ipv6::HEADER_LEN + usize::from(ip.payload_len);
    let len = match (chain.fragment, chain.protocol) {
        (Some(header), protocol) => {
            let fragment = Fragment {
                identification: header.identification,
                protocol,
                offset: header.offset,
                more: header.more,
            };
            headers.transport = fragment_shape(fragment, payload.len())?;
            0
        }
        (None, ipv6::ICMPV6) => {
            headers.transport = Transport::Icmpv6(Icmpv6::parse(payload)?);
            crate::icmpv6::HEADER_LEN
        }
        (None, other) => parse_transport(other, payload, headers)?,
    };
    headers.payload_at = at + len;
    Ok(Kind::Ip)
}

#[inline(always)]
fn parse_transport(protocol: u8, payload: &[u8], headers: &mut Headers) -> Result<usize, Fault> {
    match protocol {
        ipv4::TCP => {
            let (tcp, len) = Tcp::parse(payload)?;
            headers.transport = Transport::Tcp(tcp);
            Ok(len)
        }
        ipv4::UDP => {
            headers.transport = Transport::Udp(Udp::parse(payload)?);
            Ok(crate::udp::HEADER_LEN)
        }
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
