//! The first packet of a connection: whether there may be one, and what it will look like on the other side.

use crate::{
    decide::{self, Packet, Translate},
    dns,
    flows::{
        ClientKey, Flow, NO_RULE,
        tcp::{Direction, Tracker},
    },
    names, nat, pmtu,
    state::{Common, Family},
    verdict::{DropReason, Verdict},
};
use packet::{headers::Transport, icmp, icmpv6, ipv4, ipv6, tcp};
use rules_program::{
    policy::{self, Action},
    question::{self, Peer, Question},
};

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
    let remote = dns::resolve(family, key.destination, key.protocol, key.destination_port)?;
    may_be_reached(family, common, remote)?;
    let rule = allow(common, packet, key)?;
    let source = family.address.ok_or(Verdict::Answer(pmtu::no_route(packet.headers)))?;
    let tracker = match &packet.headers.transport {
        Transport::Tcp(t) if t.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN => {
            Tracker::open(Direction::Outward, &decide::segment(t, packet))
        }
        Transport::Tcp(_) => return Err(DropReason::TcpNotSyn.into()),
        _ => Tracker::packets(Direction::Outward),
    };
    decide::passes(packet, common.uplink.mtu)?;
    family.flows.admit(key.link)?;
    let nat_port = nat::choose(family, common, key, remote)?;
    let flow = Flow::new(key, remote, nat_port, tracker).judged(rule, common.generation);
    family.flows.insert(flow, common.now)?;
    names::saw_question(common, packet, &flow);
    Ok(Verdict::ToNet(A::plan(flow.outward(source))))
}

/// Asks the client's rules.
fn allow<A: Translate>(common: &mut Common, packet: &Packet<'_>, key: &ClientKey<A>) -> Result<u16, Verdict> {
    let transport = transport(key.protocol, key.client_port, key.destination_port);
    let question = Question {
        direction: policy::Direction::Outward,
        peer: if key.destination.virtual_server().is_some() { Peer::Dns } else { Peer::Net },
        remote: key.destination.into(),
        names: &[],
        transport: transport.ok_or(DropReason::Internal)?,
    };
    let judgement = common.policy.judge(key.link, &question);
    match judgement.action {
        Action::Accept => Ok(judgement.rule.unwrap_or(NO_RULE)),
        Action::Reject => Err(Verdict::Answer(pmtu::prohibited(packet.headers))),
        Action::Drop | Action::Forward { .. } => Err(DropReason::Policy.into()),
    }
}

/// What rules may ask of a connection's first packet; ICMP opens one only with an echo request.
const fn transport(protocol: u8, source: u16, destination: u16) -> Option<question::Transport> {
    Some(match protocol {
        ipv4::TCP => question::Transport::Tcp { source, destination },
        ipv4::UDP => question::Transport::Udp { source, destination },
        ipv4::ICMP => question::Transport::Icmp { kind: icmp::ECHO_REQUEST },
        ipv6::ICMPV6 => question::Transport::Icmpv6 { kind: icmpv6::ECHO_REQUEST },
        _ => return None,
    })
}

/// Whether packets are forwarded to an address at all.
fn may_be_reached<A: Translate>(family: &Family<A>, common: &Common, remote: A) -> Result<(), DropReason> {
    if remote.is_internal() || common.all_clients().any(|client| A::is_on_link(remote, client)) {
        return Err(DropReason::Isolation);
    }
    if remote.is_bad_destination() || family.address == Some(remote) {
        return Err(DropReason::Destination);
    }
    Ok(())
}

/// Judges a flow by the rules that came into force since it was judged last: keeps it and says `true`, or removes it.
#[cold]
#[inline(never)]
pub fn rejudge<A: Translate>(family: &mut Family<A>, common: &mut Common, flow: u32) -> bool {
    // There are no rules yet that would forbid it.
    family.flows.get_mut(flow).is_some_and(|flow| {
        flow.generation = common.generation;
        true
    })
}
