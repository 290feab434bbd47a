//! What becomes of a frame, and the counter of every reason for which one is dropped.

use core::net::{Ipv4Addr, Ipv6Addr};
use packet::{Fault, arp::Arp, icmp, icmpv6, rewrite::Endpoints};

/// What becomes of one frame. Small on purpose: whoever carries it out has the frame at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes to the uplink, translated.
    ToNet(Translation),
    /// Goes to the client on this port, translated.
    ToClient(u8, Translation),
    /// Was meant for us: the sender gets this back.
    Answer(Answer),
    /// Was meant for us, or is kept until the rest of its datagram comes; nothing leaves.
    Absorbed,
    /// The last missing fragment: the whole datagram is to be judged in its place.
    Complete,
    /// Goes nowhere.
    Drop(DropReason),
}

/// What is to be written into a frame before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// New addresses and ports.
    V4(Endpoints<Ipv4Addr>),
    /// New addresses and ports.
    V6(Endpoints<Ipv6Addr>),
    /// An ICMP error: source and destination outside, addresses and ports of the packet it quotes.
    Error4((Ipv4Addr, Ipv4Addr), Endpoints<Ipv4Addr>),
    /// An ICMPv6 error, likewise.
    Error6((Ipv6Addr, Ipv6Addr), Endpoints<Ipv6Addr>),
}

/// What the firewall itself says to the sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The hardware address that was asked for.
    Arp(Arp),
    /// The echo.
    Echo,
    /// The hardware address that was asked for, IPv6.
    Neighbour(Ipv6Addr),
    /// The router that was asked for.
    Router,
    /// The lease.
    Dhcp,
    /// An error about an IPv4 packet.
    Error4(icmp::Error),
    /// An error about an IPv6 packet.
    Error6(icmpv6::Error),
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $counter:literal,)+) => {
        /// Why a frame was dropped. Each has a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[doc = $doc])+ $name,)+ }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The counter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $counter,)+ }
            }
        }
    };
}

reasons! {
    /// The frame is shorter than its headers.
    Truncated = "drop_truncated",
    /// Neither ARP nor IP.
    EtherType = "drop_ethertype",
    /// ARP that is not IPv4 over Ethernet, or not from who it says.
    Arp = "drop_arp",
    /// Impossible IP version or header length.
    IpHeader = "drop_ip_header",
    /// Wrong IP checksum.
    IpChecksum = "drop_ip_checksum",
    /// IP length and frame disagree.
    IpLength = "drop_ip_length",
    /// IPv4 options.
    IpOptions = "drop_ip_options",
    /// Extension headers that RFC 8200 does not allow.
    ExtensionHeader = "drop_extension_header",
    /// A routing header.
    RoutingHeader = "drop_routing_header",
    /// A jumbogram.
    Jumbogram = "drop_jumbogram",
    /// Neither TCP, UDP nor ICMP.
    Protocol = "drop_protocol",
    /// Transport header and packet disagree.
    TransportLength = "drop_transport_length",
    /// Impossible TCP flags.
    TcpFlags = "drop_tcp_flags",
    /// Port 0.
    PortZero = "drop_port_zero",
    /// Checksum or segmentation metadata that the headers do not bear out.
    Offload = "drop_offload",
    /// The Ethernet source is not the client's.
    SourceMac = "drop_source_mac",
    /// The Ethernet destination is neither ours nor everybody's.
    DestinationMac = "drop_destination_mac",
    /// The source address is not one that may come from this link.
    Spoofed = "drop_spoofed",
    /// The destination is no address that packets are forwarded to.
    Destination = "drop_destination",
    /// The destination is another client, or would be.
    Isolation = "drop_isolation",
    /// To one of our own addresses, for a service that we do not offer.
    NotForUs = "drop_not_for_us",
    /// To an address of the uplink that is not (or no longer) ours.
    NotOurs = "drop_not_ours",
    /// Group traffic.
    Multicast = "drop_multicast",
    /// Policy forbids it.
    Policy = "drop_policy",
    /// From the uplink, and no client asked for it.
    NoFlow = "drop_no_flow",
    /// A TCP segment that opens no connection, of a connection we do not know.
    TcpNotSyn = "drop_tcp_not_syn",
    /// A TCP segment that its connection's state does not allow.
    TcpState = "drop_tcp_state",
    /// A TCP segment outside the window.
    TcpWindow = "drop_tcp_window",
    /// No hop left.
    HopLimit = "drop_hop_limit",
    /// Longer than the next link takes.
    TooBig = "drop_too_big",
    /// An ICMP type that is not forwarded.
    IcmpType = "drop_icmp_type",
    /// An ICMP message with a wrong checksum.
    IcmpChecksum = "drop_icmp_checksum",
    /// An ICMP error about a packet that was not sent.
    IcmpQuote = "drop_icmp_quote",
    /// An ICMP error that announces an impossibly small MTU.
    IcmpMtu = "drop_icmp_mtu",
    /// Neighbour discovery that did not come from the link, or says what only a router may say.
    Neighbour = "drop_neighbour",
    /// Malformed DHCP, or not for us.
    Dhcp = "drop_dhcp",
    /// No virtual name server is behind this address now.
    NoResolver = "drop_no_resolver",
    /// The uplink is not there or has no such address.
    NoUplink = "drop_no_uplink",
    /// The client has its share of flows.
    FlowQuota = "drop_flow_quota",
    /// No room for another flow.
    FlowsFull = "drop_flows_full",
    /// No port of the uplink address is free towards this destination.
    PortsExhausted = "drop_ports_exhausted",
    /// Fragment of impossible size or position.
    FragmentShape = "drop_fragment_shape",
    /// Fragment that overlaps another: its datagram is dropped (RFC 5722).
    FragmentOverlap = "drop_fragment_overlap",
    /// The sender's reassembly buffers are taken.
    FragmentQuota = "drop_fragment_quota",
    /// More fragments than one datagram may have.
    FragmentCount = "drop_fragment_count",
    /// A datagram whose missing fragments did not come in time.
    FragmentTimeout = "drop_fragment_timeout",
    /// The receiver's link is full.
    QueueFull = "drop_queue_full",
    /// The receiver is not there.
    LinkDown = "drop_link_down",
    /// A message where only frames may come, a frame where only messages may, or a malformed message.
    Message = "drop_message",
    /// Our own mistake: a frame that could not be written as planned.
    Internal = "drop_internal",
}

impl From<Fault> for DropReason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Truncated => Self::Truncated,
            Fault::EtherType => Self::EtherType,
            Fault::Arp => Self::Arp,
            Fault::IpHeader => Self::IpHeader,
            Fault::IpChecksum => Self::IpChecksum,
            Fault::IpLength => Self::IpLength,
            Fault::IpOptions => Self::IpOptions,
            Fault::ExtensionHeader => Self::ExtensionHeader,
            Fault::RoutingHeader => Self::RoutingHeader,
            Fault::Jumbogram => Self::Jumbogram,
            Fault::FragmentShape => Self::FragmentShape,
            Fault::Protocol => Self::Protocol,
            Fault::TransportLength => Self::TransportLength,
            Fault::TcpFlags => Self::TcpFlags,
            Fault::PortZero => Self::PortZero,
        }
    }
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        Self::Drop(fault.into())
    }
}

impl From<DropReason> for Verdict {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// How many frames were dropped for each reason.
#[derive(Clone, Debug)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.iter().zip(self.0).map(|(reason, count)| (reason.name(), count))
    }
}
