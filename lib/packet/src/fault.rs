//! Why a frame is not a packet we deal with.

/// The first thing found wrong with a frame. Each is one counter in the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Shorter than the headers that it must have.
    Truncated,
    /// Neither ARP, IPv4 nor IPv6; a VLAN tag is this too.
    EtherType,
    /// ARP for something other than IPv4 over Ethernet.
    Arp,
    /// The IP version or header length is impossible.
    IpHeader,
    /// The IP header's checksum is wrong.
    IpChecksum,
    /// The IP length disagrees with the frame.
    IpLength,
    /// IPv4 options (RFC 7126 advises to drop the dangerous ones; nothing needs the others).
    IpOptions,
    /// IPv6 extension headers in an order, number or form that RFC 8200 does not allow, or unknown.
    ExtensionHeader,
    /// An IPv6 routing header (RFC 5095 for type 0; no other type is needed by a client).
    RoutingHeader,
    /// A jumbogram (RFC 2675): longer than any link here.
    Jumbogram,
    /// A fragment of impossible size or position.
    FragmentShape,
    /// Neither TCP, UDP nor ICMP.
    Protocol,
    /// A transport header that does not fit its packet, or a UDP length that disagrees with IP.
    TransportLength,
    /// A combination of TCP flags that no TCP sends.
    TcpFlags,
    /// Port 0.
    PortZero,
}
