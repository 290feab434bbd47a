//! A peer whose region holds whatever the fuzzer says, rewritten between any two calls of this end.
//!
//! Input: steps of one operation byte and its operands, see [`step`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::{
    Geometry, Link, Meta,
    host::{self, CountBell, Scribbler},
    layout::{HEADER_LEN, IDENTITY},
};

const EPOCH: u64 = 7;
const RING: Geometry = Geometry { data_len: 4096 };

/// Offsets of the words of a region; the layout's table.
const WORDS: [usize; 6] = [0x000, 0x008, 0x080, 0x100, 0x180, 0x188];

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = input.split_first_chunk()?;
    *input = tail;
    Some(*head)
}

fn step(link: &mut Link<CountBell>, peer: &mut Scribbler, input: &mut &[u8]) -> Option<()> {
    let mut buffer = [0xEE; 2100];
    let [op] = take(input)?;
    match op % 8 {
        0 => {
            let room = usize::from(op) * 8;
            if let Ok(Some((_, len))) = link.recv(&mut buffer[..room]) {
                assert!(len <= room, "a record longer than the buffer");
                assert!(buffer[len..].iter().all(|byte| *byte == 0xEE), "bytes written past the record");
            }
        }
        1 => link.release(),
        2 => {
            let _ = link.arm();
        }
        3 => {
            let _ = link.send(&Meta::default(), &[&buffer[..usize::from(op) * 4]]);
            link.publish();
        }
        4 => {
            let [word, low, high] = take(input)?;
            let value = u64::from(u16::from_le_bytes([low, high])) * u64::from(op / 8).max(1);
            peer.write(WORDS[usize::from(word) % 6], &value.to_le_bytes());
        }
        5 => {
            let [slot] = take(input)?;
            peer.write(HEADER_LEN + usize::from(slot) * 16, &take::<16>(input)?);
        }
        6 => {
            let [word] = take(input)?;
            peer.write(WORDS[usize::from(word) % 6], &take::<8>(input)?);
        }
        _ => {
            let _ = link.has_room(usize::from(op) * 16);
        }
    }
    let counters = link.counters();
    assert_eq!(link.fault().is_some(), counters.faults == 1);
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let Ok((mut link, mut peer)) = host::scribbled(RING, EPOCH) else { return };
    peer.write(0, &IDENTITY.to_le_bytes());
    peer.write(8, &EPOCH.to_le_bytes());
    let mut input = data;
    while step(&mut link, &mut peer, &mut input).is_some() {}
});
