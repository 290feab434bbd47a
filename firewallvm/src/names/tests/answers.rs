//! Whole answers, built by somebody else's library, against a slow reading of what was put into them.

use super::{Conversation, NAME, TALK, WORK, names};
use crate::names::{
    Count, answer,
    tests::messages::{Asked, Said, alias, is},
};
use proptest::prelude::*;
use simple_dns::{Packet, rdata::RData};
use std::{collections::BTreeSet, net::IpAddr};

/// A few names that share their ends, so that they are compressed, in some mixture of cases.
const OWNERS: [&str; 6] =
    [NAME, "FILES.example", "www.files.example", "cdn.EXAMPLE", "a.b.c.cdn.example", "example"];

fn said() -> impl Strategy<Value = Said> {
    let owner = || proptest::sample::select(&OWNERS[..]);
    prop_oneof![
        3 => (owner(), 1_u8..40, 0_u32..1000)
            .prop_map(|(owner, last, ttl)| is(owner, &format!("198.51.100.{last}"), ttl)),
        1 => (owner(), 1_u8..40, 0_u32..1000)
            .prop_map(|(owner, last, ttl)| is(owner, &format!("2001:db8::{last}"), ttl)),
        2 => (owner(), owner(), 0_u32..1000).prop_map(|(owner, target, ttl)| alias(owner, target, ttl)),
    ]
}

/// The addresses of the name, found by looking through the whole answer for each step.
fn slow(said: &[Said]) -> BTreeSet<IpAddr> {
    let aliases: Vec<_> = said.iter().filter_map(Said::alias).take(answer::MAX_LINKS).collect();
    let mut name = NAME.to_owned();
    for _ in 0..=aliases.len() {
        match aliases.iter().find(|(owner, _)| owner.eq_ignore_ascii_case(&name)) {
            Some((_, target)) => name = (*target).to_owned(),
            None => {
                let addresses = said.iter().filter_map(Said::address);
                let own = addresses.filter(|(owner, _)| owner.eq_ignore_ascii_case(&name));
                return own.map(|(_, address)| address).filter(IpAddr::is_ipv4).collect();
            }
        }
    }
    BTreeSet::new()
}

/// What is pinned after this message came as the answer.
fn pinned(asked: &Asked, message: &[u8]) -> BTreeSet<IpAddr> {
    let mut names = names(&[NAME]);
    names.asked(WORK, TALK, &asked.bytes(), 0);
    names.answered(WORK, TALK, message, 0);
    let counted = [Count::Read, Count::Unasked, Count::Failed, Count::Malformed].map(|c| names.counter(c));
    assert!(counted.iter().sum::<u64>() <= 1);
    let candidates = (0..=255).flat_map(|last| [format!("198.51.100.{last}"), format!("2001:db8::{last}")]);
    candidates.map(|a| a.parse().unwrap()).filter(|a| !names.of(WORK, *a, 0).is_empty()).collect()
}

proptest! {
    #[test]
    fn answers_mean_what_was_put_into_them(said in proptest::collection::vec(said(), 0..40)) {
        let asked = Asked::a(77, NAME);
        let expected = slow(&said);
        prop_assert_eq!(&pinned(&asked, &asked.answer(&said)), &expected);
        // Without compression the same.
        let plain = asked.reply(&said, simple_dns::RCODE::NoError).build_bytes_vec().unwrap();
        prop_assert_eq!(&pinned(&asked, &plain), &expected);
    }

    /// Damaged answers do not panic, and what is pinned is at least in them.
    #[test]
    fn damaged_answers_do_no_harm(
        said in proptest::collection::vec(said(), 0..12),
        damage in proptest::collection::vec((12_usize..400, any::<u8>()), 1..6),
        cut in 0_usize..600,
    ) {
        let asked = Asked::a(77, NAME);
        let mut message = asked.answer(&said);
        for (at, value) in damage {
            let len = message.len();
            message[at % len] = value;
        }
        message.truncate(cut);
        let pinned = pinned(&asked, &message);
        if let Ok(packet) = Packet::parse(&message) {
            let there: BTreeSet<IpAddr> = packet
                .answers
                .iter()
                .filter_map(|record| match &record.rdata {
                    RData::A(a) => Some(std::net::Ipv4Addr::from(a.address).into()),
                    _ => None,
                })
                .collect();
            prop_assert!(pinned.is_subset(&there));
        }
    }

    /// Whatever is said and whatever is heard.
    #[test]
    fn no_bytes_panic(
        messages in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
    ) {
        let mut names = names(&[NAME]);
        for (asks, bytes) in messages {
            let talk = Conversation { port: 1, ..TALK };
            if asks {
                names.asked(WORK, talk, &bytes, 0);
            } else {
                names.answered(WORK, talk, &bytes, 0);
            }
        }
        prop_assert_eq!(names.counter(Count::Pinned), 0);
    }
}
