//! What can be odd about a packet: where a router and a firewall may differ.

/// One kind of oddity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Odd {
    /// No hop left: the field is 0 or 1.
    NoHop,
    /// Longer than the uplink takes, and not to be cut.
    TooLong,
    /// IPv4 options.
    Options,
    /// To an address that no router forwards to, or none should: groups, loopback, reserved.
    Destination,
    /// To the router's own address on the uplink.
    Ours,
    /// To an address of the inside that nobody has.
    Inside,
    /// To a virtual name server, but not by DNS.
    NotDns,
    /// From an address that is not the client's.
    Spoofed,
    /// From or to port 0.
    PortZero,
    /// TCP, but no opening segment: no SYN, or more than a SYN.
    NotSyn,
    /// ICMP, but no echo request.
    NotEcho,
    /// A transport protocol that no rule can name.
    Protocol,
    /// A hop-by-hop or destination options header.
    OptionsHeader,
    /// A hop-by-hop options header where none may be, or more than two destination options headers.
    HeaderOrder,
    /// A routing header.
    RoutingHeader,
    /// An option that says "discard me if you do not know me".
    DiscardOption,
    /// A jumbo payload option.
    Jumbo,
    /// A fragment header on a whole datagram.
    Atomic,
    /// A first fragment without all of the transport header.
    TinyFragment,
    /// Fragments that overlap.
    Overlap,
    /// A fragment, and then the whole datagram as a fragment of its own.
    WholeAmongFragments,
    /// The same fragment twice.
    Duplicate,
    /// A fragment is missing.
    Missing,
    /// A fragment whose length is no multiple of 8 though more follow.
    Ragged,
    /// A fragment that ends beyond 64 KiB.
    BeyondEnd,
    /// A header that is longer, shorter or of another version than its packet.
    Header,
    /// An IP packet that says it is longer than the frame.
    LongerThanFrame,
    /// An IP packet that ends before its frame and before its transport does.
    CutByLength,
    /// A wrong IPv4 header checksum.
    IpChecksum,
    /// A wrong transport checksum.
    TransportChecksum,
    /// A UDP checksum of 0 over IPv6.
    NoChecksum6,
    /// A transport length or header length that does not fit.
    TransportLength,
}

impl Odd {
    /// Whether the rules alone decide all the same.
    pub(crate) const fn is_harmless(self) -> bool {
        matches!(self, Self::OptionsHeader | Self::Atomic)
    }
}
