//! Neighbour discovery messages that netvm, a host, sends and reads (RFC 4861), by smoltcp's wire formats.

use crate::{firewall_to_nic::header, frames::Frame};
use core::net::Ipv6Addr;
use packet::{
    arp::{Arp, Operation},
    ethernet::{self, HEADER_LEN, Mac},
    ipv6::{self, Ipv6},
    ndp,
};
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{EthernetAddress, Icmpv6Packet, Icmpv6Repr, NdiscNeighborFlags, NdiscRepr},
};

/// Where the ICMPv6 message starts in a frame.
const MESSAGE_AT: usize = HEADER_LEN + ipv6::HEADER_LEN;

/// Who we are when we speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv6Addr,
}

/// A discovery message from the segment, its checksum verified.
#[derive(Debug)]
pub(crate) struct Heard<'f> {
    pub(crate) mac: Mac,
    pub(crate) source: Ipv6Addr,
    pub(crate) message: NdiscRepr<'f>,
    /// The message's options, for those that smoltcp does not know.
    pub(crate) options: &'f [u8],
}

/// Reads a frame that `classify` took for neighbour discovery; `None` when it is malformed.
pub(crate) fn hear(frame: &[u8]) -> Option<Heard<'_>> {
    let (ethernet, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    let (ip, rest) = body.split_first_chunk()?;
    let ip = Ipv6::parse(ip).ok()?;
    let message = rest.get(..usize::from(ip.payload_len))?;
    let packet = Icmpv6Packet::new_checked(message).ok()?;
    if packet.msg_code() != 0 || ip.hop_limit != ndp::HOP_LIMIT {
        return None;
    }
    let options = message.get(packet.header_len()..)?;
    match Icmpv6Repr::parse(&ip.source, &ip.destination, &packet, &ChecksumCapabilities::default()).ok()? {
        Icmpv6Repr::Ndisc(parsed) => Some(Heard {
            mac: ethernet::Ethernet::parse(ethernet).source,
            source: ip.source,
            message: parsed,
            options,
        }),
        _ => None,
    }
}

/// Asks for routers.
pub(crate) fn solicit_routers(us: Speaker) -> Option<Frame> {
    let message = NdiscRepr::RouterSolicit { lladdr: Some(EthernetAddress(us.mac).into()) };
    emit(us, ndp::multicast_mac(ndp::ALL_ROUTERS), ndp::ALL_ROUTERS, &message)
}

/// Asks who has `target`: everybody, or the station that had it last.
pub(crate) fn solicit_neighbour(us: Speaker, target: Ipv6Addr, last_known: Option<Mac>) -> Option<Frame> {
    let lladdr = (!us.address.is_unspecified()).then(|| EthernetAddress(us.mac).into());
    let message = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
    match last_known {
        Some(mac) => emit(us, mac, target, &message),
        None => {
            let group = ndp::solicited_node(target);
            emit(us, ndp::multicast_mac(group), group, &message)
        }
    }
}

/// Says that we have `us.address`: to who asked, or to everybody after a probe for duplicates.
pub(crate) fn advertise(us: Speaker, asker: Mac, asker_address: Ipv6Addr) -> Option<Frame> {
    let probe = asker_address.is_unspecified();
    let flags = if probe {
        NdiscNeighborFlags::OVERRIDE
    } else {
        NdiscNeighborFlags::OVERRIDE | NdiscNeighborFlags::SOLICITED
    };
    let message = NdiscRepr::NeighborAdvert {
        flags,
        target_addr: us.address,
        lladdr: Some(EthernetAddress(us.mac).into()),
    };
    if probe {
        emit(us, ndp::multicast_mac(ndp::ALL_NODES), ndp::ALL_NODES, &message)
    } else {
        emit(us, asker, asker_address, &message)
    }
}

fn emit(us: Speaker, mac: Mac, destination: Ipv6Addr, message: &NdiscRepr<'_>) -> Option<Frame> {
    let repr = Icmpv6Repr::Ndisc(*message);
    let len = repr.buffer_len();
    let mut frame = Frame::new();
    frame.extend_from_slice(&header(mac, us.mac, ethernet::IPV6)).ok()?;
    let ip = Ipv6 {
        source: us.address,
        destination,
        hop_limit: ndp::HOP_LIMIT,
        next: ipv6::ICMPV6,
        payload_len: u16::try_from(len).ok()?,
    };
    frame.extend_from_slice(&ip.emit()).ok()?;
    frame.resize(MESSAGE_AT + len, 0).ok()?;
    let mut packet = Icmpv6Packet::new_unchecked(frame.get_mut(MESSAGE_AT..)?);
    repr.emit(&us.address, &destination, &mut packet, &ChecksumCapabilities::default());
    Some(frame)
}

/// Asks who has an IPv4 address: everybody, or the station that had it last.
pub(crate) fn ask_arp(
    mac: Mac,
    us: core::net::Ipv4Addr,
    target: core::net::Ipv4Addr,
    last_known: Option<Mac>,
) -> Option<Frame> {
    let arp = Arp { operation: Operation::Request, sender_mac: mac, sender: us, target_mac: [0; 6], target };
    Frame::from_slice(&arp.emit(last_known.unwrap_or(ethernet::BROADCAST))).ok()
}
