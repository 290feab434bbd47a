//! What must never leave on the uplink, whatever happens.

use super::{super::*, world::*};
use crate::sockets::Sockets as _;
use packet::{
    headers::{Frame, Transport, parse},
    tcp::{ACK, FIN, RST, SYN},
};
use std::net::{Ipv4Addr, SocketAddrV4};

const FAR: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const MACS: ([u8; 6], [u8; 6]) = ([2, 0x62, 0x6b, 0, 0, 2], [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);

/// What the client on port 2 was sent since last asked.
fn told(world: &mut World) -> Vec<(u8, u32, u32)> {
    world.net.poll(world.now_us);
    let frames: Vec<_> = world.ends[2].0.borrow_mut().from_net.drain(..).collect();
    frames
        .into_iter()
        .filter_map(|(meta, mut frame)| {
            complete(&meta, &mut frame);
            let Ok(Frame::Ip(headers)) = parse(&frame) else { return None };
            let Transport::Tcp(tcp) = headers.transport else { return None };
            Some((tcp.flags, tcp.sequence, tcp.acknowledgement))
        })
        .collect()
}

#[test]
fn segments_of_dead_connections_are_reset_towards_the_client_only() {
    let mut world = World::new();
    let (ours, _) = world.connect(9001);
    let listener = world.listen(TRANSPARENT);
    let (_, accepted) = world.accept(0, listener, SocketAddrV4::new(FAR, 443));
    world.net.end_program();
    world.settle();
    world.clients.clear();
    let source = (client_address(2), 40_000);
    let cases = [
        ((FIN | ACK, 1000, 2000), Some((RST, 2000, 0))),
        ((ACK, 1000, 2000), Some((RST, 2000, 0))),
        ((SYN, 1000, 0), Some((RST | ACK, 0, 1001))),
        ((RST | ACK, 1000, 2000), None),
        ((RST, 1000, 0), None),
    ];
    for (segment, answer) in cases {
        world.inject(2, tcp_frame(MACS, source, (FAR, 443), segment, b""));
        assert_eq!(told(&mut world), Vec::from_iter(answer), "{segment:?}");
    }
    world.inject(2, tcp_frame(MACS, source, (FAR, 443), (ACK, 1000, 2000), b"more"));
    assert_eq!(told(&mut world), [(RST, 2000, 0)]);
    for id in [ours, accepted, listener] {
        assert_eq!(world.net.readiness(id).bits, 0, "gone");
    }
    world.settle();
    world.assert_uplink_clean(&[9001]);
}

#[test]
fn the_programs_end_says_reset_to_relays_and_then_nothing_whatever_comes() {
    let mut world = World::new();
    let (ours, theirs) = world.connect(9001);
    let listener = world.listen(TRANSPARENT);
    let (client_end, _) = world.accept(0, listener, SocketAddrV4::new(FAR, 443));
    let resolver = world.net.open(crate::sockets::SocketKind::Datagram).unwrap();
    world.net.bind(resolver, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
    assert_eq!(world.net.send(ours, &[9; 10_000]), Ok(10_000));
    world.clients[0].get(client_end).send_slice(&[8; 50_000]).unwrap();
    let before = world.relay.seen.len();
    world.net.end_program();
    world.settle();
    let last: Vec<u8> = world.relay.seen[before..]
        .iter()
        .map(|frame| match parse(frame) {
            Ok(Frame::Ip(packet::headers::Headers { transport: Transport::Tcp(tcp), .. })) => tcp.flags,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(last, [RST | ACK]);
    assert_eq!(world.relay.get(theirs).state(), smoltcp::socket::tcp::State::Closed);
    assert_eq!(world.clients[0].get(client_end).state(), smoltcp::socket::tcp::State::Closed);
    // Clients go on as they like.
    let said = world.relay.seen.len();
    for n in 0..20 {
        let port = 41_000 + n;
        world.clients[0].connect(port, SocketAddrV4::new(FAR, 443));
        world.clients[1].connect(port, SocketAddrV4::new(gateway(3), 9050));
        for (flags, payload) in [(ACK, &b"more"[..]), (FIN | ACK, b""), (RST | ACK, b""), (SYN, b"")] {
            world.inject(2, tcp_frame(MACS, (client_address(2), port), (FAR, 443), (flags, 5, 6), payload));
        }
        world.inject(2, udp_frame(MACS, (client_address(2), port), (FAR, 53), &[0; 20]));
        world.inject(2, udp_frame(MACS, (client_address(2), port), (RELAY, 9001), &[0; 20]));
        world.inject(2, tcp_frame(MACS, (client_address(2), port), (RELAY, 9001), (SYN, 5, 6), b""));
        world.pass(500);
    }
    assert_eq!(world.relay.seen.len(), said, "nothing was said on the uplink");
    assert_eq!((world.net.core.relays, world.net.core.connections), ((0, 0), 0));
}

#[test]
fn nobody_on_the_uplink_is_answered_who_was_not_called() {
    let mut world = World::new();
    let (ours, _) = world.connect(9001);
    world.listen(TRANSPARENT);
    world.listen(9050);
    let local = world.net.local(ours).unwrap().port();
    world.ends[1].0.borrow_mut().to_net.clear();
    let macs = (RELAY_MAC, UPLINK_MAC);
    let strays = [
        ip_frame(macs, RELAY, OURS, 1, &[8, 0, 0xF7, 0xFD, 0, 1, 0, 1]),
        udp_frame(macs, (RELAY, 53), (OURS, 5300), &[0; 30]),
        udp_frame(macs, (RELAY, 67), (OURS, 68), &[0; 300]),
        tcp_frame(macs, (RELAY, 9001), (OURS, 9050), (SYN, 1, 0), b""),
        tcp_frame(macs, (RELAY, 9001), (OURS, 9040), (SYN, 1, 0), b""),
        tcp_frame(macs, (RELAY, 9002), (OURS, local), (ACK, 1, 1), b"x"),
        tcp_frame(macs, (RELAY, 9002), (OURS, local), (SYN | ACK, 1, 1), b""),
        tcp_frame(macs, (FAR, 9001), (OURS, local), (FIN | ACK, 1, 1), b""),
        tcp_frame(macs, (RELAY, 9001), (client_address(2), local), (SYN, 1, 0), b""),
        tcp_frame(macs, (RELAY, 9001), (gateway(2), 9050), (SYN, 1, 0), b""),
        ip_frame(macs, RELAY, OURS, 47, &[0; 30]),
        ip_frame(macs, RELAY, "224.0.0.1".parse().unwrap(), 2, &[0; 8]),
    ];
    let said = world.relay.seen.len();
    let count = u64::try_from(strays.len()).unwrap();
    let all = |world: &World| {
        world.net.counters().filter(|(name, _)| name.starts_with("drop_")).map(|(_, n)| n).sum::<u64>()
    };
    let before = all(&world);
    for frame in strays {
        world.inject(UPLINK, frame);
    }
    // By hand: the relay's own stack is not to hear what it is not sent.
    while world.net.poll(world.now_us) {}
    assert!(world.ends[1].0.borrow().from_net.is_empty());
    assert_eq!((world.relay.seen.len(), all(&world) - before), (said, count));
    for end in &world.ends[2..] {
        assert!(end.0.borrow().from_net.is_empty(), "nor is anything passed on");
    }
}

#[test]
fn a_client_is_not_taken_for_the_uplink_nor_the_uplink_for_a_client() {
    let mut world = World::new();
    // The client calls itself the relay, in a connection that the program has with the relay.
    let (ours, _) = world.connect(9001);
    let local = world.net.local(ours).unwrap().port();
    world.inject(2, tcp_frame(MACS, (RELAY, 9001), (OURS, local), (RST | ACK, 1, 1), b""));
    world.inject(2, tcp_frame(MACS, (client_address(2), 9001), (OURS, local), (RST | ACK, 1, 1), b""));
    world.settle();
    assert_eq!(world.net.readiness(ours).bits, 4);
    // The program's call to a client's address goes to the uplink, as any other.
    let call = world.net.open(crate::sockets::SocketKind::Stream).unwrap();
    let _ = world.net.connect(call, SocketAddrV4::new(client_address(2), 22));
    let seen = world.clients[0].seen.len();
    world.pass(100);
    assert_eq!(world.clients[0].seen.len(), seen);
}
