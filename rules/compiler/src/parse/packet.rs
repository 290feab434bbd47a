//! `tcp 192.0.2.1:443 from 40000`: a packet in words.

use super::{
    MAX_LINE, Wrong, hosts,
    line::{self, Word},
    ports, values,
};
use crate::{
    ast::Host,
    diagnostic::Diagnostic,
    packet::{DNS_PORT, NAME_SERVER_V6, NAME_SERVERS_V4, Packet, Peer},
    span::Span,
};
use rules_program::{policy::Direction, question::Transport};
use std::net::{IpAddr, Ipv4Addr};

/// The source port of a packet whose description names none: the first of the
/// dynamic ports (RFC 6335, 6).
pub const SOURCE_PORT: u16 = 49_152;

const EXAMPLES: &str = "packets are `tcp 192.0.2.1:443`, `udp [2001:db8::1]:53 from 40000`, `icmp 192.0.2.1 type 8`, `tcp dns`, \
                        `tcp domain:work:22`, `tcp 192.0.2.1:443 as host.example`, `in tcp 203.0.113.5 to 8080`";

/// Reads a packet's description.
///
/// # Errors
/// What is wrong with it, with places in `text`.
pub fn parse_packet(text: &str) -> Result<Packet, Vec<Diagnostic>> {
    let whole = Word { text: "", span: Span { line: 1, start: 0, end: 0 } };
    let Some(word) =
        line::lines(text).next().filter(|word| word.text.len() <= MAX_LINE && text.lines().count() <= 1)
    else {
        return Err(vec![whole.error("not a packet").label("expected one line").help(EXAMPLES)]);
    };
    line::content(word).and_then(described).map_err(|wrong| vec![wrong])
}

/// What the words say, not yet put together.
struct Words<'t> {
    direction: Direction,
    protocol: Word<'t>,
    remote: Word<'t>,
    from: Option<u16>,
    to: Option<(u16, Word<'t>)>,
    kind: Option<(u8, Word<'t>)>,
    names: Vec<String>,
}

fn described(line: Word<'_>) -> Result<Packet, Wrong> {
    let words = words(line)?;
    let (peer, remote, port) = remote(words.remote)?;
    let transport = match words.protocol.text {
        "tcp" => {
            ports_of(&words, port).map(|(source, destination)| Transport::Tcp { source, destination })?
        }
        "udp" => {
            ports_of(&words, port).map(|(source, destination)| Transport::Udp { source, destination })?
        }
        _ => icmp(&words, remote, port)?,
    };
    let is_server = match remote {
        IpAddr::V4(remote) => NAME_SERVERS_V4.contains(&remote),
        IpAddr::V6(remote) => remote == NAME_SERVER_V6,
    };
    let asks = match transport {
        Transport::Tcp { destination, .. } | Transport::Udp { destination, .. } => destination == DNS_PORT,
        _ => false,
    };
    let outward = words.direction == Direction::Outward;
    let peer = if peer == Peer::Net && is_server && asks && outward { Peer::Dns } else { peer };
    Ok(Packet { direction: words.direction, peer, remote, names: words.names, transport })
}

fn words(line: Word<'_>) -> Result<Words<'_>, Wrong> {
    let mut rest = line;
    let missing = |what: &str| {
        let end = Span { start: line.span.end, end: line.span.end + 1, ..line.span };
        Diagnostic::error(end, "the packet is incomplete").label(format!("expected {what}")).help(EXAMPLES)
    };
    let mut first = rest.next_word().ok_or_else(|| missing("a protocol"))?;
    let direction = if first.text == "in" { Direction::Inward } else { Direction::Outward };
    if matches!(first.text, "in" | "out") {
        first = rest.next_word().ok_or_else(|| missing("a protocol"))?;
    }
    if !matches!(first.text, "tcp" | "udp" | "icmp" | "icmpv6") {
        let wrong = first.error(format!("there is no protocol `{}`", first.text));
        return Err(wrong.label("expected `tcp`, `udp`, `icmp` or `icmpv6`").help(EXAMPLES));
    }
    let remote = rest.next_word().ok_or_else(|| missing("an address"))?;
    let (from, to, kind, names) = (None, None, None, Vec::new());
    let mut words = Words { direction, protocol: first, remote, from, to, kind, names };
    while let Some(key) = rest.next_word() {
        let value = rest.next_word().ok_or_else(|| missing(&format!("a value behind `{}`", key.text)))?;
        match key.text {
            "from" => words.from = Some(ports::port(value)?),
            "to" => words.to = Some((ports::port(value)?, key)),
            "type" => {
                let kind = values::number(value, 0..=255, "an ICMP type")?;
                words.kind = Some((u8::try_from(kind).unwrap_or(u8::MAX), key));
            }
            "as" => {
                for name in value.split(b',') {
                    words.names.push(hosts::name(name)?);
                }
            }
            other => {
                let wrong = key.error(format!("unexpected `{other}`"));
                return Err(wrong.label("expected `from`, `to`, `type` or `as`").help(EXAMPLES));
            }
        }
    }
    Ok(words)
}

/// Source and destination port.
fn ports_of(words: &Words<'_>, port: Option<u16>) -> Result<(u16, u16), Wrong> {
    if let Some((_, key)) = words.kind {
        return Err(key
            .error(format!("{} has no types", words.protocol.text))
            .label("expected `from` or `to`"));
    }
    match (words.direction, port, words.to) {
        (Direction::Outward, Some(port), None) => Ok((words.from.unwrap_or(SOURCE_PORT), port)),
        (Direction::Outward, _, Some((port, key))) => {
            let wrong = key.error("`to` is for packets that come in").label("not here");
            Err(wrong.help(format!("the port stands behind the address: `{}:{port}`", words.remote.text)))
        }
        (Direction::Outward, None, None) => {
            let wrong =
                words.remote.error("a packet without a destination port").label("expected `ADDRESS:PORT`");
            Err(wrong.help(format!("write `{}`", with_port(words.remote.text))))
        }
        (Direction::Inward, port, Some((to, _))) => Ok((words.from.or(port).unwrap_or(SOURCE_PORT), to)),
        (Direction::Inward, _, None) => {
            let wrong = words.remote.error("a packet without a destination port").label("comes from here");
            Err(wrong.help(format!("write `in {} {} to 8080`", words.protocol.text, words.remote.text)))
        }
    }
}

fn with_port(remote: &str) -> String {
    if remote.contains(':') && !remote.starts_with('[') && !remote.starts_with("domain:") {
        format!("[{remote}]:443")
    } else {
        format!("{remote}:443")
    }
}

fn icmp(words: &Words<'_>, remote: IpAddr, port: Option<u16>) -> Result<Transport, Wrong> {
    if port.is_some() || words.from.is_some() || words.to.is_some() {
        let wrong = words.protocol.error("ICMP has no ports").label("expected `tcp` or `udp` for ports");
        return Err(wrong.help("write `icmp 192.0.2.1 type 8`"));
    }
    let kind = words.kind.map(|(kind, _)| kind);
    match (words.protocol.text, remote) {
        ("icmpv6", IpAddr::V4(remote)) if !remote.is_unspecified() => {
            let wrong = words.protocol.error("IPv4 carries no ICMPv6").label("never with this address");
            Err(wrong.help("write `icmp`"))
        }
        ("icmp", IpAddr::V4(_)) => Ok(Transport::Icmp { kind: kind.unwrap_or(8) }),
        _ => Ok(Transport::Icmpv6 { kind: kind.unwrap_or(128) }),
    }
}

/// Who is at the other end, its address and what port stands behind it.
fn remote(word: Word<'_>) -> Result<(Peer, IpAddr, Option<u16>), Wrong> {
    if word.text == "dns" {
        return Ok((Peer::Dns, NAME_SERVERS_V4[0].into(), Some(DNS_PORT)));
    }
    if let Some(domain) = word.text.strip_prefix("domain:") {
        let domain = word.from(word.text.len() - domain.len());
        let (name, port) = domain.split_once(b':').map_or((domain, None), |(name, port)| (name, Some(port)));
        let name = values::domain(name)?.value;
        return Ok((Peer::Domain(name), Ipv4Addr::UNSPECIFIED.into(), port.map(ports::port).transpose()?));
    }
    if let Some(place) = word.text.find("]:").filter(|_| word.text.starts_with('[')) {
        let port = ports::port(word.from(place + 2))?;
        return Ok((Peer::Net, address(word.slice(1, place))?, Some(port)));
    }
    if word.text.starts_with('[') && word.text.ends_with(']') {
        return Ok((Peer::Net, address(word.slice(1, word.text.len() - 1))?, None));
    }
    match word.split_once(b':').filter(|(_, port)| !port.text.contains(':')) {
        Some((host, port)) => Ok((Peer::Net, address(host)?, Some(ports::port(port)?))),
        None => Ok((Peer::Net, address(word)?, None)),
    }
}

fn address(word: Word<'_>) -> Result<IpAddr, Wrong> {
    match hosts::host(word)? {
        Host::V4(net) if net.prefix_len() == 32 => Ok(net.addr().into()),
        Host::V6(net) if net.prefix_len() == 128 => Ok(net.addr().into()),
        Host::Name(name) => {
            let wrong = word.error("a packet goes to an address, not to a name").label("expected an address");
            Err(wrong
                .help(format!("write `192.0.2.1:443 as {name}`: the domain was told that address for it")))
        }
        _ => Err(word.error("a packet has one address").label("expected a single address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_understood() {
        let packet = |text| parse_packet(text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let tcp = |source, destination| Transport::Tcp { source, destination };
        let plain = packet("tcp 93.184.216.34:443");
        assert_eq!(
            (plain.direction, &plain.peer, plain.transport),
            (Direction::Outward, &Peer::Net, tcp(49152, 443))
        );
        let v6 = packet("udp [2001:db8::1]:53 from 40000");
        assert_eq!(v6.remote, "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(v6.transport, Transport::Udp { source: 40000, destination: 53 });
        assert_eq!(packet("icmp 1.1.1.1 type 3").transport, Transport::Icmp { kind: 3 });
        assert_eq!(packet("icmp 2001:db8::1").transport, Transport::Icmpv6 { kind: 128 });
        assert_eq!(packet("tcp dns").peer, Peer::Dns);
        assert_eq!(packet("udp 10.139.1.2:domain").peer, Peer::Dns);
        assert_eq!(packet("udp 10.139.1.2:54").peer, Peer::Net);
        let domain = packet("tcp domain:personal:22");
        assert_eq!((domain.peer, domain.transport), (Peer::Domain("personal".into()), tcp(49152, 22)));
        let inward = packet("in tcp 203.0.113.5 to 8080");
        assert_eq!((inward.direction, inward.transport), (Direction::Inward, tcp(49152, 8080)));
        assert_eq!(packet("in tcp 203.0.113.5:7 to 8080").transport, tcp(7, 8080));
        assert_eq!(packet("in udp domain:work to 53").peer, Peer::Domain("work".into()));
        assert_eq!(packet("tcp 1.1.1.1:443 as One.example,two").names, ["one.example", "two"]);
    }

    #[test]
    fn what_is_no_packet_is_said_so() {
        let cases = [
            ("", "the packet is incomplete"),
            ("in", "the packet is incomplete"),
            ("tcp", "the packet is incomplete"),
            ("tcp 1.1.1.1:443 from", "the packet is incomplete"),
            ("sctp 1.1.1.1:443", "there is no protocol `sctp`"),
            ("tcp 1.1.1.1", "a packet without a destination port"),
            ("in tcp 1.1.1.1", "a packet without a destination port"),
            ("tcp 1.1.1.1 to 443", "`to` is for packets that come in"),
            ("tcp 1.1.1.1:443 type 8", "tcp has no types"),
            ("icmp 1.1.1.1:443", "ICMP has no ports"),
            ("icmpv6 1.1.1.1", "IPv4 carries no ICMPv6"),
            ("tcp host.example:443", "a packet goes to an address, not to a name"),
            ("tcp 192.0.2.0/24:443", "a packet has one address"),
            ("tcp 1.1.1.1:443 via 3", "unexpected `via`"),
            ("tcp domain:Work:1", "`Work` is no domain"),
            ("tcp [::1:443", "`[::1:443` is no IPv6 address"),
            ("tcp 1.1.1.1:443\ntcp", "not a packet"),
        ];
        for (text, message) in cases {
            let errors = parse_packet(text).expect_err(text);
            let found: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
            assert_eq!(found, [message], "{text}");
        }
    }
}
