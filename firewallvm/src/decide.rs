//! The page to read first: what becomes of a packet between a client and the network.
//!
//! A known flow is translated; an unknown one from a client is asked about and opened; an unknown one from the
//! network is dropped. Who sent a packet is known by the link that it came from, and `from_client` and `from_net`
//! have already refused every packet whose source address belies it.

use crate::{
    dns::Virtual,
    flows::{
        ClientKey, Flow, Key, UPLINK,
        tcp::{Direction, Segment},
    },
    names,
    offload::Offload,
    opening, pmtu, rejudge,
    state::{Common, Family},
    verdict::{DropReason, Translation, Verdict},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::address::DNS_PORT;
use packet::{
    headers::{Headers, Network, Transport},
    icmp, icmpv6, ipv4, ipv6,
    rewrite::Endpoints,
    tcp::{self, Tcp},
};

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In one piece.
    Whole,
    /// In fragments, which were put together.
    Pieces,
}

/// A packet to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'f> {
    /// The frame.
    pub frame: &'f [u8],
    /// Its headers.
    pub headers: &'f Headers,
    /// Its metadata, checked.
    pub offload: Offload,
    /// How it came.
    pub origin: Origin,
    /// What was found out about its flow in advance.
    pub hint: Option<Hint>,
}

/// What is known of a packet's flow by its hash alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The hash of the key under which the packet is looked up.
    pub hash: u64,
    /// A flow that it may belong to; `None`: it belongs to none. With a wrong one, as without a hint, the flow is
    /// looked up again, and a new one is judged by where it goes.
    pub flow: Option<u32>,
}

impl Packet<'_> {
    /// The flow that it may belong to, if one was found in advance.
    #[inline]
    #[must_use]
    pub fn hinted(&self) -> Option<u32> {
        self.hint?.flow
    }
}

/// What tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// Transport protocol.
    pub protocol: u8,
    /// Addresses and ports; for an echo the identifier is the port of the client's side and the other one is 0.
    pub ends: Endpoints<A>,
}

/// An address family in which packets are translated.
pub trait Translate: Virtual {
    /// Source and destination, if the packet is of this family.
    fn of(network: &Network) -> Option<(Self, Self)>;
    /// The plan of a translation.
    fn plan(to: Endpoints<Self>) -> Translation;
    /// The plan for an ICMP error.
    fn plan_error(outer: (Self, Self), inner: Endpoints<Self>) -> Translation;
}

impl Translate for Ipv4Addr {
    #[inline]
    fn of(network: &Network) -> Option<(Self, Self)> {
        match network {
            Network::V4(ip) => Some((ip.source, ip.destination)),
            Network::V6(_) => None,
        }
    }

    #[inline]
    fn plan(to: Endpoints<Self>) -> Translation {
        Translation::V4(to)
    }

    fn plan_error(outer: (Self, Self), inner: Endpoints<Self>) -> Translation {
        Translation::Error4(outer, inner)
    }
}

impl Translate for Ipv6Addr {
    #[inline]
    fn of(network: &Network) -> Option<(Self, Self)> {
        match network {
            Network::V6(ip) => Some((ip.source, ip.destination)),
            Network::V4(_) => None,
        }
    }

    #[inline]
    fn plan(to: Endpoints<Self>) -> Translation {
        Translation::V6(to)
    }

    fn plan_error(outer: (Self, Self), inner: Endpoints<Self>) -> Translation {
        Translation::Error6(outer, inner)
    }
}

/// What tells the packet's connection apart; `None` for what belongs to no connection: errors, other ICMP types,
/// fragments, an echo request of the network.
#[inline]
#[must_use]
pub fn tuple<A: Translate>(headers: &Headers, direction: Direction) -> Option<Tuple<A>> {
    let (source, destination) = A::of(&headers.network)?;
    let echo = |kind: u8, code: u8, [request, reply]: [u8; 2], identifier| match direction {
        Direction::Outward if (kind, code) == (request, 0) => Some((identifier, 0)),
        _ if (kind, code) == (reply, 0) => Some((0, identifier)),
        _ => None,
    };
    let (protocol, (source_port, destination_port)) = match &headers.transport {
        Transport::Tcp(t) => (ipv4::TCP, (t.source_port, t.destination_port)),
        Transport::Udp(u) => (ipv4::UDP, (u.source_port, u.destination_port)),
        Transport::Icmp(i) => {
            let kinds = [icmp::ECHO_REQUEST, icmp::ECHO_REPLY];
            (ipv4::ICMP, echo(i.kind, i.code, kinds, i.identifier)?)
        }
        Transport::Icmpv6(i) => {
            let kinds = [icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY];
            (ipv6::ICMPV6, echo(i.kind, i.code, kinds, i.identifier)?)
        }
        Transport::Fragment(_) => return None,
    };
    Some(Tuple { protocol, ends: Endpoints { source, destination, source_port, destination_port } })
}

impl<A: Translate> Tuple<A> {
    /// The key under which the packet is looked up when it came from a client.
    #[inline]
    #[must_use]
    pub const fn on_link(&self, link: u8) -> Key<A> {
        Key {
            source: self.ends.source,
            destination: self.ends.destination,
            source_port: self.ends.source_port,
            destination_port: self.ends.destination_port,
            protocol: self.protocol,
            link,
        }
    }

    /// The key under which the packet is looked up when it came from the uplink.
    #[inline]
    #[must_use]
    pub const fn on_uplink(&self) -> Key<A> {
        Key { destination: A::UNSPECIFIED, ..self.on_link(UPLINK) }
    }

    /// The connection that a client may open with this packet.
    #[inline]
    #[must_use]
    pub const fn client_key(&self, link: u8) -> ClientKey<A> {
        ClientKey {
            client: self.ends.source,
            destination: self.ends.destination,
            client_port: self.ends.source_port,
            destination_port: self.ends.destination_port,
            protocol: self.protocol,
            link,
        }
    }
}

/// A packet of a client, on its way out.
#[inline]
pub fn outward<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    link: u8,
) -> Verdict {
    let Some(tuple) = tuple::<A>(packet.headers, Direction::Outward) else {
        return DropReason::IcmpType.into();
    };
    let known = known(family, common, &tuple.on_link(link), packet.hint)
        .filter(|found| goes_on(family, common, packet.headers, *found));
    let verdict = match known {
        // An echo reply belongs to who was asked, a request to who asks.
        Some((_, direction)) if echo_goes(packet.headers).is_some_and(|way| way != direction) => {
            Err(DropReason::IcmpType.into())
        }
        Some((flow, Direction::Outward)) => known_outward(family, common, packet, flow),
        Some((flow, Direction::Inward)) => known_inward(family, common, packet, flow),
        None if echo_goes(packet.headers) == Some(Direction::Inward) => Err(DropReason::IcmpType.into()),
        None => opening::outward(family, common, packet, &tuple.client_key(link)),
    };
    end_soon(family, common, packet.headers, known);
    verdict.unwrap_or_else(|verdict| verdict)
}

/// For an echo: the way in which its flow is passed.
#[inline]
const fn echo_goes(headers: &Headers) -> Option<Direction> {
    match &headers.transport {
        Transport::Icmp(message) if message.kind == icmp::ECHO_REPLY => Some(Direction::Inward),
        Transport::Icmpv6(message) if message.kind == icmpv6::ECHO_REPLY => Some(Direction::Inward),
        Transport::Icmp(_) | Transport::Icmpv6(_) => Some(Direction::Outward),
        _ => None,
    }
}

/// The flow that a packet belongs to, judged by the rules in force, and which way the packet goes.
#[inline]
pub fn known<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    key: &Key<A>,
    hint: Option<Hint>,
) -> Option<(u32, Direction)> {
    let (flow, direction) = match hint {
        None => family.flows.find(key)?,
        Some(Hint { hash, flow }) => {
            let flow = flow?;
            let hinted = family.flows.get(flow).and_then(|found| Some((flow, found.side(key)?)));
            hinted.or_else(|| family.flows.find_hashed(key, hash))?
        }
    };
    let current = family.flows.get(flow).is_some_and(|flow| flow.generation == common.generation);
    (current || rejudge::flow(family, common, flow)).then_some((flow, direction))
}

/// Whether a packet belongs to a flow that it was found for. Of a connection that is over its opener's SYN is none: it
/// begins another one, about which the rules are asked as about any, and the old flow is forgotten.
#[inline]
fn goes_on<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    headers: &Headers,
    (flow, direction): (u32, Direction),
) -> bool {
    let Transport::Tcp(segment) = &headers.transport else { return true };
    if segment.flags & (tcp::SYN | tcp::ACK) != tcp::SYN {
        return true;
    }
    let over = |flow: &Flow<A>| flow.tracker.is_over() && flow.opener() == direction;
    if !family.flows.get(flow).is_some_and(over) {
        return true;
    }
    family.flows.remove(flow).iter().for_each(|old| common.policy.closed(old));
    false
}

/// Sees to it that a connection that was reset is forgotten in time: until then it counts as one that is alive.
#[inline]
fn end_soon<A: Translate>(
    family: &mut Family<A>,
    common: &Common,
    headers: &Headers,
    known: Option<(u32, Direction)>,
) {
    if let (Some((flow, _)), Transport::Tcp(segment)) = (known, &headers.transport)
        && segment.flags & tcp::RST != 0
    {
        family.flows.hasten(flow, common.now);
    }
}

/// The next packet of a connection, to its far side.
#[inline]
fn known_outward<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    flow: u32,
) -> Result<Verdict, Verdict> {
    let flow = family.flows.get_mut(flow).ok_or(DropReason::Internal)?;
    if flow.peer != UPLINK {
        passes(packet, common.client(flow.peer).ok_or(DropReason::LinkDown)?.mtu)?;
        track(flow, packet, Direction::Outward)?;
        flow.touch(common.now);
        return Ok(Verdict::ToClient(flow.peer, A::plan(flow.outward(flow.client))));
    }
    let source = family.address.ok_or(DropReason::NoUplink)?;
    passes(packet, common.uplink.mtu)?;
    track(flow, packet, Direction::Outward)?;
    flow.touch(common.now);
    if flow.remote_port == DNS_PORT {
        names::saw_question(common, packet, flow);
    }
    Ok(Verdict::ToNet(A::plan(flow.outward(source))))
}

/// A packet of the network, on its way in.
#[inline]
pub fn inward<A: Translate>(family: &mut Family<A>, common: &mut Common, packet: &Packet<'_>) -> Verdict {
    let Some(tuple) = tuple::<A>(packet.headers, Direction::Inward) else {
        return DropReason::IcmpType.into();
    };
    let known = known(family, common, &tuple.on_uplink(), packet.hint)
        .filter(|found| goes_on(family, common, packet.headers, *found));
    let verdict = match known {
        Some((flow, _)) => known_inward(family, common, packet, flow),
        None => opening::inward(family, common, packet, &tuple),
    };
    end_soon(family, common, packet.headers, known);
    verdict.unwrap_or_else(|verdict| verdict)
}

/// The next packet of a connection, to its client.
#[inline]
fn known_inward<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    flow: u32,
) -> Result<Verdict, Verdict> {
    let flow = family.flows.get_mut(flow).ok_or(DropReason::Internal)?;
    let client = common.client(flow.link).ok_or(DropReason::LinkDown)?;
    if flow.peer == UPLINK { passes_inward(packet, client.mtu) } else { passes(packet, client.mtu) }?;
    track(flow, packet, Direction::Inward)?;
    flow.touch(common.now);
    // Before the client has it, so that its next packet already finds what it was told.
    if flow.remote_port == DNS_PORT {
        names::saw_answer(common, packet, flow);
    }
    Ok(Verdict::ToClient(flow.link, A::plan(flow.inward())))
}

/// Whether a client's packet has a hop left and fits the uplink.
///
/// # Errors
/// What becomes of it instead.
#[inline]
pub fn passes(packet: &Packet<'_>, mtu: u16) -> Result<(), Verdict> {
    if packet.headers.hop_limit() <= 1 {
        return Err(pmtu::out_of_hops(packet.headers));
    }
    pmtu::check(packet.headers, &packet.offload, packet.origin, mtu)
}

/// Whether the network's packet has a hop left and fits the client's link. We are no hop to the network that it
/// could find by counting.
///
/// # Errors
/// What becomes of it instead.
#[inline]
pub fn passes_inward(packet: &Packet<'_>, mtu: u16) -> Result<(), Verdict> {
    if packet.headers.hop_limit() <= 1 {
        return Err(DropReason::HopLimit.into());
    }
    pmtu::check(packet.headers, &packet.offload, packet.origin, mtu)
}

/// Takes the packet into account.
#[inline]
fn track<A>(flow: &mut Flow<A>, packet: &Packet<'_>, direction: Direction) -> Result<(), DropReason> {
    match &packet.headers.transport {
        Transport::Tcp(t) => flow.tracker.track(direction, &segment(t, packet)),
        _ => {
            flow.tracker.note(direction);
            Ok(())
        }
    }
}

/// The segment as the tracker sees it.
#[inline]
pub fn segment<'h>(tcp: &'h Tcp, packet: &Packet<'_>) -> Segment<'h> {
    let headers = packet.headers;
    let scale = if tcp.flags & tcp::SYN == 0 {
        None
    } else {
        let options = packet.frame.get(headers.transport_at + tcp::HEADER_LEN..headers.payload_at);
        options.and_then(tcp::window_scale)
    };
    Segment { tcp, len: headers.payload_len(), scale }
}
