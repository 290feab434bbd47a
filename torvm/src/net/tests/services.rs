//! What the link needs: addresses, and name servers' answers.

use super::{super::*, world::*};
use crate::sockets::Sockets as _;
use first_hop::address::{DNS_V4, OUR_MAC};
use packet::arp::{Arp, Operation};
use smoltcp::socket::udp;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};
use std::net::Ipv4Addr;

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let mut world = World::new();
    let resolver = world.resolver();
    let asking = world.clients[0].udp(5353);
    let asked = [(7, DNS_V4[1].into()), (8, Ipv4Addr::new(9, 9, 9, 9).into())];
    for (id, server) in asked {
        world.clients[0]
            .sockets
            .get_mut::<udp::Socket<'_>>(asking)
            .send_slice(&question(id), (server, 53))
            .unwrap();
    }
    world.settle();
    assert_eq!(world.net.readiness(resolver).bits & 1, 1);
    world.answer(resolver, asking, &asked);
    world.assert_uplink_clean(&[]);
}

#[test]
fn a_client_learns_its_address_and_ours() {
    let mut world = World::new();
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: client_mac(2),
        sender: client_address(2),
        target_mac: [0; 6],
        target: gateway(2),
    };
    world.clients.clear();
    world.inject(2, arp.emit([0xFF; 6]).to_vec());
    world.settle();
    let reply = world.ends[2].0.borrow_mut().from_net.pop_front().unwrap().1;
    let expected = Arp {
        operation: Operation::Reply,
        sender_mac: OUR_MAC,
        sender: gateway(2),
        target_mac: client_mac(2),
        target: client_address(2),
    };
    assert_eq!(reply, expected.emit(client_mac(2)));
    world.inject(2, discover());
    world.settle();
    let offer = world.ends[2].0.borrow_mut().from_net.pop_front().unwrap().1;
    let packet = DhcpPacket::new_checked(&offer[42..]).unwrap();
    let offer = DhcpRepr::parse(&packet).unwrap();
    assert_eq!((offer.message_type, offer.your_ip), (DhcpMessageType::Offer, client_address(2)));
    assert_eq!((offer.router, offer.dns_servers.unwrap().as_slice()), (Some(gateway(2)), &DNS_V4[..]));
}

fn discover() -> Vec<u8> {
    let repr = DhcpRepr {
        message_type: DhcpMessageType::Discover,
        transaction_id: 1,
        secs: 0,
        client_hardware_address: EthernetAddress(client_mac(2)),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut message = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).unwrap();
    udp_frame((client_mac(2), [0xFF; 6]), (Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &message)
}
