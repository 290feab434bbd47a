//! Bytes that are no program.

use super::given;
use crate::{Listing, Program, Refusal, assemble, format, question::Open};
use proptest::{collection::vec, prelude::*};
use std::{format as text, string::ToString, vec::Vec};

/// Damage that its checksum does not tell.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(body) = bytes.len().checked_sub(format::CHECKSUM) {
        let sum = format::checksum(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..400), asked in given::asked()) {
        for start in [&b""[..], b"BHRULES\x02"] {
            if let Ok(program) = Program::load(&sealed([start, &bytes].concat())) {
                program.judge(&asked.question(), &mut Open);
            }
        }
    }

    #[test]
    fn damage_is_noticed(policy in given::policy(0..6), at: prop::sample::Index, bits in 1u8..) {
        let mut bytes = assemble(&policy).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        prop_assert!(Program::load(&bytes).is_err());
        bytes[at] ^= bits;
        bytes.truncate(at);
        prop_assert!(Program::load(&bytes).is_err());
    }

    /// Whoever damages a program and makes its checksum right gets another program or a refusal.
    #[test]
    fn intended_damage_does_no_harm(
        policy in given::policy(0..20),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        asked in vec(given::asked(), 20),
    ) {
        let mut bytes = assemble(&policy).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let bytes = sealed(bytes);
        match Program::load(&bytes) {
            Err(refusal) => prop_assert!(refusal != Refusal::OutOfMemory),
            Ok(program) => {
                // What is accepted is a policy, answered by its rules.
                let policy = crate::disassemble(&bytes).unwrap();
                prop_assert!(assemble(&policy).unwrap().len() <= bytes.len(), "an unused prefix may go");
                for asked in asked {
                    let answer = program.judge(&asked.question(), &mut Open);
                    prop_assert_eq!(answer, super::oracle::judge(&policy, &asked.question(), &mut Open));
                }
                prop_assert!(Listing::of(&bytes).unwrap().to_string().lines().count() == policy.rules.len() + 1);
            }
        }
    }
}

#[test]
fn another_version_is_told_from_damage() {
    assert_eq!(Program::load(b"").unwrap_err(), Refusal::Version);
    assert_eq!(Program::load(b"BHRULES\x01....").unwrap_err(), Refusal::Version);
    assert_eq!(Program::load(b"BHRULES\x02....").unwrap_err(), Refusal::Malformed);
    assert_eq!(text!("{}", Refusal::Version), "not a rule program of a version that is known here");
}
