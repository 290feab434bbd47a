//! What we say on the uplink ourselves: who has the gateway's address? Connections speak through `links`.

use super::{
    links::{Links, UPLINK},
    state::Core,
};
use crate::frames::Frames;
use packet::ethernet::BROADCAST;

/// Asks for the neighbour's hardware address if somebody needs it and it is time to.
pub(super) fn ask<F: Frames>(core: &mut Core, links: &mut Links<F>) {
    let now_us = core.now_us;
    if let Some(question) = core.uplink.as_mut().and_then(|uplink| uplink.question(now_us)) {
        // What finds no room is asked again.
        let _ = links.send_own(UPLINK, &question.emit(BROADCAST));
    }
}
