//! Where a client of the public network begins, from arti's own list.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use tor_dircommon::config::NetworkConfig;
use tor_linkspec::HasAddrs;
use tor_llcrypto::pk::rsa::RsaIdentity;

/// What comes with arti.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The authorities' identities.
    pub authorities: Vec<RsaIdentity>,
    /// Addresses of the fallback directories: the relays that a client asks for the first consensus. The authorities'
    /// own directory ports are not among them; a client of arti's speaks to no directory but through a relay.
    pub fallbacks: BTreeSet<SocketAddr>,
}

impl Bootstrap {
    /// The public network's.
    #[must_use]
    pub fn public() -> Self {
        let network = NetworkConfig::default();
        Self {
            authorities: network.authorities().v3idents().clone(),
            fallbacks: network.fallback_caches().iter().flat_map(HasAddrs::addrs).collect(),
        }
    }
}
