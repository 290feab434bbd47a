//! Applies the translation and sends to a client; may not decide.

use crate::{
    ports::Ports,
    state::Core,
    translate::{self, Leaving, Receiver},
    verdict::{DropReason, Translation},
};
use link::{Doorbell, Meta};

/// Sends the network's packet to the client on `port`.
///
/// # Errors
/// Why it could not be sent.
#[inline]
pub fn send<D: Doorbell>(
    ports: &mut Ports<D>,
    core: &mut Core,
    leaving: &mut Leaving<'_>,
    (port, translation): (u8, &Translation),
) -> Result<(), DropReason> {
    let client = core.common.client(port).ok_or(DropReason::LinkDown)?;
    let (mac, mtu) = (client.mac, client.mtu);
    let identification = core.identification(leaving.headers, leaving.offload.segment, mtu);
    translate::send(ports, leaving, &Receiver { port, mac, mtu, identification }, translation)
}

/// Sends a frame of our own, Ethernet header included, to the client on `port`.
///
/// # Errors
/// Why it could not be sent.
pub fn send_own<D: Doorbell>(ports: &mut Ports<D>, port: u8, frame: &[u8]) -> Result<(), DropReason> {
    ports.send(port, &Meta::default(), &[frame])
}
