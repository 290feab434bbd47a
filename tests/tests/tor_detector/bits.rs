//! A SYN to a relay with any bit of its headers changed, checksums made right again: still good only where a
//! gateway is free.

use super::packets::{SMOLTCP_OPTIONS, SYN, Segment, repaired, segment};
use super::traffic::{ADDRESS, RELAY, TTL, judged, out};
use pnet_packet::tcp::{MutableTcpPacket, ipv4_checksum};
use std::collections::BTreeSet;

/// Bytes of the frame that are the gateway's choice: its port, its sequence number, the acknowledgement that a SYN
/// does not use, the window, the values of segment size and window scale. Checksums are made right again.
const FREE: &[std::ops::Range<usize>] = &[24..26, 34..36, 38..46, 48..52, 56..58, 60..61];

/// With the checksums that belong to it, where it can have them.
fn mended(frame: Vec<u8>) -> Vec<u8> {
    let mut frame = repaired(frame);
    let (from, to) = ([26, 30].map(|at| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap())).into();
    let mut header = MutableTcpPacket::new(&mut frame[34..]).unwrap();
    header.set_checksum(ipv4_checksum(&header.to_immutable(), &from.into(), &to.into()));
    frame
}

#[test]
fn every_bit_of_a_syn_counts() {
    let syn = Segment { sequence: 1, flags: SYN, options: SMOLTCP_OPTIONS, payload: &[] };
    let good = segment(out(40_000, RELAY), TTL, syn);
    assert_eq!(good[26..30], ADDRESS.octets());
    assert!(judged(std::slice::from_ref(&good)).is_ok());
    let free: BTreeSet<usize> = FREE.iter().cloned().flatten().collect();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut frame = good.clone();
            frame[at] ^= 1 << bit;
            // The Ethernet header is not under these checksums, and a length that leads nowhere has none.
            let frame = if matches!(at, 14 | 16 | 17 | 46) { frame } else { mended(frame) };
            let verdict = judged(&[frame]);
            assert_eq!(verdict.is_ok(), free.contains(&at), "byte {at}, bit {bit}: {verdict:?}");
        }
    }
}

#[test]
fn both_forms_of_a_checksum_of_zero_are_right() {
    let with = |sequence| {
        let syn = Segment { sequence, flags: SYN, options: SMOLTCP_OPTIONS, payload: &[] };
        segment(out(40_000, RELAY), TTL, syn)
    };
    // The sequence number takes up what is missing to all ones.
    let missing = u16::from_be_bytes(with(1)[50..52].try_into().unwrap());
    let mut frame = with(1 + u32::from(missing));
    for (said, right) in [([0, 0], true), ([0xff, 0xff], true), ([0, 1], false), ([0xff, 0xfe], false)] {
        frame[50..52].copy_from_slice(&said);
        assert_eq!(judged(std::slice::from_ref(&frame)).is_ok(), right, "{said:?}");
    }
}
