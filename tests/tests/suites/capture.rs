//! Reads packet captures (pcap and pcapng), however damaged: what can be read is, the rest is left.

/// Records of the capture with their link types.
pub(crate) fn records(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    match file.first_chunk() {
        Some([0x0A, 0x0D, 0x0D, 0x0A]) => blocks(file),
        Some([0xA1, 0xB2, 0xC3, 0xD4] | [0xA1, 0xB2, 0x3C, 0x4D]) => classic(file, u32::from_be_bytes),
        Some([0xD4, 0xC3, 0xB2, 0xA1] | [0x4D, 0x3C, 0xB2, 0xA1]) => classic(file, u32::from_le_bytes),
        _ => Vec::new(),
    }
}

type Word = fn([u8; 4]) -> u32;

fn word(bytes: &[u8], at: usize, order: Word) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| order(*bytes))
}

fn classic(file: &[u8], order: Word) -> Vec<(u32, Vec<u8>)> {
    let kind = word(file, 20, order).unwrap_or(0) & 0xFFFF;
    let mut records = Vec::new();
    let mut at = 24;
    while let Some(len) = word(file, at + 8, order) {
        let begin = at + 16;
        let end = begin.saturating_add(len as usize);
        let Some(bytes) = file.get(begin..end.min(file.len())).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        records.push((kind, bytes.to_vec()));
        at = end;
    }
    records
}

/// pcapng: enhanced and simple packets, by the link type of the first interface.
fn blocks(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let little = file.get(8..12) == Some(&[0x4D, 0x3C, 0x2B, 0x1A]);
    let order: Word = if little { u32::from_le_bytes } else { u32::from_be_bytes };
    let (mut at, mut kind, mut records) = (0, 1, Vec::new());
    while let (Some(block), Some(len)) = (word(file, at, order), word(file, at + 4, order)) {
        let body = at + 8;
        let end = at.saturating_add(len as usize).min(file.len());
        let data = match block {
            1 => {
                kind = word(file, body, order).unwrap_or(0) & 0xFFFF;
                None
            }
            3 => file.get(body + 4..end),
            6 => word(file, body + 12, order)
                .and_then(|len| file.get(body + 20..end.min(body + 20 + len as usize))),
            _ => None,
        };
        records.extend(data.map(|data| (kind, data.to_vec())));
        if len < 12 {
            break;
        }
        at += len as usize;
    }
    records
}

/// The IP packet of a record, for link types that carry one.
pub(crate) fn ip_of(kind: u32, bytes: &[u8]) -> Option<&[u8]> {
    // BSD loopback, Ethernet, PPP, raw IP, PPP with HDLC, Cisco HDLC, OpenBSD loopback, Linux "cooked".
    let skip = match kind {
        0 | 50 | 104 | 108 => 4,
        1 => 14,
        9 => 2,
        12 | 14 | 101 | 228 | 229 => 0,
        113 => 16,
        276 => 20,
        _ => return None,
    };
    let packet = bytes.get(skip..)?;
    let version = packet.first()? >> 4;
    matches!(version, 4 | 6).then_some(packet)
}

#[test]
fn both_formats_and_both_orders_are_read() {
    let record = |order: fn(u32) -> [u8; 4]| {
        let words = [0xA1B2_C3D4, 0x0002_0004, 0, 0, 65_535, 1, 0, 0, 3, 3].map(order);
        [words.concat(), b"abc".to_vec()].concat()
    };
    assert_eq!(records(&record(u32::to_le_bytes)), [(1, b"abc".to_vec())]);
    assert_eq!(records(&record(u32::to_be_bytes)), [(1, b"abc".to_vec())]);
    let interface = [1, 20, 101, 65_535, 20].map(u32::to_le_bytes).concat();
    let section = [0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, 0, 0, 28].map(u32::to_le_bytes).concat();
    let packet = [6, 36, 0, 0, 0, 3, 3].map(u32::to_le_bytes).concat();
    let file = [section, interface, packet, b"abc\0".to_vec(), 36_u32.to_le_bytes().to_vec()].concat();
    assert_eq!(records(&file), [(101, b"abc".to_vec())]);
}
