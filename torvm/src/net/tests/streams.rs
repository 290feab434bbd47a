//! Connections, as the program sees them.

use super::{super::*, world::*};
use crate::{
    errno::Errno,
    sockets::{Readiness, SocketKind, Sockets as _},
};
use smoltcp::socket::tcp::State as S;
use std::net::{Ipv4Addr, SocketAddrV4};

const IN: u32 = Readiness::IN;
const OUT: u32 = Readiness::OUT;
const RDHUP: u32 = Readiness::RDHUP;
const ALL: u32 = IN | OUT | RDHUP | Readiness::HUP;

#[test]
fn a_connection_to_a_relay_carries_bytes_both_ways_and_ends_in_order() {
    let mut world = World::new();
    let (ours, theirs) = world.connect(9001);
    let connected = world.net.readiness(ours);
    assert_eq!(connected.bits, OUT);
    assert_eq!(world.net.take_error(ours), None);
    assert_eq!(world.net.send(ours, b"hello"), Ok(5));
    world.settle();
    assert_eq!(world.relay.read(theirs), b"hello");
    world.relay.get(theirs).send_slice(b"world").unwrap();
    world.settle();
    let readable = world.net.readiness(ours);
    assert_eq!(readable.bits, IN | OUT);
    assert_ne!(readable.edges, connected.edges);
    assert_eq!(world.read(ours), b"world");
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Err(Errno::AGAIN));
    world.relay.get(theirs).close();
    world.settle();
    assert_eq!(world.net.readiness(ours).bits, IN | OUT | RDHUP);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Ok(0));
    assert_eq!(world.net.send(ours, b"late"), Ok(4), "half closed");
    world.net.close(ours);
    world.settle();
    assert_eq!(world.relay.read(theirs), b"late");
    assert_eq!(world.relay.get(theirs).state(), S::TimeWait);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Err(Errno::BADF));
    world.pass(20);
    assert_eq!(world.net.core.relays, (0, 0));
    world.assert_uplink_clean(&[9001]);
}

#[test]
fn who_refuses_is_reported_as_linux_does() {
    let mut world = World::new();
    let ours = world.net.open(SocketKind::Stream).unwrap();
    assert_eq!(world.net.readiness(ours).bits, OUT | Readiness::HUP);
    assert_eq!(world.net.connect(ours, SocketAddrV4::new(RELAY, 9)), Err(Errno::INPROGRESS));
    assert_eq!(world.net.readiness(ours).bits, 0);
    assert_eq!(world.net.connect(ours, SocketAddrV4::new(RELAY, 9)), Err(Errno::ALREADY));
    assert_eq!(world.net.send(ours, b"x"), Err(Errno::AGAIN));
    world.settle();
    assert_eq!(world.net.readiness(ours).bits, ALL | Readiness::ERR);
    assert_eq!(world.net.count(Count::PeerReset), 1);
    assert_eq!(world.net.take_error(ours), Some(Errno::CONNREFUSED));
    assert_eq!(world.net.readiness(ours).bits, ALL);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Ok(0));
    assert_eq!(world.net.send(ours, b"x"), Err(Errno::PIPE));
}

#[test]
fn a_client_reaches_the_transparent_listener_and_says_where_it_wanted_to_go() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let far = SocketAddrV4::new(Ipv4Addr::new(93, 184, 216, 34), 443);
    assert_eq!(world.net.accept(listener), Err(Errno::AGAIN));
    let (theirs, ours) = world.accept(0, listener, far);
    assert_eq!(world.net.original_destination(ours), Ok(far.into()));
    assert_eq!(world.net.local(ours), Ok(SocketAddrV4::new(gateway(2), TRANSPARENT)));
    world.converse(theirs, ours);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Ok(0));
    assert_eq!(world.net.readiness(ours).bits, ALL);
    world.net.close(ours);
    world.settle();
    assert_eq!(world.net.core.connections, 0);
    world.assert_uplink_clean(&[]);
}

#[test]
fn a_megabyte_arrives_unharmed_both_ways() {
    let mut world = World::new();
    let listener = world.listen(9050);
    let (theirs, ours) = world.accept(1, listener, SocketAddrV4::new(gateway(3), 9050));
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut sent, mut back) = (0, 0);
    let (mut got, mut returned) = (Vec::new(), Vec::new());
    while got.len() < bytes.len() || returned.len() < bytes.len() {
        sent += world.clients[1].get(theirs).send_slice(&bytes[sent..]).unwrap();
        back += world.net.send(ours, &bytes[back..]).unwrap_or(0);
        world.settle();
        got.extend(world.read(ours));
        returned.extend(world.clients[1].read(theirs));
        world.now_us += 1_000;
    }
    assert!(got == bytes && returned == bytes);
}

#[test]
fn what_the_program_writes_piecemeal_leaves_in_one_long_frame_that_others_cut() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let to = SocketAddrV4::new(Ipv4Addr::new(93, 184, 216, 34), 443);
    let (theirs, ours) = world.accept(0, listener, to);
    let syn_ack = world.clients[0].seen.iter().find(|frame| frame.get(47) == Some(&0x12)).expect("an answer");
    assert_eq!(syn_ack[54..58], [2, 4, 5, 0xb4], "MSS 1460, whatever we tell ourselves");
    let bytes: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
    for cell in bytes.chunks(498) {
        assert_eq!(world.net.send(ours, cell), Ok(cell.len()));
    }
    while world.net.poll(world.now_us) {}
    let frames: Vec<_> =
        world.ends[2].0.borrow().from_net.iter().map(|(meta, frame)| (meta.gso, frame.len())).collect();
    let gso = link::Gso { kind: link::GsoKind::Tcp4, size: 1460, header_len: 54 };
    assert_eq!(frames, [(Some(gso), 54 + 20_000)]);
    world.settle();
    assert_eq!(world.clients[0].read(theirs), bytes);
    // A link that cuts nothing gets nothing long.
    world.ends[2].0.borrow_mut().plain = true;
    let (theirs, ours) = world.accept(0, listener, to);
    assert_eq!(world.net.send(ours, &bytes), Ok(20_000));
    while world.net.poll(world.now_us) {}
    assert!(
        world.ends[2]
            .0
            .borrow()
            .from_net
            .iter()
            .all(|(meta, frame)| meta.gso.is_none() && frame.len() <= 1514)
    );
    world.settle();
    assert_eq!(world.clients[0].read(theirs), bytes);
}
