//! The UDP header (RFC 768).

use crate::Fault;

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum in the header.
pub const CHECKSUM_AT: usize = 6;

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length of header and payload.
    pub len: u16,
    /// Checksum; 0 over IPv4: none.
    pub checksum: u16,
}

impl Udp {
    /// Reads the fields.
    #[inline(always)]
    #[must_use]
    pub const fn fields(b: &[u8; HEADER_LEN]) -> Self {
        Self {
            source_port: u16::from_be_bytes([b[0], b[1]]),
            destination_port: u16::from_be_bytes([b[2], b[3]]),
            len: u16::from_be_bytes([b[4], b[5]]),
            checksum: u16::from_be_bytes([b[6], b[7]]),
        }
    }

    /// Reads and checks a datagram, which must fill its IP packet exactly.
    ///
    /// # Errors
    /// [`Fault::TransportLength`], [`Fault::PortZero`].
    #[inline(always)]
    pub fn parse(datagram: &[u8]) -> Result<Self, Fault> {
        let udp = Self::fields(datagram.first_chunk().ok_or(Fault::TransportLength)?);
        if usize::from(udp.len) != datagram.len() {
            return Err(Fault::TransportLength);
        }
        if udp.source_port == 0 || udp.destination_port == 0 {
            return Err(Fault::PortZero);
        }
        Ok(udp)
    }

    /// Writes the header.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; HEADER_LEN] {
        let (s, d) = (self.source_port.to_be_bytes(), self.destination_port.to_be_bytes());
        let (l, c) = (self.len.to_be_bytes(), self.checksum.to_be_bytes());
        [s[0], s[1], d[0], d[1], l[0], l[1], c[0], c[1]]
    }
}
