//! Questions to name servers: every type, and what is no question.

use super::machine::NAME_MARK;
use super::questions::question;
use super::world::World;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const RESOLVERS: [(Ipv4Addr, u16); 3] = [
    (Ipv4Addr::new(10, 139, 1, 1), 53),
    (Ipv4Addr::new(10, 139, 1, 2), 53),
    // Not the gateway's, and yet answered by it.
    (Ipv4Addr::new(9, 9, 9, 9), 53),
];
const NOT_IMPLEMENTED: u8 = 4;
/// Types that Tor can answer: A, PTR, AAAA.
const ANSWERED: [u16; 3] = [1, 12, 28];

/// Every type from 1 to 255 and some beyond; other classes; damaged messages of every length. Types that Tor cannot
/// answer are said to be not implemented; the damaged ones may be answered or not.
pub(crate) fn questions(world: &mut World) {
    world.online();
    let answers = world.appvms[0].inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answers = BTreeMap::new();
        for (number, kinds) in types().chunks(16).enumerate() {
            for kind in kinds {
                let name = format!("{NAME_MARK}.page.test");
                socket.send_to(&question(*kind, &name, *kind), RESOLVERS[number % 3]).unwrap();
            }
            collect(&socket, &mut answers, kinds.len());
        }
        damaged(&socket);
        answers
    });
    let wrong: Vec<_> =
        answers.iter().filter(|(kind, code)| !ANSWERED.contains(kind) && **code != NOT_IMPLEMENTED).collect();
    assert!(wrong.is_empty(), "types that are not said to be unknown (type, code): {wrong:?}");
    let missing: Vec<_> = types().into_iter().filter(|kind| !answers.contains_key(kind)).collect();
    assert!(missing.len() < 10, "types without any answer: {missing:?}");
    eprintln!("{} answers; none for {missing:?}", answers.len());
    world.wait_for_page(Duration::from_secs(60));
    world.judge();
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
