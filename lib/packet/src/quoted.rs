//! The packet that an ICMP error quotes: cut short, written by whoever sent the error, so believed in nothing.

use crate::{
    Fault,
    icmp::Icmp,
    icmpv6::Icmpv6,
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    tcp::Tcp,
    udp::Udp,
};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Where and what the quoted packet claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Transport protocol.
    pub protocol: u8,
    /// Source port; the identifier of an echo.
    pub source_port: u16,
    /// Destination port; 0 in an echo.
    pub destination_port: u16,
    /// Sequence number of a TCP segment.
    pub sequence: Option<u32>,
    /// Where the transport header starts in the quoted bytes.
    pub transport_at: usize,
}

/// Reads a quoted IPv4 packet: no options, not a later fragment, at least 8 bytes of transport header. Its
/// checksum is not looked at: routers on the way may have left it stale.
///
/// # Errors
/// [`Fault`] for anything else.
pub fn parse_v4(bytes: &[u8]) -> Result<Quoted<Ipv4Addr>, Fault> {
    let (header, rest) = bytes.split_first_chunk::<{ ipv4::HEADER_LEN }>().ok_or(Fault::Truncated)?;
    if header[0] != 0x45 {
        return Err(Fault::IpHeader);
    }
    let ip = Ipv4::fields(header);
    if ip.fragment_offset != 0 {
        return Err(Fault::FragmentShape);
    }
    let transport = rest.first_chunk().ok_or(Fault::Truncated)?;
    let (source_port, destination_port, sequence) = ports(ip.protocol, transport)?;
    Ok(Quoted {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        source_port,
        destination_port,
        sequence,
        transport_at: ipv4::HEADER_LEN,
    })
}

/// Reads a quoted IPv6 packet, by the same rules.
///
/// # Errors
/// [`Fault`] for anything else.
pub fn parse_v6(bytes: &[u8]) -> Result<Quoted<Ipv6Addr>, Fault> {
    let (header, rest) = bytes.split_first_chunk::<{ ipv6::HEADER_LEN }>().ok_or(Fault::Truncated)?;
    let ip = Ipv6::parse(header)?;
    let chain = ipv6::walk(ip.next, rest)?;
    if chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return Err(Fault::FragmentShape);
    }
    let transport = rest.get(chain.len..).and_then(<[u8]>::first_chunk).ok_or(Fault::Truncated)?;
    let (source_port, destination_port, sequence) = ports(chain.protocol, transport)?;
    Ok(Quoted {
        source: ip.source,
        destination: ip.destination,
        protocol: chain.protocol,
        source_port,
        destination_port,
        sequence,
        transport_at: ipv6::HEADER_LEN + chain.len,
    })
}

/// Ports (or identifier) and TCP sequence number from the first 8 bytes of a transport header.
fn ports(protocol: u8, first: &[u8; 8]) -> Result<(u16, u16, Option<u32>), Fault> {
    let udp = Udp::fields(first);
    match protocol {
        ipv4::TCP => {
            let mut header = [0; crate::tcp::HEADER_LEN];
            for (to, from) in header.iter_mut().zip(first) {
                *to = *from;
            }
            let (tcp, _) = Tcp::fields(&header);
            Ok((tcp.source_port, tcp.destination_port, Some(tcp.sequence)))
        }
        ipv4::UDP => Ok((udp.source_port, udp.destination_port, None)),
        ipv4::ICMP => match Icmp::fields(first) {
            icmp if icmp.is_echo() => Ok((icmp.identifier, 0, None)),
            _ => Err(Fault::Protocol),
        },
        ipv6::ICMPV6 => match Icmpv6::fields(first) {
            icmp if icmp.is_echo() => Ok((icmp.identifier, 0, None)),
            _ => Err(Fault::Protocol),
        },
        _ => Err(Fault::Protocol),
    }
}
