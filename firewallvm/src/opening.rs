//! The first packet of a connection: whether there may be one, and what it will look like on the other side.

use crate::{
    decide::{self, Packet, Translate},
    dns,
    flows::{
        ClientKey, Flow, NO_RULE,
        tcp::{Direction, Tracker},
    },
    nat, pmtu,
    policy::{Decision, NewFlow},
    state::{Common, Family},
    verdict::{DropReason, Verdict},
};
use packet::{headers::Transport, tcp};

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
    let client = common.client(key.link).ok_or(DropReason::LinkDown)?;
    let remote = dns::resolve(family, key.destination, key.protocol, key.destination_port)?;
    may_be_reached(family, common, remote)?;
    let source = family.address.ok_or(Verdict::Answer(pmtu::no_route(packet.headers)))?;
    let tracker = match &packet.headers.transport {
        Transport::Tcp(t) if t.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN => {
            Tracker::open(Direction::Outward, &decide::segment(t, packet))
        }
        Transport::Tcp(_) => return Err(DropReason::TcpNotSyn.into()),
        _ => Tracker::packets(Direction::Outward),
    };
    let wanted =
        NewFlow { client, destination: key.destination, protocol: key.protocol, port: key.destination_port };
    if common.policy.judge(&wanted) == Decision::Reject {
        return Err(Verdict::Answer(pmtu::prohibited(packet.headers)));
    }
    decide::passes(packet, common.uplink.mtu)?;
    family.flows.admit(key.link)?;
    let nat_port = nat::choose(family, common, key, remote)?;
    let flow = Flow::new(key, remote, nat_port, tracker).judged(NO_RULE, common.generation);
    family.flows.insert(flow, common.now)?;
    Ok(Verdict::ToNet(A::plan(flow.outward(source))))
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
