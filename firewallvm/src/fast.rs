//! The fast lane: plain packets of known flows between a client and the uplink, judged on their first cache line.
//!
//! It gives the verdict that `from_client`, `from_net` and `decide` would give, writes what `translate` would write,
//! and leaves the flow in the state that they would leave it in; the firewall's tests hold it to that. Whatever it
//! has a doubt about it leaves untouched for them. A burst goes through it in short loops, so that the cache misses of
//! its packets overlap: recognise and hash all, fetch all lines of the index, fetch all flows, then decide.

use crate::{
    flows::{
        Flow, Flows, UPLINK,
        tcp::{Direction, Segment},
    },
    ports::Ports,
    state::{Common, Core},
    verdict::DropReason,
};
use abi::link_device::Role;
use core::net::Ipv4Addr;
use first_hop::address::{DNS_PORT, OUR_MAC};
use link::{Csum, Doorbell, Meta};
use packet::{
    ethernet::{self, Mac},
    ipv4,
    plain::{self, Ends, HEAD, Station},
    rewrite::Field,
    tcp, udp,
};

/// Where a plain packet's transport header starts.
const TRANSPORT_AT: u16 = 34;
const _: () = assert!(TRANSPORT_AT as usize == ethernet::HEADER_LEN + ipv4::HEADER_LEN);

/// Which way a burst goes: known when the program is compiled.
pub trait Way {
    /// The way.
    const DIRECTION: Direction;
}

/// From a client.
#[derive(Debug)]
pub struct Outward;

/// From the uplink.
#[derive(Debug)]
pub struct Inward;

impl Way for Outward {
    const DIRECTION: Direction = Direction::Outward;
}

impl Way for Inward {
    const DIRECTION: Direction = Direction::Inward;
}

/// What the plain packets of one link have in common, as far as it matters for a burst.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    station: Station,
    /// Port of the client; [`UPLINK`] when the packets come from there.
    link: u8,
    /// Our address on the uplink.
    ours: u32,
    /// Port of the uplink.
    uplink: u8,
}

/// Whom a packet goes to, and where.
struct Leaving<'c> {
    port: u8,
    mac: &'c Mac,
    mtu: u16,
    source: u32,
    destination: u32,
    ports: u32,
}

/// An address as it lies in a frame, read as a little-endian number.
#[inline(always)]
const fn raw(address: Ipv4Addr) -> u32 {
    u32::from_le_bytes(address.octets())
}

/// Two addresses as they lie in a frame.
#[inline(always)]
const fn pair(source: u32, destination: u32) -> u64 {
    source as u64 | (destination as u64) << 32
}

/// Two ports as `plain` has them.
#[inline(always)]
const fn ports(source: u16, destination: u16) -> u32 {
    (source as u32) << 16 | destination as u32
}

impl Lane {
    /// The lane for what comes from a port now; `None`: everything takes the long way.
    #[inline]
    #[must_use]
    pub fn open<D: Doorbell>(core: &Core, ports: &Ports<D>, port: u8, role: Role) -> Option<Self> {
        let (ours, uplink) = (raw(core.v4.address?), ports.uplink()?);
        let (station, link) = match role {
            Role::Downstream => (Station::between(core.client(port)?.mac, OUR_MAC), port),
            Role::Upstream => (Station::any(), UPLINK),
            Role::Dom0 => return None,
        };
        Some(Self { station, link, ours, uplink })
    }

    /// The hash of a plain packet's flow; `None` for what is not plain.
    #[inline(always)]
    #[must_use]
    pub fn hash<W: Way>(&self, flows: &Flows<Ipv4Addr>, head: &[u8; HEAD], len: usize) -> Option<u64> {
        let plain = plain::recognise(head, len, &self.station)?;
        let Ends { addresses, ports } = plain.ends;
        // The client's flows have the client's address: whether the packet's is that shows when the flow is found.
        let addresses = match W::DIRECTION {
            Direction::Outward => addresses,
            Direction::Inward => addresses & 0xFFFF_FFFF,
        };
        // As `Key::hash` has it.
        let last = u64::from(ports) | u64::from(plain.protocol) << 32 | u64::from(self.link) << 40;
        Some(flows.hash_words(addresses, last))
    }

    /// Passes a packet on that [`Self::hash`] found plain, if it belongs to the flow and nothing speaks against it.
    /// `None`: it was not touched, and takes the long way.
    ///
    /// # Errors
    /// Why a packet that was to be sent could not be.
    #[inline(always)]
    pub fn pass<W: Way, D: Doorbell>(
        &self,
        core: &mut Core,
        ports: &mut Ports<D>,
        frame: &mut [u8],
        (flow, meta): (u32, Option<&Meta>),
    ) -> Option<Result<(), DropReason>> {
        let Core { v4, common, .. } = core;
        let flow = v4.flows.get_mut(flow)?;
        let head = frame.first_chunk_mut::<HEAD>()?;
        let current = flow.is_live() && flow.generation == common.generation && flow.peer == UPLINK;
        // Questions to name servers and their answers are read by `names`.
        if !current || flow.protocol != plain::protocol(head) || flow.remote_port == DNS_PORT {
            return None;
        }
        let to = match W::DIRECTION {
            Direction::Outward => self.outward(flow, head, common)?,
            Direction::Inward => self.inward(flow, head, common)?,
        };
        let len = plain::ip_len(head);
        let field = match meta {
            None => Field::Complete,
            Some(meta) => field(meta, flow.protocol)?,
        };
        if len > usize::from(to.mtu) {
            return None;
        }
        if flow.protocol == ipv4::TCP {
            let (tcp, len) = plain::segment(head);
            flow.tracker.follow(W::DIRECTION, &Segment { tcp: &tcp, len, scale: None }).ok()?;
            flow.touch(common.now);
        } else {
            flow.tracker.note(W::DIRECTION);
            flow.touch_udp_but_dns(common.now);
        }
        let ends = Ends { addresses: pair(to.source, to.destination), ports: to.ports };
        plain::rewrite(head, (to.mac, &OUR_MAC), ends, field);
        let frame = frame.get(..ethernet::HEADER_LEN + len)?;
        Some(match meta {
            // What a client says about a checksum is believed by nobody.
            Some(meta) if meta.csum != Csum::Verified || W::DIRECTION == Direction::Inward => {
                ports.send(to.port, meta, &[frame])
            }
            _ => ports.send_plain(to.port, frame),
        })
    }

    /// Where a client's packet goes, if it belongs to this flow.
    #[inline(always)]
    fn outward<'c>(
        &self,
        flow: &Flow<Ipv4Addr>,
        head: &[u8; HEAD],
        common: &'c Common,
    ) -> Option<Leaving<'c>> {
        let Ends { addresses, ports: from } = plain::ends(head);
        let of_flow = addresses == pair(raw(flow.client), raw(flow.destination))
            && from == ports(flow.client_port, flow.remote_port)
            && flow.link == self.link;
        of_flow.then_some(Leaving {
            port: self.uplink,
            mac: &common.uplink.mac,
            mtu: common.uplink.mtu,
            source: self.ours,
            destination: raw(flow.remote),
            ports: ports(flow.nat_port, flow.remote_port),
        })
    }

    /// Where the network's packet goes, if it belongs to this flow.
    #[inline(always)]
    fn inward<'c>(
        &self,
        flow: &Flow<Ipv4Addr>,
        head: &[u8; HEAD],
        common: &'c Common,
    ) -> Option<Leaving<'c>> {
        let Ends { addresses, ports: from } = plain::ends(head);
        let of_flow =
            addresses == pair(raw(flow.remote), self.ours) && from == ports(flow.remote_port, flow.nat_port);
        let client = common.client(flow.link).filter(|_| of_flow)?;
        Some(Leaving {
            port: flow.link,
            mac: &client.mac,
            mtu: client.mtu,
            source: raw(flow.destination),
            destination: raw(flow.client),
            ports: ports(flow.remote_port, flow.client_port),
        })
    }
}

/// What the checksum field holds; `None` for metadata that the headers do not bear out.
#[inline(always)]
fn field(meta: &Meta, protocol: u8) -> Option<Field> {
    match meta.csum {
        Csum::None | Csum::Verified => Some(Field::Complete),
        Csum::Partial { start, offset } => {
            let at = if protocol == ipv4::TCP { tcp::CHECKSUM_AT } else { udp::CHECKSUM_AT };
            (start == TRANSPORT_AT && usize::from(offset) == at).then_some(Field::Partial)
        }
    }
}
