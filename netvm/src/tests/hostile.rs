//! A segment where everybody lies: whatever arrives, netvm does not panic, does not stop, sleeps again, and never
//! believes what would hurt beyond the segment.

use super::{
    segment::*,
    world::{OUR_MAC, SECOND, World},
};
use crate::address::{is_host_v4, is_host_v6, is_reserved_v4, same_segment_v4};
use control::message::Uplink;
use pnet_packet::ethernet::EtherTypes;
use proptest::prelude::*;
use std::net::Ipv6Addr;

/// What holds for every uplink that firewallvm is ever told of.
fn check(uplink: &Uplink) {
    assert!((1280..=1500).contains(&uplink.mtu));
    if let Some(v4) = &uplink.v4 {
        assert!(is_host_v4(v4.address) && !is_reserved_v4(v4.address, v4.prefix) && v4.prefix >= 8, "{v4:?}");
        if let Some(gateway) = v4.gateway {
            assert!(same_segment_v4(gateway, v4.address, v4.prefix) && gateway != v4.address, "{v4:?}");
        }
        assert!(v4.dns.iter().all(|dns| is_host_v4(*dns)), "{v4:?}");
    }
    if let Some(v6) = &uplink.v6 {
        assert!(is_host_v6(v6.address), "{v6:?}");
        assert!(v6.gateway.is_none_or(|gateway| gateway.is_unicast_link_local()), "{v6:?}");
        assert!(v6.dns.iter().all(|dns| is_host_v6(*dns)), "{v6:?}");
    }
}

/// Changes to a message: bytes set, and its end cut off or drawn out.
fn mutations() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, i16)> {
    (
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        prop_oneof![4 => Just(0), 1 => -60_i16..60],
    )
}

fn mutate(bytes: &mut Vec<u8>, (sets, stretch): &(Vec<(prop::sample::Index, u8)>, i16)) {
    let len = usize::try_from(i64::try_from(bytes.len()).unwrap() + i64::from(*stretch)).unwrap_or(0).max(1);
    bytes.resize(len, 0xA5);
    for (index, value) in sets {
        let at = index.index(bytes.len());
        bytes[at] = *value;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_dhcp_server_that_lies(
        address in any::<u32>(), prefix in 0_u32..=32, router in any::<u32>(), seconds in any::<u32>(),
        option in (any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)),
        changes in mutations(), kinds in prop::collection::vec(prop::sample::select(vec![2_u8, 5, 6, 9]), 1..4),
    ) {
        let answer = DhcpAnswer::lease(address.into(), prefix, router.into(), seconds).with(option.0, &option.1);
        let mut world = World::new();
        world.station(move |frame| {
            let Some((_, question)) = dhcp_question(frame) else { return vec![] };
            kinds.iter().map(|kind| {
                let mut body = dhcp_body(&question, *kind, &answer);
                let fixed: Vec<u8> = body[..8].to_vec();
                mutate(&mut body, &changes);
                let kept = fixed.len().min(body.len());
                body[..kept].copy_from_slice(&fixed[..kept]);
                dhcp_frame(&body)
            }).collect()
        });
        // A lease of a second and a server that always answers: netvm may be busy, but not for ever.
        for _ in 0..50 {
            world.netvm.step(world.now_us).unwrap();
            world.settle_bounded();
            check(world.netvm.uplink());
            world.now_us += SECOND / 10;
        }
    }

    #[test]
    fn a_router_that_lies(
        flags in any::<u8>(), lifetime in any::<u16>(), prefix in any::<u128>(), len in any::<u8>(),
        prefix_flags in any::<u8>(), valid in any::<u32>(), server in any::<u128>(), mtu in any::<u32>(),
        changes in mutations(),
    ) {
        let prefix = if len % 2 == 0 { (prefix >> 3) | (1 << 125) } else { prefix };
        let len = if len < 128 { 64 } else { len };
        let mut mtu_option = vec![5, 1, 0, 0];
        mtu_option.extend(mtu.to_be_bytes());
        let mut message = ra(flags, lifetime, &[
            prefix_option(Ipv6Addr::from_bits(prefix), len, prefix_flags, valid),
            rdnss_option(valid, &[Ipv6Addr::from_bits(server), Ipv6Addr::LOCALHOST]),
            mtu_option,
        ]);
        mutate(&mut message, &changes);
        message.resize(message.len().max(4), 0);
        message[0] = 134;
        let mut world = World::new();
        for _ in 0..3 {
            world.arrive(&from_router6(&message));
            world.pass(2 * SECOND);
            check(world.netvm.uplink());
        }
    }

    #[test]
    fn neighbours_that_lie(kind in 130_u8..140, target in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut world = online(crate::nic::Offloads::default());
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend(if target % 2 == 0 { OURS_LL } else { OURS6 }.octets());
        message.extend(body);
        world.arrive(&ethernet(OUR_MAC, PEER_MAC, EtherTypes::Ipv6, &icmp6(ROUTER_LL, OURS_LL, &message)));
        world.pass(SECOND);
        check(world.netvm.uplink());
    }

    #[test]
    fn frames_of_any_bytes(frames in prop::collection::vec(
        (prop::sample::select(vec![0x0800_u16, 0x0806, 0x86DD, 0x8100, 5]), prop::collection::vec(any::<u8>(), 0..200)), 0..40)
    ) {
        let mut world = online(crate::nic::Offloads::default());
        for (kind, body) in &frames {
            let kind = pnet_packet::ethernet::EtherType::new(*kind);
            world.arrive(&ethernet(OUR_MAC, PEER_MAC, kind, body));
            world.firewall_sends(&ethernet(OUR_MAC, PEER_MAC, kind, body), link::Meta::default());
        }
        world.pass(SECOND);
        prop_assert_eq!(world.at_firewall().0.len(), 0);
        prop_assert_eq!(world.netvm.uplink().v4.as_ref().map(|v4| v4.address), Some(OURS));
    }

    #[test]
    fn a_dhcpv6_server_that_lies(kind in 0_u8..13, options in prop::collection::vec((0_u16..30, prop::collection::vec(any::<u8>(), 0..60)), 0..6), cut in 0_usize..40) {
        let mut world = World::new();
        world.station(advertises(ra(0x80, 9000, &[])));
        world.station(move |frame| {
            if frame.len() < 66 || frame[20] != 17 || frame[12..14] != [0x86, 0xDD] {
                return vec![];
            }
            let mut answer = vec![kind, frame[63], frame[64], frame[65]];
            answer.extend([0, 1, 0, 10, 0, 3, 0, 1]);
            answer.extend(OUR_MAC);
            answer.extend([0, 2, 0, 4, 9, 9, 9, 9]);
            for (code, body) in &options {
                answer.extend(code.to_be_bytes());
                answer.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
                answer.extend(body);
            }
            answer.truncate(answer.len().saturating_sub(cut).max(4));
            vec![ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv6, &udp6((ROUTER_LL, 547), (OURS_LL, 546), &answer))]
        });
        world.pass(20 * SECOND);
        check(world.netvm.uplink());
    }
}

impl World {
    /// Some steps, whether or not netvm comes to rest: a peer that always answers may keep it busy.
    fn settle_bounded(&mut self) {
        for _ in 0..20 {
            self.netvm.step(self.now_us).unwrap();
            self.carry_once();
        }
    }
}

#[test]
fn a_flood_of_arp_leaves_room_for_packets() {
    let mut world = online(crate::nic::Offloads::default());
    let flood = arp(pnet_packet::arp::ArpOperations::Request, (PEER_MAC, PEER), ([0; 6], OURS));
    for _ in 0..500 {
        world.arrive(&flood);
    }
    world.arrive(&ethernet(OUR_MAC, ROUTER_MAC, EtherTypes::Ipv4, &udp4((FAR, 1), (OURS, 2), b"x")));
    world.settle();
    assert_eq!(world.at_firewall().0.len(), 1);
    assert!(world.take_sent().len() <= 16 * 9, "answers are bounded per burst");
}
