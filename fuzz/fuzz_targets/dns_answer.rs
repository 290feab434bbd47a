//! A client that asks anything, a name server that answers anything. Nothing may panic, and an address may be pinned
//! only if its bytes are in an answer that came with the number and the name of a question that was asked.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use firewallvm::{
    hash::Random,
    names::{Conversation, Names, wire::Header},
};
use libfuzzer_sys::fuzz_target;

const WORK: u8 = 2;
const NAMES: [&str; 3] = ["files.example", "a.b", "x"];

fn conversation(byte: u8) -> Conversation {
    Conversation { port: 40_000 + u16::from(byte >> 6 & 1), server: IpAddr::V4(Ipv4Addr::new(10, 139, 1, 1)) }
}

/// A question about one of the names, in some mixture of cases, that the fuzzer need not invent.
fn question(choice: u8) -> Vec<u8> {
    let mut message = vec![0, choice & 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAMES[usize::from(choice >> 2 & 3).min(2)].split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(
            label.bytes().map(|byte| if choice & 32 == 0 { byte } else { byte.to_ascii_uppercase() }),
        );
    }
    message.extend([0, 0, if choice & 16 == 0 { 1 } else { 28 }, 0, 1]);
    message
}

/// A record made of six bytes: whose, what, and some of the rest.
fn record(message: &mut Vec<u8>, chunk: &[u8]) {
    let mut bytes = [0; 6];
    bytes[..chunk.len()].copy_from_slice(chunk);
    let [owner, what, rest @ ..] = bytes;
    message.extend([0xC0 | owner >> 7, 12 + (owner & 0x7F)]);
    let (kind, data): (u8, Vec<u8>) = match what & 3 {
        0 => (1, rest.to_vec()),
        1 => (28, [[0x20, 1], [rest[0], rest[1]]].concat().into_iter().chain([rest[2]; 12]).collect()),
        2 => (5, vec![0xC0, rest[0]]),
        _ => (5, vec![1, rest[1], 0xC0, rest[0]]),
    };
    message.extend([0, kind, 0, 1, 0, 0, rest[3], what]);
    message.extend([0, u8::try_from(data.len()).unwrap_or(0)]);
    message.extend(data);
}

/// Every address that is literally somewhere in an answer.
fn contains(message: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => message.windows(4).any(|window| window == v4.octets()),
        IpAddr::V6(v6) => message.windows(16).any(|window| window == v6.octets()),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut names = Names::new(&mut Random::new([1, 2]));
    if names.set_program(WORK, NAMES.into_iter()).is_err() {
        return;
    }
    let (mut rest, mut now) = (data, 0);
    let mut asked: Vec<u16> = Vec::new();
    while let [op, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        match op & 3 {
            0 => {
                let message = if op & 4 == 0 { question(*len) } else { bytes.to_vec() };
                names.asked(WORK, conversation(*op), &message, now);
                asked.extend(Header::read(&message).map(|header| header.id));
            }
            // An answer that begins as one to such a question does; then records, or anything.
            1 => {
                let mut message = question(*op >> 2);
                message[2] = 0x81;
                if *len & 1 == 0 {
                    message[7] = u8::try_from(bytes.chunks(6).len()).unwrap_or(0);
                    bytes.chunks(6).for_each(|chunk| record(&mut message, chunk));
                } else {
                    message[7] = bytes.first().copied().unwrap_or(0);
                    message.extend_from_slice(bytes.get(1..).unwrap_or_default());
                }
                answered(&mut names, *op, &message, (&asked, now));
            }
            2 => answered(&mut names, *op, bytes, (&asked, now)),
            _ if op & 4 == 0 => now += u32::from(*len),
            _ => {
                let some =
                    NAMES.into_iter().cycle().skip(usize::from(op >> 3 & 3)).take(usize::from(op >> 5));
                let _ = names.set_program(WORK, some);
            }
        }
    }
});

/// Hands an answer over and checks what came of it.
fn answered(names: &mut Names, op: u8, message: &[u8], (asked, now): (&[u16], u32)) {
    let pinned = |names: &Names| names.counters().find(|(name, _)| *name == "names_pinned").map(|(_, n)| n);
    let before = pinned(names);
    let candidates: Vec<IpAddr> = message
        .windows(4)
        .map(|w| IpAddr::from([w[0], w[1], w[2], w[3]]))
        .filter(|address| names.of(WORK, *address, now).is_empty())
        .collect();
    names.answered(WORK, conversation(op), message, now);
    if pinned(names) != before {
        let id = Header::read(message).map(|header| header.id);
        assert!(id.is_ok_and(|id| asked.contains(&id)), "an answer to what was not asked");
    }
    for address in candidates {
        if !names.of(WORK, address, now).is_empty() {
            assert!(contains(message, address) && pinned(names) != before);
            assert!(!firewallvm::names::rebinding::is_inside(address, &[None, None]), "{address}");
        }
    }
}
