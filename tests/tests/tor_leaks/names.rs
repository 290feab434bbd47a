//! Questions to name servers: every type, and what is no question.

use super::machine::NAME_MARK;
use super::questions::question;
use super::world::{PATIENCE, World};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};
use tests::lab::until;

const RESOLVERS: [(Ipv4Addr, u16); 3] = [
    (Ipv4Addr::new(10, 139, 1, 1), 53),
    (Ipv4Addr::new(10, 139, 1, 2), 53),
    // Not the gateway's, and yet answered by it.
    (Ipv4Addr::new(9, 9, 9, 9), 53),
];
/// How often a question is asked.
const TIMES: usize = 6;
const NOT_IMPLEMENTED: u8 = 4;
const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;
/// Types that Tor can answer.
const ANSWERED: [u16; 3] = [A, PTR, AAAA];

/// Every type from 1 to 255 and some beyond; other classes; damaged messages of every length. Types that Tor cannot
/// answer are said to be not implemented; the damaged ones may be answered or not.
pub(crate) fn questions(world: &mut World) {
    world.online();
    let answers = world.appvms[0].inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answers = BTreeMap::new();
        for (number, kinds) in types().chunks(16).enumerate() {
            let name = format!("{NAME_MARK}.page.test");
            // Datagrams are lost now and then.
            for _ in 0..TIMES {
                let open: Vec<_> = kinds.iter().filter(|kind| !answers.contains_key(*kind)).collect();
                for kind in &open {
                    socket.send_to(&question(**kind, &name, **kind), RESOLVERS[number % 3]).unwrap();
                }
                collect(&socket, &mut answers, open.len());
            }
        }
        damaged(&socket);
        answers
    });
    let wrong: Vec<_> =
        answers.iter().filter(|(kind, code)| !ANSWERED.contains(kind) && **code != NOT_IMPLEMENTED).collect();
    assert!(wrong.is_empty(), "types that are not said to be unknown (type, code): {wrong:?}");
    let missing: Vec<_> = types().into_iter().filter(|kind| !answers.contains_key(kind)).collect();
    assert!(missing.is_empty(), "types without any answer: {missing:?}");
    eprintln!("{} answers", answers.len());
    world.wait_for_page(PATIENCE);
    world.judge();
}

/// What an exit has to say to questions of the three types that Tor can answer comes back whole, and the exits have
/// asked: addresses of both kinds, and the names of both.
pub(crate) fn answers(world: &mut World) {
    world.online();
    let network = &world.network;
    // No exit has this one in its memory.
    let name = format!("a{}.test", std::process::id());
    let [v4, v6] = [network.web.octets().to_vec(), network.web_v6.octets().to_vec()];
    for (number, (kind, asked, answer)) in (1..).zip([
        (A, name.clone(), v4),
        (AAAA, name.clone(), v6),
        (PTR, reverse(network.web.into()), encoded("page.test")),
        (PTR, reverse(network.web_v6.into()), encoded("page.test")),
    ]) {
        let found = until(PATIENCE, "an answer from an exit", || {
            world.appvms[0].inside(|| answer_to(&question(number, &asked, kind)))
        });
        // The name of the answer, its type, class and time; the length of what it says, and that.
        let ends = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
        assert!(found.ends_with(&ends), "{asked}, type {kind}: {found:02x?}");
        assert_eq!((found[3] & 15, &found[6..8]), (0, &[0, 1][..]), "{asked}, type {kind}: {found:02x?}");
    }
    let asked = world.network.questions();
    for kind in ["TYPE(A)", "TYPE(AAAA)"] {
        assert!(asked.contains(&(name.clone(), kind.to_owned())), "no exit asked for {kind} of {name}");
    }
    world.judge();
}

/// The answer to a question, if there is one and it says something.
fn answer_to(question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
    socket.send_to(question, RESOLVERS[0]).ok()?;
    let mut answer = vec![0; 1_500];
    let length = socket.recv(&mut answer).ok()?;
    answer.truncate(length);
    (answer.get(..2) == question.get(..2) && answer.get(6..8)? != [0, 0]).then_some(answer)
}

/// The name under which the name of an address is asked for.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibble = |at: u32| format!("{:x}.", v6.to_bits() >> (4 * at) & 15);
            (0..32).map(nibble).collect::<String>() + "ip6.arpa"
        }
    }
}

/// A name as messages have it.
fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

/// Also OPT, and types with no meaning.
fn types() -> Vec<u16> {
    (1..=255).chain([256, 257, 32_768, 65_280, 65_535]).collect()
}

/// Waits for so many answers, some seconds at most: id and code of each.
fn collect(socket: &UdpSocket, answers: &mut BTreeMap<u16, u8>, expected: usize) {
    let before = answers.len();
    let begun = Instant::now();
    let mut answer = [0; 1_500];
    while answers.len() < before + expected && begun.elapsed() < Duration::from_secs(12) {
        if let Ok(length) = socket.recv(&mut answer)
            && let [a, b, _, code, ..] = answer[..length]
        {
            answers.insert(u16::from_be_bytes([a, b]), code & 15);
        }
    }
}

/// Every prefix of a question; a question with each of its bytes changed; other classes; two questions; a name that
/// never ends; more than a datagram takes without fragments.
fn damaged(socket: &UdpSocket) {
    let good = question(7, &format!("{NAME_MARK}.page.test"), 1);
    let mut messages: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for at in 0..good.len() {
        for value in [0, 0x3f, 0x40, 0xc0, 0xff] {
            let mut message = good.clone();
            message[at] = value;
            messages.push(message);
        }
    }
    let mut twice = good.clone();
    twice[5] = 2;
    twice.extend(&good[12..]);
    let mut endless = good[..12].to_vec();
    endless.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut chaos = good.clone();
    let class = chaos.len() - 1;
    chaos[class] = 3;
    let mut long = good.clone();
    long.resize(4_000, 0);
    messages.extend([twice, endless, chaos, long]);
    for (number, message) in messages.iter().enumerate() {
        // A full queue of the AppVM's is no concern here.
        let _ = socket.send_to(message, RESOLVERS[number % 3]);
        if number % 16 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let begun = Instant::now();
    while socket.recv(&mut [0; 1_500]).is_ok() && begun.elapsed() < Duration::from_secs(5) {}
}
