//! Frames in from the wire, out on the link; what is netvm's own goes aside.

use crate::{
    classify::{Local, Verdict, classify},
    counters::{Counter, Counters},
    frames::FrameQueue,
    nic::{Nic, RxChecksum},
};
use link::{Csum, Doorbell, Link, Meta, SendError};
use packet::ethernet::{Ethernet, HEADER_LEN, Mac};

/// Frames in one burst.
pub(crate) const BURST: usize = 64;

/// firewallvm's hardware address on every link; part of the address plan.
pub(crate) const FIREWALL_MAC: Mac = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Where netvm's own frames wait.
pub(crate) struct Kept<'a> {
    pub(crate) v4: &'a mut FrameQueue,
    pub(crate) v6: &'a mut FrameQueue,
}

/// Moves one burst; returns how many frames the card had.
pub(crate) fn burst<N: Nic, B: Doorbell>(
    nic: &mut N,
    mut firewall: Option<&mut Link<B>>,
    local: &Local,
    kept: Kept<'_>,
    counters: &mut Counters,
) -> usize {
    let Kept { v4, v6 } = kept;
    let keep = |queue: &mut FrameQueue, frame: &[u8]| {
        if queue.push(frame) { Counter::Kept } else { Counter::KeptFull }
    };
    let seen = nic.receive(BURST, |frame, checksum| {
        let outcome = match classify(frame, local) {
            Verdict::Firewall => firewall
                .as_deref_mut()
                .map_or(Counter::NoFirewall, |link| forward(link, frame, checksum, local.mac)),
            Verdict::Address4 => keep(v4, frame),
            Verdict::Address6 => keep(v6, frame),
            Verdict::Drop(reason) => reason,
        };
        counters.count(outcome);
    });
    if let Some(link) = firewall {
        link.publish();
    }
    seen
}

/// Stages one frame with the link's hardware addresses.
#[inline]
fn forward<B: Doorbell>(link: &mut Link<B>, frame: &[u8], checksum: RxChecksum, mac: Mac) -> Counter {
    let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else { return Counter::Malformed };
    let header = Ethernet { destination: FIREWALL_MAC, source: mac, ..Ethernet::parse(header) }.emit();
    let csum = if checksum == RxChecksum::Good { Csum::Verified } else { Csum::None };
    match link.send(&Meta { csum, ..Meta::default() }, &[&header, body]) {
        Ok(()) => Counter::ToFirewall,
        Err(SendError::Full) => Counter::FirewallFull,
        Err(SendError::TooLong | SendError::BadMeta) => Counter::Malformed,
    }
}
