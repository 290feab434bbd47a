//! What the firewall knows, without any link: the state that verdicts are made of.

use crate::{
    address::Address, clients::Clients, flows::Flows, fragments::Fragments, hash::Random, names::Names,
    policy::Policy, rejudge::Sweep, resets::Resets, uplink::Uplink, verdict::Drops,
};
use core::net::{Ipv4Addr, Ipv6Addr};
use first_hop::client::{Budget, Client};
use heapless::Vec;

/// How much the firewall may remember, and its secret.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// IPv4 flows at most.
    pub v4_flows: u32,
    /// IPv6 flows at most.
    pub v6_flows: u32,
    /// Secret random bytes, used for nothing else.
    pub seed: [u8; 64],
}

/// The firewall cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// Not enough memory for the tables.
    OutOfMemory,
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not enough memory for the flow tables")
    }
}

impl core::error::Error for SetupError {}

/// One address family.
#[derive(Debug)]
pub struct Family<A> {
    /// Connections.
    pub flows: Flows<A>,
    /// The uplink's address; `None`: no packet of this family passes.
    pub address: Option<A>,
    /// The uplink's name servers.
    pub resolvers: Vec<A, 3>,
    /// The look at every flow after rules have changed.
    pub sweep: Sweep,
}

/// Everything but the families.
#[derive(Debug)]
pub struct Common {
    /// The clients by port of the link device.
    pub clients: Clients,
    /// The uplink.
    pub uplink: Uplink,
    /// The rules.
    pub policy: Policy,
    /// Counts changes of any client's rules: a flow judged in another generation is judged again.
    pub generation: u16,
    /// Generations that began since every flow was of the last one.
    pub changes: u16,
    /// What clients were told about the names in their rules.
    pub names: Names,
    /// Resets that are to be sent.
    pub resets: Resets,
    /// Unpredictable numbers.
    pub random: Random,
    /// Secret for NAT ports that are to stay the same.
    pub port_key: crate::hash::Key,
    /// Seconds since some start.
    pub now: u32,
    /// Microseconds since the same start.
    pub now_us: u64,
    /// Errors that we may still send to the uplink.
    pub net_errors: Budget,
}

/// The state.
#[derive(Debug)]
pub struct Core {
    /// IPv4.
    pub v4: Family<Ipv4Addr>,
    /// IPv6.
    pub v6: Family<Ipv6Addr>,
    /// The rest.
    pub common: Common,
    /// Datagrams in the making.
    pub fragments: Fragments,
    /// What was dropped and why.
    pub drops: Drops,
}

impl Core {
    /// A firewall without clients and uplink.
    ///
    /// # Errors
    /// [`SetupError::OutOfMemory`].
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        let mut keys = setup.seed.as_chunks::<16>().0.iter().map(|bytes| {
            let [low, high] = [0, 8].map(|at| {
                let half = bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
                u64::from_le_bytes(half.unwrap_or_default())
            });
            [low, high]
        });
        let mut key = || keys.next().unwrap_or_default();
        let v4 = Family::new(setup.v4_flows, key()).ok_or(SetupError::OutOfMemory)?;
        let v6 = Family::new(setup.v6_flows, key()).ok_or(SetupError::OutOfMemory)?;
        let mut random = Random::new(key());
        Ok(Self {
            v4,
            v6,
            common: Common {
                clients: Clients::new(),
                uplink: Uplink::default(),
                policy: Policy::new().ok_or(SetupError::OutOfMemory)?,
                generation: 0,
                changes: 0,
                resets: Resets::new().ok_or(SetupError::OutOfMemory)?,
                names: Names::new(&mut random),
                random,
                port_key: key(),
                now: 0,
                now_us: 0,
                net_errors: Budget::default(),
            },
            fragments: Fragments::new(),
            drops: Drops::default(),
        })
    }

    /// Sets the time; never goes back.
    pub fn set_time(&mut self, now_us: u64) {
        let common = &mut self.common;
        common.now_us = common.now_us.max(now_us);
        common.now = u32::try_from(common.now_us / 1_000_000).unwrap_or(u32::MAX / 2);
    }

    /// Does what is due; `false` when there is more.
    pub fn expire(&mut self) -> bool {
        let Self { v4, v6, common, fragments, drops } = self;
        let now = common.now;
        fragments.expire(now, drops);
        v4.flows.expire(now, |flow| common.policy.closed(flow))
            & v6.flows.expire(now, |flow| common.policy.closed(flow))
    }

    /// When something will be due, in seconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u32> {
        [self.v4.flows.next_expiry(), self.v6.flows.next_expiry(), self.fragments.next_expiry()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The client on a port.
    #[must_use]
    pub fn client(&self, port: u8) -> Option<&Client> {
        self.common.client(port)
    }
}

impl Common {
    /// The client on a port.
    #[inline]
    #[must_use]
    pub fn client(&self, port: u8) -> Option<&Client> {
        self.clients.get(port)
    }

    /// Takes one error from the allowance of the client on a port; `false` when it is used up.
    pub fn may_tell(&mut self, port: u8) -> bool {
        self.clients.may_be_told(port, self.now_us)
    }

    /// All clients.
    pub fn all_clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|(_, client)| client)
    }
}

impl<A: Address> Family<A> {
    fn new(flows: u32, key: crate::hash::Key) -> Option<Self> {
        Some(Self {
            flows: Flows::new(flows, key)?,
            address: None,
            resolvers: Vec::new(),
            sweep: Sweep::default(),
        })
    }

    /// Takes over the uplink's configuration. Flows survive as long as the address does.
    pub fn set_uplink(
        &mut self,
        address: Option<A>,
        resolvers: impl Iterator<Item = A>,
        policy: &mut Policy,
    ) {
        let resolvers =
            resolvers.filter(|resolver| !resolver.is_internal() && !resolver.is_bad_destination());
        self.resolvers = resolvers.take(3).collect();
        // Without an address nothing passes, but the same one may come back: only another one ends the flows.
        if let Some(new) = address {
            if self.flows.address().is_some_and(|old| old != new) {
                self.flows.remove_uplink(|flow| policy.closed(flow));
            }
            self.flows.set_address(new);
        }
        self.address = address;
    }
}

impl Core {
    /// What the uplink has to offer to IPv6.
    #[must_use]
    pub fn offer(&self) -> first_hop::nd::Offer {
        first_hop::nd::Offer {
            router: self.v6.address.is_some(),
            resolver: !self.v6.resolvers.is_empty(),
            mtu: self.common.uplink.mtu,
        }
    }

    /// A name for the pieces of a packet, drawn only if it will be cut.
    #[inline]
    pub fn identification(
        &mut self,
        headers: &packet::headers::Headers,
        segment: Option<u16>,
        mtu: u16,
    ) -> u32 {
        if segment.is_some() || headers.ip_len() <= usize::from(mtu) {
            return 0;
        }
        (self.common.random.next_u64() & 0xFFFF_FFFF) as u32
    }
}
