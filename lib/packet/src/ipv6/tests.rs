//! The walk against literal chains and against a slow walker written from RFC 8200 alone.
use super::*;
use crate::ipv4::{TCP, UDP};
use pnet_packet::ipv6::Ipv6Packet;
use proptest::prelude::*;

fn pad(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

#[test]
fn plain_transport_is_the_end_of_the_chain() {
    assert_eq!(walk(TCP, &[0; 20]), Ok(Chain { protocol: TCP, len: 0, fragment: None }));
    assert_eq!(walk(59, &[]), Ok(Chain { protocol: 59, len: 0, fragment: None }), "no next header");
}

#[test]
fn hop_by_hop_only_first() {
    let chain = [pad(DESTINATION_OPTIONS), pad(UDP)].concat();
    assert_eq!(walk(HOP_BY_HOP, &chain), Ok(Chain { protocol: UDP, len: 16, fragment: None }));
    let chain = [pad(HOP_BY_HOP), pad(UDP)].concat();
    assert_eq!(walk(DESTINATION_OPTIONS, &chain), Err(Fault::ExtensionHeader));
    let chain = [pad(HOP_BY_HOP), pad(UDP)].concat();
    assert_eq!(walk(HOP_BY_HOP, &chain), Err(Fault::ExtensionHeader));
}

#[test]
fn routing_headers_of_every_type_are_refused() {
    for kind in [0, 2, 3, 4] {
        assert_eq!(walk(ROUTING, &[TCP, 0, kind, 0, 0, 0, 0, 0]), Err(Fault::RoutingHeader));
    }
}

#[test]
fn fragments_end_the_walk_and_atomic_ones_do_not() {
    let first = [UDP, 0, 0, 1, 0, 0, 0, 9];
    let header = FragmentHeader { offset: 0, more: true, identification: 9 };
    assert_eq!(walk(FRAGMENT, &first), Ok(Chain { protocol: UDP, len: 8, fragment: Some(header) }));
    let atomic = [UDP, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(walk(FRAGMENT, &atomic), Ok(Chain { protocol: UDP, len: 8, fragment: None }));
    let twice = [[FRAGMENT, 0, 0, 0, 0, 0, 0, 9], atomic].concat();
    assert_eq!(walk(FRAGMENT, &twice), Err(Fault::ExtensionHeader));
}

#[test]
fn options_are_bounded_and_jumbograms_refused() {
    assert_eq!(walk(HOP_BY_HOP, &[UDP, 0, 0xC2, 4, 0, 1, 0, 0]), Err(Fault::Jumbogram));
    assert_eq!(walk(HOP_BY_HOP, &[UDP, 0, 5, 20, 0, 0, 0, 0]), Err(Fault::ExtensionHeader), "past the end");
    let nine = [vec![UDP, 2], [0x1E, 0].repeat(9), vec![1, 2, 0, 0]].concat();
    assert_eq!(nine.len(), 24);
    assert_eq!(walk(HOP_BY_HOP, &nine), Err(Fault::ExtensionHeader));
    let eight = [vec![UDP, 2], [0x1E, 0].repeat(8), vec![1, 4, 0, 0, 0, 0]].concat();
    assert_eq!(walk(HOP_BY_HOP, &eight).map(|c| c.len), Ok(24));
    let long = [vec![UDP, 255], vec![0; 2046]].concat();
    assert_eq!(walk(HOP_BY_HOP, &long), Err(Fault::ExtensionHeader));
}

#[test]
fn a_long_chain_is_refused() {
    let chain = [[60, 0, 0, 0, 0, 0, 0, 0]; 20].concat();
    assert_eq!(walk(60, &chain), Err(Fault::ExtensionHeader));
}

/// Follows next-header fields with no rule but the lengths of RFC 8200.
fn slow_walk(mut next: u8, bytes: &[u8]) -> Option<(u8, usize)> {
    let mut at = 0;
    loop {
        let len = match next {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
            FRAGMENT => 8,
            _ => return Some((next, at)),
        };
        let fragment = next == FRAGMENT && u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) & 0xFFF9 != 0;
        next = *bytes.get(at)?;
        at += len;
        if fragment {
            return Some((next, at));
        }
    }
}

fn header() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        (prop_oneof![Just(HOP_BY_HOP), Just(DESTINATION_OPTIONS)], 0usize..3, any::<bool>()).prop_map(
            |(kind, units, pad_one)| {
                let mut bytes = vec![0; (units + 1) * 8];
                bytes[1] = u8::try_from(units).unwrap();
                if !pad_one {
                    bytes[2] = 1;
                    bytes[3] = u8::try_from(bytes.len() - 4).unwrap();
                }
                (kind, bytes)
            }
        ),
        (any::<bool>(), any::<bool>()).prop_map(|(more, later)| {
            (FRAGMENT, vec![0, 0, u8::from(later), u8::from(more), 1, 2, 3, 4])
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_what_a_plain_walker_finds(
        headers in proptest::collection::vec(header(), 0..6), end in prop_oneof![Just(TCP), Just(UDP), Just(58)],
    ) {
        let mut bytes = Vec::new();
        for (i, (_, header)) in headers.iter().enumerate() {
            let next = headers.get(i + 1).map_or(end, |(kind, _)| *kind);
            bytes.push(next);
            bytes.extend_from_slice(&header[1..]);
        }
        let first = headers.first().map_or(end, |(kind, _)| *kind);
        bytes.extend([0; 40]);
        if let Ok(chain) = walk(first, &bytes) {
            prop_assert_eq!(Some((chain.protocol, chain.len)), slow_walk(first, &bytes));
        }
        let kinds: Vec<u8> = headers.iter().map(|(kind, _)| *kind).collect();
        if kinds.is_empty() || kinds == [HOP_BY_HOP, DESTINATION_OPTIONS] {
            prop_assert!(walk(first, &bytes).is_ok());
        }
    }

    #[test]
    fn random_bytes_never_panic(next: u8, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = walk(next, &bytes);
    }

    #[test]
    fn the_fixed_header_reads_back_and_pnet_agrees(source: u128, destination: u128, hop_limit: u8, next: u8, len: u16) {
        let header = Ipv6 {
            source: source.into(), destination: destination.into(), hop_limit, next, payload_len: len,
        };
        let bytes = header.emit();
        prop_assert_eq!(Ipv6::parse(&bytes), Ok(header));
        let pnet = Ipv6Packet::new(&bytes).unwrap();
        prop_assert_eq!(pnet.get_source(), header.source);
        prop_assert_eq!(pnet.get_destination(), header.destination);
        prop_assert_eq!(pnet.get_payload_length(), len);
        prop_assert_eq!(pnet.get_hop_limit(), hop_limit);
    }
}
