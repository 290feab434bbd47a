//! Chooses the port that a connection has on the uplink.
//!
//! A port may serve several connections as long as their remote ends differ, so ports run out per remote end only.
//! The choice takes a bounded number of steps however full the table is. UDP tries first the port that a secret
//! function of the client's socket gives, so that one socket keeps one port (RFC 4787 REQ-1) that nobody can
//! guess; TCP and echoes get a fresh random one (RFC 6056).

use crate::{
    address::Address,
    flows::{ClientKey, NetKey},
    hash::Sip,
    state::{Common, Family},
    verdict::DropReason,
};

/// First port that is handed out; those below belong to well-known services.
const FIRST: u16 = 1024;
/// Ports that are handed out.
const COUNT: u64 = 65_536 - FIRST as u64;
/// Ports tried. At 75 % occupancy of one remote end one connection in a hundred finds none, at 50 % none does.
const TRIES: u64 = 16;

/// Chooses a port for a new connection: none that is forwarded, so that whoever sends there reaches the one client.
///
/// # Errors
/// [`DropReason::PortsExhausted`].
pub fn choose<A: Address>(
    family: &Family<A>,
    common: &mut Common,
    key: &ClientKey<A>,
    remote: A,
) -> Result<u16, DropReason> {
    let stable = key.protocol == packet::ipv4::UDP;
    for attempt in 0..TRIES {
        let number = if stable { of_socket(common.port_key, key, attempt) } else { common.random.next_u64() };
        let nat_port = port(number);
        if common.policy.forwards.client(key.protocol, nat_port).is_some() {
            continue;
        }
        let net = NetKey { remote, remote_port: key.destination_port, nat_port, protocol: key.protocol };
        if family.flows.find_net(&net).is_none() {
            return Ok(nat_port);
        }
    }
    Err(DropReason::PortsExhausted)
}

/// Maps a random number to the range of ports, evenly.
fn port(number: u64) -> u16 {
    let offset = ((number >> 32) * COUNT) >> 32;
    FIRST.saturating_add(u16::try_from(offset).unwrap_or(0))
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
            groups[usize::from(port(random.next_u64()) - FIRST) / 64] += 1;
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
