//! ARP and neighbour discovery with a client: OpenBSD's `regress/sys/netinet/arp` and `regress/sys/netinet6/nd6`
//! (Alexander Bluhm, ISC licence), by RFC 826, RFC 5227, RFC 4861 and RFC 6980. The firewall keeps no table that a
//! client could write to: what the suites find in a table afterwards, these find in where packets go.

use crate::build::{Path, fragment_header, options_header};
use crate::world::{
    FIREWALL_MAC, NIC, Seen, World, client_mac, client4, client6, gateway4, gateway6, ways_out,
};
use std::net::{Ipv4Addr, Ipv6Addr};

const BROADCAST: [u8; 6] = [0xFF; 6];
const OTHER_MAC: [u8; 6] = [0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC];

/// An ARP body: operation, sender, target.
fn arp(operation: u8, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        body.extend(mac);
        body.extend(address.octets());
    }
    body
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind, body].concat()
}

fn sends_arp(world: &mut World, to: [u8; 6], from: [u8; 6], body: &[u8]) -> Seen {
    world.frame_from_client(0, &ethernet(to, from, [8, 6], body))
}

/// Client 0's packets still go out, and answers come to it: nothing was learnt.
#[track_caller]
fn undisturbed(world: &mut World) {
    for path in ways_out(0) {
        let seen = world.out(&path.packet(path.icmp(), &path.ping(0, 9, b"x")));
        let id = u16::from_be_bytes([seen.transport[4], seen.transport[5]]);
        let back = crate::world::outside(path).back();
        let got = world.net_sends(&back.packet(path.icmp(), &back.ping(1, id, b"x")));
        assert!(got.client[0].len() == 1 && got.client[0][0][..6] == client_mac(0), "{got:?}");
    }
}

#[test]
fn arp_request_is_answered_in_every_field() {
    let mut world = World::new();
    let me = (client_mac(0), client4(0));
    for target in [[0; 6], BROADCAST, FIREWALL_MAC] {
        for to in [BROADCAST, FIREWALL_MAC] {
            let seen = sends_arp(&mut world, to, client_mac(0), &arp(1, me, (target, gateway4(0))));
            let expected =
                ethernet(client_mac(0), FIREWALL_MAC, [8, 6], &arp(2, (FIREWALL_MAC, gateway4(0)), me));
            assert_eq!(seen.client[0], [expected]);
            assert!(seen.drops.is_empty() && seen.net.is_empty() && seen.client[1].is_empty());
        }
    }
}

/// RFC 5227 §2.1.1: a probe of our address is answered, to who probes.
#[test]
fn arp_probe_of_our_address_is_answered() {
    let mut world = World::new();
    let probe = arp(1, (client_mac(0), Ipv4Addr::UNSPECIFIED), ([0; 6], gateway4(0)));
    let seen = sends_arp(&mut world, BROADCAST, client_mac(0), &probe);
    let back = arp(2, (FIREWALL_MAC, gateway4(0)), (client_mac(0), Ipv4Addr::UNSPECIFIED));
    assert_eq!(seen.client[0], [ethernet(client_mac(0), FIREWALL_MAC, [8, 6], &back)]);
}

/// RFC 5227 §2.1: its own address is free, also when it announces it.
#[test]
fn arp_probe_and_announcement_of_the_clients_address_are_not_contradicted() {
    let mut world = World::new();
    let me = (client_mac(0), client4(0));
    let probe = arp(1, (client_mac(0), Ipv4Addr::UNSPECIFIED), ([0; 6], client4(0)));
    sends_arp(&mut world, BROADCAST, client_mac(0), &probe).assert_absorbed();
    sends_arp(&mut world, BROADCAST, client_mac(0), &arp(1, me, ([0; 6], client4(0)))).assert_absorbed();
    sends_arp(&mut world, BROADCAST, client_mac(0), &arp(2, me, (client_mac(0), client4(0))))
        .assert_absorbed();
}

/// announcement, gratuitous, fake, other, otherfake, broadcast, multicast: whoever the sender says that it is, with
/// whatever hardware address, teaches nobody anything.
#[test]
fn arp_with_another_sender_teaches_nothing() {
    let mut world = World::new();
    let addresses =
        [gateway4(0), client4(1), gateway4(1), Ipv4Addr::new(198, 51, 100, 9), Ipv4Addr::BROADCAST];
    for operation in [1, 2] {
        for sender in addresses {
            let body = arp(operation, (client_mac(0), sender), ([0; 6], gateway4(0)));
            sends_arp(&mut world, BROADCAST, client_mac(0), &body).assert_dropped("drop_arp");
            let body = arp(operation, (client_mac(0), sender), (BROADCAST, sender));
            sends_arp(&mut world, BROADCAST, client_mac(0), &body).assert_dropped("drop_arp");
        }
        for mac in
            [BROADCAST, [0x33; 6], [1, 0, 0x5E, 0, 0, 1], OTHER_MAC, client_mac(1), FIREWALL_MAC, [0; 6]]
        {
            let body = arp(operation, (mac, client4(0)), ([0; 6], gateway4(0)));
            sends_arp(&mut world, BROADCAST, client_mac(0), &body).assert_dropped("drop_arp");
            // The frame's own source may agree with the body: then it is not the client's.
            sends_arp(&mut world, BROADCAST, mac, &body).assert_dropped("drop_source_mac");
        }
    }
    undisturbed(&mut world);
}

/// proxy, nonproxy, otherproxy: we answer for our address on this link and for no other.
#[test]
fn arp_for_others_is_not_answered() {
    let mut world = World::new();
    let me = (client_mac(0), client4(0));
    let others = [
        client4(1),
        gateway4(1),
        Ipv4Addr::new(192, 0, 2, 50),
        Ipv4Addr::new(198, 51, 100, 9),
        Ipv4Addr::UNSPECIFIED,
    ];
    for target in others {
        sends_arp(&mut world, BROADCAST, client_mac(0), &arp(1, me, ([0; 6], target))).assert_absorbed();
    }
}

#[test]
fn arp_that_is_malformed_or_from_the_network_is_dropped() {
    let mut world = World::new();
    let good = arp(1, (client_mac(0), client4(0)), ([0; 6], gateway4(0)));
    for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (7, 0), (7, 8), (6, 1)] {
        let mut body = good.clone();
        body[at] = value;
        sends_arp(&mut world, BROADCAST, client_mac(0), &body).assert_dropped("drop_arp");
    }
    for len in 0..28 {
        sends_arp(&mut world, BROADCAST, client_mac(0), &good[..len]).assert_dropped("drop_truncated");
    }
    sends_arp(&mut world, OTHER_MAC, client_mac(0), &good).assert_dropped("drop_destination_mac");
    world.frame_from_net(&ethernet(BROADCAST, NIC, [8, 6], &good)).assert_dropped("drop_arp");
    undisturbed(&mut world);
}

fn local(n: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xFE80 << 112 | client6(n).to_bits() & u128::from(u64::MAX))
}

fn our_link_local() -> Ipv6Addr {
    "fe80::fcff:ffff:feff:ffff".parse().expect("an address")
}

/// Neighbour discovery of client 0, with the hop limit that it must have.
fn discovery(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let path = Path { from: from.into(), to: to.into() };
    let mut packet = path.packet(58, &path.message((kind, 0), [0; 4], body));
    packet[7] = 255;
    packet
}

fn solicitation(from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mac = client_mac(0);
    discovery(from, to, 135, &[&target.octets()[..], &[1, 1], &mac].concat())
}

/// ar, nud: our addresses are resolved, from either of the client's, by group or by unicast.
#[test]
fn our_addresses_are_resolved() {
    let mut world = World::new();
    for target in [our_link_local(), gateway6(0)] {
        for from in [local(0), client6(0)] {
            let group =
                Ipv6Addr::from_bits(0xFF02_0000_0000_0000_0000_0001_FF00_0000 | target.to_bits() & 0xFF_FFFF);
            for to in [group, target] {
                let seen = world.client_sends(0, &solicitation(from, to, target));
                assert!(seen.client[0].len() == 1 && seen.drops.is_empty(), "{seen:?}");
                let answer = &seen.client[0][0];
                assert_eq!((answer[54], &answer[62..78]), (136, &target.octets()[..]));
                assert_eq!(answer[58] & 0xC0, 0xC0, "router, solicited");
                assert_eq!(&answer[78..86], &[&[2, 1][..], &FIREWALL_MAC].concat()[..]);
                assert_eq!((answer[21], &answer[38..54]), (255, &from.octets()[..]));
            }
        }
    }
}

/// dad: our address is defended; the client's own is free.
#[test]
fn our_address_is_defended_and_the_clients_is_free() {
    let mut world = World::new();
    let ask = |target: Ipv6Addr| {
        discovery(Ipv6Addr::UNSPECIFIED, "ff02::1:ff00:1".parse().expect("an address"), 135, &target.octets())
    };
    let seen = world.client_sends(0, &ask(our_link_local()));
    assert!(seen.client[0].len() == 1 && seen.client[0][0][..2] == [0x33, 0x33], "to all nodes: {seen:?}");
    world.client_sends(0, &ask(client6(0))).assert_absorbed();
    world.client_sends(0, &ask(local(0))).assert_absorbed();
}

/// una: an advertisement that nobody asked for, from whomever about whomever, teaches nothing.
#[test]
fn advertisements_teach_nothing() {
    let mut world = World::new();
    for target in [client6(0), gateway6(0), our_link_local(), client6(1), local(1)] {
        for from in [local(0), client6(0)] {
            let body = [&target.octets()[..], &[2, 1], &OTHER_MAC].concat();
            let mut packet = discovery(from, "ff02::1".parse().expect("an address"), 136, &body);
            packet[44] = 0xA0;
            let sent = world.client_sends(0, &packet);
            assert_eq!((sent.net.len(), sent.client[0].len(), sent.client[1].len()), (0, 0, 0));
        }
    }
    undisturbed(&mut world);
}

/// Router advertisements and redirects are ours to send; one of a client gets nowhere, in whatever disguise
/// (RFC 7113: behind options, behind a fragment header, in fragments).
#[test]
fn router_advertisements_and_redirects_of_a_client_get_nowhere() {
    let all = "ff02::1".parse().expect("an address");
    for (kind, body) in [(134, vec![0; 8]), (137, vec![0; 32])] {
        let mut world = World::new();
        for from in [local(0), client6(0)] {
            let bare = discovery(from, all, kind, &body);
            world.client_sends(0, &bare).assert_dropped("drop_neighbour");
            let path = Path { from: from.into(), to: all.into() };
            let message = &bare[40..];
            for (next, header) in [
                (0, options_header(58, &[1, 4, 0, 0, 0, 0])),
                (60, options_header(58, &[1, 4, 0, 0, 0, 0])),
                (44, fragment_header(58, 3, 0, false, &[])),
            ] {
                let mut hidden = path.packet(next, &[&header[..], message].concat());
                hidden[7] = 255;
                world.client_sends(0, &hidden).assert_dropped("drop_neighbour");
            }
            let pieces = [(0, true, &message[..8]), (8, false, &message[8..])];
            let sent: usize = pieces
                .map(|piece| {
                    let mut packet = path.fragment(58, 9, piece);
                    packet[7] = 255;
                    world.client_sends(0, &packet).sent()
                })
                .into_iter()
                .sum();
            assert_eq!(sent, 0);
        }
        let spoofed = discovery(our_link_local(), all, kind, &body);
        world.client_sends(0, &spoofed).assert_dropped("drop_spoofed");
        undisturbed(&mut world);
    }
}

/// RFC 4861 §6.1.1, §7.1: through a router, with another code, a wrong checksum or cut short it is not valid.
#[test]
fn discovery_that_is_not_valid_is_not_answered() {
    let mut world = World::new();
    let good = solicitation(local(0), our_link_local(), our_link_local());
    assert_eq!(world.client_sends(0, &good).client[0].len(), 1);
    // Hop limits of who is not on the link, a wrong checksum.
    for (at, flip) in [(7, 255 ^ 254), (7, 255 ^ 64), (42, 1)] {
        let mut packet = good.clone();
        packet[at] ^= flip;
        world.client_sends(0, &packet).assert_dropped("drop_neighbour");
    }
    let path = Path { from: local(0).into(), to: our_link_local().into() };
    let mut coded = path.packet(58, &path.message((135, 1), [0; 4], &our_link_local().octets()));
    coded[7] = 255;
    world.client_sends(0, &coded).assert_dropped("drop_neighbour");
    world
        .client_sends(0, &discovery(local(0), our_link_local(), 135, &[0; 12]))
        .assert_dropped("drop_neighbour");
    // RFC 6980: not behind a fragment header, be it an atomic one.
    let mut atomic = path.packet(44, &fragment_header(58, 1, 0, false, &good[40..]));
    atomic[7] = 255;
    world.client_sends(0, &atomic).assert_dropped("drop_neighbour");
    // From another's address.
    world
        .client_sends(0, &solicitation(client6(1), our_link_local(), our_link_local()))
        .assert_dropped("drop_spoofed");
}

/// Discovery from the network ends in netvm; what reaches the firewall nevertheless goes nowhere.
#[test]
fn discovery_from_the_network_goes_nowhere() {
    let mut world = World::new();
    for kind in 133..=137 {
        for to in [crate::world::uplink6(), client6(0), "ff02::1".parse().expect("an address")] {
            let from = "fe80::1".parse().expect("an address");
            let seen = world.net_sends(&discovery(from, to, kind, &client6(0).octets()));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{seen:?}");
            let seen = world.net_sends(&discovery(crate::world::far6(), to, kind, &client6(0).octets()));
            assert!(seen.sent() == 0 && seen.drops.values().sum::<u64>() == 1, "{seen:?}");
        }
    }
    undisturbed(&mut world);
}
