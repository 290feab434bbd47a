//! Links that come and go or are full, peers that vanish, errors from the way.

use super::{super::*, world::*};
use crate::{
    errno::Errno,
    sockets::{Readiness, SocketKind, Sockets as _},
};
use link::Meta;
use smoltcp::socket::tcp::State as S;
use std::net::SocketAddrV4;

fn far() -> SocketAddrV4 {
    "93.184.216.34:443".parse().unwrap()
}

#[test]
fn connections_outlive_a_restart_of_the_uplink() {
    let mut world = World::new();
    let (ours, theirs) = world.connect(9001);
    world.net.detach(UPLINK);
    assert_eq!(world.net.send(ours, b"while it was away"), Ok(17));
    world.pass(2000);
    assert_eq!(world.relay.read(theirs), b"");
    assert!(world.net.attach(UPLINK, world.ends[1].clone()));
    assert!(world.net.set_uplink(&described_uplink()));
    world.pass(2000);
    assert_eq!(world.relay.read(theirs), b"while it was away");
    // Another address is another uplink.
    let mut other = described_uplink();
    other.v4 = "10.9.0.3".parse().unwrap();
    let seen = world.relay.seen.len();
    assert!(world.net.set_uplink(&other));
    world.pass(2000);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Err(Errno::CONNRESET));
    assert_eq!(world.relay.seen.len(), seen, "nothing more was said");
}

#[test]
fn a_clients_connections_outlive_its_link_but_not_the_client() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let (theirs, ours) = world.accept(0, listener, far());
    world.net.detach(2);
    assert_eq!(world.net.send(ours, b"later"), Ok(5));
    world.pass(50);
    assert!(world.net.attach(2, world.ends[2].clone()));
    assert!(world.net.set_client(2, &described(2)));
    world.pass(2000);
    assert_eq!(world.clients[0].read(theirs), b"later");
    // Somebody else comes to the port: who was there is told, and so is the program.
    let mut other = described(2);
    other.name = "other".try_into().unwrap();
    assert!(world.net.set_client(2, &other));
    world.settle();
    assert_eq!(world.clients[0].get(theirs).state(), S::Closed);
    assert_eq!(world.net.readiness(ours).bits & Readiness::HUP, Readiness::HUP);
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Err(Errno::CONNRESET));
    assert_eq!(world.net.receive(ours, &mut [0; 9]), Ok(0));
    assert_eq!(world.net.core.connections, 0);
}

#[test]
fn a_client_that_was_started_again_may_use_its_ports_again() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let (_, old) = world.accept(0, listener, far());
    // Another stack, which knows of no connection, at the same address.
    world.clients[0] = Peer::new(world.ends[2].clone(), client_mac(2), client_address(2), Some(gateway(2)));
    let (theirs, new) = world.accept(0, listener, far());
    assert_ne!(old, new);
    assert_eq!(world.net.receive(old, &mut [0; 9]), Err(Errno::CONNRESET));
    assert_eq!(world.net.send(new, b"hello"), Ok(5));
    world.settle();
    assert_eq!(world.clients[0].read(theirs), b"hello");
    assert_eq!(world.net.core.connections, 1);
    // One that nobody begins anew is found out by and by.
    world.clients[0] = Peer::new(world.ends[2].clone(), client_mac(2), client_address(2), Some(gateway(2)));
    world.pass(121_000);
    assert_eq!(world.net.take_error(new), Some(Errno::CONNRESET));
    assert_eq!(world.net.core.connections, 0);
}

#[test]
fn an_address_is_one_clients_only() {
    let mut world = World::new();
    let mut other = described(2);
    other.name = "other".try_into().unwrap();
    assert!(!world.net.set_client(5, &other), "port 2 has this address");
    world.net.forget_client(2);
    assert!(world.net.set_client(5, &other));
    for port in [0, UPLINK, 32, 255] {
        assert!(!world.net.set_client(port, &described(9)), "{port}");
    }
}

#[test]
fn who_never_answers_is_given_up_without_a_word() {
    let mut world = World::new();
    let ours = world.net.open(SocketKind::Stream).unwrap();
    world.net.detach(UPLINK);
    assert_eq!(world.net.connect(ours, SocketAddrV4::new(RELAY, 9)), Err(Errno::INPROGRESS));
    world.pass(61_000);
    assert_eq!(world.net.readiness(ours).bits & Readiness::ERR, Readiness::ERR);
    assert_eq!(world.net.take_error(ours), Some(Errno::TIMEDOUT));
    assert_eq!(world.net.poll_at(), None, "nothing is left to wait for");
    // Closing one that is under way says nothing either.
    assert!(world.net.attach(UPLINK, world.ends[1].clone()));
    let ours = world.net.open(SocketKind::Stream).unwrap();
    assert_eq!(world.net.connect(ours, SocketAddrV4::new(RELAY, 9)), Err(Errno::INPROGRESS));
    world.net.close(ours);
    world.settle();
    assert!(world.relay.seen.is_empty());
}

#[test]
fn an_established_peer_that_vanishes_is_reset_but_an_idle_one_is_not() {
    let mut world = World::new();
    let (idle, _) = world.connect(9001);
    let (busy, _) = world.connect(9002);
    let gone = std::mem::take(&mut world.ends[1].0.borrow_mut().room);
    assert_eq!(gone, None);
    world.ends[1].0.borrow_mut().deaf = true;
    assert_eq!(world.net.send(busy, b"anybody?"), Ok(8));
    for _ in 0..32 {
        world.now_us += 10_000_000;
        world.settle();
    }
    assert_eq!(world.net.take_error(busy), Some(Errno::TIMEDOUT));
    assert_eq!(world.net.readiness(idle).bits, Readiness::OUT);
    world.assert_uplink_clean(&[9001, 9002]);
}

#[test]
fn errors_from_the_way_end_a_connection_that_was_not_answered_and_no_other() {
    let mut world = World::new();
    for (code, error) in
        [(0, Errno::NETUNREACH), (1, Errno::HOSTUNREACH), (3, Errno::CONNREFUSED), (13, Errno::HOSTUNREACH)]
    {
        let (established, _) = world.connect(9001 + u16::from(code));
        world.ends[1].0.borrow_mut().deaf = true;
        let ours = world.net.open(SocketKind::Stream).unwrap();
        assert_eq!(world.net.connect(ours, SocketAddrV4::new(RELAY, 9)), Err(Errno::INPROGRESS));
        assert_eq!(world.net.send(established, b"x"), Ok(1));
        world.settle();
        let sent: Vec<_> = world.ends[1].0.borrow_mut().lost.drain(..).collect();
        assert_eq!(sent.len(), 2);
        for frame in sent {
            world.ends[1].0.borrow_mut().to_net.push_back((Meta::default(), unreachable(code, &frame)));
        }
        world.settle();
        assert_eq!(world.net.take_error(ours), Some(error));
        assert_eq!(world.net.take_error(established), None);
        world.ends[1].0.borrow_mut().deaf = false;
        world.pass(3000);
        world.net.close(ours);
        world.net.close(established);
        world.settle();
    }
}

/// An ICMP error about a frame of ours.
fn unreachable(code: u8, about: &[u8]) -> Vec<u8> {
    let mut icmp = [&[3, code, 0, 0, 0, 0, 0, 0], &about[14..about.len().min(42)]].concat();
    let sum = packet::checksum::Sum::new().bytes(&icmp).finish();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ip_frame((RELAY_MAC, UPLINK_MAC), RELAY, OURS, 1, &icmp)
}

#[test]
fn a_smaller_path_is_believed_and_used() {
    let mut world = World::new();
    let (ours, theirs) = world.connect(9001);
    world.ends[1].0.borrow_mut().deaf = true;
    assert_eq!(world.net.send(ours, &[7; 5000]), Ok(5000));
    world.settle();
    let sent = world.ends[1].0.borrow_mut().lost.pop().unwrap();
    let mut error = unreachable(4, &sent);
    error[40..42].copy_from_slice(&1200u16.to_be_bytes());
    error[36..38].fill(0);
    let sum = packet::checksum::Sum::new().bytes(&error[34..]).finish();
    error[36..38].copy_from_slice(&sum.to_be_bytes());
    world.ends[1].0.borrow_mut().deaf = false;
    world.ends[1].0.borrow_mut().to_net.push_back((Meta::default(), error));
    let before = world.relay.seen.len();
    world.pass(3000);
    assert_eq!(world.relay.read(theirs), [7; 5000]);
    assert!(world.relay.seen[before..].iter().all(|frame| frame.len() <= 14 + 1200));
}

#[test]
fn a_full_link_loses_nothing_and_lets_everybody_sleep() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let (theirs, ours) = world.accept(0, listener, far());
    world.ends[2].0.borrow_mut().room = Some(0);
    assert_eq!(world.net.send(ours, &[1; 10_000]), Ok(10_000));
    while world.net.poll(world.now_us) {}
    assert!(world.net.arm() && world.net.poll_at().is_none_or(|at| at > world.now_us));
    world.ends[2].0.borrow_mut().room = None;
    world.settle();
    assert_eq!(world.clients[0].read(theirs).len(), 10_000);
    let retransmitted = world.clients[0].seen.iter().filter(|frame| frame.len() > 1000).count();
    assert_eq!(retransmitted, 7, "seven segments, each once");
}

#[test]
fn edges_come_with_arrivals_and_with_room_and_otherwise_not() {
    let mut world = World::new();
    let listener = world.listen(TRANSPARENT);
    let idle = world.net.readiness(listener);
    assert_eq!(idle.bits, 0);
    let (theirs, ours) = world.accept(0, listener, far());
    assert_ne!(world.net.readiness(listener).edges, idle.edges);
    let edges = |world: &World| world.net.readiness(ours).edges;
    let mut last = edges(&world);
    for _ in 0..3 {
        // Each arrival is an edge, read or not.
        world.clients[0].get(theirs).send_slice(b"x").unwrap();
        world.pass(20);
        assert_ne!(edges(&world), last);
        last = edges(&world);
    }
    // Filling the buffer is none, and acknowledgements are none until there is room again.
    world.ends[2].0.borrow_mut().room = Some(0);
    let mut sent = 0;
    while let Ok(n) = world.net.send(ours, &[0; 9999]) {
        sent += n;
    }
    assert_eq!(sent, 64 * 1024);
    assert_eq!((world.net.readiness(ours).bits & Readiness::OUT, edges(&world)), (0, last));
    world.ends[2].0.borrow_mut().room = None;
    world.settle();
    assert_eq!(world.net.readiness(ours).bits & Readiness::OUT, Readiness::OUT);
    assert_eq!(edges(&world), last.wrapping_add(1), "one edge for room");
}

#[test]
fn a_faulty_link_is_reported_once_and_taken_away() {
    let mut world = World::new();
    world.ends[2].0.borrow_mut().fault = true;
    world.net.poll(world.now_us);
    assert_eq!(world.net.take_fault(), Some((2, PortFault("test"))));
    world.net.poll(world.now_us);
    assert_eq!(world.net.take_fault(), None);
    assert!(world.net.detach(2).is_none());
}

#[test]
fn without_offloads_checksums_are_complete() {
    let mut world = World::new();
    for end in &world.ends {
        end.0.borrow_mut().plain = true;
    }
    let (ours, theirs) = world.connect(9001);
    assert_eq!(world.net.send(ours, b"hello"), Ok(5));
    world.settle();
    assert_eq!(world.relay.read(theirs), b"hello", "smoltcp looks at checksums");
}

#[test]
fn bytes_survive_losses_and_the_window_gives_way_to_them() {
    let mut world = World::new();
    let (ours, theirs) = world.connect(9001);
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let window = |world: &World| {
        let slot = world.net.core.table.slot(ours).unwrap();
        world.net.core.table.stream(slot).unwrap().congestion.as_ref().unwrap().window()
    };
    let send = |world: &mut World, sent: &mut usize, got: &mut Vec<u8>, until: usize| {
        while got.len() < until {
            *sent += world.net.send(ours, &bytes[*sent..until]).unwrap_or(0);
            world.pass(10);
            got.extend(world.relay.read(theirs));
            assert!(world.now_us < 600_000_000, "stuck after {} bytes", got.len());
        }
    };
    send(&mut world, &mut sent, &mut got, 100_000);
    let wide = window(&world);
    assert!(wide > 50_000, "{wide}");
    world.ends[1].0.borrow_mut().lossy = Some(17);
    send(&mut world, &mut sent, &mut got, 200_000);
    assert!(got == bytes);
    assert!(window(&world) < wide, "{}", window(&world));
}
