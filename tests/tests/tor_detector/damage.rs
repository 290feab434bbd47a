//! Captures that cannot be read are leaks, not silence.

use super::traffic::{cable, captured, good};
use tests::leaks::Leaks;
use tests::leaks::capture::{Capture, Record, write};

fn leaks(capture: &Capture) -> Leaks {
    cable().judge(capture).unwrap_err()
}

#[test]
fn a_capture_that_is_none_is_a_leak() {
    let file = captured(&good());
    for (name, bytes) in
        [("empty", &[][..]), ("cut", &file[..20]), ("text", b"not a capture, but 24 bytes long")]
    {
        for capture in [Capture::finished(bytes), Capture::running(bytes)] {
            assert_eq!(leaks(&capture).found.len(), 1, "{name}");
        }
    }
    for at in [0, 4, 20] {
        let mut other = file.clone();
        other[at] ^= 0x10;
        let leaks = leaks(&Capture::running(&other));
        assert!(leaks.found[0].why.contains("not a little-endian libpcap capture"), "{leaks}");
    }
}

#[test]
fn a_record_cut_off_is_a_leak_once_the_writer_has_ended() {
    let file = captured(&good());
    for cut in [1, 30, 50] {
        let cut = &file[..file.len() - cut];
        let found = leaks(&Capture::finished(cut)).found;
        assert_eq!(found.len(), 1);
        assert!(found[0].why.contains("in the middle of a record"), "{}", found[0].why);
        let running = Capture::running(cut);
        assert_eq!(cable().judge(&running).unwrap().frames, good().len() - 1);
    }
}

#[test]
fn a_length_that_leads_nowhere_is_a_leak() {
    let mut file = captured(&good());
    // The captured length of the first record.
    file[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(leaks(&Capture::finished(&file)).found.len(), 1);
}

#[test]
fn a_frame_that_was_captured_in_part_is_a_leak() {
    let frames = good();
    let record = |bytes: &Vec<u8>| Record { at_us: 0, length: bytes.len(), bytes: bytes.clone() };
    let mut records: Vec<_> = frames.iter().map(record).collect();
    records[5_000].bytes.truncate(40);
    let leaks = leaks(&Capture::finished(&write(&records)));
    let found: Vec<_> = leaks.found.iter().map(|leak| leak.index).collect();
    assert_eq!(found, [5_000], "{leaks}");
    assert!(leaks.found[0].why.contains("truncated"), "{leaks}");
}
