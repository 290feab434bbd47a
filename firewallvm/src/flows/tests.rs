//! The table against a plain map, and its clock.
use super::*;
use core::net::Ipv4Addr;
use proptest::prelude::*;
use std::collections::HashMap;

fn key(n: u16, link: u8) -> ClientKey<Ipv4Addr> {
    ClientKey {
        client: Ipv4Addr::new(10, 137, 0, link),
        destination: Ipv4Addr::new(198, 51, 100, 1),
        client_port: n,
        destination_port: 443,
        protocol: 17,
        link,
    }
}

fn flow(n: u16, link: u8) -> Flow<Ipv4Addr> {
    Flow::new(
        &key(n, link),
        key(n, link).destination,
        n.wrapping_mul(7).wrapping_add(u16::from(link)),
        Tracker::packets(Direction::Outward),
    )
}

#[test]
fn entries_are_as_small_as_promised() {
    assert_eq!(size_of::<Entry<Ipv4Addr>>(), 64);
    assert_eq!(size_of::<Entry<core::net::Ipv6Addr>>(), 128);
}

#[derive(Clone, Debug)]
enum Op {
    Add(u16, u8),
    Remove(u16, u8),
    Touch(u16, u8),
    Wait(u16),
    Forget(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u16..200, 1u8..5).prop_map(|(n, link)| Op::Add(n, link)),
        2 => (0u16..200, 1u8..5).prop_map(|(n, link)| Op::Remove(n, link)),
        3 => (0u16..200, 1u8..5).prop_map(|(n, link)| Op::Touch(n, link)),
        2 => (1u16..150).prop_map(Op::Wait),
        1 => (1u8..5).prop_map(Op::Forget),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_map_with_deadlines(ops in proptest::collection::vec(op(), 1..300)) {
        let mut table = Flows::new(128, [1, 2]).unwrap();
        let mut map: HashMap<(u16, u8), u32> = HashMap::new();
        let mut now = 1000;
        for op in ops {
            match op {
                Op::Add(n, link) => {
                    let admitted = table.admit(link).is_ok();
                    let free_net = table.find(&flow(n, link).far_key()).is_none();
                    if admitted && free_net && !map.contains_key(&(n, link)) {
                        table.insert(flow(n, link), now).unwrap();
                        map.insert((n, link), now + 120);
                    }
                }
                Op::Remove(n, link) => {
                    if let Some(number) = table.find_client(&key(n, link)) {
                        prop_assert!(table.remove(number).is_some());
                    }
                    map.remove(&(n, link));
                }
                Op::Touch(n, link) => {
                    let number = table.find_client(&key(n, link));
                    prop_assert_eq!(number.is_some(), map.contains_key(&(n, link)));
                    if let Some(flow) = number.and_then(|number| table.get_mut(number)) {
                        flow.touch(now);
                        map.insert((n, link), now + 120);
                    }
                }
                Op::Wait(seconds) => {
                    // The loop wakes for every deadline.
                    for _ in 0..seconds {
                        now += 1;
                        while !table.expire(now, |_| {}) {}
                    }
                    map.retain(|_, deadline| *deadline > now);
                }
                Op::Forget(link) => {
                    table.remove_link(link, |_| {});
                    map.retain(|(_, of), _| *of != link);
                }
            }
            prop_assert_eq!(table.len() as usize, map.len());
            for link in 1..5 {
                prop_assert_eq!(table.of_link(link) as usize, map.keys().filter(|(_, of)| *of == link).count());
            }
            for (n, link) in map.keys() {
                let found = table.find_client(&key(*n, *link)).unwrap();
                prop_assert_eq!(table.find(&flow(*n, *link).far_key()), Some((found, Direction::Inward)));
            }
            prop_assert_eq!(table.next_expiry().is_some(), !map.is_empty());
        }
        table.remove_uplink(|_| {});
        prop_assert!(table.is_empty() && table.borrowed == 0 && table.per_link == [0; PORTS]);
    }
}

#[test]
fn a_long_sleep_loses_nothing() {
    let mut table = Flows::new(64, [1, 2]).unwrap();
    table.expire(10, |_| {});
    for n in 0..10 {
        table.insert(flow(n, 1), 10 + u32::from(n)).unwrap();
    }
    while !table.expire(1_000_000, |_| {}) {}
    for second in 1_000_001..1_000_300 {
        while !table.expire(second, |_| {}) {}
    }
    assert!(table.is_empty());
}
