//! Quotas, exhaustion, full links, faults.
use super::world::*;
use crate::{Next, verdict::DropReason};
use abi::link_device::Role;
use control::message::FromDomain;
use link::{
    Geometry, Meta,
    host::{pair, scribbled},
};
use std::collections::HashSet;

fn flood(w: &mut World, n: usize, flows: u16) -> usize {
    let mut sent = 0;
    for port in 0..flows {
        let frame = to_server(false, n).udp(mac(n), (1 + port, 4433), b"");
        w.clients[n].send(&Meta::default(), &[&frame]).unwrap();
        if port % 32 == 31 {
            w.clients[n].publish();
            w.run();
            sent += w.at_net().len();
        }
    }
    w.clients[n].publish();
    w.run();
    sent + w.at_net().len()
}

#[test]
fn one_client_cannot_starve_another() {
    // 4096 flows: 64 guaranteed to each, 2048 in common of which one client gets 512.
    let mut w = World::with_flows(8, 4096);
    let quota = w.fw.core().v4.flows.quota();
    assert_eq!(quota, 576);
    for n in 0..7 {
        let before = w.drops(DropReason::FlowQuota) + w.drops(DropReason::FlowsFull);
        let sent = flood(&mut w, n, 2000);
        let refused = w.drops(DropReason::FlowQuota) + w.drops(DropReason::FlowsFull) - before;
        assert_eq!(sent as u64 + refused, 2000);
        assert!(sent <= quota as usize);
        assert!(sent >= w.fw.core().v4.flows.guaranteed() as usize);
    }
    // The last one still gets all that it was promised.
    let sent = flood(&mut w, 7, 2000);
    assert!(sent >= w.fw.core().v4.flows.guaranteed() as usize, "{sent}");
    // And nobody lost a flow: an established one of the first client still works.
    w.out(0, &to_server(false, 0).udp(mac(0), (1, 4433), b""));
    // What expires is free again.
    w.wait(130);
    assert_eq!(w.fw.core().v4.flows.len(), 0);
    assert_eq!(flood(&mut w, 0, 100), 100);
}

#[test]
fn ports_outside_differ_and_hide_those_inside() {
    let mut w = World::with_flows(2, 8192);
    let mut ports = HashSet::new();
    let mut in_order = 0;
    let mut last = 0;
    for inside in 0..1000u16 {
        let port =
            ends(&w.out(0, &to_server(false, 0).tcp(mac(0), (2000 + inside, 443), 2, (1, 0), 9, b""))).1;
        assert!(port >= 1024);
        assert!(ports.insert(port), "used twice towards one remote end");
        in_order += usize::from(port == last + 1);
        last = port;
    }
    assert!(in_order < 10);
    // UDP: one socket keeps its port towards everybody (RFC 4787 REQ-1), another client's is not related.
    let to = |n: usize, host: u8| Path::Four(client4(n), Ipv4Addr::new(203, 0, 113, host));
    let first = ends(&w.out(0, &to(0, 1).udp(mac(0), (5000, 1), b""))).1;
    for host in 2..10 {
        assert_eq!(ends(&w.out(0, &to(0, host).udp(mac(0), (5000, 1), b""))).1, first);
    }
    assert_ne!(ends(&w.out(1, &to(1, 1).udp(mac(1), (5000, 1), b""))).1, first);
}

#[test]
fn ports_towards_one_remote_end_run_out_by_refusal() {
    use crate::{
        flows::{
            ClientKey, Flow,
            tcp::{Direction, Tracker},
        },
        nat,
        state::{Core, Setup},
    };
    // 64,512 ports and a table with room for more: every last one taken.
    let mut core = Core::new(&Setup { v4_flows: 65_536, v6_flows: 1, seed: [9; 64] }).unwrap();
    let key = |inside: u32| ClientKey {
        client: Ipv4Addr::from_bits(0x0A89_0000 + (inside >> 16)),
        destination: SERVER4,
        client_port: u16::try_from(inside & 0xffff).unwrap(),
        destination_port: 443,
        protocol: 6,
        link: u8::try_from(1 + inside % 31).unwrap(),
    };
    for port in 1024..=65_535u32 {
        let flow = Flow::new(
            &key(port),
            SERVER4,
            u16::try_from(port).unwrap(),
            Tracker::packets(Direction::Outward),
        );
        core.v4.flows.insert(flow, 0).unwrap();
    }
    let fresh = key(70_000);
    assert_eq!(nat::choose(&mut core.v4, &mut core.common, &fresh, SERVER4), Err(DropReason::PortsExhausted));
    // Another remote end has all of them.
    let other = Ipv4Addr::new(203, 0, 113, 1);
    assert!(
        nat::choose(&mut core.v4, &mut core.common, &ClientKey { destination: other, ..fresh }, other)
            .is_ok()
    );
    // At 50 % none of ten thousand is refused for want of luck.
    for number in 0..65_536 {
        if core.v4.flows.get(number).is_some_and(|flow| flow.nat_port % 2 == 0) {
            core.v4.flows.remove(number);
        }
    }
    let found =
        (0..10_000).filter(|_| nat::choose(&mut core.v4, &mut core.common, &fresh, SERVER4).is_ok()).count();
    assert!(found >= 9_990, "{found}");
}

#[test]
fn a_client_that_sends_more_than_the_uplink_takes_waits() {
    let mut w = World::new(1);
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[1; 1400]);
    // Nobody reads at the uplink.
    let mut accepted = 0;
    for _ in 0..10_000 {
        if w.clients[0].send(&Meta::default(), &[&frame]).is_err() {
            break;
        }
        accepted += 1;
        w.clients[0].publish();
        w.fw.poll(w.now);
    }
    assert!(accepted < 1000, "the client's own link fills");
    w.run();
    // Room comes: everything that was accepted arrives.
    let mut arrived = 0;
    for _ in 0..100 {
        arrived += w.at_net().len();
        w.run();
    }
    assert_eq!(arrived, accepted);
    assert_eq!(w.drops(DropReason::QueueFull), 0);
}

#[test]
fn a_client_that_does_not_read_harms_only_itself() {
    let mut w = World::new(2);
    let ports: Vec<u16> =
        (0..2).map(|n| ends(&w.out(n, &to_server(false, n).udp(mac(n), (5000, 4433), b""))).1).collect();
    let mut got = 0;
    for _ in 0..1000 {
        w.net_sends(&from_server(false).udp(NIC, (4433, ports[0]), &[1; 1400]));
        w.net_sends(&from_server(false).udp(NIC, (4433, ports[1]), &[1; 1400]));
        got += w.at_client(1).len();
    }
    assert_eq!(got, 1000);
    assert!(w.drops(DropReason::QueueFull) > 700);
    assert!(w.at_client(0).len() > 100);
}

#[test]
fn a_peer_at_fault_is_given_up_and_named() {
    let mut w = World::new(1);
    let (ours, mut peer) = scribbled(Geometry::DEFAULT, 1).unwrap();
    w.fw.attach(9, Role::Downstream, ours);
    let client = w.description(7);
    w.tell(&control::message::ToFirewall::Client { port: 9, client });
    // A region of the right kind and epoch that claims to have produced more than its ring holds.
    peer.write(0, &link::layout::IDENTITY.to_le_bytes());
    peer.write(0x80, &(1u64 << 40).to_le_bytes());
    peer.write(8, &1u64.to_le_bytes());
    w.run();
    let told = w.at_dom0();
    assert!(told.iter().any(|m| matches!(m, FromDomain::PeerFault { port: 9, .. })), "{told:?}");
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), b""));
}

#[test]
fn an_uplink_whose_fault_shows_in_going_to_sleep_is_given_up_at_once() {
    let mut w = World::new(1);
    let (ours, mut peer) = scribbled(Geometry::DEFAULT, 2).unwrap();
    w.fw.attach(1, Role::Upstream, ours);
    peer.write(0, &link::layout::IDENTITY.to_le_bytes());
    peer.write(8, &2u64.to_le_bytes());
    // Full, so that going to sleep looks for room; and no client is left whose frames would look for it before.
    let frame = to_server(false, 0).udp(mac(0), (5000, 4433), &[1; 1400]);
    while w.clients[0].send(&Meta::default(), &[&frame]).is_ok() {
        w.clients[0].publish();
        w.fw.poll(w.now);
    }
    w.tell(&control::message::ToFirewall::ForgetClient { port: 2 });
    assert!(!w.at_dom0().iter().any(|m| matches!(m, FromDomain::PeerFault { .. })));
    peer.write(0x100, &(1u64 << 40).to_le_bytes());
    w.run();
    let told = w.at_dom0();
    assert!(told.iter().any(|m| matches!(m, FromDomain::PeerFault { port: 1, .. })), "{told:?}");
}

#[test]
fn messages_are_taken_only_from_who_may_send_them() {
    use control::{
        codec,
        message::{NetToFirewall, ToFirewall},
    };
    let mut w = World::new(1);
    let mut buffer = [0; 512];
    let forged = codec::encode(&NetToFirewall::Uplink(uplink()), &mut buffer).unwrap().to_vec();
    let mut buffer = [0; 512];
    let stop = codec::encode(&ToFirewall::Stop, &mut buffer).unwrap().to_vec();
    for bytes in [&forged, &stop, &vec![0xff; 40], &vec![]] {
        let before = w.drops(DropReason::Message);
        w.client_sends_with(0, &Meta::MESSAGE, bytes);
        assert_eq!(w.drops(DropReason::Message), before + 1);
    }
    let before = w.drops(DropReason::Message);
    w.net_sends_with(&Meta::MESSAGE, &[0xff; 40]);
    w.dom0.send(&Meta::default(), &[&to_server(false, 0).udp(mac(0), (1, 2), b"")]).unwrap();
    w.dom0.publish();
    w.run();
    assert_eq!(w.drops(DropReason::Message), before + 2);
    w.dom0.send(&Meta::MESSAGE, &[&stop]).unwrap();
    w.dom0.publish();
    assert_eq!(w.fw.poll(w.now), Next::Stop);
}

#[test]
fn a_small_ring_carries_what_fits() {
    let mut w = World::new(1);
    let (theirs, ours) = pair(Geometry { data_len: 16 * 1024 }, 2).unwrap();
    w.net = theirs;
    w.fw.attach(1, Role::Upstream, ours);
    w.uplink(&uplink());
    w.at_net();
    w.out(0, &to_server(false, 0).udp(mac(0), (5000, 4433), &[1; 1400]));
}
