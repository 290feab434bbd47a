//! The TCP header (RFC 9293).

use crate::{Fault, checksum::Sum};

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of the checksum in the header.
pub const CHECKSUM_AT: usize = 16;
/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;
/// Largest window scale (RFC 7323 §2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The header's fields that a firewall looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first byte (or of the SYN).
    pub sequence: u32,
    /// Next byte expected; means nothing without [`ACK`].
    pub acknowledgement: u32,
    /// Flags, low eight.
    pub flags: u8,
    /// Window as on the wire, unscaled.
    pub window: u16,
}

impl Tcp {
    /// Reads the fields and the header's length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn fields(b: &[u8; HEADER_LEN]) -> (Self, usize) {
        let tcp = Self {
            source_port: u16::from_be_bytes([b[0], b[1]]),
            destination_port: u16::from_be_bytes([b[2], b[3]]),
            sequence: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
            acknowledgement: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
            flags: b[13],
            window: u16::from_be_bytes([b[14], b[15]]),
        };
        (tcp, (b[12] >> 4) as usize * 4)
    }

    /// Writes a segment that is a header only; `pseudo` is the sum of its pseudo header.
    #[must_use]
    pub fn emit(&self, pseudo: Sum) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        let [a0, a1, a2, a3] = self.acknowledgement.to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let mut header =
            [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, 5 << 4, self.flags, w0, w1, 0, 0, 0, 0];
        let checksum = pseudo.bytes(&header).finish();
        [header[CHECKSUM_AT], header[CHECKSUM_AT + 1]] = checksum.to_be_bytes();
        header
    }

    /// Reads and checks a segment; gives the header's length too.
    ///
    /// # Errors
    /// [`Fault::TransportLength`], [`Fault::TcpFlags`], [`Fault::PortZero`].
    #[inline(always)]
    pub fn parse(segment: &[u8]) -> Result<(Self, usize), Fault> {
        let fixed = segment.first_chunk().ok_or(Fault::TransportLength)?;
        let (tcp, len) = Self::fields(fixed);
        if len < HEADER_LEN || len > segment.len() {
            return Err(Fault::TransportLength);
        }
        if !flags_are_sane(tcp.flags) {
            return Err(Fault::TcpFlags);
        }
        if tcp.source_port == 0 || tcp.destination_port == 0 {
            return Err(Fault::PortZero);
        }
        Ok((tcp, len))
    }
}

/// Whether some TCP sends this combination; PSH and the ECN flags go with everything.
#[inline]
const fn flags_are_sane(flags: u8) -> bool {
    match flags & (SYN | FIN | RST | ACK) {
        SYN | ACK | RST => true,
        both if both == SYN | ACK || both == RST | ACK || both == FIN | ACK => true,
        _ => false,
    }
}

/// The window scale option of a SYN (RFC 7323 §2), `None` when absent. `options` is what follows the fixed header.
#[must_use]
pub fn window_scale(mut options: &[u8]) -> Option<u8> {
    // 40 bytes of options hold at most 40 of them.
    for _ in 0..40 {
        match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [3, 3, scale, ..] => return Some((*scale).min(MAX_WINDOW_SCALE)),
            [_, len, ..] if *len >= 2 => options = options.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tcp = Tcp {
            source_port: 1,
            destination_port: 0xFFFE,
            sequence: 0x0102_0304,
            acknowledgement: 0xF0E0_D0C0,
            flags: RST | ACK,
            window: 0xABCD,
        };
        let (a, b) = (core::net::Ipv4Addr::new(192, 0, 2, 1), core::net::Ipv4Addr::new(192, 0, 2, 2));
        let header = tcp.emit(crate::checksum::pseudo_v4(a, b, 6, 20));
        assert_eq!(Tcp::parse(&header), Ok((tcp, HEADER_LEN)));
        let pnet = pnet_packet::tcp::TcpPacket::new(&header).unwrap();
        assert_eq!(pnet.get_checksum(), pnet_packet::tcp::ipv4_checksum(&pnet, &a, &b));
    }

    #[test]
    fn window_scale_is_found_behind_other_options_and_bounded() {
        // MSS 1460, SACK permitted, timestamps, NOP, window scale 7: Linux's SYN.
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(window_scale(&linux), Some(7));
        assert_eq!(window_scale(&[3, 3, 200]), Some(14));
        assert_eq!(window_scale(&[2, 4, 5, 0xb4]), None);
        assert_eq!(window_scale(&[0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[8, 1, 3, 3, 7]), None);
        assert_eq!(window_scale(&[8, 200, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 3]), None);
    }

    #[test]
    fn only_sane_flags_pass() {
        let sane = (0u8..64).filter(|f| flags_are_sane(*f) && f & (PSH | URG) == 0).collect::<Vec<_>>();
        assert_eq!(sane, [SYN, RST, ACK, ACK | FIN, ACK | SYN, ACK | RST]);
    }
}
