//! What is counted: every frame that goes nowhere, under the reason, and what happens to connections.

use packet::Fault;

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident = $counter:literal,)+) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Count { $($(#[doc = $doc])+ $name,)+ }

        impl Count {
            /// All of it, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The counter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $counter,)+ }
            }
        }
    };
}

counts! {
    /// The frame is shorter than its headers.
    Truncated = "drop_truncated",
    /// Neither ARP nor IP.
    EtherType = "drop_ethertype",
    /// ARP that is not IPv4 over Ethernet, or not from who it says.
    Arp = "drop_arp",
    /// Impossible IP version, header length or total length.
    IpHeader = "drop_ip_header",
    /// Wrong IP checksum.
    IpChecksum = "drop_ip_checksum",
    /// IPv4 options or IPv6 extension headers.
    IpOptions = "drop_ip_options",
    /// Transport header and packet disagree.
    TransportLength = "drop_transport_length",
    /// Wrong checksum of TCP or UDP.
    TransportChecksum = "drop_transport_checksum",
    /// Impossible TCP flags.
    TcpFlags = "drop_tcp_flags",
    /// Port 0.
    PortZero = "drop_port_zero",
    /// Checksum or segmentation metadata that the headers do not bear out.
    Offload = "drop_offload",
    /// A message where only frames may come.
    Message = "drop_message",
    /// The Ethernet source is not the client's.
    SourceMac = "drop_source_mac",
    /// The Ethernet destination is neither ours nor everybody's.
    DestinationMac = "drop_destination_mac",
    /// The source address is not the client's.
    Spoofed = "drop_spoofed",
    /// To a group: mDNS, LLMNR, NetBIOS and the like.
    Multicast = "drop_multicast",
    /// To an address that nobody may have, or an IPv6 address that is not a global one of its own.
    Destination = "drop_destination",
    /// UDP other than DNS.
    Udp = "drop_udp",
    /// ICMP, echo included.
    Icmp = "drop_icmp",
    /// Neither TCP, UDP nor ICMP.
    Protocol = "drop_protocol",
    /// A fragment.
    Fragment = "drop_fragment",
    /// IPv6 other than TCP, DNS and what the link itself needs.
    Ipv6 = "drop_ipv6",
    /// Neighbour discovery that did not come from the link, or says what only a router may say.
    Neighbour = "drop_neighbour",
    /// Malformed DHCP, or not for us.
    Dhcp = "drop_dhcp",
    /// A segment of no connection.
    NoConnection = "drop_no_connection",
    /// A connection where nobody listens.
    NoListener = "drop_no_listener",
    /// A connection beyond what the listener takes at once.
    Backlog = "drop_backlog",
    /// A connection beyond the client's share, or beyond all that there may be.
    Quota = "drop_quota",
    /// A question when nobody hears them, or too many wait.
    DnsQueue = "drop_dns_queue",
    /// A datagram that is too long or too short to be a question.
    DnsLength = "drop_dns_length",
    /// The client has no link now, or it is full.
    LinkDown = "drop_link_down",
    /// A frame of the uplink that is not for us.
    UplinkStray = "drop_uplink_stray",
    /// A packet that would have left on the uplink although it is not of the program's connections: our own mistake.
    Internal = "drop_internal",
    /// ICMP errors told to clients.
    Prohibited = "told_prohibited",
    /// Resets told to clients about connections that there are not.
    ResetTold = "told_reset",
    /// Clients' connections that were established.
    Accepted = "connections_accepted",
    /// Connections begun through the uplink.
    Connected = "connections_begun",
    /// Connections that their peer reset or refused.
    PeerReset = "connections_peer_reset",
    /// Connections whose peer did not answer in time.
    TimedOut = "connections_timed_out",
    /// Questions handed to the program.
    Questions = "dns_questions",
    /// Answers handed to clients.
    Answers = "dns_answers",
    /// Answers to questions that nobody asked, or too long ago.
    AnswerStale = "dns_answers_stale",
}

impl From<Fault> for Count {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Truncated => Self::Truncated,
            Fault::EtherType => Self::EtherType,
            Fault::Arp => Self::Arp,
            Fault::IpHeader | Fault::IpLength => Self::IpHeader,
            Fault::IpChecksum => Self::IpChecksum,
            Fault::IpOptions | Fault::ExtensionHeader | Fault::RoutingHeader | Fault::Jumbogram => {
                Self::IpOptions
            }
            Fault::FragmentShape => Self::Fragment,
            Fault::Protocol => Self::Protocol,
            Fault::TransportLength => Self::TransportLength,
            Fault::TcpFlags => Self::TcpFlags,
            Fault::PortZero => Self::PortZero,
        }
    }
}

/// How often what happened.
#[derive(Clone, Debug)]
pub struct Counters([u64; Count::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Count::ALL.len()])
    }
}

impl Counters {
    /// Counts one.
    pub(super) fn add(&mut self, what: Count) {
        if let Some(counter) = self.0.get_mut(what as usize) {
            *counter += 1;
        }
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, what: Count) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0)
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Count::ALL.iter().zip(self.0).map(|(what, count)| (what.name(), count))
    }
}
