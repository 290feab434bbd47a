//! Questions to the virtual name servers and their answers, on their way through the firewall.

use super::{
    pieces::cut4,
    rules::{everything, policy, port},
    world::*,
};
use crate::{
    names::{
        Count,
        tests::messages::{Asked, Said, is},
    },
    verdict::DropReason,
};
use first_hop::address::{DNS_V4, DNS_V6};
use link::{Csum, Meta};
use rules_program::policy::{Action, Policy, Protocols, Rule, Target};
use std::net::IpAddr;

const NAME: &str = "files.example";
const THERE4: &str = "198.51.100.9";
const THERE6: &str = "2001:db8:ffff::9";

/// HTTPS with a name, by its number.
fn https(action: Action, name: u16) -> Rule {
    Rule {
        targets: vec![Target::Name(name)],
        protocols: Protocols::TCP,
        destination_ports: port(443),
        ..everything(action)
    }
}

/// Rules that say this about each name in turn, and then more.
fn about(names: &[&str], action: Action, rest: impl IntoIterator<Item = Rule>) -> Policy {
    let rules = (0..).zip(names).map(|(number, _)| https(action, number)).chain(rest);
    Policy { names: names.iter().map(|name| (*name).to_owned()).collect(), ..policy(rules) }
}

/// HTTPS with these names is allowed, DNS too, and nothing else.
fn only(names: &[&str]) -> Policy {
    let dns = Rule { targets: vec![Target::Dns], ..everything(Action::Accept) };
    about(names, Action::Accept, [dns])
}

/// A world whose first client has rules about these names, and may do everything.
fn world(names: &[&str]) -> World {
    world_with(&about(names, Action::Accept, [everything(Action::Accept)]))
}

fn world_with(policy: &Policy) -> World {
    let mut w = World::new(2);
    w.install(0, policy);
    w
}

fn path(n: usize, address: &str) -> Path {
    match address.parse().unwrap() {
        IpAddr::V4(address) => Path::Four(client4(n), address),
        IpAddr::V6(address) => Path::Six(client6(n), address),
    }
}

/// The first segment of a connection of the first client.
fn open(address: &str, ports: (u16, u16)) -> Vec<u8> {
    path(0, address).tcp(mac(0), ports, 2, (100, 0), 4096, &[])
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

/// A client that works together with somebody outside could tell him the port that its socket has there. The answers
/// to its questions are not expected at that one.
#[test]
fn nobody_can_be_told_where_an_answer_is_expected() {
    for six in [false, true] {
        let mut w = world(&[NAME]);
        for number in 1..=50 {
            let seen = ends(&w.out(0, &to_server(six, 0).udp(mac(0), (number, 4433), b""))).1;
            let asked = Asked::a(number, NAME);
            assert_ne!(ask(&mut w, (six, 0, number), &asked), seen);
        }
    }
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

#[test]
fn a_rule_opens_what_the_client_was_told_and_nothing_else() {
    for six in [false, true] {
        let (there, beside, asked) = if six {
            (THERE6, "2001:db8:ffff::a", Asked::aaaa(7, NAME))
        } else {
            (THERE4, "198.51.100.10", Asked::a(7, NAME))
        };
        let mut w = world_with(&only(&["other.example", NAME]));
        w.dropped(0, &open(there, (41_000, 443)));
        let nat = ask(&mut w, (six, 0, 40_000), &asked);
        w.dropped(0, &open(there, (41_000, 443)));
        answer(&mut w, (six, 0), nat, &asked.answer(&[is(NAME, there, 300)]));
        w.out(0, &open(there, (41_000, 443)));
        w.dropped(0, &open(beside, (41_000, 443)));
        w.dropped(0, &open(there, (41_000, 80)));
        assert_eq!(w.hits(0).0, [0, 1, 1]);
        // The other client has the same rules but has not asked.
        w.install(1, &only(&["other.example", NAME]));
        let other = path(1, there).tcp(mac(1), (41_000, 443), 2, (100, 0), 4096, &[]);
        w.dropped(1, &other);
        let nat = ask(&mut w, (six, 1, 40_000), &asked);
        answer(&mut w, (six, 1), nat, &asked.answer(&[is(NAME, there, 300)]));
        w.out(1, &other);
    }
}

#[test]
fn what_was_opened_outlives_the_answer_and_changes_elsewhere_in_the_rules() {
    let mut w = world_with(&only(&[NAME]));
    both(&mut w, false, &Asked::a(7, NAME), &[is(NAME, THERE4, 0)]);
    w.wait(59);
    let out = w.out(0, &open(THERE4, (41_000, 443)));
    let nat = ends(&out).1;
    w.in_to(0, &from_server(false).tcp(NIC, (443, nat), 0x12, (900, 101), 4096, &[]));
    w.wait(1);
    w.dropped(0, &open(THERE4, (41_001, 443)));
    let next = |seq: u32| path(0, THERE4).tcp(mac(0), (41_000, 443), 0x10, (seq, 901), 4096, b"x");
    w.out(0, &next(101));
    // The name has another number now, and the flow goes on.
    w.install(0, &only(&["other.example", "third.example", NAME]));
    w.out(0, &next(102));
    w.dropped(0, &open(THERE4, (41_002, 443)));
    assert_eq!(w.hits(0), (vec![0, 0, 0, 0], 1));
    // The name is not in the rules any more.
    w.install(0, &only(&["other.example", "third.example"]));
    w.refused(0, &next(103), DropReason::Policy);
}

#[test]
fn a_name_that_does_not_resolve_touches_nothing_else() {
    let bad = Asked::a(9, "bad.example");
    for (action, rest) in [(Action::Accept, Action::Drop), (Action::Drop, Action::Accept)] {
        let dns = Rule { targets: vec![Target::Dns], ..everything(Action::Accept) };
        let mut rules = about(&["bad.example"], action, [dns, https(Action::Accept, 1), everything(rest)]);
        rules.names.push(NAME.to_owned());
        let mut w = world_with(&rules);
        // Unresolved, as it does not exist, as its server fails, as the answer is rubbish, as it leads inside.
        let failures = [simple_dns::RCODE::NameError, simple_dns::RCODE::ServerFailure]
            .map(|code| bad.reply(&[], code).build_bytes_vec().unwrap());
        let rubbish = [bad.answer(&[is("bad.example", THERE4, 300)])[..40].to_vec(), vec![0; 5]];
        let inside = [bad.answer(&[is("bad.example", "192.168.7.9", 300)])];
        both(&mut w, false, &Asked::a(7, NAME), &[is(NAME, THERE4, 300)]);
        for message in failures.iter().chain(&rubbish).chain(&inside) {
            let nat = ask(&mut w, (false, 0, 40_000), &bad);
            answer(&mut w, (false, 0), nat, message);
            w.now += 61_000_000;
            both(&mut w, false, &Asked::a(7, NAME), &[is(NAME, THERE4, 300)]);
            let port = 41_000 + u16::try_from(w.now / 61_000_000).unwrap();
            w.out(0, &open(THERE4, (port, 443)));
            for address in ["198.51.100.10", "192.168.7.9"] {
                let frame = open(address, (port, 443));
                if rest == Action::Accept { drop(w.out(0, &frame)) } else { w.dropped(0, &frame) }
            }
        }
        assert_eq!(w.hits(0).0[0], 0);
    }
}

#[test]
fn a_name_that_changes_its_mind_leads_nowhere_inside() {
    let mut w = world_with(&only(&[NAME]));
    both(&mut w, false, &Asked::a(7, NAME), &[is(NAME, THERE4, 0)]);
    w.out(0, &open(THERE4, (41_000, 443)));
    let inside = [
        "127.0.0.1",
        "10.137.0.10",
        "10.139.1.1",
        "192.168.7.20",
        "192.168.7.1",
        "169.254.169.254",
        "0.0.0.0",
    ];
    let count_drops = |w: &World| w.fw.core().drops.iter().map(|(_, count)| count).sum::<u64>();
    for address in inside {
        both(&mut w, false, &Asked::a(8, NAME), &[is(NAME, address, 300)]);
        let before = count_drops(&w);
        w.client_sends(0, &open(address, (41_000, 443)));
        assert!(w.at_net().is_empty() && w.at_client(1).is_empty(), "{address}");
        assert_eq!(count_drops(&w), before + 1, "{address}");
        w.at_client(0);
    }
    let inside6 = [
        "::1",
        "fd09:24ef:4179:2::2",
        "fe80::1",
        "::ffff:10.137.0.10",
        "64:ff9b::10.137.0.10",
        "2001:db8:7::20",
    ];
    for address in inside6 {
        both(&mut w, true, &Asked::aaaa(8, NAME), &[is(NAME, address, 300)]);
        assert_eq!(names_of(&w, address), vec![], "{address}");
    }
    assert_eq!(count(&w, Count::Rebinding), 13);
}
