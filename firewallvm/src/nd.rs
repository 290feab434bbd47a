//! Neighbour discovery with a client, and the router advertisements that configure its IPv6.
//!
//! We are a default router only while the uplink has IPv6; the address and the name server are the same always.

use crate::{
    address::{DNS_V6, OUR_LINK_LOCAL, OUR_MAC, gateway_v6},
    client::Client,
    decide::{Origin, Packet},
    verdict::{Answer, DropReason, Verdict},
};
use core::net::Ipv6Addr;
use packet::{
    headers::Network,
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

/// Judges a client's message.
#[must_use]
pub fn judge(packet: &Packet<'_>, message: &Icmpv6, prefix: Ipv6Addr) -> Verdict {
    let headers = packet.headers;
    // Through no router, not in fragments nor behind a fragment header (RFC 6980) or any other, unharmed.
    let bare = matches!(headers.network, Network::V6(ip) if ip.next == ipv6::ICMPV6);
    let sound = headers.hop_limit() == ndp::HOP_LIMIT
        && packet.origin == Origin::Whole
        && bare
        && message.code == 0
        && rewrite::icmp_is_valid(packet.frame, headers);
    if !sound {
        return DropReason::Neighbour.into();
    }
    match message.kind {
        ndp::ROUTER_SOLICITATION => Verdict::Answer(Answer::Router),
        ndp::NEIGHBOUR_SOLICITATION => {
            let target = packet.frame.get(headers.transport_at..headers.end).map(ndp::solicited_target);
            match target {
                Some(Ok(target)) if target == OUR_LINK_LOCAL || target == gateway_v6(prefix) => {
                    Verdict::Answer(Answer::Neighbour(target))
                }
                // The client makes sure that its own address is free, which it is.
                Some(Ok(_)) => Verdict::Absorbed,
                _ => DropReason::Neighbour.into(),
            }
        }
        ndp::NEIGHBOUR_ADVERTISEMENT => Verdict::Absorbed,
        // Router advertisements and redirects are ours to send.
        _ => DropReason::Neighbour.into(),
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
