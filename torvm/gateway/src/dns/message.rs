//! DNS messages: which questions have an answer here, and the answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, StaticCompressor, Ttl};
use domain::rdata::{A, Aaaa, Ptr};

use crate::refusal::Refusal;

/// Longest answer, as long as nobody said that more can be taken (RFC 1035 §4.2.1).
const ANSWER: usize = 512;
/// How long an answer may be kept: Tor does not say. Clients are to ask again rather than to keep an address that stands
/// for a name.
const TTL: Ttl = Ttl::from_secs(60);

/// What a datagram asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// No question, nor the wish for one: no answer.
    Nothing,
    /// A question that cannot be understood, and the answer to that.
    Badly(Vec<u8>),
    /// A question that has no answer here, and the answer that says so.
    Other(Vec<u8>),
    /// A question that Tor can answer.
    For(Kind),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses of a name.
    V4(String),
    /// IPv6 addresses of a name.
    V6(String),
    /// Names of an address.
    Pointer(IpAddr),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// IPv4 addresses.
    V4(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    V6(Vec<Ipv6Addr>),
    /// Names.
    Names(Vec<String>),
}

impl Answer {
    /// Whether nothing was found: the name is there, but not what was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::V4(found) => found.is_empty(),
            Self::V6(found) => found.is_empty(),
            Self::Names(found) => found.is_empty(),
        }
    }
}

/// Looks at a datagram from a client.
#[must_use]
pub fn parse(datagram: &[u8]) -> Asked {
    let Ok(message) = Message::from_octets(datagram) else { return Asked::Nothing };
    if message.header().qr() {
        return Asked::Nothing;
    }
    let other = |rcode| empty(datagram, rcode).map_or(Asked::Nothing, Asked::Other);
    if message.header().opcode() != Opcode::QUERY {
        return other(Rcode::NOTIMP);
    }
    let counts = message.header_counts();
    let sole = (counts.qdcount(), counts.ancount(), counts.nscount()) == (1, 0, 0);
    let Some(Ok(question)) = message.question().next().filter(|_| sole) else {
        return empty(datagram, Rcode::FORMERR).map_or(Asked::Nothing, Asked::Badly);
    };
    if question.qclass() != Class::IN {
        return other(Rcode::NOTIMP);
    }
    let name = question.qname().to_string();
    match question.qtype() {
        Rtype::A => Asked::For(Kind::V4(name)),
        Rtype::AAAA => Asked::For(Kind::V6(name)),
        Rtype::PTR => pointed(&name).map_or_else(|| other(Rcode::NXDOMAIN), |a| Asked::For(Kind::Pointer(a))),
        _ => other(Rcode::NOTIMP),
    }
}

/// The answer to `question`, which was [`Asked::For`].
#[must_use]
pub fn answer(question: &[u8], found: Result<Answer, Refusal>) -> Option<Vec<u8>> {
    let found = match found {
        Ok(found) => found,
        Err(refusal) => return empty(question, refusal.dns()),
    };
    let message = Message::from_octets(question).ok()?;
    let owner = message.sole_question().ok()?;
    let owner = owner.qname();
    let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new())).ok()?;
    builder.set_push_limit(ANSWER);
    builder.header_mut().set_ra(true);
    let mut builder = builder.start_answer(&message, Rcode::NOERROR).ok()?;
    // What does not fit is left out: there is no way to ask for more, and one address is as good as another.
    let _ = match found {
        Answer::V4(found) => found.into_iter().try_for_each(|a| builder.push((owner, TTL, A::new(a)))),
        Answer::V6(found) => found.into_iter().try_for_each(|a| builder.push((owner, TTL, Aaaa::new(a)))),
        Answer::Names(found) => {
            let mut names = found.iter().filter_map(|name| name.parse::<Name<Vec<u8>>>().ok());
            names.try_for_each(|name| builder.push((owner, TTL, Ptr::new(name))))
        }
    };
    Some(builder.finish().into_target())
}

/// An answer without records, with the question if that can be read.
fn empty(question: &[u8], rcode: Rcode) -> Option<Vec<u8>> {
    let message = Message::from_octets(question).ok()?;
    let mut builder = MessageBuilder::new_vec();
    builder.set_push_limit(ANSWER);
    builder.header_mut().set_ra(true);
    if rcode == Rcode::FORMERR {
        // Nothing of it is worth repeating.
        let header = builder.header_mut();
        header.set_id(message.header().id());
        header.set_qr(true);
        header.set_opcode(message.header().opcode());
        header.set_rcode(rcode);
        return Some(builder.finish());
    }
    Some(builder.start_answer(&message, rcode).ok()?.finish())
}

/// The address whose name in the tree of addresses this is (RFC 1035 §3.5, RFC 3596 §2.5).
fn pointed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = digits.split('.').rev().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        return <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let digits: String = digits.into_iter().rev().collect();
    u128::from_str_radix(&digits, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests;
