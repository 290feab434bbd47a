//! Every kind of question gets the answer that it must, and hostile ones none that costs anything.

use super::*;
use domain::rdata::AllRecordData;
use proptest::prelude::*;
use std::str::FromStr;

fn question(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_str(name).expect("a name"), rtype)).expect("room");
    builder.finish()
}

fn rcode(bytes: &[u8]) -> Rcode {
    let message = Message::from_octets(bytes).expect("a message");
    assert!(message.header().qr() && message.header().id() == 0x1234);
    message.header().rcode()
}

#[test]
fn addresses_and_names_are_asked_for_and_nothing_else() {
    assert_eq!(parse(&question("Example.test", Rtype::A)), Asked::For(Kind::V4("Example.test".into())));
    assert_eq!(parse(&question("example.test", Rtype::AAAA)), Asked::For(Kind::V6("example.test".into())));
    let pointer = Kind::Pointer(Ipv4Addr::new(192, 0, 2, 7).into());
    assert_eq!(parse(&question("7.2.0.192.in-addr.ARPA", Rtype::PTR)), Asked::For(pointer));
    for other in 0..=u16::MAX {
        let rtype = Rtype::from_int(other);
        if [Rtype::A, Rtype::AAAA, Rtype::PTR].contains(&rtype) {
            continue;
        }
        let Asked::Other(answer) = parse(&question("example.test", rtype)) else { panic!("type {other}") };
        assert_eq!(rcode(&answer), Rcode::NOTIMP, "type {other}");
        let repeated =
            Message::from_octets(&answer[..]).expect("a message").sole_question().expect("a question");
        assert_eq!(repeated.qtype(), rtype);
    }
}

#[test]
fn what_is_no_question_is_left_alone_or_told_so() {
    let plain = question("example.test", Rtype::A);
    let with = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        parse(&bytes)
    };
    assert_eq!(parse(&plain[..11]), Asked::Nothing);
    assert_eq!(with(2, 0x80), Asked::Nothing, "an answer");
    for (at, what) in [(5, "no question"), (7, "an answer in it"), (9, "an authority in it")] {
        let Asked::Badly(answer) = with(at, if at == 5 { 0 } else { 1 }) else { panic!("{what}") };
        assert_eq!(rcode(&answer), Rcode::FORMERR, "{what}");
    }
    let Asked::Badly(answer) = parse(&plain[..plain.len() - 1]) else { panic!("cut") };
    assert_eq!((rcode(&answer), answer.len()), (Rcode::FORMERR, 12));
    let Asked::Other(answer) = with(2, 0x28) else { panic!("update") };
    assert_eq!(rcode(&answer), Rcode::NOTIMP);
    let Asked::Other(answer) = with(plain.len() - 1, 3) else { panic!("chaos") };
    assert_eq!(rcode(&answer), Rcode::NOTIMP);
}

#[test]
fn pointers_to_nothing_have_no_name() {
    for name in ["in-addr.arpa", "1.2.3.in-addr.arpa", "1.2.3.256.in-addr.arpa", "x.test", "1.ip6.arpa"] {
        let Asked::Other(answer) = parse(&question(name, Rtype::PTR)) else { panic!("{name}") };
        assert_eq!(rcode(&answer), Rcode::NXDOMAIN, "{name}");
    }
}

#[test]
fn an_answer_fits_whatever_was_found() {
    let asked = question(&format!("{}.test", vec!["x".repeat(60); 3].join(".")), Rtype::A);
    let found = (0..=255).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
    let bytes = answer(&asked, Ok(Answer::V4(found))).expect("an answer");
    assert!(bytes.len() <= ANSWER);
    let message = Message::from_octets(&bytes[..]).expect("a message");
    let records: Vec<_> = message.answer().expect("answers").limit_to::<A>().collect();
    assert!(records.len() >= 15 && rcode(&bytes) == Rcode::NOERROR && message.header().ra());
    let first = records[0].as_ref().expect("a record");
    assert_eq!((first.data().addr(), first.ttl()), (Ipv4Addr::new(192, 0, 2, 0), TTL));
}

#[test]
fn names_are_given_back_and_refusals_are_codes() {
    let asked = question("7.2.0.192.in-addr.arpa", Rtype::PTR);
    let names = vec!["web.test".into(), "no name..".into()];
    let bytes = answer(&asked, Ok(Answer::Names(names))).expect("an answer");
    let message = Message::from_octets(&bytes[..]).expect("a message");
    let records: Vec<_> = message.answer().expect("answers").limit_to::<AllRecordData<_, _>>().collect();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].as_ref().expect("a record").data().to_string(), "web.test.");
    let refused = answer(&asked, Err(Refusal::NoSuchHost)).expect("an answer");
    assert_eq!(rcode(&refused), Rcode::NXDOMAIN);
    assert_eq!(rcode(&answer(&asked, Err(Refusal::NoTor)).expect("an answer")), Rcode::SERVFAIL);
}

proptest! {
    #[test]
    fn arbitrary_datagrams_get_at_most_a_short_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        // Half of them look like questions.
        if let (Some(2), [_, _, flags, ..]) = (bytes.first().map(|b| b % 4), &mut bytes[..]) {
            *flags = 1;
        }
        match parse(&bytes) {
            Asked::Badly(answer) | Asked::Other(answer) => prop_assert!(answer.len() <= ANSWER.max(bytes.len())),
            Asked::Nothing => {}
            Asked::For(_) => {
                let some = answer(&bytes, Ok(Answer::V4(vec![Ipv4Addr::LOCALHOST; 300])));
                prop_assert!(some.is_none_or(|answer| answer.len() <= ANSWER));
            }
        }
    }

    #[test]
    fn every_address_is_found_by_its_name(v4 in any::<u32>(), v6 in any::<u128>()) {
        let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
        let name: Vec<String> = v4.octets().iter().rev().map(u8::to_string).collect();
        prop_assert_eq!(pointed(&format!("{}.in-addr.arpa", name.join("."))), Some(v4.into()));
        let digits = format!("{:032x}", v6.to_bits());
        let name: Vec<String> = digits.chars().rev().map(String::from).collect();
        prop_assert_eq!(pointed(&format!("{}.ip6.arpa", name.join("."))), Some(v6.into()));
    }
}
