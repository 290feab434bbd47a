//! What is believed of what clients are told.

mod answers;
pub(crate) mod messages;
mod pins;
mod rebinding;
mod wire;

use super::*;
use messages::{Asked, Said, alias, is};

const NAME: &str = "files.example";
const WORK: u8 = 3;
const TALK: Conversation = Conversation { port: 40_000, server: IpAddr::V4(first_hop::address::DNS_V4[0]) };

fn names(of: &[&str]) -> Names {
    let mut names = Names::new(&mut Random::new([1, 2]));
    names.set_program(WORK, of.iter().copied()).unwrap();
    names
}

fn hears(names: &mut Names, asked: &Asked, said: &[Said], now: u32) {
    names.asked(WORK, TALK, &asked.bytes(), now);
    names.answered(WORK, TALK, &asked.answer(said), now);
}

fn of(names: &Names, address: &str, now: u32) -> Vec<u16> {
    names.of(WORK, address.parse().unwrap(), now).to_vec()
}

#[test]
fn a_chain_is_followed_whatever_the_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let records = [
            alias(NAME, "www.cdn.example", 300),
            alias("www.cdn.example", "a.b.cdn.example", 90),
            is("a.b.cdn.example", "198.51.100.1", 600),
            is("elsewhere.example", "198.51.100.2", 600),
        ];
        let said = order.map(|at: usize| records[at].clone());
        let mut names = names(&[NAME, "www.cdn.example"]);
        hears(&mut names, &Asked::a(1, NAME), &said, 10);
        // Under the name that was asked for only, and as long as the shortest-lived link.
        assert_eq!(of(&names, "198.51.100.1", 10 + 89), [0]);
        assert_eq!(of(&names, "198.51.100.1", 10 + 90), []);
        assert_eq!(of(&names, "198.51.100.2", 10), []);
    }
}

/// A client that is told things until something goes wrong, and what was counted then.
fn counts(names: &Names) -> [u64; 6] {
    names.counts
}

#[test]
fn a_life_is_neither_shorter_than_a_minute_nor_longer_than_a_day() {
    for (ttl, life) in
        [(0, 60), (1, 60), (60, 60), (61, 61), (86_400, 86_400), (86_401, 86_400), (i32::MAX, 86_400)]
    {
        let mut names = names(&[NAME]);
        hears(&mut names, &Asked::a(1, NAME), &[is(NAME, "198.51.100.1", ttl.unsigned_abs())], 1000);
        assert_eq!(of(&names, "198.51.100.1", 1000 + life - 1), [0], "{ttl}");
        assert_eq!(of(&names, "198.51.100.1", 1000 + life), [], "{ttl}");
        // What was opened while it held is judged by it still.
        assert_eq!(names.ever_of(WORK, "198.51.100.1".parse().unwrap()), [0][..]);
    }
    // RFC 2181 §8: not a very large number, but none; not a number that overflows at the end of time.
    let mut names = names(&[NAME]);
    hears(&mut names, &Asked::a(1, NAME), &[is(NAME, "198.51.100.1", u32::MAX)], u32::MAX - 90);
    assert_eq!(of(&names, "198.51.100.1", u32::MAX - 31), [0]);
    assert_eq!(of(&names, "198.51.100.1", u32::MAX - 30), []);
    hears(&mut names, &Asked::a(1, NAME), &[is(NAME, "198.51.100.2", 300)], u32::MAX - 30);
    assert_eq!(of(&names, "198.51.100.2", u32::MAX - 1), [0]);
}

#[test]
fn only_the_answer_to_the_question_is_believed_and_only_once() {
    let asked = Asked::a(0x1234, NAME);
    let good = asked.answer(&[is(NAME, "198.51.100.1", 300)]);
    let elsewhere = Conversation { port: 40_001, ..TALK };
    let other_server = Conversation { server: IpAddr::V4(first_hop::address::DNS_V4[1]), ..TALK };
    let evil = |asked: &Asked| asked.answer(&[is(&asked.name, "198.51.100.66", 300)]);
    let lies = [
        (TALK, evil(&Asked::a(0x1235, NAME))),
        (TALK, evil(&Asked::a(0x1234, "filesx.example"))),
        (TALK, evil(&Asked::a(0x1234, "other.example"))),
        (TALK, evil(&Asked::aaaa(0x1234, NAME))),
        (elsewhere, evil(&asked)),
        (other_server, evil(&asked)),
    ];
    let mut names = names(&[NAME, "other.example"]);
    for (number, (talk, lie)) in (0..).zip(&lies) {
        names.answered(WORK, *talk, lie, 0);
        names.asked(WORK, TALK, &asked.bytes(), 0);
        names.answered(WORK, *talk, lie, 0);
        assert_eq!(of(&names, "198.51.100.66", 0), [], "{number}");
    }
    assert_eq!(counts(&names)[..2], [0, 0]);
    assert_eq!(names.counter(Count::Unasked), 12);
    names.answered(WORK, TALK, &good, 1);
    assert_eq!(of(&names, "198.51.100.1", 1), [0]);
    names.answered(WORK, TALK, &evil(&asked), 1);
    assert_eq!(of(&names, "198.51.100.66", 1), []);
    assert_eq!(counts(&names), [1, 1, 0, 13, 0, 0]);
}

#[test]
fn what_nobody_asked_for_or_asked_long_ago_is_not_believed() {
    let asked = Asked::a(9, NAME);
    let good = asked.answer(&[is(NAME, "198.51.100.1", 300)]);
    let mut names = names(&[NAME]);
    names.answered(WORK, TALK, &good, 0);
    names.asked(WORK, TALK, &asked.bytes(), 0);
    names.answered(WORK, TALK, &good, 31);
    assert_eq!(counts(&names), [0, 0, 0, 2, 0, 0]);
    // Another client's answer is another client's, with rules about the same name or without.
    names.set_program(WORK + 1, [NAME].into_iter()).unwrap();
    names.asked(WORK, TALK, &asked.bytes(), 40);
    names.answered(WORK + 1, TALK, &good, 40);
    names.answered(WORK + 2, TALK, &good, 40);
    assert_eq!(counts(&names), [0, 0, 0, 3, 0, 0]);
    names.answered(WORK, TALK, &good, 70);
    assert_eq!(of(&names, "198.51.100.1", 70), [0]);
    assert!(names.of(WORK + 1, "198.51.100.1".parse().unwrap(), 70).is_empty());
    // No such ports: nothing happens.
    for link in [32, 255] {
        assert!(names.set_program(link, [NAME].into_iter()).is_ok());
        names.asked(link, TALK, &asked.bytes(), 70);
        names.answered(link, TALK, &good, 70);
        names.forget(link);
        assert!(names.of(link, "198.51.100.1".parse().unwrap(), 70).is_empty());
    }
}

#[test]
fn questions_under_way_are_bounded_and_repeating_one_takes_no_room() {
    let of: Vec<String> = (0..100).map(|n| format!("n{n}.example")).collect();
    let mut names = names(&of.iter().map(String::as_str).collect::<Vec<_>>());
    let ask = |names: &mut Names, name: usize, id: u16| {
        names.asked(WORK, TALK, &Asked::a(id, &of[name]).bytes(), 0);
    };
    let tell = |names: &mut Names, name: usize, id: u16| {
        let before = names.counter(Count::Read);
        let asked = Asked::a(id, &of[name]);
        names.answered(WORK, TALK, &asked.answer(&[is(&of[name], "198.51.100.1", 1)]), 0);
        names.counter(Count::Read) > before
    };
    for name in 0..64 {
        ask(&mut names, name, 5);
    }
    for _ in 0..1000 {
        ask(&mut names, 7, 5);
    }
    ask(&mut names, 64, 5);
    assert!(!tell(&mut names, 0, 5));
    assert!((1..65).all(|name| tell(&mut names, name, 5)));
    assert!(!(1..65).any(|name| tell(&mut names, name, 5)));
    // Asking many times for the same pushes out only the same; other questions are not noted.
    for name in 0..60 {
        ask(&mut names, name, 5);
    }
    for id in 0..1000 {
        ask(&mut names, 60, id);
        names.asked(WORK, TALK, &Asked::a(id, "elsewhere.example").bytes(), 0);
        let kind = simple_dns::TYPE::TXT;
        names.asked(WORK, TALK, &Asked { kind, ..Asked::a(id, &of[99]) }.bytes(), 0);
        names.asked(WORK, TALK, &Asked::a(id, &of[99]).answer(&[]), 0);
    }
    assert!((0..60).all(|name| tell(&mut names, name, 5)));
    let open: Vec<u16> = (0..1000).filter(|id| tell(&mut names, 60, *id)).collect();
    assert_eq!(open, [996, 997, 998, 999]);
}

#[test]
fn chains_end_somewhere_or_nowhere() {
    let link = |at: usize| if at == 0 { NAME.to_owned() } else { format!("n{at}.example") };
    let chain = |links: usize| {
        let mut said: Vec<Said> = (0..links).map(|at| alias(&link(at), &link(at + 1), 300)).collect();
        said.push(is(&link(links), "198.51.100.1", 300));
        said
    };
    for (links, pinned) in [(0, true), (1, true), (15, true), (16, true), (17, false), (60, false)] {
        let mut names = names(&[NAME]);
        hears(&mut names, &Asked::a(1, NAME), &chain(links), 0);
        assert_eq!(!of(&names, "198.51.100.1", 0).is_empty(), pinned, "{links}");
        assert_eq!(names.counter(Count::Malformed), 0);
    }
    for said in [
        // In a circle, with and without a name to itself.
        vec![alias(NAME, "b.example", 300), alias("b.example", NAME, 300), is(NAME, "198.51.100.1", 300)],
        vec![alias(NAME, NAME, 300), is(NAME, "198.51.100.1", 300)],
        vec![
            alias(NAME, "b.example", 300),
            alias("b.example", "c.example", 300),
            alias("c.example", "b.example", 300),
            is("c.example", "198.51.100.1", 300),
        ],
        // To somewhere else; from somewhere else; a name that is an alias has no address of its own.
        vec![alias(NAME, "b.example", 300), is("c.example", "198.51.100.1", 300)],
        vec![alias("b.example", NAME, 300), is("b.example", "198.51.100.1", 300)],
        vec![alias(NAME, "b.example", 300), is(NAME, "198.51.100.1", 300)],
        // Only somebody else's address, in the way of cache poisoning.
        vec![is("b.example", "198.51.100.1", 300), is("xfiles.example", "198.51.100.1", 300)],
        vec![is("example", "198.51.100.1", 300), is("a.files.example", "198.51.100.1", 300)],
        // Of the type that was not asked for.
        vec![is(NAME, "2001:db8::1", 300)],
        vec![],
    ] {
        let mut names = names(&[NAME, "xfiles.example", "a.files.example", "b.example", "c.example"]);
        hears(&mut names, &Asked::a(1, NAME), &said, 0);
        for address in ["198.51.100.1", "2001:db8::1"] {
            assert_eq!(of(&names, address, 0), [], "{said:?}");
        }
        assert_eq!(counts(&names)[0..2], [1, 0], "{said:?}");
    }
}

#[test]
fn a_thousand_addresses_are_not_too_many() {
    let mut names = names(&[NAME, "other.example"]);
    hears(&mut names, &Asked::a(1, "other.example"), &[is("other.example", "203.0.113.1", 60)], 0);
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0xC633_0000 + n).to_string();
    let said: Vec<Said> = (0..1000).map(|n| is(NAME, &address(n), 86_400)).collect();
    assert!(Asked::a(2, NAME).answer(&said).len() > 16_000);
    for _ in 0..5 {
        hears(&mut names, &Asked::a(2, NAME), &said, 1);
    }
    let pinned: Vec<u32> = (0..1000).filter(|n| of(&names, &address(*n), 1) == [0]).collect();
    assert_eq!(pinned, (0..64).collect::<Vec<_>>());
    assert_eq!(of(&names, "203.0.113.1", 59), [1]);
}

#[test]
fn reading_an_answer_has_a_price_limit() {
    // Sixty names of a hundred labels each, none of them the one that was asked for.
    let said: Vec<Said> = (0..60)
        .map(|n| is(&[&["x"; 99].join("."), format!("n{n}").as_str()].join("."), "198.51.100.1", 300))
        .chain([is(NAME, "198.51.100.2", 300)])
        .collect();
    let asked = Asked::a(1, NAME);
    for (records, read) in [(0, true), (10, true), (11, false), (60, false)] {
        let mut names = names(&[NAME]);
        hears(&mut names, &asked, &said[60 - records..], 0);
        assert_eq!(of(&names, "198.51.100.2", 0).len(), usize::from(read), "{records}");
        assert_eq!(names.counter(Count::Malformed), u64::from(!read));
    }
}

#[test]
fn bad_answers_count_as_what_they_are() {
    let asked = Asked::a(5, NAME);
    let said = [is(NAME, "198.51.100.1", 300), is(NAME, "198.51.100.2", 300)];
    let good = asked.answer(&said);
    let hear = |message: &[u8]| {
        let mut names = names(&[NAME]);
        names.asked(WORK, TALK, &asked.bytes(), 0);
        names.answered(WORK, TALK, message, 0);
        let pinned = !of(&names, "198.51.100.1", 0).is_empty() || !of(&names, "198.51.100.2", 0).is_empty();
        // Whatever it was, it was the answer.
        names.answered(WORK, TALK, &good, 0);
        (counts(&names), pinned)
    };
    assert_eq!(hear(&good), ([1, 2, 0, 1, 0, 0], true));
    // Truncated; refused in five ways; not an answer; an answer to something else than a question.
    for (at, bits, counted) in [
        (2, 0x02, [0, 0, 0, 1, 1, 0]),
        (3, 0x01, [0, 0, 0, 1, 1, 0]),
        (3, 0x02, [0, 0, 0, 1, 1, 0]),
        (3, 0x03, [0, 0, 0, 1, 1, 0]),
        (3, 0x05, [0, 0, 0, 1, 1, 0]),
        (3, 0x0F, [0, 0, 0, 1, 1, 0]),
        (2, 0x80, [1, 2, 0, 0, 0, 0]),
        (2, 0x28, [1, 2, 0, 0, 0, 0]),
    ] {
        let mut message = good.clone();
        message[at] ^= bits;
        assert_eq!(hear(&message), (counted, false), "{at} {bits}");
    }
    // Cut off anywhere: nothing of it is believed, not even the whole record before the cut.
    let question = asked.bytes().len();
    for len in 0..good.len() {
        let (counted, pinned) = hear(&good[..len]);
        assert_eq!(counted, if len < question { [1, 2, 0, 0, 0, 1] } else { [0, 0, 0, 1, 0, 1] }, "{len}");
        assert!(!pinned);
    }
    // Records that are promised but do not come; bytes behind the end are nobody's business.
    let mut message = good.clone();
    message[7] += 1;
    assert_eq!(hear(&message), ([0, 0, 0, 1, 0, 1], false));
    assert!(hear(&[&good[..], &[0xC0; 99]].concat()).1);
}

#[test]
fn another_program_keeps_what_both_know() {
    let mut names = names(&["a.example", "b.example", "c.example"]);
    for (id, name, address) in
        [(1, "a.example", "198.51.100.1"), (2, "b.example", "198.51.100.2"), (3, "c.example", "198.51.100.2")]
    {
        hears(&mut names, &Asked::a(id, name), &[is(name, address, 300)], 0);
    }
    let waiting = [Asked::a(4, "a.example"), Asked::a(5, "b.example")];
    for asked in &waiting {
        names.asked(WORK, TALK, &asked.bytes(), 1);
    }
    names.set_program(WORK, ["x.example", "C.example", "..", "b.example"].into_iter()).unwrap();
    assert_eq!(of(&names, "198.51.100.1", 299), []);
    let mut both = of(&names, "198.51.100.2", 299);
    both.sort_unstable();
    assert_eq!(both, [1, 3]);
    assert_eq!(of(&names, "198.51.100.2", 300), []);
    for (asked, address) in waiting.iter().zip(["198.51.100.7", "198.51.100.8"]) {
        names.answered(WORK, TALK, &asked.answer(&[is(&asked.name, address, 300)]), 2);
    }
    assert_eq!((of(&names, "198.51.100.7", 2), of(&names, "198.51.100.8", 2)), (vec![], vec![3]));
    // Fewer places for each name: what holds longest stays. A program without names, or none: nothing is known.
    for n in 0..64 {
        hears(
            &mut names,
            &Asked::a(n, "b.example"),
            &[is("b.example", &format!("203.0.113.{n}"), 100 + u32::from(n))],
            3,
        );
    }
    let many: Vec<String> =
        (0..1023).map(|n| format!("n{n}.example")).chain(["b.example".to_owned()]).collect();
    names.set_program(WORK, many.iter().map(String::as_str)).unwrap();
    let kept: Vec<u16> = (0..64).filter(|n| of(&names, &format!("203.0.113.{n}"), 3) == [1023]).collect();
    assert_eq!(kept, [58, 59, 60, 61, 62, 63]);
    assert_eq!(of(&names, "198.51.100.8", 3), [1023]);
    for empty in [true, false] {
        let mut names = self::names(&["b.example"]);
        hears(&mut names, &Asked::a(1, "b.example"), &[is("b.example", "198.51.100.1", 300)], 0);
        if empty {
            names.set_program(WORK, core::iter::empty()).unwrap();
        } else {
            names.forget(WORK);
        }
        assert!(!names.watches(WORK) && of(&names, "198.51.100.1", 0).is_empty());
    }
}
