//! The name server behind the exits, over UDP: a few names in `.test`, and the names of their addresses. It writes down
//! what it is asked.

use super::{NAME, OTHER_NAME, WEB_ADDRESSES};
use anyhow::{Context, Result};
use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;

/// Seconds that an answer may be kept.
const KEPT: u32 = 60;

/// Answers on loopback's port 53, in a thread.
///
/// # Errors
/// When the port cannot be had.
pub(super) fn serve(log: &Path) -> Result<()> {
    let mut log = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).context("cannot listen on port 53")?;
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let Some((asked, answer)) = answer(&buffer[..length]) else { continue };
            let _ = writeln!(log, "{asked}");
            let _ = socket.send_to(&answer, peer);
        }
    });
    Ok(())
}

/// What was asked, as a line of JSON, and the answer; nothing for what is no question.
fn answer(bytes: &[u8]) -> Option<(serde_json::Value, Vec<u8>)> {
    let query = Packet::parse(bytes).ok()?;
    if query.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let question = query.questions.first()?.clone();
    let name = question.qname.to_string().to_ascii_lowercase();
    let asked = serde_json::json!({ "name": name, "type": format!("{:?}", question.qtype) });
    let found = records(&name, question.qtype);
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    match found {
        Some(records) => {
            let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, KEPT, data);
            reply.answers = records.into_iter().map(record).collect();
        }
        None => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.questions.push(question.clone());
    Some((asked, reply.build_bytes_vec().ok()?))
}

/// Records of a name; nothing when there is no such name.
fn records(name: &str, wanted: QTYPE) -> Option<Vec<RData<'static>>> {
    let [first, other, v6] = WEB_ADDRESSES;
    if name.ends_with(".arpa") {
        let owner = [(first, NAME), (v6, NAME), (other, OTHER_NAME)].into_iter();
        let (_, owner) = owner.into_iter().find(|(address, _)| reverse(*address) == name)?;
        let data = RData::PTR(PTR(Name::new(owner).ok()?));
        return Some(if wanted == TYPE::PTR.into() { vec![data] } else { Vec::new() });
    }
    let addresses = match name {
        OTHER_NAME => vec![other],
        _ if name.ends_with(".test") => vec![first, v6],
        _ => return None,
    };
    let data = addresses.into_iter().filter_map(|address| match address {
        IpAddr::V4(v4) if wanted == TYPE::A.into() => Some(RData::A(A { address: v4.to_bits() })),
        IpAddr::V6(v6) if wanted == TYPE::AAAA.into() => Some(RData::AAAA(AAAA { address: v6.to_bits() })),
        _ => None,
    });
    Some(data.collect())
}

/// The name under which the name of an address is asked for.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = (0..32).map(|n| format!("{:x}.", v6.to_bits() >> (4 * n) & 0xf));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::Question;

    fn ask(name: &str, kind: TYPE, check: impl Fn(&Packet<'_>) -> bool) -> bool {
        let mut query = Packet::new_query(7);
        query.questions.push(Question::new(Name::new(name).unwrap(), kind.into(), CLASS::IN.into(), false));
        let (_, bytes) = answer(&query.build_bytes_vec().unwrap()).unwrap();
        let reply = Packet::parse(&bytes).unwrap();
        reply.id() == 7 && check(&reply)
    }

    #[test]
    fn names_lead_to_addresses_and_back() {
        let v4 = |reply: &Packet<'_>| matches!(reply.answers[0].rdata, RData::A(A { address: 0xcb00_7150 }));
        assert!(ask("page.test", TYPE::A, v4));
        assert!(ask("80.113.0.203.in-addr.arpa", TYPE::PTR, |reply| {
            matches!(&reply.answers[0].rdata, RData::PTR(PTR(name)) if name.to_string() == "page.test")
        }));
        assert!(ask("page.test", TYPE::AAAA, |reply| reply.answers.len() == 1));
        assert!(ask("any.thing.test", TYPE::A, v4));
        assert!(
            ask("page.test", TYPE::MX, |reply| reply.answers.is_empty() && reply.rcode() == RCODE::NoError)
        );
        assert!(ask("page.example", TYPE::A, |reply| reply.rcode() == RCODE::NameError));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert!(answer(b"").is_none());
        assert!(answer(&[0xff; 64]).is_none());
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert!(answer(&reply).is_none());
    }
}
