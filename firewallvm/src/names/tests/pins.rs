//! The table of pins, against a slow one.

use crate::names::{MAX_NUMBERS, pins::Pins};
use proptest::prelude::*;
use std::{collections::BTreeMap, net::IpAddr};

fn address(number: u32) -> IpAddr {
    if number.is_multiple_of(2) {
        IpAddr::from((0xC633_6400 + number).to_be_bytes())
    } else {
        IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(number)).to_be_bytes())
    }
}

fn most(mut map: BTreeMap<IpAddr, u32>, (address, expires): (IpAddr, u32)) -> BTreeMap<IpAddr, u32> {
    let old = map.entry(address).or_default();
    *old = expires.max(*old);
    map
}

#[test]
fn every_name_has_places_of_its_own() {
    for (names, quota) in [(1, 64), (16, 64), (17, 32), (64, 16), (128, 8), (1024, 8), (5000, 8)] {
        let mut pins = Pins::new([1, 2], names).unwrap();
        assert_eq!(pins.quota(), quota, "{names}");
        let last = u16::try_from(names.min(1024) - 1).unwrap();
        pins.pin(last, &[(address(0), 100)]);
        // Somebody has a thousand addresses: the first ones count, and nobody else loses any.
        let thousand: Vec<_> = (2..1002).map(|number| (address(number), 50)).collect();
        if last > 0 {
            assert_eq!(pins.pin(0, &thousand), quota);
            let held = (2..1002).filter(|number| pins.fresh(address(*number), 0) == [0]);
            assert_eq!(held.collect::<Vec<_>>(), (2..2 + u32::try_from(quota).unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(pins.fresh(address(0), 99), [last]);
    }
}

#[test]
fn what_holds_least_long_gives_way() {
    let mut pins = Pins::new([1, 2], 1024).unwrap();
    for number in 0..8 {
        pins.pin(5, &[(address(number), 1000 - number)]);
    }
    // Told again: held longer, not twice.
    pins.pin(5, &[(address(7), 2000), (address(5), 10)]);
    pins.pin(5, &[(address(100), 500)]);
    assert_eq!(pins.ever(address(6)), []);
    for number in [0, 1, 2, 3, 4, 5, 7, 100] {
        assert_eq!(pins.ever(address(number)), [5], "{number}");
    }
    assert_eq!((pins.fresh(address(7), 1999).len(), pins.fresh(address(5), 994).len()), (1, 1));
    assert_eq!((pins.fresh(address(7), 2000).len(), pins.fresh(address(5), 995).len()), (0, 0));
}

#[test]
fn an_address_of_many_names_is_known_under_the_last_ones() {
    let mut pins = Pins::new([1, 2], 1024).unwrap();
    for name in 0..1024 {
        pins.pin(name, &[(address(1), 100)]);
    }
    let last: Vec<u16> = (0..1024).rev().take(MAX_NUMBERS).collect();
    assert_eq!(pins.fresh(address(1), 0), last[..]);
    pins.pin(3, &[(address(1), 100)]);
    assert_eq!(pins.fresh(address(1), 0)[0], 3);
}

proptest! {
    #[test]
    fn behaves_like_a_map(
        names in prop_oneof![1_usize..5, 100_usize..200],
        told in proptest::collection::vec((0_u16..16, proptest::collection::vec((0_u32..90, 1_u32..500), 1..20)), 1..60),
    ) {
        let mut pins = Pins::new([3, 4], names).unwrap();
        let mut slow: BTreeMap<u16, BTreeMap<IpAddr, u32>> = BTreeMap::new();
        for (name, addresses) in told {
            // No more names than one address shows.
            let name = name * 11 % u16::try_from(names).unwrap();
            let addresses: Vec<_> = addresses.into_iter().map(|(number, expires)| (address(number), expires)).collect();
            let pinned = pins.pin(name, &addresses);
            let of = slow.entry(name).or_default();
            let told: BTreeMap<_, _> = addresses.into_iter().take(pins.quota()).fold(BTreeMap::new(), most);
            let mut after = of.clone().into_iter().chain(told.clone()).fold(BTreeMap::new(), most);
            prop_assert_eq!(pinned, told.len());
            // What holds least long gives way, and which among equals is the table's business.
            let kept = pins.quota().min(after.len());
            let gone: Vec<_> = after.keys().copied().filter(|a| !pins.ever(*a).contains(&name)).collect();
            prop_assert_eq!(after.len() - gone.len(), kept);
            after.retain(|address, _| !gone.contains(address));
            for address in gone {
                prop_assert!(!told.contains_key(&address));
                let stayed = of.iter().filter(|(address, _)| after.contains_key(*address));
                prop_assert!(stayed.filter(|(a, _)| !told.contains_key(*a)).all(|(_, e)| *e >= of[&address]));
            }
            *of = after;
        }
        for number in 0..90 {
            for now in [0, 100, 250, 499] {
                let expected: Vec<u16> = slow
                    .iter()
                    .filter(|(_, of)| of.get(&address(number)).is_some_and(|expires| *expires > now))
                    .map(|(name, _)| *name)
                    .collect();
                let mut found = pins.fresh(address(number), now).to_vec();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
