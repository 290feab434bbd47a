//! Takes a frame from netvm; refuses source addresses that belong to the inside, whoever has them now or nobody.

use crate::{
    decide::{self, Packet, Translate},
    errors,
    state::{Common, Core, Family},
    verdict::{DropReason, Verdict},
};
use packet::headers::{Network, Transport};

/// Judges an IP packet of the uplink on `port`.
#[inline]
pub fn judge(core: &mut Core, packet: &Packet<'_>, port: u8) -> Verdict {
    let Core { v4, v6, common, fragments, .. } = core;
    let checked = match &packet.headers.network {
        Network::V4(ip) => check(v4, common, packet, (ip.source, ip.destination)),
        Network::V6(ip) => check(v6, common, packet, (ip.source, ip.destination)),
    };
    if let Err(reason) = checked {
        return reason.into();
    }
    if let Transport::Fragment(fragment) = &packet.headers.transport {
        return fragments.add(port, packet, fragment, common.now);
    }
    match (&packet.headers.network, errors::is_error(&packet.headers.transport)) {
        (Network::V4(_), false) => decide::inward(v4, common, packet),
        (Network::V6(_), false) => decide::inward(v6, common, packet),
        (Network::V4(_), true) => errors::inward(v4, common, packet),
        (Network::V6(_), true) => errors::inward(v6, common, packet),
    }
}

/// A source from outside, our address as destination.
#[inline]
fn check<A: Translate>(
    family: &Family<A>,
    common: &Common,
    packet: &Packet<'_>,
    (source, destination): (A, A),
) -> Result<(), DropReason> {
    if source.is_internal() || source.is_bad_source() || family.address == Some(source) {
        return Err(DropReason::Spoofed);
    }
    // A known flow's remote address was checked against the clients when the flow was opened.
    if packet.hinted().is_none() && common.clients.on_link(source).is_some() {
        return Err(DropReason::Spoofed);
    }
    if family.address == Some(destination) {
        return Ok(());
    }
    Err(if destination.is_bad_source() { DropReason::Multicast } else { DropReason::NotOurs })
}
