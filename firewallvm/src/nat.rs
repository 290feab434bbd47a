//! Chooses the port that a connection has on the uplink.
//!
//! A port may serve several connections as long as their remote ends differ, so ports run out per remote end only.
//! The choice takes a bounded number of steps however full the table is: where many are taken the table knows which are
//! free (`flows::crowd`), elsewhere random ones are tried. UDP tries first the port that a secret function of the
//! client's socket gives, so that one socket keeps one port (RFC 4787 REQ-1) that nobody can guess; TCP and echoes get
//! a fresh random one (RFC 6056). So do questions to name servers: what one socket's port is everybody knows whom it
//! sent something, and a client that works together with somebody outside could have him answer them, for `names` to
//! believe.

use crate::{
    address::Address,
    flows::{ClientKey, FIRST_PORT, Free, Key, NAT_PORTS, NetKey},
    hash::Sip,
    state::{Common, Family},
    verdict::DropReason,
};
use first_hop::address::DNS_PORT;

/// Ports tried when the table does not know which are free. It begins to find out at 25 % occupancy and is done before
/// 40 %, where one connection in a million would find none.
const TRIES: u64 = 16;
/// Picks of a free port that are given up because it is forwarded.
const PICKS: u64 = 8;

/// Chooses a port for a new connection: none that is forwarded, so that whoever sends there reaches the one client.
/// Gives the hash of the connection's far key too.
///
/// # Errors
/// [`DropReason::PortsExhausted`].
pub fn choose<A: Address>(
    family: &mut Family<A>,
    common: &mut Common,
    key: &ClientKey<A>,
    remote: A,
) -> Result<(u16, u64), DropReason> {
    let (remote_port, protocol) = (key.destination_port, key.protocol);
    let far = |nat_port| Key::from(NetKey { remote, remote_port, nat_port, protocol });
    let stable = protocol == packet::ipv4::UDP && remote_port != DNS_PORT;
    let attempt = |family: &Family<A>, common: &mut Common, number: u64| {
        let random = if stable { of_socket(common.port_key, key, number) } else { common.random.next_u64() };
        let nat_port = port(random);
        let free = common.policy.forwards.client(protocol, nat_port).is_none();
        let key = far(nat_port);
        let hash = family.flows.hash(&key);
        (free && family.flows.find_hashed(&key, hash).is_none()).then_some((nat_port, hash))
    };
    // UDP would rather have its own port.
    let own = if stable { attempt(family, common, 0) } else { None };
    if let Some(own) = own {
        return Ok(own);
    }
    for _ in 0..PICKS {
        match family.flows.free_port(&far(0), common.random.next_u64()) {
            Free::Port(port) if common.policy.forwards.client(protocol, port).is_none() => {
                return Ok((port, family.flows.hash(&far(port))));
            }
            Free::Port(_) => {}
            Free::Nothing => return Err(DropReason::PortsExhausted),
            Free::Unknown => break,
        }
    }
    (1..=TRIES).find_map(|number| attempt(family, common, number)).ok_or(DropReason::PortsExhausted)
}

/// Maps a random number to the range of ports, evenly.
fn port(number: u64) -> u16 {
    let offset = ((number >> 32) * NAT_PORTS as u64) >> 32;
    FIRST_PORT.saturating_add(u16::try_from(offset).unwrap_or(0))
}

/// The `attempt`th number that belongs to a client's socket.
fn of_socket<A: Address>(secret: crate::hash::Key, key: &ClientKey<A>, attempt: u64) -> u64 {
    let [p0, p1] = key.client_port.to_le_bytes();
    let attempt = u8::try_from(attempt).unwrap_or(0);
    let last = u64::from_le_bytes([p0, p1, key.protocol, key.link, attempt, 0, 0, 0]);
    key.client.feed(Sip::new(secret)).word(last).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Random;

    /// A million choices spread evenly: chi-square over 1008 groups of 64 ports stays below the value that chance
    /// exceeds once in a million times (about 1230 at 1007 degrees of freedom).
    #[test]
    fn ports_are_spread_evenly() {
        let mut random = Random::new([3, 4]);
        let mut groups = [0u32; 1008];
        for _ in 0..1_000_000 {
            groups[usize::from(port(random.next_u64()) - FIRST_PORT) / 64] += 1;
        }
        let expected = 1_000_000.0 / 1008.0;
        let chi: f64 = groups.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!((800.0..1230.0).contains(&chi), "{chi}");
    }

    #[test]
    fn the_range_is_used_to_its_ends() {
        assert_eq!((port(0), port(u64::MAX)), (1024, 65_535));
    }
}
