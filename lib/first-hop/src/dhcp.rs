//! The DHCP server (RFC 2131) of a link with one client, whose address is known beforehand.
//!
//! smoltcp's formats, but not its option parser: that one refuses messages whose client identifier looks like a
//! hardware address of another kind, and a server has no reason to look at it at all.

use crate::{
    Refused,
    address::{DNS_V4, OUR_MAC},
    client::Client,
};
use core::net::Ipv4Addr;
use packet::{
    checksum::pseudo_v4,
    ethernet::{self, Ethernet},
    headers::{Headers, Transport},
    ipv4::{self, Ipv4},
    udp::{self, Udp},
};
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};

/// The server's port.
const SERVER_PORT: u16 = 67;
/// The client's port.
const CLIENT_PORT: u16 = 68;
/// Seconds for which an address is leased; it is the client's for good anyway.
const LEASE: u32 = 86_400;
/// Everything before the DHCP message.
const HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
/// Shortest BOOTP message (RFC 1542 §2.1): some clients refuse shorter ones.
const MIN_MESSAGE: usize = 300;
/// First word of the options.
const MAGIC: u32 = 0x6382_5363;

const OPTION_REQUESTED: u8 = 50;
const OPTION_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_CLIENT_ID: u8 = 61;
const OPTION_MTU: u8 = 26;
const OPTION_RENEWAL: u8 = 58;
const OPTION_REBINDING: u8 = 59;

/// Whether a packet is from a DHCP client to a DHCP server.
#[must_use]
pub fn is_request(headers: &Headers) -> bool {
    matches!(headers.transport, Transport::Udp(udp)
        if (udp.source_port, udp.destination_port) == (CLIENT_PORT, SERVER_PORT))
}

/// What the client says, as far as it matters.
#[derive(Debug, Default)]
struct Request<'a> {
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client_id: Option<&'a [u8]>,
}

/// Reads the options.
fn read<'a>(packet: &'a DhcpPacket<&'a [u8]>) -> Request<'a> {
    let mut request = Request::default();
    for option in packet.options() {
        match (option.kind, option.data) {
            (OPTION_TYPE, [kind]) => request.kind = *kind,
            (OPTION_REQUESTED, &[a, b, c, d]) => request.requested = Some(Ipv4Addr::new(a, b, c, d)),
            (OPTION_SERVER, &[a, b, c, d]) => request.server = Some(Ipv4Addr::new(a, b, c, d)),
            (OPTION_CLIENT_ID, id) => request.client_id = Some(id),
            _ => {}
        }
    }
    request
}

/// Answers the DHCP message `payload` of a client: writes a frame to the start of `out` and gives its length.
///
/// # Errors
/// [`Refused`] what is malformed, not for us, or needs no answer.
pub fn answer(out: &mut [u8], client: &Client, payload: &[u8], mtu: u16) -> Result<usize, Refused> {
    let packet = DhcpPacket::new_checked(payload).map_err(|_| Refused)?;
    let from_client = payload.first_chunk() == Some(&[1, 1, 6]) // request, Ethernet, six bytes of address
        && packet.magic_number() == MAGIC
        && packet.client_hardware_address().as_bytes() == client.mac
        && packet.relay_agent_ip().is_unspecified();
    if !from_client {
        return Err(Refused);
    }
    let request = read(&packet);
    if request.server.is_some_and(|server| server != client.v4_gateway) {
        return Err(Refused);
    }
    let wanted = request.requested.unwrap_or_else(|| packet.client_ip());
    let kind = match DhcpMessageType::from(request.kind) {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request if wanted == client.v4 => DhcpMessageType::Ack,
        DhcpMessageType::Request => DhcpMessageType::Nak,
        DhcpMessageType::Inform if packet.client_ip() == client.v4 => DhcpMessageType::Ack,
        // Decline and release change nothing: the address stays the client's.
        _ => return Err(Refused),
    };
    let informs = DhcpMessageType::from(request.kind) == DhcpMessageType::Inform;
    let message = Message { client, packet: &packet, request: &request, kind, informs, mtu };
    message.emit(out).ok_or(Refused)
}

/// A reply to be written.
struct Message<'a> {
    client: &'a Client,
    packet: &'a DhcpPacket<&'a [u8]>,
    request: &'a Request<'a>,
    kind: DhcpMessageType,
    informs: bool,
    mtu: u16,
}

impl Message<'_> {
    /// Writes the frame.
    fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let body = out.get_mut(HEADERS..)?;
        let len = self.emit_message(body)?;
        let message = body.get(..len)?;
        let client = self.client;
        // RFC 2131 §4.1: a refusal goes to everybody, as the client has no address; else the client says.
        let everybody = self.kind == DhcpMessageType::Nak || self.wants_broadcast();
        let destination = if everybody { Ipv4Addr::BROADCAST } else { client.v4 };
        let udp_len = u16::try_from(udp::HEADER_LEN + len).ok()?;
        let mut udp =
            Udp { source_port: SERVER_PORT, destination_port: CLIENT_PORT, len: udp_len, checksum: 0 };
        let pseudo = pseudo_v4(client.v4_gateway, destination, ipv4::UDP, u32::from(udp_len));
        udp.checksum = match pseudo.bytes(&udp.emit()).bytes(message).finish() {
            0 => 0xFFFF,
            sum => sum,
        };
        let ip = Ipv4 {
            source: client.v4_gateway,
            destination,
            ttl: 64,
            protocol: ipv4::UDP,
            total_len: u16::try_from(ipv4::HEADER_LEN).ok()?.checked_add(udp_len)?,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            identification: 0,
        };
        let mac = if everybody { ethernet::BROADCAST } else { client.mac };
        let (head, rest) = out.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>()?;
        *head = Ethernet { destination: mac, source: OUR_MAC, ethertype: ethernet::IPV4 }.emit();
        let (head, rest) = rest.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        *head = ip.emit();
        *rest.first_chunk_mut()? = udp.emit();
        Some(HEADERS + len)
    }

    /// Writes the DHCP message, padded.
    fn emit_message(&self, out: &mut [u8]) -> Option<usize> {
        let client = self.client;
        let (refused, leased) = (self.kind == DhcpMessageType::Nak, !self.informs);
        let mask = u32::MAX.checked_shl(32 - u32::from(client.v4_prefix.min(32))).unwrap_or(0);
        let mtu = client.mtu.min(self.mtu).to_be_bytes();
        let (renewal, rebinding) = ((LEASE / 2).to_be_bytes(), (LEASE / 8 * 7).to_be_bytes());
        // RFC 6842: the identifier comes back as it was.
        let mut options: heapless::Vec<DhcpOption<'_>, 4> = heapless::Vec::new();
        if let Some(data) = self.request.client_id {
            options.push(DhcpOption { kind: OPTION_CLIENT_ID, data }).ok()?;
        }
        if !refused {
            options.push(DhcpOption { kind: OPTION_MTU, data: &mtu }).ok()?;
        }
        if !refused && leased {
            options.push(DhcpOption { kind: OPTION_RENEWAL, data: &renewal }).ok()?;
            options.push(DhcpOption { kind: OPTION_REBINDING, data: &rebinding }).ok()?;
        }
        let dns = heapless::Vec::from_slice(&DNS_V4).ok()?;
        let repr = DhcpRepr {
            message_type: self.kind,
            transaction_id: self.packet.transaction_id(),
            secs: 0,
            client_hardware_address: EthernetAddress(client.mac),
            client_ip: if refused { Ipv4Addr::UNSPECIFIED } else { self.packet.client_ip() },
            your_ip: if refused || !leased { Ipv4Addr::UNSPECIFIED } else { client.v4 },
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: (!refused).then_some(client.v4_gateway),
            subnet_mask: (!refused).then_some(Ipv4Addr::from_bits(mask)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: self.wants_broadcast(),
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(client.v4_gateway),
            parameter_request_list: None,
            dns_servers: (!refused).then_some(dns),
            max_size: None,
            lease_duration: (!refused && leased).then_some(LEASE),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &options,
        };
        let len = repr.buffer_len().max(MIN_MESSAGE);
        let out = out.get_mut(..len)?;
        out.fill(0);
        repr.emit(&mut DhcpPacket::new_unchecked(out)).ok()?;
        Some(len)
    }

    /// Whether the client cannot yet receive what is addressed to it.
    fn wants_broadcast(&self) -> bool {
        self.packet.flags().contains(smoltcp::wire::DhcpFlags::BROADCAST)
    }
}
