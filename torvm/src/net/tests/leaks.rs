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
