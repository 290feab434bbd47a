//! What netvm says about the uplink.

use crate::{address::Address as _, state::Core};
use control::message;
use packet::ethernet::Mac;

/// Smallest MTU that an uplink may claim: RFC 791's, IPv6 is switched off below its own.
const MIN_MTU: u16 = 576;
/// Smallest MTU for IPv6 (RFC 8200 §5).
const MIN_MTU_V6: u16 = 1280;

/// The uplink's properties that belong to no address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The card's hardware address: what frames to netvm are addressed to.
    pub mac: Mac,
    /// Largest IP packet.
    pub mtu: u16,
    /// Whether the cable is connected.
    pub link_up: bool,
}

impl Default for Uplink {
    fn default() -> Self {
        Self { mac: [0; 6], mtu: 1500, link_up: false }
    }
}

impl Core {
    /// Takes over what netvm said. netvm is believed about the network it is on, not about the inside: addresses
    /// that are ours or nobody's count as absent.
    pub fn set_uplink(&mut self, said: &message::Uplink) {
        let mtu = said.mtu.max(MIN_MTU);
        self.common.uplink = Uplink { mac: said.mac, mtu, link_up: said.link_up };
        let v4 = said.v4.as_ref().filter(|v4| {
            let inside = self.common.all_clients().any(|client| client.covers_v4(v4.address));
            !v4.address.is_bad_source() && !v4.address.is_internal() && !inside
        });
        let resolvers = v4.iter().flat_map(|v4| v4.dns.iter().copied());
        self.v4.set_uplink(v4.map(|v4| v4.address), resolvers, &mut self.common.policy);
        let v6 = said.v6.as_ref().filter(|v6| {
            let inside = self.common.all_clients().any(|client| client.covers_v6(v6.address));
            !v6.address.is_bad_source() && !v6.address.is_internal() && !inside && mtu >= MIN_MTU_V6
        });
        let resolvers = v6.iter().flat_map(|v6| v6.dns.iter().copied());
        self.v6.set_uplink(v6.map(|v6| v6.address), resolvers, &mut self.common.policy);
        self.common.names.set_own(self.v4.address.map(Into::into), self.v6.address.map(Into::into));
    }
}
