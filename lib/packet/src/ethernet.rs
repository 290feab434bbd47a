//! The Ethernet header: 14 bytes, no VLAN tag.

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86DD;
/// The address of everybody.
pub const BROADCAST: Mac = [0xFF; 6];

/// A hardware address.
pub type Mac = [u8; 6];

/// Whether the address names a group, broadcast included.
#[inline]
#[must_use]
pub const fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What follows.
    pub ethertype: u16,
}

impl Ethernet {
    /// Reads the header.
    #[inline(always)]
    #[must_use]
    pub const fn parse(b: &[u8; HEADER_LEN]) -> Self {
        Self {
            destination: [b[0], b[1], b[2], b[3], b[4], b[5]],
            source: [b[6], b[7], b[8], b[9], b[10], b[11]],
            ethertype: u16::from_be_bytes([b[12], b[13]]),
        }
    }

    /// Writes the header.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; HEADER_LEN] {
        let (d, s, t) = (self.destination, self.source, self.ethertype.to_be_bytes());
        [d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5], t[0], t[1]]
    }
}
