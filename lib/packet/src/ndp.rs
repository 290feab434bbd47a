//! Neighbour discovery as a router needs it (RFC 4861): reads solicitations, writes advertisements.
//!
//! Written here because a router advertisement must carry name servers (RFC 8106), which smoltcp's cannot.

use crate::{
    Fault,
    ethernet::{self, Ethernet, Mac},
    icmpv6,
    ipv6::{self, Ipv6},
};
use core::net::Ipv6Addr;

/// Type: router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type: neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Type: neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Type: redirect.
pub const REDIRECT: u8 = 137;
/// Every neighbour discovery packet has this hop limit, else it came through a router.
pub const HOP_LIMIT: u8 = 255;
/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Room for every frame that this module writes.
pub const MAX_FRAME_LEN: usize = 192;

const OPTION_TARGET_MAC: u8 = 2;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_DNS: u8 = 25;

/// A solicited-node address (RFC 4291 §2.7.1) for `address`.
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// The link-local address that EUI-64 gives (RFC 4291 appendix A).
#[must_use]
pub const fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The group's hardware address (RFC 2464 §7).
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// Reads the target of a neighbour solicitation (an ICMPv6 message, its checksum already verified).
///
/// # Errors
/// [`Fault::TransportLength`].
pub fn solicited_target(message: &[u8]) -> Result<Ipv6Addr, Fault> {
    let target: &[u8; 16] = message.get(8..).and_then(<[u8]>::first_chunk).ok_or(Fault::TransportLength)?;
    Ok(Ipv6Addr::from(*target))
}

/// Who sends an advertisement to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Our hardware address.
    pub source_mac: Mac,
    /// Our address.
    pub source: Ipv6Addr,
    /// The receiver's hardware address.
    pub destination_mac: Mac,
    /// The receiver's address.
    pub destination: Ipv6Addr,
}

/// What a router advertisement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Seconds for which we are a default router; 0: we are none.
    pub router_lifetime: u16,
    /// /64 for the receiver's own addresses.
    pub prefix: Ipv6Addr,
    /// Valid and preferred lifetime of the prefix in seconds.
    pub prefix_lifetime: u32,
    /// Largest packet on this link.
    pub mtu: u32,
    /// A name server and the seconds for which it is one (0 takes it back).
    pub dns: Option<(Ipv6Addr, u32)>,
}

/// Writes bytes one after another; remembers that they did not fit.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    fits: bool,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(to) => {
                to.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            None => self.fits = false,
        }
    }
}

/// Writes a whole frame around the ICMPv6 message that `body` writes; gives its length.
fn emit(out: &mut [u8], parties: &Parties, body: impl FnOnce(&mut Writer<'_>)) -> Option<usize> {
    let (head, rest) = out.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>()?;
    let (ip, rest) = rest.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
    let mut writer = Writer { out: rest, at: 0, fits: true };
    body(&mut writer);
    let (len, fits) = (writer.at, writer.fits);
    let Parties { source_mac, source, destination_mac, destination } = *parties;
    let ethernet = Ethernet { destination: destination_mac, source: source_mac, ethertype: ethernet::IPV6 };
    *head = ethernet.emit();
    let header = Ipv6 { source, destination, hop_limit: HOP_LIMIT, next: ipv6::ICMPV6, payload_len: 0 };
    icmpv6::finish(ip, rest.get_mut(..len)?, header)?;
    fits.then_some(ethernet::HEADER_LEN + ipv6::HEADER_LEN + len)
}

/// Writes a router advertisement frame to the start of `out`; gives its length, `None` when it does not fit.
#[must_use]
pub fn emit_router(out: &mut [u8], parties: &Parties, what: &RouterAdvertisement) -> Option<usize> {
    emit(out, parties, |w| {
        w.put(&[ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0]);
        w.put(&what.router_lifetime.to_be_bytes());
        w.put(&[0; 8]); // reachable time, retransmission timer: unspecified
        w.put(&[OPTION_SOURCE_MAC, 1]);
        w.put(&parties.source_mac);
        w.put(&[OPTION_MTU, 1, 0, 0]);
        w.put(&what.mtu.to_be_bytes());
        // Autonomous, not on-link: nobody but us is on this link, so everything goes through us.
        w.put(&[OPTION_PREFIX, 4, 64, 0x40]);
        w.put(&what.prefix_lifetime.to_be_bytes());
        w.put(&what.prefix_lifetime.to_be_bytes());
        w.put(&[0; 4]);
        w.put(&what.prefix.octets());
        if let Some((server, lifetime)) = what.dns {
            w.put(&[OPTION_DNS, 3, 0, 0]);
            w.put(&lifetime.to_be_bytes());
            w.put(&server.octets());
        }
    })
}

/// Writes the frame of a neighbour advertisement for `target`, which is ours, to the start of `out`. `solicited`
/// names the answer to a unicast question; the answer to a probe for duplicates goes to everybody.
#[must_use]
pub fn emit_neighbour(out: &mut [u8], parties: &Parties, target: Ipv6Addr) -> Option<usize> {
    const ROUTER: u8 = 0x80;
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let solicited = if parties.destination.is_multicast() { 0 } else { SOLICITED };
    emit(out, parties, |w| {
        w.put(&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, ROUTER | OVERRIDE | solicited, 0, 0, 0]);
        w.put(&target.octets());
        w.put(&[OPTION_TARGET_MAC, 1]);
        w.put(&parties.source_mac);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::{
        Packet as _,
        icmpv6::{Icmpv6Packet, checksum, ndp},
        ipv6::Ipv6Packet,
    };

    fn parties() -> Parties {
        Parties {
            source_mac: [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff],
            source: "fe80::fcff:ffff:feff:ffff".parse().unwrap(),
            destination_mac: [2, 0x62, 0x6b, 0, 0, 1],
            destination: "fe80::62:6bff:fe00:1".parse().unwrap(),
        }
    }

    #[test]
    fn derived_addresses() {
        assert_eq!(link_local(parties().source_mac), parties().source);
        assert_eq!(link_local(parties().destination_mac), parties().destination);
        let group = solicited_node("fd00::1:2345:6789".parse().unwrap());
        assert_eq!(group, "ff02::1:ff45:6789".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(group), [0x33, 0x33, 0xff, 0x45, 0x67, 0x89]);
    }

    #[test]
    fn pnet_reads_the_router_advertisement() {
        let mut out = [0; MAX_FRAME_LEN];
        let what = RouterAdvertisement {
            router_lifetime: 1800,
            prefix: "fd09:24ef:4179:3::".parse().unwrap(),
            prefix_lifetime: 86400,
            mtu: 1500,
            dns: Some(("fd09:24ef:4179::53".parse().unwrap(), 600)),
        };
        let len = emit_router(&mut out, &parties(), &what).unwrap();
        let ip = Ipv6Packet::new(&out[14..len]).unwrap();
        assert_eq!(usize::from(ip.get_payload_length()), len - 54);
        let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
        assert_eq!(icmp.get_checksum(), checksum(&icmp, &ip.get_source(), &ip.get_destination()));
        let ra = ndp::RouterAdvertPacket::new(ip.payload()).unwrap();
        assert_eq!(ra.get_lifetime(), 1800);
        let options: Vec<_> = ra.get_options().iter().map(|o| (o.option_type.0, o.length)).collect();
        assert_eq!(options, [(1, 1), (5, 1), (3, 4), (25, 3)]);
        assert_eq!(emit_router(&mut out[..100], &parties(), &what), None);
    }

    #[test]
    fn pnet_reads_the_neighbour_advertisement() {
        let mut out = [0; MAX_FRAME_LEN];
        let len = emit_neighbour(&mut out, &parties(), parties().source).unwrap();
        let ip = Ipv6Packet::new(&out[14..len]).unwrap();
        let icmp = Icmpv6Packet::new(ip.payload()).unwrap();
        assert_eq!(icmp.get_checksum(), checksum(&icmp, &ip.get_source(), &ip.get_destination()));
        let na = ndp::NeighborAdvertPacket::new(ip.payload()).unwrap();
        assert_eq!(na.get_target_addr(), parties().source);
        assert_eq!(na.get_flags(), 0xE0);
    }
}
