//! Applies the translation and sends to netvm, which finds the next hop; may not decide.

use crate::{
    ports::Ports,
    state::Core,
    translate::{self, Leaving, Receiver},
    verdict::{DropReason, Translation},
};
use link::{Doorbell, Meta};

/// Sends a client's packet.
///
/// # Errors
/// Why it could not be sent.
#[inline]
pub fn send<D: Doorbell>(
    ports: &mut Ports<D>,
    core: &mut Core,
    leaving: &mut Leaving<'_>,
    translation: &Translation,
) -> Result<(), DropReason> {
    let port = ports.uplink().ok_or(DropReason::NoUplink)?;
    let uplink = core.common.uplink;
    let identification = core.identification(leaving.headers, leaving.offload.segment, uplink.mtu);
    let to = Receiver { port, mac: uplink.mac, mtu: uplink.mtu, identification };
    translate::send(ports, leaving, &to, translation)
}

/// Sends a frame of our own, Ethernet header included.
///
/// # Errors
/// Why it could not be sent.
pub fn send_own<D: Doorbell>(ports: &mut Ports<D>, frame: &[u8]) -> Result<(), DropReason> {
    let port = ports.uplink().ok_or(DropReason::NoUplink)?;
    ports.send(port, &Meta::default(), &[frame])
}
