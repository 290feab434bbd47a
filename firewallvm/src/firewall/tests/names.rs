//! Questions to the virtual name servers and their answers, on their way through the firewall.

use super::{pieces::cut4, world::*};
use crate::{
    address::{DNS_V4, DNS_V6},
    names::{
        Count,
        tests::messages::{Asked, Said, is},
    },
    verdict::DropReason,
};
use link::{Csum, Meta};
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

fn count(w: &World, count: Count) -> u64 {
    w.fw.core().common.names.counter(count)
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
        // The second question goes through a flow that is known already.
        both(&mut w, six, &Asked::a(7, NAME), &[is(NAME, THERE4, 300)]);
        both(&mut w, six, &Asked::aaaa(8, "FILES.Example"), &[is("filES.exAMPLE", THERE6, 300)]);
        assert_eq!((names_of(&w, THERE4), names_of(&w, THERE6)), (vec![1], vec![1]));
        assert_eq!(names_of(&w, "198.51.100.10"), vec![]);
        let of_the_other = w.fw.core().common.names.of(3, THERE4.parse().unwrap(), 0);
        assert!(of_the_other.is_empty());
        assert_eq!((count(&w, Count::Read), count(&w, Count::Pinned)), (2, 2));
        w.wait(299);
        assert_eq!(names_of(&w, THERE4), vec![1]);
        w.wait(1);
        assert_eq!(names_of(&w, THERE4), vec![]);
    }
}

#[test]
fn both_of_a_socket_s_questions_are_answered_in_any_order() {
    let mut w = world(&[NAME]);
    let (a, aaaa) = (Asked::a(7, NAME), Asked::aaaa(8, NAME));
    let nat = ask(&mut w, (false, 0, 40_000), &a);
    assert_eq!(ask(&mut w, (false, 0, 40_000), &aaaa), nat);
    answer(&mut w, (false, 0), nat, &aaaa.answer(&[is(NAME, THERE6, 300)]));
    answer(&mut w, (false, 0), nat, &a.answer(&[is(NAME, THERE4, 300)]));
    assert_eq!((names_of(&w, THERE4), names_of(&w, THERE6)), (vec![0], vec![0]));
}

#[test]
fn nobody_but_the_name_server_is_believed() {
    let asked = Asked::a(7, NAME);
    let message = asked.answer(&[is(NAME, THERE4, 300)]);
    // A server of the client's own choice.
    let mut w = world(&[NAME]);
    let out = w.out(0, &to_server(false, 0).udp(mac(0), (40_000, 53), &asked.bytes()));
    w.in_to(0, &from_server(false).udp(NIC, (53, ends(&out).1), &message));
    assert_eq!(names_of(&w, THERE4), vec![]);
    // While it asks a virtual server from the same port.
    let nat = ask(&mut w, (false, 0, 40_000), &asked);
    w.in_to(0, &from_server(false).udp(NIC, (53, ends(&out).1), &message));
    assert_eq!(names_of(&w, THERE4), vec![]);
    // Somebody who answers in the resolver's stead: from another address, to another port, of the family that was
    // not asked; the client itself; another client.
    for frame in [
        Path::Four(Ipv4Addr::new(198, 51, 100, 77), UPLINK4).udp(NIC, (53, nat), &message),
        from_resolver(false).udp(NIC, (54, nat), &message),
        from_resolver(false).udp(NIC, (53, nat ^ 1), &message),
        from_resolver(true).udp(NIC, (53, nat), &message),
    ] {
        w.refused_from_net(&frame, DropReason::NoFlow);
    }
    w.out(0, &to_resolver(false, 0).udp(mac(0), (40_000, 53), &message));
    let other = ask(&mut w, (false, 1, 40_000), &asked);
    answer(&mut w, (false, 1), other, &message);
    assert_eq!((names_of(&w, THERE4), count(&w, Count::Read)), (vec![], 0));
    // The real one, once.
    answer(&mut w, (false, 0), nat, &message);
    assert_eq!(names_of(&w, THERE4), vec![0]);
    answer(&mut w, (false, 0), nat, &asked.answer(&[is(NAME, "198.51.100.66", 300)]));
    assert_eq!((names_of(&w, "198.51.100.66"), count(&w, Count::Unasked)), (vec![], 1));
}

#[test]
fn another_port_53_is_none_of_our_business() {
    let asked = Asked::a(7, NAME);
    let mut w = world(&[NAME]);
    // Over TCP: passed on, not read.
    let out = w.out(0, &to_resolver(false, 0).tcp(mac(0), (40_000, 53), 2, (1, 0), 4096, &[]));
    let nat = ends(&out).1;
    w.in_to(0, &from_resolver(false).tcp(NIC, (53, nat), 0x12, (9, 2), 4096, &[]));
    w.out(0, &to_resolver(false, 0).tcp(mac(0), (40_000, 53), 0x18, (2, 10), 4096, &asked.bytes()));
    let message = asked.answer(&[is(NAME, THERE4, 300)]);
    w.in_to(0, &from_resolver(false).tcp(NIC, (53, nat), 0x18, (10, 2), 4096, &message));
    assert_eq!(names_of(&w, THERE4), vec![]);
    assert!(w.fw.core().common.names.counters().all(|(_, count)| count == 0));
}

#[test]
fn what_the_client_would_not_accept_is_not_believed() {
    let asked = Asked::a(7, NAME);
    let message = asked.answer(&[is(NAME, THERE4, 300)]);
    for six in [false, true] {
        let mut w = world(&[NAME]);
        let nat = ask(&mut w, (six, 0, 40_000), &asked);
        let good = from_resolver(six).udp(NIC, (53, nat), &message);
        let mut damaged = good.clone();
        let at = good.len() - 1;
        damaged[at] ^= 1;
        // The firewall forwards what it does not need to read; the client's own check will find out.
        w.net_sends(&damaged);
        assert_eq!((w.at_client(0).len(), count(&w, Count::Read)), (1, 0));
        // Netvm says that the card found it right, which the client believes too.
        let meta = Meta { csum: Csum::Verified, ..Meta::default() };
        w.net_sends_with(&meta, &good);
        assert_eq!(names_of(&w, THERE4), vec![0]);
    }
    // Without a checksum, which IPv4 allows.
    let mut w = world(&[NAME]);
    let nat = ask(&mut w, (false, 0, 40_000), &asked);
    let mut without = from_resolver(false).udp(NIC, (53, nat), &message);
    without[40..42].copy_from_slice(&[0; 2]);
    w.net_sends(&without);
    assert_eq!(names_of(&w, THERE4), vec![0]);
}

#[test]
fn an_answer_in_pieces_is_read_as_a_whole() {
    let asked = Asked::a(7, NAME);
    let address = |n: usize| format!("198.51.{}.{}", n / 250, n % 250 + 1);
    let said: Vec<Said> = (0..200).map(|n| is(NAME, &address(n), 300)).collect();
    let mut w = world(&[NAME]);
    let nat = ask(&mut w, (false, 0, 40_000), &asked);
    let whole = from_resolver(false).udp(NIC, (53, nat), &asked.answer(&said));
    assert!(whole.len() > 3000);
    for piece in cut4(&whole, 5, &[1400, 2800]).iter().rev() {
        assert_eq!(names_of(&w, &address(0)), vec![]);
        w.net_sends(piece);
    }
    assert!((0..64).all(|n| names_of(&w, &address(n)) == [0]));
    assert_eq!(names_of(&w, &address(64)), vec![]);
}

#[test]
fn a_name_does_not_lead_to_the_uplink_s_own_address() {
    let mut w = world(&[NAME]);
    let mut uplink = uplink();
    let own = Ipv4Addr::new(203, 0, 113, 7);
    uplink.v4.as_mut().unwrap().address = own;
    w.uplink(&uplink);
    let asked = Asked::a(7, NAME);
    let nat = ask(&mut w, (false, 0, 40_000), &asked);
    let message =
        asked.answer(&[is(NAME, "203.0.113.7", 300), is(NAME, "10.137.0.10", 300), is(NAME, THERE4, 300)]);
    w.net_sends(&Path::Four(RESOLVER4, own).udp(NIC, (53, nat), &message));
    assert_eq!((names_of(&w, "203.0.113.7"), names_of(&w, "10.137.0.10")), (vec![], vec![]));
    assert_eq!((names_of(&w, THERE4), count(&w, Count::Rebinding)), (vec![0], 2));
}

#[test]
fn a_client_s_pins_outlive_its_link_but_not_itself() {
    let mut w = world(&[NAME]);
    both(&mut w, false, &Asked::a(7, NAME), &[is(NAME, THERE4, 300)]);
    w.fw.detach(2);
    w.tell(&control::message::ToFirewall::Client { port: 2, client: w.description(0) });
    assert_eq!(names_of(&w, THERE4), vec![0]);
    w.tell(&control::message::ToFirewall::ForgetClient { port: 2 });
    assert_eq!(names_of(&w, THERE4), vec![]);
}
