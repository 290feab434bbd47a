//! Ports towards a crowded end: none is given twice, all are found, nobody can tell which comes next.
use super::*;
use crate::{
    flows::{
        ClientKey, Flow, Flows,
        tcp::{Direction, Tracker},
    },
    hash::Random,
};
use core::net::Ipv4Addr;

const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

fn flow(inside: u32, nat_port: u16) -> Flow<Ipv4Addr> {
    let key = ClientKey {
        client: Ipv4Addr::from_bits(0x0A89_0002 + (inside >> 16)),
        destination: REMOTE,
        client_port: u16::try_from(inside & 0xFFFF).unwrap(),
        destination_port: 443,
        protocol: 6,
        link: 3,
    };
    Flow::new(&key, REMOTE, nat_port, Tracker::packets(Direction::Outward))
}

fn far(nat_port: u16) -> Key<Ipv4Addr> {
    flow(0, nat_port).far_key()
}

/// A table in which connections to one end come and go at random until nearly all ports are taken.
fn crowded(taken: usize, random: &mut Random) -> (Flows<Ipv4Addr>, Vec<u32>) {
    let mut table = Flows::new(1 << 17, [1, 2]).unwrap();
    let (mut live, mut inside) = (Vec::new(), 0);
    while live.len() < taken {
        let end = port(scale(random.next_u64(), PORTS));
        let end = if table.find(&far(end)).is_none() {
            end
        } else {
            match table.free_port(&far(0), random.next_u64()) {
                Free::Port(port) => port,
                Free::Nothing => panic!("{} taken", live.len()),
                Free::Unknown => continue,
            }
        };
        inside += 1;
        live.push(table.insert(flow(inside, end), 0).unwrap());
        if random.next_u64().is_multiple_of(5) {
            let gone = scale(random.next_u64(), live.len());
            table.remove(live.swap_remove(gone)).unwrap();
        }
    }
    (table, live)
}

#[test]
fn knows_exactly_which_ports_are_free() {
    let mut random = Random::new([5, 6]);
    for taken in [40_000, PORTS - 645, PORTS - 1, PORTS] {
        let (mut table, _) = crowded(taken, &mut random);
        let map = table.crowds.maps.iter().find(|map| map.end.is_some()).unwrap();
        assert_eq!(map.known, PORTS);
        for place in 0..PORTS {
            let known = map.free[place / 64] >> (place % 64) & 1 == 1;
            assert_eq!(known, table.find(&far(port(place))).is_none(), "{place}");
        }
        for (part, words) in map.parts.iter().zip(map.free.chunks(8)) {
            assert_eq!(u32::from(*part), words.iter().map(|word| word.count_ones()).sum());
        }
        for (block, parts) in map.blocks.iter().zip(map.parts.chunks(8)) {
            assert_eq!(*block, parts.iter().sum());
        }
        let found = table.free_port(&far(0), random.next_u64());
        match found {
            Free::Port(port) => assert!(table.find(&far(port)).is_none()),
            other => assert_eq!((other, taken), (Free::Nothing, PORTS)),
        }
    }
}

/// Of 645 free ports each is picked about as often as the others: chi-square stays below the value that chance exceeds
/// once in a million times (about 830 at 644 degrees of freedom).
#[test]
fn picks_free_ports_evenly() {
    let mut random = Random::new([7, 8]);
    let (mut table, _) = crowded(PORTS - 645, &mut random);
    let mut seen = std::collections::HashMap::new();
    for _ in 0..200_000 {
        let Free::Port(port) = table.free_port(&far(0), random.next_u64()) else { panic!("none") };
        assert!(table.find(&far(port)).is_none());
        *seen.entry(port).or_insert(0u32) += 1;
    }
    let expected = 200_000.0 / 645.0;
    let chi: f64 = seen.values().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
    assert_eq!(seen.len(), 645);
    assert!(chi < 830.0, "{chi}");
}

#[test]
fn forgets_a_crowd_that_has_gone() {
    let mut random = Random::new([9, 10]);
    let (mut table, live) = crowded(30_000, &mut random);
    for flow in live {
        table.remove(flow).unwrap();
    }
    assert!(table.crowds.maps.iter().all(|map| map.end.is_none()));
    assert!(table.crowds.cells.iter().all(|cell| cell.count == 0 && cell.map == NO_MAP));
    assert_eq!(table.free_port(&far(0), 0), Free::Unknown);
}

/// A small table has no crowds and no memory for them.
#[test]
fn costs_nothing_where_no_end_can_be_crowded() {
    let crowds = Crowds::<Ipv4Addr>::new(10_000).unwrap();
    assert_eq!(crowds.memory(), 0);
}

/// An end that was crowded keeps its map until far fewer connections are left: what is opened meanwhile is in it.
#[test]
fn gives_no_port_twice_while_a_crowd_dwindles_and_grows() {
    let mut random = Random::new([11, 12]);
    let (mut table, mut live) = crowded(30_000, &mut random);
    let mut inside = 1 << 20;
    for fewer in [20_000, 12_000, 9_000] {
        while live.len() > fewer {
            let gone = scale(random.next_u64(), live.len());
            table.remove(live.swap_remove(gone)).unwrap();
        }
        for _ in 0..5_000 {
            let Free::Port(port) = table.free_port(&far(0), random.next_u64()) else { panic!("all known") };
            assert!(table.find(&far(port)).is_none(), "{port} is taken");
            inside += 1;
            live.push(table.insert(flow(inside, port), 0).unwrap());
        }
    }
}
