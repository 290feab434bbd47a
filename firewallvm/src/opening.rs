//! The first packet of a connection: whether there may be one, and what it will look like on the other side.
//!
//! Three ways lead through here: from a client to the network, from a client to another client, and from the network
//! to a port that is forwarded. Rules are asked first of all, so that what they drop is never answered.

use crate::{
    decide::{self, Packet, Translate, Tuple},
    dns,
    flows::{
        ClientKey, Flow, NO_RULE,
        tcp::{Direction, Tracker},
    },
    names, nat, pmtu,
    policy::{Connection, Far, Occasion},
    resets::Reset,
    state::{Common, Family},
    verdict::{DropReason, Verdict},
};
use first_hop::address::DNS_PORT;
use packet::{headers::Transport, tcp};
use rules_program::policy::{self, Action};

/// The first packet of a connection that a client opens.
///
/// # Errors
/// What becomes of it instead.
#[cold]
#[inline(never)]
pub fn outward<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    key: &ClientKey<A>,
) -> Result<Verdict, Verdict> {
    match common.clients.on_link(key.destination) {
        Some((peer, true)) if peer != key.link => return between(family, common, packet, (key, peer)),
        Some(_) => return Err(DropReason::Isolation.into()),
        None => {}
    }
    let remote = dns::resolve(family, key.destination, key.protocol, key.destination_port)?;
    may_be_reached(family, common, (remote, key))?;
    let peer = if key.destination.virtual_server().is_some() { Far::Dns } else { Far::Net };
    let tracker = tracker(packet, Direction::Outward);
    let rule = allow(common, packet, (key, peer, tracker.is_none()))
        .map_err(|refusal| refusal.verdict(DropReason::Policy))?;
    let tracker = tracker.ok_or(DropReason::TcpNotSyn)?;
    let source = family.address.ok_or(Verdict::Answer(pmtu::no_route(packet.headers)))?;
    decide::passes(packet, common.uplink.mtu)?;
    family.flows.admit(key.link)?;
    let (nat_port, far) = nat::choose(family, common, key, remote)?;
    let mut flow = Flow::new(key, remote, nat_port, tracker);
    (flow.rule, flow.generation) = (rule, common.generation);
    let near = packet.hint.map_or_else(|| family.flows.hash(&(*key).into()), |hint| hint.hash);
    family.flows.insert_hashed(&flow, (near, far), common.now)?;
    common.policy.opened(&flow);
    if flow.remote_port == DNS_PORT {
        names::saw_question(common, packet, &flow);
    }
    Ok(Verdict::ToNet(A::plan(flow.outward(source))))
}

/// The first packet of a connection to another client: both clients' rules are asked.
fn between<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    (key, peer): (&ClientKey<A>, u8),
) -> Result<Verdict, Verdict> {
    let tracker = tracker(packet, Direction::Outward);
    let isolated = |refusal: Refusal| refusal.verdict(DropReason::Isolation);
    let stray = tracker.is_none();
    let rule = allow(common, packet, (key, Far::Client(peer), stray)).map_err(isolated)?;
    let far_rule = admit(common, packet, (key, peer, stray)).map_err(isolated)?;
    let tracker = tracker.ok_or(DropReason::TcpNotSyn)?;
    decide::passes(packet, common.client(peer).ok_or(DropReason::LinkDown)?.mtu)?;
    family.flows.admit(key.link)?;
    let mut flow = Flow::between(key, peer, tracker).judged(rule, common.generation);
    flow.set_far_rule(far_rule);
    begin(family, common, flow)?;
    Ok(Verdict::ToClient(peer, A::plan(flow.outward(flow.client))))
}

/// The first packet of a connection that the network opens, to a port that is forwarded.
///
/// # Errors
/// What becomes of it instead.
#[cold]
#[inline(never)]
pub fn inward<A: Translate>(
    family: &mut Family<A>,
    common: &mut Common,
    packet: &Packet<'_>,
    tuple: &Tuple<A>,
) -> Result<Verdict, Verdict> {
    let (protocol, ends, port) = (tuple.protocol, &tuple.ends, tuple.ends.destination_port);
    let link = common.policy.forwards.client(protocol, port).ok_or(DropReason::NoFlow)?;
    let client = common.client(link).ok_or(DropReason::LinkDown)?;
    // With a wrong hint nobody has looked at this before.
    if common.clients.on_link(ends.source).is_some() {
        return Err(DropReason::Spoofed.into());
    }
    let (address, mtu) = (A::of_client(client).ok_or(DropReason::NoFlow)?, client.mtu);
    let tracker = tracker(packet, Direction::Inward).ok_or(DropReason::TcpNotSyn)?;
    let (inside, rule) = forward(common, packet, (link, tuple))?;
    decide::passes_inward(packet, mtu)?;
    family.flows.admit(link)?;
    let key = ClientKey {
        client: address,
        destination: ends.source,
        client_port: inside,
        destination_port: ends.source_port,
        protocol,
        link,
    };
    // The client itself has a connection from that port to the same end.
    if family.flows.find_client(&key).is_some() {
        return Err(DropReason::PortsExhausted.into());
    }
    let flow = Flow::new(&key, ends.source, port, tracker).judged(rule, common.generation);
    begin(family, common, flow)?;
    Ok(Verdict::ToClient(link, A::plan(flow.inward())))
}

/// Asks the rules of the client that a port is forwarded to; gives its port inside and the rule's number.
fn forward<A: Translate>(
    common: &mut Common,
    packet: &Packet<'_>,
    (link, tuple): (u8, &Tuple<A>),
) -> Result<(u16, u16), Verdict> {
    let connection = Connection {
        link,
        direction: policy::Direction::Inward,
        far: Far::Net,
        local: tuple.ends.destination.into(),
        remote: tuple.ends.source.into(),
        protocol: tuple.protocol,
        local_port: tuple.ends.destination_port,
        remote_port: tuple.ends.source_port,
    };
    let names = common.names.of(link, connection.remote, common.now);
    let judgement = common.policy.judge(&connection, &names, (Occasion::Opening, common.now_us));
    match judgement.action {
        Action::Forward { to_port } => {
            Ok((to_port.unwrap_or(connection.local_port), judgement.rule.unwrap_or(NO_RULE)))
        }
        Action::Reject => Err(Verdict::Answer(pmtu::prohibited(packet.headers))),
        Action::Accept | Action::Drop => Err(DropReason::Policy.into()),
    }
}

/// Adds a flow, and counts it for the rules that allowed it.
fn begin<A: Translate>(family: &mut Family<A>, common: &mut Common, flow: Flow<A>) -> Result<(), DropReason> {
    family.flows.insert(flow, common.now)?;
    common.policy.opened(&flow);
    Ok(())
}

/// The tracker of a connection that begins with this packet; `None` for a segment that can begin none.
fn tracker(packet: &Packet<'_>, opener: Direction) -> Option<Tracker> {
    match &packet.headers.transport {
        Transport::Tcp(t) if t.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN => {
            Some(Tracker::open(opener, &decide::segment(t, packet)))
        }
        Transport::Tcp(_) => None,
        _ => Some(Tracker::packets(opener)),
    }
}

/// What rules refuse.
enum Refusal {
    /// Silently.
    Silent,
    /// The sender has been told, or need not be.
    Told,
    /// The sender is to be told.
    Tell(Verdict),
}

impl Refusal {
    /// What becomes of the packet; silently for this reason.
    fn verdict(self, reason: DropReason) -> Verdict {
        match self {
            Self::Silent => reason.into(),
            Self::Told => DropReason::Policy.into(),
            Self::Tell(verdict) => verdict,
        }
    }
}

/// Asks the rules of who opens a connection; gives the rule's number. A stray segment opens none but may be rejected.
fn allow<A: Translate>(
    common: &mut Common,
    packet: &Packet<'_>,
    (key, far, stray): (&ClientKey<A>, Far, bool),
) -> Result<u16, Refusal> {
    let connection = Connection {
        link: key.link,
        direction: policy::Direction::Outward,
        far,
        local: key.client.into(),
        remote: key.destination.into(),
        protocol: key.protocol,
        local_port: key.client_port,
        remote_port: key.destination_port,
    };
    let names = common.names.of(key.link, connection.remote, common.now);
    ask(common, packet, (key, &connection, stray), &names)
}

/// Asks the rules of the client that a connection is opened to.
fn admit<A: Translate>(
    common: &mut Common,
    packet: &Packet<'_>,
    (key, peer, stray): (&ClientKey<A>, u8, bool),
) -> Result<u16, Refusal> {
    let connection = Connection {
        link: peer,
        direction: policy::Direction::Inward,
        far: Far::Client(key.link),
        local: key.destination.into(),
        remote: key.client.into(),
        protocol: key.protocol,
        local_port: key.destination_port,
        remote_port: key.client_port,
    };
    ask(common, packet, (key, &connection, stray), &[])
}

fn ask<A: Translate>(
    common: &mut Common,
    packet: &Packet<'_>,
    (key, connection, stray): (&ClientKey<A>, &Connection, bool),
    names: &[u16],
) -> Result<u16, Refusal> {
    let occasion = if stray { Occasion::Stray } else { Occasion::Opening };
    let judgement = common.policy.judge(connection, names, (occasion, common.now_us));
    match (judgement.action, &packet.headers.transport) {
        (Action::Accept, _) => Ok(judgement.rule.unwrap_or(NO_RULE)),
        (Action::Reject, Transport::Tcp(segment)) if stray => {
            let ends = (key.client.into(), key.destination.into());
            if let Some(reset) = Reset::answer(key.link, segment, ends).filter(|_| common.may_tell(key.link))
            {
                common.resets.push(reset);
            }
            Err(Refusal::Told)
        }
        (Action::Reject, _) => Err(Refusal::Tell(Verdict::Answer(pmtu::prohibited(packet.headers)))),
        (Action::Drop | Action::Forward { .. }, _) => Err(Refusal::Silent),
    }
}

/// Whether packets are forwarded to an address in the network; the destination itself is on no client's link.
fn may_be_reached<A: Translate>(
    family: &Family<A>,
    common: &Common,
    (remote, key): (A, &ClientKey<A>),
) -> Result<(), DropReason> {
    if remote.is_internal() || (remote != key.destination && common.clients.on_link(remote).is_some()) {
        return Err(DropReason::Isolation);
    }
    if remote.is_bad_destination() || family.address == Some(remote) {
        return Err(DropReason::Destination);
    }
    Ok(())
}
