//! Files of valid rules in every form, and packets that lie on the corners of what they say.

use proptest::{
    prelude::*,
    sample::{select, subsequence},
};
use rules_compiler::packet::{Packet, Peer};
use rules_program::{policy::Direction, question::Transport};
use std::net::IpAddr;

const PORTS: [u16; 14] = [0, 1, 22, 53, 79, 80, 81, 443, 1023, 1024, 8080, 49152, 65534, 65535];
const TYPES: [u8; 7] = [0, 3, 8, 127, 128, 135, 255];
const HOSTS: [&str; 22] = [
    "0.0.0.0/0",
    "0.0.0.0",
    "10.0.0.0/8",
    "10.139.1.1",
    "128.0.0.0/1",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.6/31",
    "192.0.2.7",
    "192.0.2.7/32",
    "255.255.255.255",
    "::/0",
    "::1",
    "2001:db8::/32",
    "2001:DB8::/33",
    "2001:db8::1",
    "fd09:24ef:4179::53",
    "8000::/1",
    "a.example",
    "B.Example.",
    "c_d-e",
    "very.long.name.with.many.parts.example",
];
const NAMES: [&str; 5] =
    ["a.example", "b.example", "c_d-e", "very.long.name.with.many.parts.example", "other"];
const REMOTES: [&str; 17] = [
    "0.0.0.0",
    "9.255.255.255",
    "10.139.1.1",
    "127.255.255.255",
    "128.0.0.0",
    "192.0.2.6",
    "192.0.2.7",
    "192.0.2.127",
    "192.0.2.128",
    "192.0.3.0",
    "255.255.255.255",
    "::",
    "::1",
    "2001:db8::1",
    "2001:db8:8000::1",
    "fd09:24ef:4179::53",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const DOMAINS: [&str; 3] = ["work", "a-1", "personal"];
const SETS: [&str; 4] = ["s0", "s1", "Deep_set", "last-one"];

fn network(names: bool) -> impl Strategy<Value = String> + Clone {
    let count = if names { HOSTS.len() } else { 18 };
    select(&HOSTS[..count]).prop_map(str::to_owned)
}

/// Every set, each with hosts and sets above it; the last one is inward and so without names.
fn sets() -> impl Strategy<Value = String> {
    let one = |place: usize| {
        let above: Vec<String> = SETS[..place].iter().map(|name| format!("@{name}")).collect();
        let item = if place == 3 {
            network(false).boxed()
        } else if above.is_empty() {
            network(true).boxed()
        } else {
            prop_oneof![3 => network(true), 1 => select(above)].boxed()
        };
        let items = prop::collection::vec(item, 1..4);
        items.prop_map(move |items| format!("set {} = {}\n", SETS[place], items.join(", ")))
    };
    (one(0), one(1), one(2), one(3)).prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}

fn ports(lists: bool) -> impl Strategy<Value = String> {
    let one = (select(&PORTS[..]), select(&PORTS[..]), any::<bool>()).prop_map(|(a, b, range)| match range {
        true => format!("{}-{}", a.min(b), a.max(b)),
        false => a.to_string(),
    });
    let named = prop_oneof![9 => one, 1 => select(vec!["https", "domain", "ssh"]).prop_map(str::to_owned)];
    prop::collection::vec(named, 1..if lists { 4 } else { 2 }).prop_map(|parts| parts.join(","))
}

/// `proto=` and what goes with it, protocol and value apart.
fn transport(lists: bool) -> impl Strategy<Value = Vec<String>> {
    let protocol = select(vec!["tcp", "udp", "tcp,udp", "udp,tcp"]);
    let with_ports = (protocol, prop::option::of(ports(lists)), prop::option::weighted(0.2, ports(lists)));
    let with_ports = with_ports.prop_map(|(protocol, to, from)| {
        let to = to.map(|to| format!("dstports={to}"));
        let from = from.map(|from| format!("srcports={from}"));
        [Some(format!("proto={protocol}")), to, from].into_iter().flatten().collect()
    });
    let with_types = (select(vec!["icmp", "icmpv6", "icmpv6,icmp"]), prop::option::of(select(&TYPES[..])));
    let with_types = with_types.prop_map(|(protocol, kind)| {
        let kind = kind.map(|kind| format!("icmptype={kind}"));
        [Some(format!("proto={protocol}")), kind].into_iter().flatten().collect()
    });
    let mixed =
        select(vec!["tcp,icmp", "udp,icmpv6", "tcp,udp,icmp"]).prop_map(|all| vec![format!("proto={all}")]);
    prop_oneof![2 => Just(Vec::new()), 5 => with_ports, 2 => with_types, 1 => mixed]
}

/// Hosts behind `key`; no single IPv4 address, so that any protocol goes with them.
fn hosts(names: bool) -> impl Strategy<Value = String> {
    let set = if names { select(&SETS[..]) } else { select(&SETS[3..]) };
    let one = prop_oneof![4 => network(names), 1 => set.prop_map(|name| format!("@{name}"))];
    prop::collection::vec(one, 1..4).prop_map(|hosts| hosts.join(","))
}

/// Action and other end.
fn ends() -> impl Strategy<Value = Vec<String>> {
    let plain = || select(vec!["accept", "drop", "reject"]).prop_map(|action| format!("action={action}"));
    let two = |(action, end): (String, String)| vec![action, end];
    let domain = || select(&DOMAINS[..]);
    prop_oneof![
        2 => plain().prop_map(|action| vec![action]),
        6 => (plain(), hosts(true).prop_map(|hosts| format!("dsthost={hosts}"))).prop_map(two),
        1 => (plain(), network(false).prop_map(|host| {
            format!("{}={host}", if host.contains(':') { "dst6" } else { "dst4" })
        })).prop_map(two),
        1 => (plain(), domain().prop_map(|name| format!("dstdomain={name}"))).prop_map(two),
        1 => (plain(), domain().prop_map(|name| format!("srcdomain={name}"))).prop_map(two),
        1 => (select(vec!["action=drop", "action=reject"]).prop_map(str::to_owned),
              hosts(false).prop_map(|hosts| format!("srchost={hosts}"))).prop_map(two),
    ]
}

fn forward(lists: bool) -> impl Strategy<Value = Vec<String>> {
    let ports = prop_oneof![
        ports(lists).prop_map(|ports| vec![format!("dstports={ports}")]),
        (select(&PORTS[..]), select(&PORTS[..]))
            .prop_map(|(from, to)| vec![format!("dstports={from}"), format!("toport={to}")]),
    ];
    let source = prop::option::of(hosts(false).prop_map(|hosts| format!("srchost={hosts}")));
    (select(vec!["tcp", "udp", "udp,tcp"]), ports, source).prop_map(|(protocol, ports, source)| {
        let mut words = vec!["action=forward".to_owned(), format!("proto={protocol}")];
        words.extend(ports);
        words.extend(source);
        words
    })
}

fn name_servers() -> impl Strategy<Value = Vec<String>> {
    let transport = prop_oneof![
        Just(vec![]),
        Just(vec!["proto=udp".to_owned()]),
        ports(false).prop_map(|ports| vec!["proto=tcp,udp".to_owned(), format!("dstports={ports}")]),
    ];
    (select(vec!["accept", "drop", "reject"]), transport).prop_map(|(action, transport)| {
        let mut words = vec![format!("action={action}"), "specialtarget=dns".to_owned()];
        words.extend(transport);
        words
    })
}

/// Conditions and remarks that any rule may have.
fn rest(limits: bool, accepts: bool) -> impl Strategy<Value = Vec<String>> {
    let limit =
        (1u32..1_000_000, select(vec!["second", "minute", "hour", "day"]), prop::option::of(1u32..100));
    let limit = limit.prop_map(|(count, unit, burst)| {
        let burst = burst.map(|burst| format!("burst={burst}"));
        [Some(format!("limit={count}/{unit}")), burst].into_iter().flatten().collect::<Vec<_>>()
    });
    let limit = prop::option::of(limit).prop_map(move |limit| limit.filter(|_| limits).unwrap_or_default());
    let connections = prop::option::of(1u32..100).prop_map(move |count| count.filter(|_| limits && accepts));
    let log = prop::option::of(select(vec!["log=yes", "log=no"]));
    let expire = prop::option::weighted(0.1, select(vec![0u64, 1_699_999_999, 1_700_000_000, 1_700_000_001]));
    (limit, connections, log, expire).prop_map(|(mut words, connections, log, expire)| {
        words.extend(connections.map(|count| format!("connlimit={count}")));
        words.extend(log.map(str::to_owned));
        words.extend(expire.map(|end| format!("expire={end}")));
        words
    })
}

/// A rule's words in some order, some of them without their keys.
fn rule() -> impl Strategy<Value = String> {
    let words = any::<bool>().prop_flat_map(|limits| {
        let plain = (ends(), transport(!limits)).prop_map(|(mut words, more)| {
            let v4 = |part: &str| part.bytes().all(|byte| !byte.is_ascii_alphabetic() && byte != b':');
            let end = words.get(1).and_then(|word| word.split_once('='));
            let only_v4 = end.is_some_and(|(_, hosts)| hosts.split(',').all(v4));
            // IPv4 carries no ICMPv6: that would be refused.
            words.extend(more.into_iter().map(|word| match word.as_str() {
                "proto=icmpv6" if only_v4 => "proto=icmp".to_owned(),
                _ => word,
            }));
            words
        });
        prop_oneof![8 => plain, 2 => forward(!limits), 1 => name_servers()].prop_flat_map(move |words| {
            let accepts = words[0].contains("accept") || words[0].contains("forward");
            (Just(words), rest(limits, accepts)).prop_map(|(mut words, rest)| {
                words.extend(rest);
                words
            })
        })
    });
    let comment = select(vec!["", "", " comment=why not: [a,b] x/y", " # comment=ü", " comment="]);
    let orders =
        words.prop_flat_map(|words| (Just(words.clone()), Just(words).prop_shuffle(), any::<bool>()));
    (orders, comment).prop_map(|((ordered, shuffled, bare), comment)| {
        let words = if bare { without_keys(&ordered) } else { shuffled };
        format!("{}{comment}\n", words.join(if comment.is_empty() { "\t " } else { " " }))
    })
}

/// Leaves keys out where Qubes' positional form allows it.
fn without_keys(words: &[String]) -> Vec<String> {
    let mut place = 0;
    let keys = ["action", "dsthost", "proto", "dstports"];
    let mut out = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or_default();
        // `dsthost` alone may be missing in between; another end than it takes its place.
        let at = keys.iter().position(|known| *known == key || (*known == "dstports" && key == "icmptype"));
        match at {
            Some(at) if at == place || (place == 1 && at == 2) => {
                out.push(value.to_owned());
                place = at + 1;
            }
            _ => {
                out.push(word.clone());
                place = if place == 1 { 2 } else { 9 };
            }
        }
    }
    out
}

/// A file.
pub(crate) fn file() -> impl Strategy<Value = String> {
    let line =
        prop_oneof![12 => rule(), 1 => Just("\n".to_owned()), 1 => Just("  # a comment\r\n".to_owned())];
    (sets(), prop::collection::vec(line, 0..20), any::<bool>()).prop_map(|(sets, rules, first)| {
        let rules = rules.concat();
        if first { sets + &rules } else { rules + &sets }
    })
}

/// A packet.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let port = || prop_oneof![9 => select(&PORTS[..]), 1 => any::<u16>()];
    let transport = prop_oneof![
        3 => (port(), port()).prop_map(|(source, destination)| Transport::Tcp { source, destination }),
        3 => (port(), port()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        1 => select(&TYPES[..]).prop_map(|kind| Transport::Icmp { kind }),
        1 => select(&TYPES[..]).prop_map(|kind| Transport::Icmpv6 { kind }),
    ];
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let servers = select(vec!["10.139.1.1", "10.139.1.2", "fd09:24ef:4179::53"]);
    let names =
        subsequence(&NAMES[..], 0..3).prop_map(|names| names.into_iter().map(str::to_owned).collect());
    let names = prop_oneof![Just(Vec::new()), names];
    let domain = select(vec!["work", "a-1", "personal", "unknown"]);
    let end = prop_oneof![
        6 => (Just(Peer::Net), select(&REMOTES[..]).prop_map(address), names),
        1 => (Just(Peer::Dns), servers.prop_map(address), Just(Vec::new())),
        1 => (domain.prop_map(|name| Peer::Domain(name.to_owned())), select(&REMOTES[..]).prop_map(address), Just(Vec::new())),
    ];
    let direction = prop_oneof![2 => Just(Direction::Outward), 1 => Just(Direction::Inward)];
    (direction, end, transport).prop_map(|(direction, (peer, remote, names), transport)| Packet {
        direction,
        peer,
        remote,
        names,
        transport,
    })
}
