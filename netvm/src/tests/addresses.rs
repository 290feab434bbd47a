//! How the uplink gets its addresses, and who is told.

use super::{
    segment::*,
    world::{OUR_MAC, SECOND, World},
};
use crate::{Counter, Progress, nic::Offloads};
use control::message::{FromDomain, Nic, ToNet, V4, V4Config, V6, V6Config};
use pnet_packet::{
    Packet,
    arp::{ArpOperations, ArpPacket},
    ethernet::{EtherTypes, EthernetPacket},
    ipv4::Ipv4Packet,
};
use std::net::{Ipv4Addr, Ipv6Addr};

fn v4(world: &World) -> Option<V4> {
    world.netvm.uplink().v4.clone()
}

fn v6(world: &World) -> Option<V6> {
    world.netvm.uplink().v6.clone()
}

#[test]
fn dhcp_gives_an_address_and_everybody_is_told() {
    let mut world = World::new();
    world.station(serves_dhcp(DhcpAnswer::honest()));
    world.pass(SECOND);
    let got = v4(&world).unwrap();
    assert_eq!((got.address, got.prefix, got.gateway), (OURS, 24, Some(ROUTER)));
    assert_eq!(got.dns, [RESOLVER], "127.0.0.1 is no name server on a segment");
    let (_, told) = world.at_firewall();
    assert_eq!(told.as_ref(), Some(world.netvm.uplink()));
    let messages = world.at_dom0();
    assert!(matches!(&messages[0], FromDomain::Hello { kind, .. } if kind == "netvm"));
    assert_eq!(messages.last(), Some(&FromDomain::Uplink(world.netvm.uplink().clone())));
    assert_eq!(world.netvm.uplink().mac, OUR_MAC);
    assert!(world.netvm.uplink().link_up);
}

#[test]
fn a_new_firewall_is_told_at_once() {
    let mut world = online(Offloads::default());
    let (near, far) = link::host::pair(link::Geometry::DEFAULT, 2).unwrap();
    world.netvm.detach(1);
    world.netvm.attach_firewall(1, near);
    world.firewall = far;
    world.settle();
    assert_eq!(world.at_firewall().1.unwrap().v4.unwrap().address, OURS);
}

#[test]
fn a_lease_is_renewed_by_unicast_and_ends_when_nobody_renews() {
    let mut world = online(Offloads::default());
    world.pass(1801 * SECOND);
    let renewals: Vec<_> = world
        .take_sent()
        .into_iter()
        .filter(|frame| dhcp_question(frame).is_some_and(|(kind, _)| kind == 3))
        .collect();
    assert_eq!(renewals.len(), 1);
    let packet = EthernetPacket::new(&renewals[0]).unwrap();
    assert_eq!(packet.get_destination().octets(), ROUTER_MAC);
    assert_eq!(Ipv4Packet::new(packet.payload()).unwrap().get_destination(), ROUTER);
    world.stations.clear();
    world.pass(3500 * SECOND);
    assert!(v4(&world).is_some(), "the lease still runs");
    world.pass(200 * SECOND);
    assert_eq!(v4(&world), None);
    assert_eq!(world.at_firewall().1.unwrap().v4, None);
    world.station(serves_dhcp(DhcpAnswer::honest()));
    world.pass(15 * SECOND);
    assert!(v4(&world).is_some());
}

#[test]
fn a_restarted_netvm_gets_its_address_again() {
    for _ in 0..3 {
        let world = online(Offloads::default());
        assert_eq!(v4(&world).unwrap().address, OURS);
    }
}

#[test]
fn the_address_outlives_a_short_unplugging_but_not_another_network() {
    let mut world = online(Offloads::default());
    world.cable.borrow_mut().up = false;
    world.pass(5 * SECOND);
    assert!(!world.at_firewall().1.unwrap().link_up);
    assert!(v4(&world).is_some());
    world.cable.borrow_mut().up = true;
    world.pass(2 * SECOND);
    assert_eq!(v4(&world).unwrap().address, OURS);
    world.cable.borrow_mut().up = false;
    world.pass(2 * SECOND);
    world.cable.borrow_mut().up = true;
    world.stations.clear();
    world.pass(9 * SECOND);
    assert!(v4(&world).is_some(), "DHCP is still being asked");
    world.pass(3 * SECOND);
    assert_eq!(v4(&world), None);
}

#[test]
fn nothing_is_sent_without_a_cable() {
    let mut world = World::new();
    world.cable.borrow_mut().up = false;
    world.pass(20 * SECOND);
    assert_eq!(world.take_sent().len(), 0);
}

#[test]
fn what_dhcp_offers_is_not_believed_blindly() {
    let far = Ipv4Addr::new(203, 0, 113, 1);
    let mut world = World::new();
    world.station(serves_dhcp(DhcpAnswer::lease(OURS, 24, far, 3600)));
    world.pass(SECOND);
    assert_eq!(v4(&world).unwrap().gateway, None, "a gateway beyond the segment");
    assert_eq!(world.count(Counter::BadGateway), 1);
    let bad = [
        (Ipv4Addr::new(127, 0, 0, 5), 8),
        (Ipv4Addr::new(0, 1, 2, 3), 8),
        (Ipv4Addr::new(192, 0, 2, 255), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(169, 254, 1, 1), 16),
        (OURS, 1),
    ];
    for (address, prefix) in bad {
        let mut world = World::new();
        world.station(serves_dhcp(DhcpAnswer::lease(address, prefix, ROUTER, 3600)));
        world.pass(5 * SECOND);
        assert_eq!(v4(&world), None, "{address}/{prefix}");
        assert_eq!(world.count(Counter::BadOffer), 1, "{address}/{prefix}");
        let before = world.take_sent().len();
        world.pass(30 * SECOND);
        assert!(world.take_sent().len() <= 4 * before + 4, "a bad server is not asked at its pace");
    }
}

#[test]
fn arp_is_answered_for_the_own_address_alone() {
    let mut world = online(Offloads::default());
    world.arrive(&arp(ArpOperations::Request, (PEER_MAC, PEER), ([0; 6], OURS)));
    world.arrive(&arp(ArpOperations::Request, (PEER_MAC, PEER), ([0; 6], ROUTER)));
    world.settle();
    let sent = world.take_sent();
    assert_eq!(sent.len(), 1);
    let packet = EthernetPacket::new(&sent[0]).unwrap();
    let reply = ArpPacket::new(packet.payload()).unwrap();
    assert_eq!(packet.get_destination().octets(), PEER_MAC);
    assert_eq!((reply.get_sender_proto_addr(), reply.get_sender_hw_addr().octets()), (OURS, OUR_MAC));
    assert_eq!(world.count(Counter::OtherArp), 1);
}

#[test]
fn dom0_can_fix_the_address_or_turn_it_off() {
    let mut world = online(Offloads::default());
    let fixed = V4 {
        address: Ipv4Addr::new(192, 0, 2, 9),
        prefix: 24,
        gateway: Some(ROUTER),
        dns: heapless::Vec::new(),
    };
    world.order(&ToNet::Nic(Nic { v4: V4Config::Static(fixed.clone()), v6: V6Config::Off }));
    world.settle();
    assert_eq!(v4(&world), Some(fixed));
    world.arrive(&arp(ArpOperations::Request, (PEER_MAC, PEER), ([0; 6], Ipv4Addr::new(192, 0, 2, 9))));
    world.settle();
    assert_eq!(world.take_sent().len(), 1);
    world.order(&ToNet::Nic(Nic { v4: V4Config::Off, v6: V6Config::Off }));
    world.pass(60 * SECOND);
    assert_eq!((v4(&world), v6(&world)), (None, None));
    assert_eq!(world.take_sent().len(), 0);
}

#[test]
fn dom0_is_answered() {
    let mut world = online(Offloads::default());
    world.order(&ToNet::Ping { nonce: 99 });
    world.order(&ToNet::GetCounters);
    world.settle();
    let messages = world.at_dom0();
    assert_eq!(messages[0], FromDomain::Pong { nonce: 99 });
    let mut names = Vec::new();
    for message in &messages[1..] {
        let FromDomain::Counters { counters, more } = message else { panic!("{message:?}") };
        names.extend(counters.iter().map(|(name, _)| name.as_str().to_owned()));
        assert_eq!(*more, !std::ptr::eq(message, messages.last().unwrap()));
    }
    assert!(names.contains(&"drop_foreign_source".to_owned()) && names.contains(&"link_rings".to_owned()));
    world.order(&ToNet::Stop);
    assert_eq!(world.netvm.step(world.now_us), Ok(Progress::Stop));
}

fn router(flags: u8) -> Vec<u8> {
    let servers = [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53), Ipv6Addr::LOCALHOST];
    ra(
        flags,
        1800,
        &[
            prefix_option(PREFIX, 64, 0xC0, 86400),
            rdnss_option(600, &servers),
            vec![5, 1, 0, 0, 0, 0, 5, 0x14],
        ],
    )
}

#[test]
fn a_router_advertisement_gives_an_address_after_the_probe() {
    let mut world = World::new();
    world.station(advertises(router(0)));
    world.pass(SECOND / 2);
    assert_eq!(v6(&world), None, "somebody may still object");
    world.pass(SECOND);
    let got = v6(&world).unwrap();
    assert_eq!((got.address, got.prefix, got.gateway), (OURS6, 64, Some(ROUTER_LL)));
    assert_eq!(got.dns, ["2001:db8::53".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(world.netvm.uplink().mtu, 1300);
    assert!(world.cable.borrow().groups.contains(&[0x33, 0x33, 0xFF, 0x12, 0x34, 0x56]));
    world.pass(1801 * SECOND);
    assert!(v6(&world).unwrap().gateway.is_some(), "solicited again when the router's lifetime ended");
    world.stations.clear();
    world.pass(1900 * SECOND);
    assert_eq!(v6(&world).unwrap().gateway, None);
}

#[test]
fn an_address_that_somebody_has_is_not_taken() {
    let mut world = World::new();
    world.station(advertises(router(0)));
    world.station(|frame| match discovery(frame) {
        Some((135, source, Some(target))) if source.is_unspecified() => {
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            vec![neighbour_advert(PEER_MAC, target, all)]
        }
        _ => vec![],
    });
    world.pass(10 * SECOND);
    assert_eq!(v6(&world), None);
    assert_eq!(world.count(Counter::DuplicateAddress), 1);
}

#[test]
fn neighbours_are_answered() {
    let mut world = World::new();
    world.station(advertises(router(0)));
    world.pass(3 * SECOND);
    world.take_sent();
    for target in [OURS6, OURS_LL, PREFIX] {
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target.octets());
        message.extend([1, 1]);
        message.extend(ROUTER_MAC);
        world.arrive(&ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv6, &icmp6(ROUTER_LL, target, &message)));
    }
    world.settle();
    let answers: Vec<_> = world.take_sent().iter().filter_map(|frame| discovery(frame)).collect();
    assert_eq!(answers, [(136, OURS6, Some(OURS6)), (136, OURS_LL, Some(OURS_LL))]);
}

/// A DHCPv6 server with one address and one name server.
fn serves_dhcp6(frame: &[u8]) -> Vec<Vec<u8>> {
    let Some(packet) = EthernetPacket::new(frame).filter(|p| p.get_ethertype() == EtherTypes::Ipv6) else {
        return vec![];
    };
    let body = packet.payload();
    if body[6] != 17 || body[42..44] != [0x02, 0x23] {
        return vec![];
    }
    let message = &body[48..];
    let kind = match message[0] {
        1 => 2,
        3 | 5 | 11 => 7,
        other => panic!("message type {other}"),
    };
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 0x77);
    let mut answer = vec![kind, message[1], message[2], message[3]];
    answer.extend([0, 1, 0, 10, 0, 3, 0, 1]);
    answer.extend(OUR_MAC);
    answer.extend([0, 2, 0, 4, 9, 9, 9, 9]);
    if message[0] != 11 {
        answer.extend([0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24]);
        answer.extend(address.octets());
        answer.extend([0, 0, 3, 0, 0, 0, 3, 0]);
    }
    answer.extend([0, 23, 0, 16]);
    answer.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 0x53).octets());
    let packet = udp6((ROUTER_LL, 547), (OURS_LL, 546), &answer);
    vec![ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv6, &packet)]
}

#[test]
fn a_managed_network_gives_its_address_by_dhcpv6_and_it_is_renewed() {
    let mut world = World::new();
    world.station(advertises(ra(0x80, 9000, &[])));
    world.station(serves_dhcp6);
    world.pass(3 * SECOND);
    let got = v6(&world).unwrap();
    assert_eq!(got.address, "2001:db8:0:9::77".parse::<Ipv6Addr>().unwrap());
    assert_eq!((got.prefix, got.gateway), (128, Some(ROUTER_LL)));
    assert_eq!(got.dns, ["2001:db8:0:9::53".parse::<Ipv6Addr>().unwrap()]);
    world.pass(2000 * SECOND);
    assert!(v6(&world).is_some(), "0x300 seconds are over twice: it was renewed");
}

#[test]
fn a_router_can_leave_name_servers_to_dhcpv6() {
    let mut world = World::new();
    world.station(advertises(ra(0x40, 9000, &[prefix_option(PREFIX, 64, 0xC0, 86400)])));
    world.station(serves_dhcp6);
    world.pass(3 * SECOND);
    let got = v6(&world).unwrap();
    assert_eq!(
        (got.address, got.dns.as_slice()),
        (OURS6, &["2001:db8:0:9::53".parse::<Ipv6Addr>().unwrap()][..])
    );
}

#[test]
fn an_advertisement_cannot_take_an_address_away_at_once() {
    let mut world = World::new();
    world.station(advertises(router(0)));
    world.pass(3 * SECOND);
    world.stations.clear();
    world.arrive(&from_router6(&ra(0, 1800, &[prefix_option(PREFIX, 64, 0xC0, 0)])));
    world.pass(3600 * SECOND);
    assert_eq!(v6(&world).unwrap().address, OURS6);
    world.pass(2 * 3600 * SECOND);
    assert_eq!(v6(&world), None, "after two hours it is gone");
}

#[test]
fn a_second_router_is_not_followed_while_the_first_lives() {
    let mut world = World::new();
    world.station(advertises(router(0)));
    world.pass(3 * SECOND);
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message =
        ra(0, 1800, &[prefix_option(Ipv6Addr::new(0x2001, 0xdb8, 6, 6, 0, 0, 0, 0), 64, 0xC0, 86400)]);
    world.arrive(&ethernet(
        [0x33, 0x33, 0, 0, 0, 1],
        PEER_MAC,
        EtherTypes::Ipv6,
        &icmp6(other, all, &message),
    ));
    world.pass(SECOND);
    let got = v6(&world).unwrap();
    assert_eq!((got.address, got.gateway), (OURS6, Some(ROUTER_LL)));
}
