//! A packet in a user's words: the first one of a connection.

use crate::problem::Problem;
use rules_compiler::packet::{DNS_PORT, NAME_SERVER_V6, NAME_SERVERS_V4, Packet, Peer};
use rules_program::policy::Direction;
use rules_program::question::Transport;
use std::net::{IpAddr, Ipv4Addr};

/// Source port of a packet for which none is given.
const SOURCE_PORT: u16 = 40_000;
/// Address that a name is taken to have for which none is given; for documentation, so nobody's.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 255);

/// What the words said so far.
#[derive(Debug, Default)]
struct Words {
    inward: Option<bool>,
    address: Option<IpAddr>,
    names: Vec<String>,
    domain: Option<String>,
    dns: bool,
    protocol: Option<Protocol>,
    port: Option<u16>,
    source_port: Option<u16>,
    icmp_type: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// Reads a packet's description.
///
/// # Errors
/// The word that is not understood, or what is missing.
pub(super) fn parse(words: &[String]) -> Result<Packet, Problem> {
    let complain = |what: &str, why: String| {
        let remedy = "describe it like `192.0.2.7 tcp 443`, `dns`, `example.org tcp 443`, `dstdomain=personal tcp 22`, \
                      `from 192.0.2.7 tcp 8080`, `192.0.2.7 icmp 8`; keys: dst src name dstdomain srcdomain proto dstport \
                      srcport icmptype";
        Problem::new(format!("the packet: {what}"), why, remedy)
    };
    let mut said = Words::default();
    for word in words.iter().flat_map(|w| w.split_whitespace()) {
        said.take(word).map_err(|why| complain(word, why))?;
    }
    said.packet().map_err(|why| complain(&words.join(" "), why))
}

impl Words {
    fn take(&mut self, word: &str) -> Result<(), String> {
        match word.split_once('=') {
            Some((key, value)) => self.key(key, value),
            None => self.plain(word),
        }
    }

    fn plain(&mut self, word: &str) -> Result<(), String> {
        match word {
            "in" | "from" => self.way(true),
            "out" | "to" => self.way(false),
            "dns" => {
                self.dns = true;
                Ok(())
            }
            "tcp" | "udp" | "icmp" | "icmpv6" => self.key("proto", word),
            _ if word.bytes().all(|b| b.is_ascii_digit()) && self.protocol == Some(Protocol::Icmp) => {
                self.key("icmptype", word)
            }
            _ if word.bytes().all(|b| b.is_ascii_digit()) => self.key("dstport", word),
            _ if word.parse::<IpAddr>().is_ok() => self.address(word),
            _ if is_name(word) => self.key("name", word),
            _ => Err("is not understood".to_owned()),
        }
    }

    fn key(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "dst" | "dsthost" | "dst4" | "dst6" => {
                self.way(false)?;
                self.address(value)
            }
            "src" | "srchost" => {
                self.way(true)?;
                self.address(value)
            }
            "name" if is_name(value) => {
                self.names.push(value.trim_end_matches('.').to_ascii_lowercase());
                Ok(())
            }
            "name" => Err("is not a host name".to_owned()),
            "dstdomain" | "srcdomain" => {
                self.way(key == "srcdomain")?;
                once(&mut self.domain, value.to_owned())
            }
            "proto" => once(&mut self.protocol, protocol(value)?),
            "dstport" | "dstports" => once(&mut self.port, number(value)?),
            "srcport" | "srcports" => once(&mut self.source_port, number(value)?),
            "icmptype" => once(&mut self.icmp_type, number(value)?),
            _ => Err("is not a key of a packet".to_owned()),
        }
    }

    fn way(&mut self, inward: bool) -> Result<(), String> {
        if self.inward.is_some_and(|said| said != inward) {
            return Err("goes the other way than the words before".to_owned());
        }
        self.inward = Some(inward);
        Ok(())
    }

    fn address(&mut self, text: &str) -> Result<(), String> {
        let address = text.parse().map_err(|_| "is not an address".to_owned())?;
        once(&mut self.address, address)
    }

    fn packet(self) -> Result<Packet, String> {
        let direction = if self.inward == Some(true) { Direction::Inward } else { Direction::Outward };
        let server = |address| {
            matches!(address, IpAddr::V4(v4) if NAME_SERVERS_V4.contains(&v4))
                || address == IpAddr::V6(NAME_SERVER_V6)
        };
        let dns = self.dns || self.address.is_some_and(server);
        let remote = match self.address {
            Some(address) => address,
            None if dns => NAME_SERVERS_V4[0].into(),
            None if self.domain.is_some() || !self.names.is_empty() => SOMEWHERE.into(),
            None => return Err("does not say where to (or `from` where)".to_owned()),
        };
        let transport = self.transport(remote, dns)?;
        let peer = match self.domain {
            Some(domain) => Peer::Domain(domain),
            None if dns => Peer::Dns,
            None => Peer::Net,
        };
        Ok(Packet { direction, peer, remote, names: self.names, transport })
    }

    fn transport(&self, remote: IpAddr, dns: bool) -> Result<Transport, String> {
        let protocol = self.protocol.or(dns.then_some(Protocol::Udp));
        let source = self.source_port.unwrap_or(SOURCE_PORT);
        let port = self.port.or(dns.then_some(DNS_PORT));
        if self.icmp_type.is_some() && protocol != Some(Protocol::Icmp) {
            return Err("has an ICMP type, but is no ICMP".to_owned());
        }
        match (protocol, port) {
            (Some(Protocol::Tcp), Some(destination)) => Ok(Transport::Tcp { source, destination }),
            (Some(Protocol::Udp), Some(destination)) => Ok(Transport::Udp { source, destination }),
            (Some(Protocol::Icmp), Some(_)) => Err("is ICMP, which has no ports".to_owned()),
            (Some(Protocol::Icmp), None) if remote.is_ipv4() => {
                Ok(Transport::Icmp { kind: self.icmp_type.unwrap_or(8) })
            }
            (Some(Protocol::Icmp), None) => Ok(Transport::Icmpv6 { kind: self.icmp_type.unwrap_or(128) }),
            (Some(_), None) => Err("does not say to which port".to_owned()),
            (None, _) => Err("does not say whether it is tcp, udp or icmp".to_owned()),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    if place.is_some() {
        return Err("says again what was said before".to_owned());
    }
    *place = Some(value);
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "is not such a number".to_owned())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "icmp" | "icmpv6" => Ok(Protocol::Icmp),
        _ => Err("is not a protocol: tcp, udp, icmp".to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &str) -> Result<Packet, String> {
        parse(&[text.to_owned()]).map_err(|problem| problem.why)
    }

    #[test]
    fn words_in_any_order_and_keys_mean_the_same() {
        let one = packet("192.0.2.7 tcp 443").unwrap();
        assert_eq!(one.transport, Transport::Tcp { source: SOURCE_PORT, destination: 443 });
        assert_eq!((one.direction, &one.peer), (Direction::Outward, &Peer::Net));
        for same in
            ["tcp 443 192.0.2.7", "dst=192.0.2.7 proto=tcp dstport=443", "to 192.0.2.7 tcp dstport=443"]
        {
            assert_eq!(packet(same).unwrap(), one, "{same}");
        }
    }

    #[test]
    fn other_ends_are_told_apart() {
        assert_eq!(packet("dns").unwrap().peer, Peer::Dns);
        assert_eq!(packet("10.139.1.2 tcp 53").unwrap().peer, Peer::Dns);
        let named = packet("Example.ORG. udp 443").unwrap();
        assert_eq!((named.names.as_slice(), named.peer), (["example.org".to_owned()].as_slice(), Peer::Net));
        let domain = packet("srcdomain=work tcp 22").unwrap();
        assert_eq!((domain.direction, domain.peer), (Direction::Inward, Peer::Domain("work".to_owned())));
        let ping = packet("2001:db8::1 icmp").unwrap();
        assert_eq!(ping.transport, Transport::Icmpv6 { kind: 128 });
        assert_eq!(packet("192.0.2.1 icmp 3").unwrap().transport, Transport::Icmp { kind: 3 });
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, why) in [
            ("tcp 443", "where to"),
            ("192.0.2.7 443", "tcp, udp or icmp"),
            ("192.0.2.7 tcp", "which port"),
            ("192.0.2.7 tcp 443 443", "said before"),
            ("192.0.2.7 tcp 70000", "such a number"),
            ("from dst=192.0.2.7 tcp 1", "other way"),
            ("192.0.2.7 icmp dstport=1", "no ports"),
            ("192.0.2.7 proto=gre", "not a protocol"),
            ("!!", "not understood"),
        ] {
            let said = packet(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
