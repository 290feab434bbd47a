//! What firewallvm and dom0 are told about the uplink: everything, at every change and after every attach.

use control::{
    codec,
    message::{FromDomain, NetToFirewall, Uplink},
};
use link::{Doorbell, Link, Meta};
use serde::Serialize;

/// Remembers what is true and who has not heard it yet.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    current: Uplink,
    firewall_waits: bool,
    dom0_waits: bool,
}

impl Announcer {
    /// The uplink as it is now.
    pub(crate) fn current(&self) -> &Uplink {
        &self.current
    }

    /// Whether firewallvm has not heard yet; dom0 is told at every step.
    pub(crate) fn is_waiting(&self) -> bool {
        self.firewall_waits
    }

    /// Takes over a new state; `true` when it differs from the old one.
    pub(crate) fn update(&mut self, now: Uplink) -> bool {
        let changed = now != self.current;
        if changed {
            self.current = now;
            (self.firewall_waits, self.dom0_waits) = (true, true);
        }
        changed
    }

    /// firewallvm was attached: it knows nothing.
    pub(crate) fn firewall_attached(&mut self) {
        self.firewall_waits = true;
    }

    /// dom0 was attached: it knows nothing.
    pub(crate) fn dom0_attached(&mut self) {
        self.dom0_waits = true;
    }

    /// Tells firewallvm, if it has not heard yet; tries again later when the link is full.
    pub(crate) fn tell_firewall<B: Doorbell>(&mut self, link: &mut Link<B>) {
        if self.firewall_waits {
            self.firewall_waits = !send(link, &NetToFirewall::Uplink(self.current.clone()));
        }
    }

    /// Tells dom0, if it has not heard yet; tries again later when the link is full.
    pub(crate) fn tell_dom0<B: Doorbell>(&mut self, link: &mut Link<B>) {
        if self.dom0_waits {
            self.dom0_waits = !send(link, &FromDomain::Uplink(self.current.clone()));
        }
    }
}

/// Sends one message at once; `false` when there was no room for it.
pub(crate) fn send<B: Doorbell>(link: &mut Link<B>, message: &impl Serialize) -> bool {
    let mut buffer = [0; codec::MAX_LEN];
    // A message of ours that does not fit the codec cannot be sent later either.
    let Ok(bytes) = codec::encode(message, &mut buffer) else { return true };
    let sent = link.send(&Meta::MESSAGE, &[bytes]).is_ok();
    link.publish();
    sent
}
