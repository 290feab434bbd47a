//! The messages. A receiver treats every field as an allegation.

use crate::pieces::pieces;
use crate::tor::{GatewayCommand, GatewayReport};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Longest domain name in bytes.
pub const NAME_LEN: usize = 31;
/// Longest piece of compiled rules in bytes.
pub const RULES_PIECE: usize = 3840;
/// Longest piece of a torvm's configuration in bytes.
pub const CONFIGURATION_PIECE: usize = 3840;
/// A domain's name.
pub type Name = String<NAME_LEN>;
/// A hardware address.
pub type Mac = [u8; 6];

/// From dom0 to firewallvm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one message at a time, on the stack: boxes save nothing")]
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
    /// A piece of a client's rules, compiled. Pieces come in order, without gaps; one at offset 0 begins anew. With
    /// the last one the program is verified and put in force between two bursts, or refused; either is answered by
    /// [`FromDomain::Rules`]. Until a client has rules nothing of it passes.
    Rules {
        /// Port of the link device.
        port: u8,
        /// Names this set of rules; dom0 counts up.
        generation: u32,
        /// Length of the whole program in bytes.
        total: u32,
        /// Where this piece belongs.
        offset: u32,
        /// The piece.
        bytes: Vec<u8, RULES_PIECE>,
    },
    /// Asks for [`FromDomain::RuleCounters`] of a client.
    GetRuleCounters {
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

impl ToFirewall {
    /// The messages that bring a client's compiled rules, in order.
    pub fn rules(port: u8, generation: u32, program: &[u8]) -> impl Iterator<Item = Self> {
        let total = u32::try_from(program.len()).unwrap_or(u32::MAX);
        pieces(program).map(move |(offset, bytes)| Self::Rules { port, generation, total, offset, bytes })
    }
}

/// What became of the first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It passed.
    Accepted,
    /// It was dropped.
    Dropped,
    /// It was dropped and its sender was told.
    Rejected,
}

/// A decision of a rule that says `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Port of the link device: whose rules.
    pub port: u8,
    /// Which set of rules.
    pub generation: u32,
    /// The rule's number.
    pub rule: u16,
    /// What became of the packet.
    pub fate: Fate,
    /// Whether it was on its way to the client.
    pub inward: bool,
    /// Transport protocol (IANA number).
    pub protocol: u8,
    /// Source address, and port or 0.
    pub source: (IpAddr, u16),
    /// Destination address, and port or ICMP type.
    pub destination: (IpAddr, u16),
    /// Decisions since the last reported one that were not reported, for there were too many.
    pub suppressed: u32,
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

/// From dom0 to torvm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one message at a time, on the stack: boxes save nothing")]
pub enum ToTor {
    /// What torvm is to the firewallvm above it. Before this message nothing goes out.
    Uplink(Client),
    /// A client stands behind this port of the link device; as [`ToFirewall::Client`].
    Client {
        /// Port of the link device.
        port: u8,
        /// Who is there and what it may call itself.
        client: Client,
    },
    /// The client is gone for good: its connections end and its port is free.
    ForgetClient {
        /// Port of the link device.
        port: u8,
    },
    /// What time it is.
    Clock {
        /// Microseconds since the Unix epoch.
        unix_us: u64,
    },
    /// A piece of the gateway program's configuration (TOML). Pieces come in order, without gaps; one at offset 0
    /// begins anew. What becomes of the program with the last one is said by `from`.
    Configuration {
        /// Names this configuration; dom0 counts up.
        generation: u32,
        /// When it counts; the same in every piece.
        from: InForce,
        /// Length of the whole text in bytes.
        total: u32,
        /// Where this piece belongs.
        offset: u32,
        /// The piece.
        bytes: Vec<u8, CONFIGURATION_PIECE>,
    },
    /// Ends the gateway program and starts it again.
    RestartProgram,
    /// For the gateway program.
    Gateway(GatewayCommand),
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

impl ToTor {
    /// The messages that bring a configuration, in order.
    pub fn configuration(generation: u32, text: &str, from: InForce) -> impl Iterator<Item = Self> {
        let total = u32::try_from(text.len()).unwrap_or(u32::MAX);
        pieces(text.as_bytes()).map(move |(offset, bytes)| Self::Configuration {
            generation,
            from,
            total,
            offset,
            bytes,
        })
    }
}

/// When a configuration of the gateway program counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InForce {
    /// At once: the program is started with it, or started again.
    Now,
    /// At the program's next start, whenever that is. One that runs goes on; it is told by other messages what is
    /// different ([`GatewayCommand::SetIsolation`]).
    NextStart,
}

/// What the gateway program does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// It runs.
    Started {
        /// How often it was started since the domain was.
        run: u32,
    },
    /// It ended, and is started again unless the domain lacks something.
    Ended {
        /// How often it was started since the domain was.
        run: u32,
        /// How it ended.
        how: String<96>,
    },
    /// It cannot be started.
    Refused {
        /// Why not.
        why: String<96>,
    },
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
#[expect(clippy::large_enum_variant, reason = "one message at a time, on the stack: boxes save nothing")]
pub enum FromDomain {
    /// First message after every start.
    Hello {
        /// What the domain is: `netvm`, `firewallvm`, `torvm`.
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
    /// What became of a client's rules.
    Rules {
        /// Port of the link device.
        port: u8,
        /// Which set of rules.
        generation: u32,
        /// Why they were refused (the previous ones stay in force); `None`: they are in force.
        refused: Option<String<64>>,
    },
    /// A decision of a rule that says `log`.
    Decision(Decision),
    /// How often each rule of a client decided since its rules were put in force, in order from `first`.
    RuleCounters {
        /// Port of the link device.
        port: u8,
        /// Which set of rules.
        generation: u32,
        /// Number of the first rule of this message.
        first: u16,
        /// Decisions per rule.
        hits: Vec<u64, 128>,
        /// What the final policy dropped.
        no_rule: u64,
        /// Whether another message follows.
        more: bool,
    },
    /// What the gateway program does (torvm only).
    Program(Program),
    /// From the gateway program (torvm only), as hostile as the program may be.
    Gateway(GatewayReport),
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
