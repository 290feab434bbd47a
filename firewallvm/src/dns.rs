//! The virtual name servers: addresses that never change, behind which are the uplink's resolvers.

use crate::{address::Address, state::Family, verdict::DropReason};
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::address::{DNS_PORT, DNS_V4, DNS_V6};
use packet::ipv4::{TCP, UDP};

/// Address families that have virtual name servers.
pub trait Virtual: Address {
    /// Which virtual server this address is, if it is one.
    fn virtual_server(self) -> Option<usize>;
}

impl Virtual for Ipv4Addr {
    fn virtual_server(self) -> Option<usize> {
        DNS_V4.iter().position(|server| *server == self)
    }
}

impl Virtual for Ipv6Addr {
    fn virtual_server(self) -> Option<usize> {
        (self == DNS_V6).then_some(0)
    }
}

/// The address behind `destination`: itself, or for a virtual name server the uplink's resolver in the same place
/// (the first one if there are fewer).
///
/// # Errors
/// [`DropReason::NotForUs`] for anything but DNS to a virtual server, [`DropReason::NoResolver`].
pub fn resolve<A: Virtual>(
    family: &Family<A>,
    destination: A,
    protocol: u8,
    port: u16,
) -> Result<A, DropReason> {
    let Some(place) = destination.virtual_server() else { return Ok(destination) };
    if port != DNS_PORT || !matches!(protocol, TCP | UDP) {
        return Err(DropReason::NotForUs);
    }
    family.resolvers.get(place).or(family.resolvers.first()).copied().ok_or(DropReason::NoResolver)
}
