//! What the chip does to frames on their way out: checksum insertion and TCP segmentation.

use std::vec::Vec;

/// Fields of a context descriptor.
struct Context {
    ip_start: usize,
    ip_checksum: usize,
    ip_end: usize,
    l4_start: usize,
    l4_checksum: usize,
    payload: usize,
    header: usize,
    mss: usize,
    tcp: bool,
    ipv4: bool,
    segment: bool,
}

impl Context {
    fn new([low, high]: [u64; 2]) -> Self {
        let byte = |word: u64, shift: u32| usize::from((word >> shift).to_le_bytes()[0]);
        let half = |word: u64, shift: u32| byte(word, shift) | byte(word, shift + 8) << 8;
        Self {
            ip_start: byte(low, 0),
            ip_checksum: byte(low, 8),
            ip_end: half(low, 16),
            l4_start: byte(low, 32),
            l4_checksum: byte(low, 40),
            payload: half(high, 0) | (byte(high, 16) & 0xF) << 16,
            header: byte(high, 40),
            mss: half(high, 48),
            tcp: high >> 24 & 1 != 0,
            ipv4: high >> 25 & 1 != 0,
            segment: high >> 26 & 1 != 0,
        }
    }
}

/// Inserts one checksum from `l4_start` to the end.
pub(super) fn checksum(context: [u64; 2], mut frame: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let context = Context::new(context);
    if context.segment || context.l4_checksum + 2 > frame.len() || context.l4_start > frame.len() {
        return Err("checksum context does not fit the frame");
    }
    if ends_late(&frame) {
        return Err(
            "bytes behind the IP packet whose checksum is inserted: cards differ in what they sum up",
        );
    }
    let sum = !fold(sum(&frame[context.l4_start..]));
    frame[context.l4_checksum..context.l4_checksum + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(frame)
}

/// Whether an IPv4 frame is longer than the packet in it.
fn ends_late(frame: &[u8]) -> bool {
    let Some(([0x08, 0x00], packet)) = frame.get(12..).and_then(|rest| rest.split_first_chunk()) else {
        return false;
    };
    let length = packet.get(2..4).map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
    packet.len() > length
}

/// Cuts a packet as the context says.
pub(super) fn segment(context: [u64; 2], frame: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let context = Context::new(context);
    if !context.segment || !context.tcp || context.mss == 0 {
        return Err("segmentation without a segmentation context");
    }
    if frame.len() != context.header + context.payload || context.header < context.l4_start + 20 {
        return Err("segmentation context does not fit the frame");
    }
    let (header, payload) = frame.split_at(context.header);
    let count = payload.len().div_ceil(context.mss);
    let cut = |(index, data): (usize, &[u8])| context.one(header, index, data, index + 1 == count);
    Ok(payload.chunks(context.mss).enumerate().map(cut).collect())
}

impl Context {
    fn one(&self, header: &[u8], index: usize, data: &[u8], last: bool) -> Vec<u8> {
        let mut frame = [header, data].concat();
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        self.fix_ip(&mut frame, number);
        let tcp = self.l4_start;
        let sequence = u32::from_be_bytes([frame[tcp + 4], frame[tcp + 5], frame[tcp + 6], frame[tcp + 7]]);
        let sequence = sequence.wrapping_add(u32::try_from(index * self.mss).unwrap_or(0));
        frame[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            frame[tcp + 13] &= !0x09; // FIN and PSH belong to the last segment
        }
        // The seed in the checksum field is the pseudo-header without a length; the chip adds it.
        let length = u32::try_from(frame.len() - tcp).unwrap_or(0);
        let total = !fold(sum(&frame[tcp..]) + length);
        frame[self.l4_checksum..self.l4_checksum + 2].copy_from_slice(&total.to_be_bytes());
        frame
    }

    fn fix_ip(&self, frame: &mut [u8], number: u16) {
        let ip = self.ip_start;
        let length = u16::try_from(frame.len() - ip).unwrap_or(u16::MAX);
        if !self.ipv4 {
            frame[ip + 4..ip + 6].copy_from_slice(&(length - 40).to_be_bytes());
            return;
        }
        let add = |frame: &mut [u8], at: usize, by: u16| {
            let value = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add(by);
            frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        };
        add(frame, ip + 2, length);
        add(frame, ip + 4, number);
        let checksum = !fold(sum(&frame[ip..=self.ip_end]));
        frame[self.ip_checksum..self.ip_checksum + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .fold(0, |sum, word| fold(sum + word).into())
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xFFFF) + (sum >> 16);
    u16::try_from((sum & 0xFFFF) + (sum >> 16)).unwrap_or(u16::MAX)
}
