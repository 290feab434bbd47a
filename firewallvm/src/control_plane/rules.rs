//! Rules from dom0: piece by piece into force, and their counters back.

use super::tell;
use crate::{
    policy::assembly::{NO_CLIENT, Piece, Refused},
    ports::Ports,
    state::Core,
    verdict::DropReason,
};
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
    let added = match (core.client(piece.port), piece.offset) {
        (Some(_), _) => core.common.policy.add(piece),
        (None, 0) => Err(NO_CLIENT),
        (None, _) => Err(Refused::Known),
    };
    let refused = match added {
        Ok(false) => return Ok(()),
        Ok(true) => None,
        Err(Refused::Answer(why)) => Some(why),
        Err(Refused::Known) => return Err(DropReason::Message),
    };
    let Piece { port, generation, .. } = *piece;
    match refused {
        None => log::info!("port {port}: rules {generation} in force"),
        Some(why) => log::warn!("port {port}: rules {generation} refused: {why}"),
    }
    let refused = refused.map(|why| why.try_into().unwrap_or_default());
    tell(ports, dom0, &FromDomain::Rules { port, generation, refused });
    Ok(())
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
