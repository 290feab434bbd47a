//! Bytes that claim to be a program of rules: refused, or a program that answers as its rules do one by one.
//!
//! Input: nine bytes that say how much there is of each section, the sections, and 24 bytes for each question. Name,
//! version, lengths and checksum are put around it: no fuzzer would guess them.
#![no_main]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use libfuzzer_sys::fuzz_target;
use policy::Direction;
use question::{Gate, Peer, Question, Transport};
use rules_program::{Listing, Program, assemble, disassemble, policy, question};

#[path = "../../rules/program/src/tests/oracle.rs"]
mod oracle;

/// Bytes of a record of each section whose records are alike.
const RECORDS: [usize; 5] = [20, 4, 8, 20, 16];

/// The program that the input begins with, without its first 8 and its last 8 bytes; and the questions.
fn split(data: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (counts, rest) = data.split_first_chunk::<9>()?;
    let [rules, targets, prefixes4, prefixes6, limits, _, names_len, _, domains_len] = *counts;
    let records = [rules, targets, prefixes4, prefixes6, limits].into_iter().zip(RECORDS);
    let records: usize = records.map(|(count, size)| usize::from(count) * size).sum();
    let len = records + usize::from(names_len) + usize::from(domains_len);
    let (sections, questions) = rest.split_at_checked(len)?;
    let mut body = Vec::from(u32::try_from(48 + len + 8).ok()?.to_le_bytes());
    body.extend(counts.iter().flat_map(|count| u32::from(*count).to_le_bytes()));
    body.extend(sections);
    Some((body, questions))
}

/// Adds the checksum that the format describes.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = [b"BHRULES\x02", body].concat();
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = bytes.len() as u64;
    for word in words.iter().chain([&last]) {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    bytes.extend((sum ^ (sum >> 32)).to_le_bytes());
    bytes
}

fn asked(bytes: &[u8; 24]) -> Question<'static> {
    let [what, name, a, b, c, d, e, f, address @ ..] = *bytes;
    let (source, destination) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let v6 = Ipv6Addr::from_bits(u128::from_be_bytes(address));
    let [.., w, x, y, z] = address;
    Question {
        direction: if what & 1 == 0 { Direction::Outward } else { Direction::Inward },
        peer: match (what >> 1) & 3 {
            0 | 1 => Peer::Net,
            2 => Peer::Dns,
            _ => Peer::Domain((e & 1 == 0).then_some(f.into())),
        },
        remote: if what & 8 == 0 { IpAddr::V6(v6) } else { IpAddr::V4(Ipv4Addr::new(w, x, y, z)) },
        names: [&[][..], &[0], &[0, 1], &[7, 65_535]][usize::from(name & 3)],
        transport: match (what >> 4) & 3 {
            0 => Transport::Tcp { source, destination },
            1 => Transport::Udp { source, destination },
            2 => Transport::Icmp { kind: e },
            _ => Transport::Icmpv6 { kind: e },
        },
    }
}

/// Admits every other time; no rule may ask twice, and they ask in order.
#[derive(Default)]
struct Gatekeeper {
    last: Option<u16>,
    admits: bool,
}

impl Gate for Gatekeeper {
    fn admits(&mut self, rule: u16) -> bool {
        assert!(self.last < Some(rule), "rules ask out of order");
        self.last = Some(rule);
        self.admits = !self.admits;
        !self.admits
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Program::load(data);
    let (body, questions) = split(data).unwrap_or((data.to_vec(), &[]));
    let bytes = sealed(&body);
    let Ok(program) = Program::load(&bytes) else {
        assert!(disassemble(&bytes).is_err(), "a policy without a program");
        return;
    };
    let policy = disassemble(&bytes).expect("a program has a policy");
    assert!(assemble(&policy).expect("not too large").len() <= bytes.len());
    assert_eq!(Listing::of(&bytes).expect("sound").to_string().lines().count(), program.len() + 1);
    for question in questions.as_chunks().0.iter().take(64).map(asked) {
        let answer = program.judge(&question, &mut Gatekeeper::default());
        assert_eq!(answer, oracle::judge(&policy, &question, &mut Gatekeeper::default()));
    }
});
