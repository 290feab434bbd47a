//! Questions to the virtual name servers and their answers, on their way through the firewall.

use super::world::*;
use crate::{
    address::{DNS_V4, DNS_V6},
    names::{
        Count,
        tests::messages::{Asked, Said, is},
    },
};
use std::net::IpAddr;

const NAME: &str = "files.example";
const THERE4: &str = "198.51.100.9";
const THERE6: &str = "2001:db8:ffff::9";

/// A world whose first client has rules about these names.
fn world(names: &[&str]) -> World {
    let mut w = World::new(2);
    w.fw.core.common.names.set_program(2, names.iter().copied()).unwrap();
    w
}

/// What the first client's rules would be told about an address.
fn names_of(w: &World, address: &str) -> Vec<u16> {
    let address: IpAddr = address.parse().unwrap();
    let common = &w.fw.core().common;
    common.names.of(2, address, common.now).to_vec()
}

fn to_resolver(six: bool, n: usize) -> Path {
    if six { Path::Six(client6(n), DNS_V6) } else { Path::Four(client4(n), DNS_V4[0]) }
}

fn from_resolver(six: bool) -> Path {
    if six { Path::Six(v6("2001:db8:7::53"), uplink6()) } else { Path::Four(RESOLVER4, UPLINK4) }
}

/// A client asks; gives the port that the question has outside.
fn ask(w: &mut World, (six, n, port): (bool, usize, u16), asked: &Asked) -> u16 {
    let out = w.out(n, &to_resolver(six, n).udp(mac(n), (port, 53), &asked.bytes()));
    ends(&out).1
}

/// The answer comes, and reaches the client unchanged.
fn answer(w: &mut World, (six, n): (bool, usize), nat: u16, message: &[u8]) {
    let frame = w.in_to(n, &from_resolver(six).udp(NIC, (53, nat), message));
    let h = headers(&frame);
    assert_eq!(&frame[h.payload_at..h.end], message);
}

fn both(w: &mut World, six: bool, asked: &Asked, said: &[Said]) {
    let nat = ask(w, (six, 0, 40_000), asked);
    answer(w, (six, 0), nat, &asked.answer(said));
}

#[test]
fn what_a_client_was_told_is_known_before_it_hears_it() {
    for six in [false, true] {
        let mut w = world(&["other.example", NAME]);
        both(&mut w, six, &Asked::a(7, NAME), &[is(NAME, THERE4, 300)]);
        both(&mut w, six, &Asked::aaaa(8, "FILES.Example"), &[is("filES.exAMPLE", THERE6, 300)]);
        assert_eq!((names_of(&w, THERE4), names_of(&w, THERE6)), (vec![1], vec![1]));
        assert_eq!(names_of(&w, "198.51.100.10"), vec![]);
        let of_the_other = w.fw.core().common.names.of(3, THERE4.parse().unwrap(), 0);
        assert!(of_the_other.is_empty());
        assert_eq!(w.fw.core().common.names.counter(Count::Read), 2);
    }
}
