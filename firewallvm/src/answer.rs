//! Writes and sends what the firewall itself says to who sent a frame.

use crate::{
    ports::Ports,
    state::Core,
    to_client, to_net,
    translate::Leaving,
    verdict::{Answer, DropReason},
};
use first_hop::{address::OUR_MAC, dhcp, nd};
use link::Doorbell;
use packet::{
    ethernet::{self, Ethernet, HEADER_LEN},
    headers::{Headers, Network},
    icmp, icmpv6, rewrite,
};

/// Room for everything that we say, the reply to an echo aside, which is made in place.
pub const ROOM: usize = 1536;

/// Answers the client on `port`.
///
/// # Errors
/// Why not: what asked for the answer was no good, or the client has been told enough.
pub fn client<D: Doorbell>(
    ports: &mut Ports<D>,
    core: &mut Core,
    asked: &mut Leaving<'_>,
    (port, answer): (u8, Answer),
    out: &mut [u8; ROOM],
) -> Result<(), DropReason> {
    let offer = core.offer();
    let client = core.client(port).ok_or(DropReason::LinkDown)?;
    let headers = asked.headers;
    let len = match answer {
        Answer::Arp(arp) => return to_client::send_own(ports, port, &arp.emit(client.mac)),
        Answer::Echo => return echo(ports, asked, (port, client.mac, client.mtu)),
        Answer::Dhcp => {
            let payload = asked.frame.get(headers.payload_at..headers.end).ok_or(DropReason::Internal)?;
            dhcp::answer(out, client, payload, offer.mtu).map_err(|_| DropReason::Dhcp)?
        }
        Answer::Router | Answer::Neighbour(_) => {
            let Network::V6(ip) = headers.network else { return Err(DropReason::Internal) };
            match answer {
                Answer::Neighbour(target) => nd::answer(out, client, ip.source, target),
                _ => nd::advertise(out, client, ip.source, offer),
            }
            .ok_or(DropReason::Internal)?
        }
        Answer::Error4(_) | Answer::Error6(_) => {
            let reason = reason(&answer);
            let from = (client.v4_gateway, client.v6_prefix.map(first_hop::address::gateway_v6));
            let mac = client.mac;
            if !core.common.may_tell(port) {
                return Err(reason);
            }
            error(out, asked, answer, from, mac).ok_or(DropReason::Internal)?
        }
    };
    to_client::send_own(ports, port, out.get(..len).ok_or(DropReason::Internal)?)?;
    // The packet itself went nowhere: it counts as dropped although its sender was told.
    match answer {
        Answer::Error4(_) | Answer::Error6(_) => Err(reason(&answer)),
        _ => Ok(()),
    }
}

/// Answers the network: only errors, from the uplink's address.
///
/// # Errors
/// Why not; and the reason for which the packet went nowhere.
pub fn net<D: Doorbell>(
    ports: &mut Ports<D>,
    core: &mut Core,
    asked: &Leaving<'_>,
    answer: Answer,
    out: &mut [u8; ROOM],
) -> Result<(), DropReason> {
    let reason = reason(&answer);
    let v4 = core.v4.address;
    if !core.common.net_errors.take(core.common.now_us) {
        return Err(reason);
    }
    let from = (v4.unwrap_or(core::net::Ipv4Addr::UNSPECIFIED), core.v6.address);
    let len = error(out, asked, answer, from, core.common.uplink.mac).ok_or(DropReason::Internal)?;
    to_net::send_own(ports, out.get(..len).ok_or(DropReason::Internal)?)?;
    Err(reason)
}

/// The counter of an error that is sent.
const fn reason(answer: &Answer) -> DropReason {
    match answer {
        Answer::Error4(error) => match (error.kind, error.code) {
            (icmp::TIME_EXCEEDED, _) => DropReason::HopLimit,
            (_, icmp::CODE_NET) => DropReason::NoUplink,
            (_, icmp::CODE_FRAGMENTATION_NEEDED) => DropReason::TooBig,
            _ => DropReason::Policy,
        },
        Answer::Error6(error) => match (error.kind, error.code) {
            (icmpv6::TIME_EXCEEDED, _) => DropReason::HopLimit,
            (icmpv6::TOO_BIG, _) => DropReason::TooBig,
            (_, icmpv6::CODE_NO_ROUTE) => DropReason::NoUplink,
            _ => DropReason::Policy,
        },
        _ => DropReason::Internal,
    }
}

/// Writes an error about a packet; gives the frame's length.
fn error(
    out: &mut [u8; ROOM],
    about: &Leaving<'_>,
    answer: Answer,
    (v4, v6): (core::net::Ipv4Addr, Option<core::net::Ipv6Addr>),
    mac: ethernet::Mac,
) -> Option<usize> {
    let Headers { network, end, .. } = about.headers;
    let quoted = about.frame.get(HEADER_LEN..*end)?;
    let (head, body) = out.split_first_chunk_mut()?;
    let (len, ethertype) = match (answer, network) {
        (Answer::Error4(error), Network::V4(ip)) => {
            (icmp::emit_error(body, v4, ip.source, error, quoted)?, ethernet::IPV4)
        }
        (Answer::Error6(error), Network::V6(ip)) => {
            (icmpv6::emit_error(body, v6?, ip.source, error, quoted)?, ethernet::IPV6)
        }
        _ => return None,
    };
    *head = Ethernet { destination: mac, source: OUR_MAC, ethertype }.emit();
    Some(HEADER_LEN + len)
}

/// Sends a client's echo request back as our reply.
fn echo<D: Doorbell>(
    ports: &mut Ports<D>,
    asked: &mut Leaving<'_>,
    (port, mac, mtu): (u8, ethernet::Mac, u16),
) -> Result<(), DropReason> {
    let Leaving { frame, headers, .. } = asked;
    if headers.ip_len() > usize::from(mtu) {
        return Err(DropReason::TooBig);
    }
    if !rewrite::icmp_is_valid(frame, headers) {
        return Err(DropReason::IcmpChecksum);
    }
    rewrite::echo_reply(frame, headers).ok_or(DropReason::Internal)?;
    rewrite::macs(frame, mac, OUR_MAC).ok_or(DropReason::Internal)?;
    to_client::send_own(ports, port, frame.get(..headers.end).ok_or(DropReason::Internal)?)
}
