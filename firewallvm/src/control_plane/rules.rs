//! Rules from dom0: piece by piece into force, and their counters back.

use super::{tell, try_tell};
use crate::{
    policy::assembly::{NO_CLIENT, Piece, Refused, Set},
    ports::Ports,
    state::Core,
    verdict::DropReason,
};
use abi::link_device::Role;
use control::message::FromDomain;
use heapless::Vec;
use link::Doorbell;

/// Counters in one message.
const BATCH: u16 = 128;

/// Takes a piece; answers the last one, and the first one that is refused.
///
/// # Errors
/// [`DropReason::Message`] for the rest of what was refused.
pub(super) fn add<D: Doorbell>(
    core: &mut Core,
    ports: &mut Ports<D>,
    dom0: u8,
    piece: &Piece<'_>,
) -> Result<(), DropReason> {
    let added = match (core.client(piece.of.port), piece.offset) {
        (Some(_), _) => put_in_force(core, piece),
        (None, 0) => Err(NO_CLIENT),
        (None, _) => Err(Refused::Known),
    };
    let refused = match added {
        Ok(false) => return Ok(()),
        Ok(true) => None,
        Err(Refused::Answer(why)) => Some(why),
        Err(Refused::Known) => return Err(DropReason::Message),
    };
    let Set { port, generation } = piece.of;
    match refused {
        None => log::info!("port {port}: rules {generation} in force"),
        Some(why) => log::warn!("port {port}: rules {generation} refused: {why}"),
    }
    let refused = refused.map(|why| why.try_into().unwrap_or_default());
    tell(ports, dom0, &FromDomain::Rules { port, generation, refused });
    Ok(())
}

/// Takes a piece; `true` when it was the last one and the program is in force.
fn put_in_force(core: &mut Core, piece: &Piece<'_>) -> Result<bool, Refused> {
    let Some(program) = core.common.policy.add(piece)? else { return Ok(false) };
    core.install(piece.of.port, piece.of.generation, program)?;
    Ok(true)
}

/// Tells dom0 of the decisions that it is to hear of, as far as its link has room.
pub(crate) fn report<D: Doorbell>(core: &mut Core, ports: &mut Ports<D>) {
    let reports = &mut core.common.policy.reports;
    if reports.first().is_none() {
        return;
    }
    let dom0 = ports.iter().find(|(_, port)| port.role == Role::Dom0).map(|(number, _)| number);
    while let Some(decision) = reports.first() {
        let message = FromDomain::Decision(decision.clone());
        if dom0.is_some_and(|dom0| matches!(try_tell(ports, dom0, &message), Err(DropReason::QueueFull))) {
            return;
        }
        reports.sent();
    }
}

/// Sends the counters of a client's rules; of one without rules an empty set.
pub(super) fn send_counters<D: Doorbell>(core: &Core, ports: &mut Ports<D>, dom0: u8, port: u8) {
    let rules = core.common.policy.of(port);
    let (generation, no_rule) = rules.map_or((0, 0), |rules| (rules.generation(), rules.no_rule()));
    let mut rest = rules.map_or(&[][..], |rules| rules.hits());
    let mut first = 0;
    loop {
        let (batch, later) = rest.split_at_checked(usize::from(BATCH)).unwrap_or((rest, &[]));
        let hits = Vec::from_slice(batch).unwrap_or_default();
        let more = !later.is_empty();
        tell(ports, dom0, &FromDomain::RuleCounters { port, generation, first, hits, no_rule, more });
        if !more {
            return;
        }
        (rest, first) = (later, first.saturating_add(BATCH));
    }
}
