//! The IPv6 header and the walk along its extension headers (RFC 8200).

use crate::Fault;
use core::net::Ipv6Addr;

/// Length of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Length of the fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: routing.
pub const ROUTING: u8 = 43;
/// Next header: fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;
/// Next header: ICMPv6.
pub const ICMPV6: u8 = 58;

/// Extension headers at most.
const MAX_HEADERS: usize = 8;
/// Bytes of extension headers at most.
const MAX_CHAIN: usize = 256;
/// Options other than padding in one header at most (RFC 9673 §5 suggests 8).
const MAX_OPTIONS: usize = 8;
/// The jumbo payload option (RFC 2675).
const OPTION_JUMBO: u8 = 0xC2;

/// The fixed header's fields that a firewall looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hops left.
    pub hop_limit: u8,
    /// What follows the fixed header.
    pub next: u8,
    /// Bytes after the fixed header.
    pub payload_len: u16,
}

impl Ipv6 {
    /// Reads and checks the fixed header.
    ///
    /// # Errors
    /// [`Fault::IpHeader`].
    #[inline]
    pub fn parse(b: &[u8; HEADER_LEN]) -> Result<Self, Fault> {
        if b[0] >> 4 == 6 { Ok(Self::fields(b)) } else { Err(Fault::IpHeader) }
    }

    /// Reads the fields without any check: for headers quoted in ICMPv6 errors.
    #[inline]
    #[must_use]
    pub fn fields(b: &[u8; HEADER_LEN]) -> Self {
        let [_, _, _, _, l0, l1, next, hop_limit, addresses @ ..] = *b;
        let (source, destination) = split(&addresses);
        Self { source, destination, hop_limit, next, payload_len: u16::from_be_bytes([l0, l1]) }
    }

    /// Writes the header; traffic class and flow label 0.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut b = [0; HEADER_LEN];
        b[0] = 0x60;
        [b[4], b[5]] = self.payload_len.to_be_bytes();
        b[6] = self.next;
        b[7] = self.hop_limit;
        let addresses = self.source.octets().into_iter().chain(self.destination.octets());
        for (to, from) in b.iter_mut().skip(8).zip(addresses) {
            *to = from;
        }
        b
    }
}

/// Two addresses in a row.
#[inline]
fn split(b: &[u8; 32]) -> (Ipv6Addr, Ipv6Addr) {
    match b.as_chunks::<16>() {
        ([source, destination], _) => (Ipv6Addr::from(*source), Ipv6Addr::from(*destination)),
        _ => (Ipv6Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
    }
}

/// A fragment header's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Position of this fragment's payload in bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Names the packet that it belongs to.
    pub identification: u32,
}

/// Where a chain of extension headers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first header number that is no extension header; in a fragment what the fragment header names.
    pub protocol: u8,
    /// Bytes of the chain walked, a fragment header included.
    pub len: usize,
    /// Set when the packet is a fragment: the walk ends behind its header. Not set for atomic fragments
    /// (RFC 6946), which are whole packets.
    pub fragment: Option<FragmentHeader>,
}

/// Walks the chain that starts with header number `next` at the start of `bytes`.
///
/// Hop-by-hop options only first; at most one fragment header and two headers of destination options; no routing
/// header; bounded number, length and options; options well-formed.
///
/// # Errors
/// [`Fault::ExtensionHeader`], [`Fault::RoutingHeader`], [`Fault::Jumbogram`], [`Fault::FragmentShape`].
pub fn walk(next: u8, bytes: &[u8]) -> Result<Chain, Fault> {
    let mut chain = Chain { protocol: next, len: 0, fragment: None };
    let (mut fragments, mut destination_options) = (0, 0);
    for position in 0..=MAX_HEADERS {
        let rest = bytes.get(chain.len..).ok_or(Fault::ExtensionHeader)?;
        let len = match chain.protocol {
            HOP_BY_HOP if position == 0 => options(rest)?,
            DESTINATION_OPTIONS if destination_options < 2 => {
                destination_options += 1;
                options(rest)?
            }
            FRAGMENT if fragments == 0 => {
                fragments += 1;
                let header = fragment(rest.first_chunk().ok_or(Fault::FragmentShape)?);
                if header.offset != 0 || header.more {
                    chain.fragment = Some(header);
                }
                FRAGMENT_HEADER_LEN
            }
            ROUTING => return Err(Fault::RoutingHeader),
            HOP_BY_HOP | DESTINATION_OPTIONS | FRAGMENT => return Err(Fault::ExtensionHeader),
            _ => return Ok(chain),
        };
        chain.protocol = *rest.first().ok_or(Fault::ExtensionHeader)?;
        chain.len += len;
        if chain.len > MAX_CHAIN {
            return Err(Fault::ExtensionHeader);
        }
        // What may only stand before a fragment header hides behind none: neither in a fragment, where the walk ends,
        // nor in an atomic one.
        match chain.protocol {
            HOP_BY_HOP => return Err(Fault::ExtensionHeader),
            FRAGMENT if chain.fragment.is_some() => return Err(Fault::ExtensionHeader),
            ROUTING => return Err(Fault::RoutingHeader),
            _ if chain.fragment.is_some() => return Ok(chain),
            _ => {}
        }
    }
    Err(Fault::ExtensionHeader)
}

/// Reads a fragment header.
#[must_use]
pub const fn fragment(b: &[u8; FRAGMENT_HEADER_LEN]) -> FragmentHeader {
    let word = u16::from_be_bytes([b[2], b[3]]);
    FragmentHeader {
        offset: word & 0xFFF8,
        more: word & 1 != 0,
        identification: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
    }
}

/// Checks a header of options and gives its length.
fn options(header: &[u8]) -> Result<usize, Fault> {
    let len = match header {
        [_, units, ..] => (usize::from(*units) + 1) * 8,
        _ => return Err(Fault::ExtensionHeader),
    };
    if len > MAX_CHAIN {
        return Err(Fault::ExtensionHeader);
    }
    let mut rest = header.get(2..len).ok_or(Fault::ExtensionHeader)?;
    let mut real = 0;
    // Every round takes at least one of at most `MAX_CHAIN` bytes.
    while let Some(kind) = rest.first() {
        let taken = match (kind, rest.get(1)) {
            (0, _) => 1,
            (&OPTION_JUMBO, _) => return Err(Fault::Jumbogram),
            (_, Some(len)) => 2 + usize::from(*len),
            _ => return Err(Fault::ExtensionHeader),
        };
        real += usize::from(*kind > 1);
        if real > MAX_OPTIONS {
            return Err(Fault::ExtensionHeader);
        }
        rest = rest.get(taken..).ok_or(Fault::ExtensionHeader)?;
    }
    Ok(len)
}

#[cfg(test)]
#[path = "ipv6/tests.rs"]
mod tests;
