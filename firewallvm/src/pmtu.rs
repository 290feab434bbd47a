//! Packets longer than the next link takes: who sent one is told, unless it may be cut.

use crate::{
    decide::Origin,
    offload::Offload,
    verdict::{Answer, DropReason, Verdict},
};
use packet::{
    headers::{Headers, Network},
    icmp, icmpv6,
};

/// Smallest MTU that is believed of an ICMP error (RFC 5927 §7: lower ones are attacks).
pub const MIN_MTU_V4: u16 = 552;
/// The same for ICMPv6.
pub const MIN_MTU_V6: u32 = 1280;

/// Whether a packet fits a link, whole or in the pieces that its sender allows: IPv4 without "don't fragment", and
/// what came in pieces.
///
/// # Errors
/// What becomes of it instead.
#[inline]
pub fn check(headers: &Headers, offload: &Offload, origin: Origin, mtu: u16) -> Result<(), Verdict> {
    if offload.longest(headers) <= usize::from(mtu) {
        return Ok(());
    }
    let divisible = match headers.network {
        Network::V4(ip) => !ip.dont_fragment && offload.segment.is_none(),
        Network::V6(_) => origin == Origin::Pieces,
    };
    if divisible { Ok(()) } else { Err(too_big(headers, mtu)) }
}

/// The error that says how long a packet may be.
fn too_big(headers: &Headers, mtu: u16) -> Verdict {
    if quotes_an_error(headers) {
        return DropReason::TooBig.into();
    }
    Verdict::Answer(match headers.network {
        Network::V4(_) => Answer::Error4(icmp::Error {
            kind: icmp::UNREACHABLE,
            code: icmp::CODE_FRAGMENTATION_NEEDED,
            mtu,
        }),
        Network::V6(_) => {
            Answer::Error6(icmpv6::Error { kind: icmpv6::TOO_BIG, code: 0, mtu: u32::from(mtu) })
        }
    })
}

/// The error that says that a packet ran out of hops.
pub fn out_of_hops(headers: &Headers) -> Verdict {
    if quotes_an_error(headers) {
        return DropReason::HopLimit.into();
    }
    Verdict::Answer(match headers.network {
        Network::V4(_) => Answer::Error4(icmp::Error { kind: icmp::TIME_EXCEEDED, code: 0, mtu: 0 }),
        Network::V6(_) => Answer::Error6(icmpv6::Error { kind: icmpv6::TIME_EXCEEDED, code: 0, mtu: 0 }),
    })
}

/// The error that says that there is no way to a destination.
pub fn no_route(headers: &Headers) -> Answer {
    match headers.network {
        Network::V4(_) => {
            Answer::Error4(icmp::Error { kind: icmp::UNREACHABLE, code: icmp::CODE_NET, mtu: 0 })
        }
        Network::V6(_) => {
            Answer::Error6(icmpv6::Error { kind: icmpv6::UNREACHABLE, code: icmpv6::CODE_NO_ROUTE, mtu: 0 })
        }
    }
}

/// The error that says that policy forbids it.
pub fn prohibited(headers: &Headers) -> Answer {
    match headers.network {
        Network::V4(_) => {
            Answer::Error4(icmp::Error { kind: icmp::UNREACHABLE, code: icmp::CODE_PROHIBITED, mtu: 0 })
        }
        Network::V6(_) => {
            Answer::Error6(icmpv6::Error { kind: icmpv6::UNREACHABLE, code: icmpv6::CODE_PROHIBITED, mtu: 0 })
        }
    }
}

/// Whether the packet is itself an ICMP error: nobody is told about those (RFC 1122 §3.2.2, RFC 4443 §2.4).
fn quotes_an_error(headers: &Headers) -> bool {
    use packet::headers::Transport;
    match headers.transport {
        Transport::Icmp(message) => message.is_error(),
        Transport::Icmpv6(message) => message.is_error(),
        _ => false,
    }
}
