//! Who spoke on the cable: reads the capture file that QEMU writes.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that live behind firewallvm and must never appear on the cable.
const INSIDE_V4: [(Ipv4Addr, u8); 2] =
    [(Ipv4Addr::new(10, 137, 0, 0), 16), (Ipv4Addr::new(10, 139, 1, 0), 24)];
const INSIDE_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd09, 0x24ef, 0x4179, 0, 0, 0, 0, 0), 48);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What one sender sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Number of frames.
    pub(crate) frames: u64,
    /// Bytes of whole frames.
    pub(crate) bytes: u64,
}

/// Senders on the cable: MAC address, and network address where the frame has one.
pub(crate) type Speakers = BTreeMap<(Mac, Option<IpAddr>), Sent>;

/// Reads a capture in the classic libpcap format with Ethernet frames.
///
/// # Errors
/// When the file is not of that format. A record that is cut off ends the reading: the writer may still
/// be at work.
pub(crate) fn speakers(capture: &[u8]) -> Result<Speakers> {
    const HEADER: usize = 24;
    const RECORD: usize = 16;
    let (header, mut rest) = capture.split_at_checked(HEADER).context("capture shorter than its header")?;
    if header[..4] != 0xa1b2_c3d4u32.to_le_bytes() || header[20..] != 1u32.to_le_bytes() {
        bail!("not a little-endian capture of Ethernet frames");
    }
    let mut speakers = Speakers::new();
    while let Some((record, behind)) = rest.split_at_checked(RECORD) {
        let word =
            |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let Some((frame, behind)) = behind.split_at_checked(word(8) as usize) else { break };
        rest = behind;
        if let Some(sender) = sender(frame) {
            let sent = speakers.entry(sender).or_default();
            sent.frames += 1;
            sent.bytes += u64::from(word(12));
        }
    }
    Ok(speakers)
}

/// Source addresses of a frame: of the IP packet, or the sender that an ARP message claims.
fn sender(frame: &[u8]) -> Option<(Mac, Option<IpAddr>)> {
    let mac = Mac(frame.get(6..12)?.try_into().ok()?);
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let address = match frame.get(12..14)? {
        [0x08, 0x00] => v4(26),
        [0x08, 0x06] => v4(28),
        [0x86, 0xdd] => Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(22..38)?).ok()?)),
        _ => None,
    };
    Some((mac, address))
}

/// What does not belong on the cable: senders other than `nic` and those in `outside`, and addresses
/// from behind firewallvm.
pub(crate) fn strangers(speakers: &Speakers, nic: Mac, outside: impl Fn(Mac) -> bool) -> Vec<String> {
    let wrong = |(mac, address): &(Mac, Option<IpAddr>)| {
        (*mac != nic && !outside(*mac)) || address.is_some_and(inside)
    };
    let senders = speakers.keys().filter(|sender| wrong(sender));
    senders.map(|(mac, address)| address.map_or(mac.to_string(), |ip| format!("{mac} {ip}"))).collect()
}

fn inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => INSIDE_V4.iter().any(|(net, bits)| {
            let mask = u32::MAX << (32 - bits);
            v4.to_bits() & mask == net.to_bits() & mask
        }),
        IpAddr::V6(v6) => {
            let mask = u128::MAX << (128 - INSIDE_V6.1);
            v6.to_bits() & mask == INSIDE_V6.0.to_bits() & mask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const OTHER: Mac = Mac([2, 0x62, 0x6b, 0, 0, 1]);

    fn ipv4(from: Mac, source: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(from.0);
        frame.extend([8, 0]);
        frame.extend([0x45; 12]);
        frame.extend(source);
        frame.extend([10, 0, 2, 2]);
        frame
    }

    fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        bytes.extend([0; 16]);
        bytes.extend(1u32.to_le_bytes());
        for frame in frames {
            bytes.extend([0; 8]);
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            bytes.extend(length);
            bytes.extend(length);
            bytes.extend(frame);
        }
        bytes
    }

    #[test]
    fn senders_are_counted() {
        let frames = [ipv4(NIC, [10, 0, 2, 15]), ipv4(NIC, [10, 0, 2, 15])];
        let found = speakers(&capture(&frames)).unwrap();
        let sent = &found[&(NIC, Some(IpAddr::from([10, 0, 2, 15])))];
        assert_eq!(*sent, Sent { frames: 2, bytes: 68 });
        assert!(strangers(&found, NIC, |_| false).is_empty());
    }

    #[test]
    fn inside_address_and_foreign_sender_are_strangers() {
        let frames = [ipv4(NIC, [10, 137, 0, 2]), ipv4(OTHER, [10, 0, 2, 15])];
        let found = speakers(&capture(&frames)).unwrap();
        assert_eq!(strangers(&found, NIC, |_| false).len(), 2);
        assert_eq!(strangers(&found, NIC, |mac| mac == OTHER).len(), 1);
    }

    #[test]
    fn cut_record_ends_the_reading_and_garbage_is_refused() {
        let whole = capture(&[ipv4(NIC, [10, 0, 2, 15])]);
        assert!(speakers(&whole[..whole.len() - 1]).unwrap().is_empty());
        assert!(speakers(&whole[..10]).is_err());
        assert!(speakers(&[0; 64]).is_err());
    }
}
