//! What passed on the cable: the capture that QEMU writes, frame by frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame on the cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

/// Reads a capture in the classic libpcap format with Ethernet frames; what is cut off at its end is left out,
/// as the writer may still be at work.
#[must_use]
pub fn frames(capture: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let Some((header, mut rest)) = capture.split_at_checked(24) else { return frames };
    assert_eq!(header[..4], 0xa1b2_c3d4u32.to_le_bytes(), "a little-endian capture");
    assert_eq!(header[20..], 1u32.to_le_bytes(), "a capture of Ethernet frames");
    while let Some((record, behind)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(record[8..12].try_into().unwrap());
        let Some((frame, behind)) = behind.split_at_checked(length as usize) else { break };
        frames.push(Frame(frame.to_vec()));
        rest = behind;
    }
    frames
}

/// Addresses that exist only behind firewallvm.
#[must_use]
pub fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [10, 137, ..] | [10, 139, 1, _]),
        IpAddr::V6(v6) => v6.segments()[..3] == [0xfd09, 0x24ef, 0x4179],
    }
}

impl Frame {
    /// Hardware address of the receiver.
    #[must_use]
    pub fn to(&self) -> &[u8] {
        self.0.get(..6).unwrap_or_default()
    }

    /// Hardware address of the sender.
    #[must_use]
    pub fn from(&self) -> &[u8] {
        self.0.get(6..12).unwrap_or_default()
    }

    fn v4(&self, at: usize) -> Option<IpAddr> {
        let bytes: [u8; 4] = self.0.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    }

    fn v6(&self, at: usize) -> Option<IpAddr> {
        let bytes: [u8; 16] = self.0.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    }

    /// Source and destination of the IP packet, or sender and target of the ARP message.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.0.get(12..14)? {
            [0x08, 0x00] => Some((self.v4(26)?, self.v4(30)?)),
            [0x08, 0x06] => Some((self.v4(28)?, self.v4(38)?)),
            [0x86, 0xdd] => Some((self.v6(22)?, self.v6(38)?)),
            _ => None,
        }
    }

    /// Whether it is an IP packet.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        matches!(self.0.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]))
    }

    /// Protocol and transport header of an IPv4 packet, or of an IPv6 packet without extension headers.
    #[must_use]
    pub fn transport(&self) -> Option<(u8, &[u8])> {
        match self.0.get(12..14)? {
            [0x08, 0x00] => {
                let header = usize::from(self.0.get(14)? & 15) * 4;
                Some((*self.0.get(23)?, self.0.get(14 + header..)?))
            }
            [0x86, 0xdd] => Some((*self.0.get(20)?, self.0.get(54..)?)),
            _ => None,
        }
    }

    /// Source and destination port of TCP (protocol 6) or UDP (17).
    #[must_use]
    pub fn ports(&self, protocol: u8) -> Option<(u16, u16)> {
        let (found, header) = self.transport()?;
        let port = |at: usize| Some(u16::from_be_bytes(header.get(at..at + 2)?.try_into().ok()?));
        (found == protocol).then_some((port(0)?, port(2)?))
    }

    /// Flags of a TCP segment.
    #[must_use]
    pub fn tcp_flags(&self) -> Option<u8> {
        self.ports(6)?;
        self.transport()?.1.get(13).copied()
    }

    /// Whether these bytes are in it.
    #[must_use]
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.0.windows(bytes.len()).any(|window| window == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_taken_apart() {
        let mut frame = vec![1; 6];
        frame.extend([2; 6]);
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 137, 0, 2, 10, 0, 2, 2]);
        frame.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let mut capture = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        capture.extend([0; 16]);
        capture.extend(1u32.to_le_bytes());
        for _ in 0..2 {
            capture.extend([0; 8]);
            capture.extend([54, 0, 0, 0, 54, 0, 0, 0]);
            capture.extend(&frame);
        }
        let found = frames(&capture[..capture.len() - 1]);
        assert_eq!(found, [Frame(frame)]);
        let (source, destination) = found[0].addresses().unwrap();
        assert!(is_inner(source) && !is_inner(destination));
        assert_eq!((found[0].to(), found[0].from()), (&[1; 6][..], &[2; 6][..]));
        assert_eq!((found[0].ports(6), found[0].ports(17)), (Some((8080, 80)), None));
        assert_eq!(found[0].tcp_flags(), Some(2));
        assert!(found[0].contains(&[10, 137, 0, 2]) && !found[0].contains(b"x"));
    }
}
