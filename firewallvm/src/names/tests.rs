//! What is believed of what clients are told.

pub(crate) mod messages;

use super::*;
use messages::{Asked, Said, alias, is};

const NAME: &str = "files.example";
const WORK: u8 = 3;
const TALK: Conversation = Conversation { port: 40_000, server: IpAddr::V4(crate::address::DNS_V4[0]) };

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
