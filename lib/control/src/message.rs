//! The messages. A receiver treats every field as an allegation.

use core::net::{Ipv4Addr, Ipv6Addr};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Longest domain name in bytes.
pub const NAME_LEN: usize = 31;
/// A domain's name.
pub type Name = String<NAME_LEN>;
/// A hardware address.
pub type Mac = [u8; 6];

/// From dom0 to firewallvm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToFirewall {
    /// A client stands behind this port of the link device. Before this message nothing that arrives on
    /// the port is looked at. A second message for the same port replaces the first.
    Client {
        /// Port of the link device.
        port: u8,
        /// Who is there and what it may call itself.
        client: Client,
    },
    /// The client is gone for good: its flows and its port are free.
    ForgetClient {
        /// Port of the link device.
        port: u8,
    },
    /// Asks for [`FromDomain::Counters`].
    GetCounters,
    /// Asks for [`FromDomain::Pong`].
    Ping {
        /// Echoed.
        nonce: u64,
    },
    /// Asks for an orderly end.
    Stop,
}

/// A client domain as firewallvm serves it: one point-to-point Ethernet with one station on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Domain name.
    pub name: Name,
    /// The client's hardware address.
    pub mac: Mac,
    /// The address that the client gets by DHCP.
    pub v4: Ipv4Addr,
    /// firewallvm's address on this link: gateway and DHCP server.
    pub v4_gateway: Ipv4Addr,
    /// Length of the IPv4 prefix announced to the client.
    pub v4_prefix: u8,
    /// /64 announced to the client; absent: no IPv6 for this client.
    pub v6_prefix: Option<Ipv6Addr>,
    /// Largest IP packet on the link.
    pub mtu: u16,
}

/// From dom0 to netvm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNet {
    /// How the NIC gets its addresses; sent after every start. Until then netvm uses [`Nic::default`].
    Nic(Nic),
    /// Asks for [`FromDomain::Counters`].
    GetCounters,
    /// Asks for [`FromDomain::Pong`].
    Ping {
        /// Echoed.
        nonce: u64,
    },
    /// Asks for an orderly end.
    Stop,
}

/// How the uplink gets its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// IPv4.
    pub v4: V4Config,
    /// IPv6.
    pub v6: V6Config,
}

/// How the uplink gets its IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum V4Config {
    /// By DHCP.
    #[default]
    Dhcp,
    /// Fixed.
    Static(V4),
    /// None.
    Off,
}

/// How the uplink gets its IPv6 address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum V6Config {
    /// From router advertisements: SLAAC, DHCPv6 where they ask for it.
    #[default]
    Auto,
    /// Fixed.
    Static(V6),
    /// None.
    Off,
}

/// An IPv4 configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V4 {
    /// Own address.
    pub address: Ipv4Addr,
    /// Prefix length of the segment.
    pub prefix: u8,
    /// Default router.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr, 3>,
}

/// An IPv6 configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V6 {
    /// Own address.
    pub address: Ipv6Addr,
    /// Prefix length of the segment.
    pub prefix: u8,
    /// Default router.
    pub gateway: Option<Ipv6Addr>,
    /// Name servers.
    pub dns: Vec<Ipv6Addr, 3>,
}

/// What netvm knows of the uplink; sent to firewallvm (and dom0) at every change and after every attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Whether the cable is connected.
    pub link_up: bool,
    /// The NIC's hardware address.
    pub mac: Mac,
    /// Largest IP packet.
    pub mtu: u16,
    /// IPv4, once configured.
    pub v4: Option<V4>,
    /// IPv6, once configured.
    pub v6: Option<V6>,
}

/// From netvm to firewallvm, on the link that carries their packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetToFirewall {
    /// The uplink as it is now.
    Uplink(Uplink),
}

/// From any driver domain to dom0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a domain has no allocator to box with; one message at a time")]
pub enum FromDomain {
    /// First message after every start.
    Hello {
        /// What the domain is: `netvm`, `firewallvm`.
        kind: Name,
        /// Version of the image.
        version: Name,
    },
    /// The uplink changed (netvm only).
    Uplink(Uplink),
    /// Some of the counters; `more` when another message follows.
    Counters {
        /// Name and value.
        counters: Vec<(String<40>, u64), 32>,
        /// Whether another message follows.
        more: bool,
    },
    /// Answer to a ping.
    Pong {
        /// From the ping.
        nonce: u64,
    },
    /// The peer on this port broke the link's protocol; the port is dead until a new epoch.
    PeerFault {
        /// Port of the link device.
        port: u8,
        /// What it did.
        what: String<64>,
    },
}
