//! The IPv4 header (RFC 791); packets with options are refused.

use crate::{Fault, checksum::Sum};
use core::net::Ipv4Addr;

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// The header's fields that a firewall looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Hops left.
    pub ttl: u8,
    /// Transport protocol.
    pub protocol: u8,
    /// Length of header and payload, at least [`HEADER_LEN`].
    pub total_len: u16,
    /// Whether routers may not fragment it.
    pub dont_fragment: bool,
    /// Whether more fragments follow.
    pub more_fragments: bool,
    /// Position of this fragment in bytes.
    pub fragment_offset: u16,
    /// Names the datagram that a fragment belongs to.
    pub identification: u16,
}

impl Ipv4 {
    /// Reads and checks a header: version, length, checksum, no options.
    ///
    /// # Errors
    /// [`Fault::IpHeader`], [`Fault::IpOptions`], [`Fault::IpChecksum`], [`Fault::IpLength`].
    #[inline(always)]
    pub fn parse(b: &[u8; HEADER_LEN]) -> Result<Self, Fault> {
        if b[0] != 0x45 {
            return Err(if b[0] > 0x45 && b[0] <= 0x4F { Fault::IpOptions } else { Fault::IpHeader });
        }
        if !Sum::new().bytes(b).is_valid() {
            return Err(Fault::IpChecksum);
        }
        let header = Self::fields(b);
        if usize::from(header.total_len) < HEADER_LEN {
            return Err(Fault::IpLength);
        }
        Ok(header)
    }

    /// Reads the fields without any check: for headers quoted in ICMP errors.
    #[inline(always)]
    #[must_use]
    pub const fn fields(b: &[u8; HEADER_LEN]) -> Self {
        let fragment = u16::from_be_bytes([b[6], b[7]]);
        Self {
            source: Ipv4Addr::new(b[12], b[13], b[14], b[15]),
            destination: Ipv4Addr::new(b[16], b[17], b[18], b[19]),
            ttl: b[8],
            protocol: b[9],
            total_len: u16::from_be_bytes([b[2], b[3]]),
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: (fragment & 0x1FFF) << 3,
            identification: u16::from_be_bytes([b[4], b[5]]),
        }
    }

    /// Writes a header with its checksum; type of service 0.
    #[inline]
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut b = [0; HEADER_LEN];
        b[0] = 0x45;
        [b[2], b[3]] = self.total_len.to_be_bytes();
        [b[4], b[5]] = self.identification.to_be_bytes();
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        [b[6], b[7]] = (flags | self.fragment_offset >> 3).to_be_bytes();
        b[8] = self.ttl;
        b[9] = self.protocol;
        [b[12], b[13], b[14], b[15]] = self.source.octets();
        [b[16], b[17], b[18], b[19]] = self.destination.octets();
        [b[10], b[11]] = Sum::new().bytes(&b).finish().to_be_bytes();
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::ipv4::{Ipv4Packet, checksum};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_what_it_writes_and_pnet_agrees(
            source: u32, destination: u32, ttl: u8, protocol: u8, total_len in 20u16.., offset in 0u16..8192,
            more: bool, dont: bool, identification: u16,
        ) {
            let header = Ipv4 {
                source: source.into(), destination: destination.into(), ttl, protocol, total_len,
                dont_fragment: dont, more_fragments: more, fragment_offset: offset << 3, identification,
            };
            let bytes = header.emit();
            prop_assert_eq!(Ipv4::parse(&bytes), Ok(header));
            let pnet = Ipv4Packet::new(&bytes).unwrap();
            prop_assert_eq!(pnet.get_checksum(), checksum(&pnet));
            prop_assert_eq!(pnet.get_source(), header.source);
            prop_assert_eq!(pnet.get_fragment_offset(), offset);
            prop_assert_eq!(pnet.get_total_length(), total_len);
            let mut wrong = bytes;
            wrong[usize::from(ttl % 20).max(1)] ^= 0x10;
            prop_assert_eq!(Ipv4::parse(&wrong), Err(Fault::IpChecksum));
        }
    }

    #[test]
    fn refuses_versions_options_and_short_lengths() {
        let header = Ipv4::fields(&[0; 20]);
        let mut bytes = header.emit();
        assert_eq!(Ipv4::parse(&bytes), Err(Fault::IpLength));
        for (first, fault) in [(0x46, Fault::IpOptions), (0x44, Fault::IpHeader), (0x65, Fault::IpHeader)] {
            bytes[0] = first;
            assert_eq!(Ipv4::parse(&bytes), Err(fault));
        }
    }
}
