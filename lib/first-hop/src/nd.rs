//! Neighbour discovery with a client, and the router advertisements that configure its IPv6.
//!
//! We are a default router only while the uplink has IPv6; the address and the name server are the same always.

use crate::{
    Refused,
    address::{DNS_V6, OUR_LINK_LOCAL, OUR_MAC, gateway_v6},
    client::Client,
};
use core::net::Ipv6Addr;
use packet::{
    headers::{Headers, Network},
    icmpv6::Icmpv6,
    ipv6,
    ndp::{self, Parties, RouterAdvertisement},
    rewrite,
};

/// First type of neighbour discovery.
pub const FIRST: u8 = ndp::ROUTER_SOLICITATION;
/// Last type of neighbour discovery.
pub const LAST: u8 = ndp::REDIRECT;
/// Multicast listener query, first of three types.
pub const MLD_QUERY: u8 = 130;
/// Multicast listener done, last of three types.
pub const MLD_DONE: u8 = 132;
/// Multicast listener report, version 2.
pub const MLD_REPORT_V2: u8 = 143;
/// Seconds for which we are a default router, unless we say so again.
const ROUTER_LIFETIME: u16 = 1800;
/// Seconds for which a client's prefix and name server are good.
const LIFETIME: u32 = 3600;
/// Microseconds between two advertisements that nobody asked for: three are lost before anything lapses.
pub const INTERVAL_US: u64 = 400_000_000;

/// What a client's message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The router.
    Router,
    /// The hardware address of one of our addresses.
    Neighbour(Ipv6Addr),
    /// Nothing.
    Nothing,
}

/// Reads the message in a client's packet that came in one piece; `prefix` is the client's /64 if it has one.
///
/// # Errors
/// [`Refused`]: it did not come from the link, or says what only a router may say.
pub fn read(
    frame: &[u8],
    headers: &Headers,
    message: &Icmpv6,
    prefix: Option<Ipv6Addr>,
) -> Result<Asked, Refused> {
    // Through no router, not in fragments nor behind a fragment header (RFC 6980) or any other, unharmed.
    let bare = matches!(headers.network, Network::V6(ip) if ip.next == ipv6::ICMPV6);
    let sound = headers.hop_limit() == ndp::HOP_LIMIT
        && bare
        && message.code == 0
        && rewrite::icmp_is_valid(frame, headers);
    if !sound {
        return Err(Refused);
    }
    match message.kind {
        ndp::ROUTER_SOLICITATION => Ok(Asked::Router),
        ndp::NEIGHBOUR_SOLICITATION => {
            let target = frame.get(headers.transport_at..headers.end).map(ndp::solicited_target);
            match target {
                Some(Ok(target)) if target == OUR_LINK_LOCAL || prefix.map(gateway_v6) == Some(target) => {
                    Ok(Asked::Neighbour(target))
                }
                // The client makes sure that its own address is free, which it is.
                Some(Ok(_)) => Ok(Asked::Nothing),
                _ => Err(Refused),
            }
        }
        ndp::NEIGHBOUR_ADVERTISEMENT => Ok(Asked::Nothing),
        // Router advertisements and redirects are ours to send.
        _ => Err(Refused),
    }
}

/// What the uplink has to offer to IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether packets can leave.
    pub router: bool,
    /// Whether there is a name server.
    pub resolver: bool,
    /// Largest packet.
    pub mtu: u16,
}

/// Writes the advertisement for a client to `destination`; gives the frame's length.
#[must_use]
pub fn advertise(out: &mut [u8], client: &Client, destination: Ipv6Addr, offer: Offer) -> Option<usize> {
    let prefix = client.v6_prefix?;
    let what = RouterAdvertisement {
        router_lifetime: if offer.router { ROUTER_LIFETIME } else { 0 },
        prefix,
        prefix_lifetime: LIFETIME,
        mtu: u32::from(client.mtu.min(offer.mtu.max(1280))),
        dns: Some((DNS_V6, if offer.router && offer.resolver { LIFETIME } else { 0 })),
    };
    ndp::emit_router(out, &parties(client, destination), &what)
}

/// Writes our answer about one of our addresses; gives the frame's length.
#[must_use]
pub fn answer(out: &mut [u8], client: &Client, destination: Ipv6Addr, target: Ipv6Addr) -> Option<usize> {
    let parties = Parties { source: target, ..parties(client, destination) };
    ndp::emit_neighbour(out, &parties, target)
}

/// From us to a client; who has no address yet is reached with everybody.
fn parties(client: &Client, destination: Ipv6Addr) -> Parties {
    let (destination_mac, destination) = match destination {
        Ipv6Addr::UNSPECIFIED | ndp::ALL_NODES => (ndp::multicast_mac(ndp::ALL_NODES), ndp::ALL_NODES),
        one => (client.mac, one),
    };
    Parties { source_mac: OUR_MAC, source: OUR_LINK_LOCAL, destination_mac, destination }
}
