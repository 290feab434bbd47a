//! New rules and old flows: what is known is judged again, and goes if it may not be any more.
//!
//! Every change of any client's rules begins a generation. A flow of another generation is judged before its next
//! packet passes; those without packets are found by a look at every flow, some per round of the loop. So no packet
//! is ever judged by two programs, and none by an old one.
//!
//! Generations may wrap around: after some changes, and between two of the same client's rules, every flow is looked at
//! first, so that no flow is ever many changes behind.

use crate::{
    decide::Translate,
    flows::{Flow, NO_RULE, UPLINK, tcp::Direction},
    policy::{
        Connection, Far, Occasion,
        assembly::{NO_MEMORY, Refused},
    },
    resets::Reset,
    state::{Common, Core, Family},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use packet::ipv4;
use rules_program::{
    Program,
    policy::{self, Action},
};

/// Flows of each family that are looked at per round.
const BUDGET: u32 = 128;
/// Changes of rules that a flow may be behind.
const CHANGES: u16 = 64;
const _: () = assert!(CHANGES < u16::MAX / 2);

/// How far the look at every flow has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    at: u32,
    left: u32,
}

impl Core {
    /// Puts a client's program in force: from the next packet on nothing else is asked.
    ///
    /// # Errors
    /// [`Refused`]: the rules in force stay.
    pub fn install(&mut self, link: u8, number: u32, program: Program) -> Result<(), Refused> {
        let rounds = self.v4.flows.capacity().max(self.v6.flows.capacity()) / BUDGET + 1;
        for _ in 0..rounds {
            if self.common.policy.is_settled(link) && self.common.changes < CHANGES {
                break;
            }
            self.sweep();
        }
        let common = &mut self.common;
        let prepared = common.policy.prepare(link, number, program)?;
        common.names.set_program(link, prepared.program().names()).map_err(|_| NO_MEMORY)?;
        common.generation = common.generation.wrapping_add(1);
        common.changes = common.changes.saturating_add(1);
        common.policy.install(link, prepared, common.generation, common.clients.by_port());
        self.v4.begin_sweep();
        self.v6.begin_sweep();
        Ok(())
    }

    /// Judges some of the flows again that have not been since rules changed; `true` when there are none left.
    pub fn sweep(&mut self) -> bool {
        if self.v4.sweep.left | self.v6.sweep.left == 0 {
            return true;
        }
        let done = sweep::<Ipv4Addr>(&mut self.v4, &mut self.common);
        let done = sweep::<Ipv6Addr>(&mut self.v6, &mut self.common) & done;
        if done {
            self.common.policy.settle();
            self.common.changes = 0;
        }
        done
    }
}

impl<A: Translate> Family<A> {
    fn begin_sweep(&mut self) {
        self.sweep.left = self.flows.capacity();
    }
}

fn sweep<A: Translate>(family: &mut Family<A>, common: &mut Common) -> bool {
    if family.flows.is_empty() {
        family.sweep.left = 0;
    }
    for _ in 0..family.sweep.left.min(BUDGET) {
        let Sweep { at, left } = family.sweep;
        let next = if at + 1 < family.flows.capacity() { at + 1 } else { 0 };
        family.sweep = Sweep { at: next, left: left - 1 };
        let old = |flow: &Flow<A>| flow.is_live() && flow.generation != common.generation;
        if family.flows.get(at).is_some_and(old) {
            flow(family, common, at);
        }
    }
    family.sweep.left == 0
}

/// Judges a flow by the rules that came into force since it was judged last: keeps it and says `true`, or removes it.
#[cold]
#[inline(never)]
pub fn flow<A: Translate>(family: &mut Family<A>, common: &mut Common, number: u32) -> bool {
    let Some(old) = family.flows.get(number).filter(|flow| flow.is_live()).copied() else { return false };
    match again(common, old) {
        Ok(judged) => {
            if let Some(flow) = family.flows.get_mut(number) {
                *flow = judged;
            }
            true
        }
        Err(action) => {
            family.flows.remove(number);
            if action == Action::Reject && old.protocol == ipv4::TCP {
                common.resets.push(Reset::near(&old));
                if old.peer != UPLINK {
                    common.resets.push(Reset::far(&old));
                }
            }
            false
        }
    }
}

/// The flow as it goes on, counted; or what is done with its packets, and it is not counted any more.
fn again<A: Translate>(common: &mut Common, old: Flow<A>) -> Result<Flow<A>, Action> {
    common.policy.closed(&old);
    let mut flow = old;
    if common.policy.is_before(old.link, &old) {
        flow.rule = near(common, &old)?;
    }
    if old.peer != UPLINK && common.policy.is_before(old.peer, &old) {
        flow.set_far_rule(far(common, &old)?);
    }
    flow.generation = common.generation;
    common.policy.opened(&flow);
    Ok(flow)
}

/// Asks the rules of the flow's client.
fn near<A: Translate>(common: &mut Common, flow: &Flow<A>) -> Result<u16, Action> {
    let inward = flow.opener() == Direction::Inward;
    let connection = Connection {
        link: flow.link,
        direction: if inward { policy::Direction::Inward } else { policy::Direction::Outward },
        far: match flow.peer {
            UPLINK if flow.destination.virtual_server().is_some() => Far::Dns,
            UPLINK => Far::Net,
            peer => Far::Client(peer),
        },
        local: flow.client.into(),
        remote: flow.destination.into(),
        protocol: flow.protocol,
        local_port: if inward { flow.nat_port } else { flow.client_port },
        remote_port: flow.remote_port,
    };
    let names = common.names.ever_of(flow.link, connection.remote);
    let judgement = common.policy.judge(&connection, &names, (Occasion::Again, common.now_us));
    match (judgement.action, inward) {
        (Action::Accept, false) => {}
        (Action::Forward { to_port }, true) if to_port.unwrap_or(flow.nat_port) == flow.client_port => {}
        (Action::Reject, _) => return Err(Action::Reject),
        _ => return Err(Action::Drop),
    }
    Ok(judgement.rule.unwrap_or(NO_RULE))
}

/// Asks the rules of the client on the flow's far side.
fn far<A: Translate>(common: &mut Common, flow: &Flow<A>) -> Result<u16, Action> {
    let connection = Connection {
        link: flow.peer,
        direction: policy::Direction::Inward,
        far: Far::Client(flow.link),
        local: flow.remote.into(),
        remote: flow.client.into(),
        protocol: flow.protocol,
        local_port: flow.remote_port,
        remote_port: flow.client_port,
    };
    let judgement = common.policy.judge(&connection, &[], (Occasion::Again, common.now_us));
    match judgement.action {
        Action::Accept => Ok(judgement.rule.unwrap_or(NO_RULE)),
        Action::Reject => Err(Action::Reject),
        Action::Drop | Action::Forward { .. } => Err(Action::Drop),
    }
}
