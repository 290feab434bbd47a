use super::*;
use proptest::prelude::*;

const ALL: Offloads = Offloads { csum: true, tso4: true, tso6: true };

/// A TCP frame over IPv4 with a 20-byte TCP header at 34.
fn tcp(len: usize) -> Vec<u8> {
    let mut frame = vec![7; len];
    frame[46] = 5 << 4;
    frame
}

fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[0] = flags;
    bytes[1] = gso;
    bytes[4..6].copy_from_slice(&size.to_le_bytes());
    bytes[6..8].copy_from_slice(&start.to_le_bytes());
    bytes[8..10].copy_from_slice(&offset.to_le_bytes());
    bytes
}

#[test]
fn claims_become_metadata() {
    let plain = decode(&header(0, 0, 0, 0, 0), &[0; 60], Offloads::default(), 1500);
    assert_eq!(plain, Ok(Meta::default()));
    let meta = decode(&header(1, 1, 1448, 34, 16), &tcp(60_000), ALL, 1500).unwrap();
    assert_eq!(meta.csum, Csum::Partial { start: 34, offset: 16 });
    assert_eq!(meta.gso, Some(Gso { kind: GsoKind::Tcp4, size: 1448, header_len: 54 }));
    assert_eq!(decode(&header(2, 0, 0, 0, 0), &[0; 60], ALL, 1500).unwrap().csum, Csum::Verified);
}

#[test]
fn contradictions_are_refused() {
    let check = |header, frame: &[u8], offloads| decode(&header, frame, offloads, 1500);
    let bad = Err(Malformed::Header);
    // Checksum outside of the frame, or not negotiated.
    assert_eq!(check(header(1, 0, 0, 50, 9), &[0; 60], ALL), bad);
    assert_eq!(check(header(1, 0, 0, u16::MAX, u16::MAX), &[0; 60], ALL), bad);
    assert_eq!(check(header(1, 0, 0, 34, 16), &[0; 60], Offloads::default()), bad);
    // Segmentation without checksum, without size, of unknown kind, with ECN, not negotiated.
    assert_eq!(check(header(0, 1, 1448, 34, 16), &tcp(6000), ALL), bad);
    assert_eq!(check(header(1, 1, 0, 34, 16), &tcp(6000), ALL), bad);
    for kind in [2, 3, 5, 0x80, 0x81, 0xFF] {
        assert_eq!(check(header(1, kind, 1448, 34, 16), &tcp(6000), ALL), bad);
    }
    assert_eq!(check(header(1, 4, 1448, 34, 16), &tcp(6000), Offloads { tso6: false, ..ALL }), bad);
    // TCP header that is too short, or longer than the frame.
    assert_eq!(check(header(1, 1, 10, 34, 16), &vec![0; 6000], ALL), bad);
    assert_eq!(check(header(1, 1, 10, 34, 16), &[0xFF; 60], ALL), bad);
    assert_eq!(check(header(1, 1, 10, 50, 8), &[0xFF; 60], ALL), bad);
    // Lengths.
    for (len, offloads) in [(13, ALL), (1519, ALL), (70_000, ALL), (0, ALL)] {
        assert_eq!(check(header(0, 0, 0, 0, 0), &vec![0; len], offloads), Err(Malformed::Length));
    }
}

#[test]
fn checksum_is_completed_for_who_does_not_take_it_partial() {
    // Example of RFC 1071, section 3: the sum of these words is ddf2.
    let mut frame = vec![0xEE; 14];
    frame.extend([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0]);
    let meta = Meta { csum: Csum::Partial { start: 14, offset: 8 }, ..Meta::default() };
    let adapted = adapt(meta, &mut frame, Offloads::default()).unwrap();
    assert_eq!(adapted.csum, Csum::None);
    assert_eq!(frame[22..], (!0xddf2u16).to_be_bytes());
    let gso = Gso { kind: GsoKind::Tcp4, size: 1000, header_len: 54 };
    assert!(adapt(Meta { gso: Some(gso), ..meta }, &mut frame, Offloads { tso4: false, ..ALL }).is_none());
}

#[test]
fn segmentation_needs_checksums() {
    let tso_without_csum = 1 << VIRTIO_NET_F_HOST_TSO4 | 1 << VIRTIO_NET_F_GUEST_TSO6;
    assert_eq!(Offloads::from_guest(tso_without_csum), Offloads::default());
    assert_eq!(Offloads::to_guest(tso_without_csum), Offloads::default());
}

proptest! {
    /// Whatever a header says, what is accepted lies within the frame, and says the same again.
    #[test]
    fn accepted_metadata_is_in_bounds(bytes in any::<[u8; LEN]>(), kind in 0u8..6, len in 0usize..3000, fill in any::<u8>()) {
        let mut bytes = bytes;
        bytes[0] &= 3;
        bytes[1] = kind;
        bytes[7] &= 3;
        bytes[9] = 0;
        let frame = vec![fill; len];
        if let Ok(meta) = decode(&bytes, &frame, ALL, 1500) {
            if let Csum::Partial { start, offset } = meta.csum {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= len);
            }
            if let Some(gso) = meta.gso {
                prop_assert!(gso.size > 0 && usize::from(gso.header_len) <= len);
            }
            prop_assert_eq!(decode(&encode(&meta, 1), &frame, ALL, 1500), Ok(meta));
            let mut copy = frame.clone();
            prop_assert!(adapt(meta, &mut copy, Offloads::default()).is_none() == meta.gso.is_some());
        }
    }
}
