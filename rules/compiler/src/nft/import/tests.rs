use super::*;
use crate::{
    compile,
    nft::export::{
        export,
        tests::{listed, place},
    },
};
use proptest::{collection::vec, prelude::*, sample::select};
use rules_program::{
    Program, assemble,
    policy::Policy,
    question::{Open, Peer, Question, Transport},
};
use std::net::IpAddr;

/// The text that a ruleset means, and what could not be said of it.
fn read(json: &str) -> (String, Vec<String>) {
    let imported = import_nft_json(json).unwrap();
    (imported.file.to_string(), imported.unsaid.iter().map(ToString::to_string).collect())
}

const HOSTS: [&str; 11] = [
    "192.0.2.1",
    "198.51.100.0/24",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8:1::5",
    "::/0",
    "www.example.org",
    "mail.example.net",
    "203.0.113.0/25",
    "203.0.113.128/25",
];

/// A line of every kind that the language has, but for what expires.
fn line() -> impl Strategy<Value = String> {
    let list = |items: &'static [&'static str], most: usize| {
        vec(select(items), 1..most).prop_map(|mut words| {
            words.sort_unstable();
            words.dedup();
            words.join(",")
        })
    };
    let hosts = || list(&HOSTS, 4);
    let nets = || list(&HOSTS[..7], 4);
    let ports = list(&["22", "53", "80-443", "1000-2000", "65535", "0-1023"], 3);
    let transport = prop_oneof![
        2 => Just(String::new()),
        1 => list(&["tcp", "udp", "icmp", "icmpv6"], 4).prop_map(|words| format!(" proto={words}")),
        3 => (list(&["tcp", "udp"], 3), ports.clone()).prop_map(|(p, ports)| format!(" proto={p} dstports={ports}")),
        1 => (list(&["tcp", "udp"], 3), ports).prop_map(|(p, ports)| format!(" proto={p} srcports={ports}")),
        1 => (0..=255u8).prop_map(|kind| format!(" proto=icmp icmptype={kind}")),
        1 => Just(" proto=icmpv6 icmptype=128".to_owned()),
    ];
    let end = prop_oneof![
        2 => Just(String::new()),
        4 => hosts().prop_map(|hosts| format!(" dsthost={hosts}")),
        1 => Just(" specialtarget=dns".to_owned()),
        1 => select(&["db", "web"][..]).prop_map(|name| format!(" dstdomain={name}")),
        1 => select(&["db", "web"][..]).prop_map(|name| format!(" srcdomain={name}")),
        1 => nets().prop_map(|nets| format!(" srchost={nets}")),
    ];
    let limit =
        prop_oneof![5 => Just(""), 1 => Just(" limit=3/minute burst=7"), 1 => Just(" limit=10/second")];
    let rest = (limit, select(&["", "", " log=yes"][..])).prop_map(|(limit, log)| format!("{limit}{log}"));
    let action = select(&["accept", "drop", "reject"][..]);
    let forward =
        (nets(), select(&["", " toport=8080"][..]), select(&["80", "443", "8000"][..]), any::<bool>())
            .prop_map(|(nets, to, port, everybody)| {
                let from = if everybody { String::new() } else { format!(" srchost={nets}") };
                format!("action=forward{from} proto=tcp,udp dstports={port}{to}")
            });
    let plain = (action, end, transport, rest)
        .prop_map(|(action, end, transport, rest)| format!("action={action}{end}{transport}{rest}"));
    prop_oneof![6 => plain, 1 => forward]
}

/// Lines that the language takes together.
fn text() -> impl Strategy<Value = String> {
    vec(line().prop_filter("not a rule", |line| crate::parse_rule(line).is_ok()), 0..8)
        .prop_map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
}

/// A question in words: names and domains have other numbers in other policies.
#[derive(Clone, Debug)]
struct Asked {
    direction: Direction,
    domain: Option<&'static str>,
    remote: IpAddr,
    names: Vec<&'static str>,
    transport: Transport,
}

fn asked() -> impl Strategy<Value = Asked> {
    let remotes = [
        "192.0.2.1",
        "192.0.2.2",
        "198.51.100.0",
        "198.51.100.255",
        "198.51.101.0",
        "10.1.2.3",
        "10.139.1.1",
        "203.0.113.127",
        "203.0.113.128",
        "8.8.8.8",
        "2001:db8::1",
        "2001:db8:1::5",
        "2001:db9::",
        "2600::1",
    ];
    let remote = select(remotes.to_vec()).prop_map(|text| text.parse::<IpAddr>().unwrap());
    let ports = || select(vec![0u16, 22, 23, 53, 79, 80, 443, 444, 999, 1000, 2000, 2001, 8000, 65_535]);
    let transport = prop_oneof![
        4 => (ports(), ports()).prop_map(|(source, destination)| Transport::Tcp { source, destination }),
        4 => (ports(), ports()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        2 => any::<u8>().prop_map(|kind| Transport::Icmp { kind }),
        1 => Just(Transport::Icmp { kind: 128 }),
    ];
    let domain = select(vec![None, None, None, Some("db"), Some("web"), Some("other")]);
    let direction = select(vec![Direction::Outward, Direction::Outward, Direction::Inward]);
    let names = select(vec![vec![], vec!["www.example.org"], vec!["www.example.org", "mail.example.net"]]);
    (direction, domain, remote, names, transport).prop_map(|(direction, domain, remote, names, transport)| {
        let transport = match transport {
            Transport::Icmp { kind } if remote.is_ipv6() => Transport::Icmpv6 { kind },
            other => other,
        };
        Asked { direction, domain, remote, names, transport }
    })
}

impl Asked {
    fn of(&self, policy: &Policy) -> (rules_program::policy::Action, bool) {
        let bytes = assemble(policy).unwrap();
        let program = Program::load(&bytes).unwrap();
        let place = |list: &[String], name: &str| list.iter().position(|known| known == name);
        let number = |place: Option<usize>| place.map(|place| u16::try_from(place).unwrap());
        let mut names: Vec<u16> =
            self.names.iter().filter_map(|name| number(place(&policy.names, name))).collect();
        names.sort_unstable();
        let is_server = self.remote == IpAddr::from([10, 139, 1, 1]) && self.direction == Direction::Outward;
        let peer = match self.domain {
            Some(domain) => Peer::Domain(number(place(&policy.domains, domain))),
            None if is_server => Peer::Dns,
            None => Peer::Net,
        };
        let question = Question {
            direction: self.direction,
            peer,
            remote: self.remote,
            names: &names,
            transport: self.transport,
        };
        let judgement = program.judge(&question, &mut Open);
        (judgement.action, judgement.log)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_exported_is_read_back(text in text(), asked in vec(asked(), 40)) {
        let before = compile(&text, 0).unwrap().policy;
        let (after_text, unsaid) = read(&export(&before, &place()).to_json().unwrap());
        prop_assert!(unsaid.is_empty(), "{unsaid:?}\n{text}\n{after_text}");
        let after = compile(&after_text, 0).unwrap().policy;
        for asked in asked {
            prop_assert_eq!(asked.of(&before), asked.of(&after), "{:?}\n{}\n{}", asked, text, after_text);
        }
        let limits = |policy: &Policy| {
            let limits = policy.rules.iter().map(|rule| (rule.rate.map(|r| (r.count * 60 / r.per_seconds, r.burst)), rule.connections));
            limits.filter(|(rate, connections)| rate.is_some() || connections.is_some()).collect::<Vec<_>>()
        };
        // Name servers are asked on port 53: with other ports such a rule matches nothing and is not exported.
        let never = text.lines().any(|line| line.contains("=dns") && line.contains("dstports="));
        prop_assert!(never || limits(&before) == limits(&after), "{}\n{}", text, after_text);
    }

    #[test]
    fn nothing_that_is_read_panics(bytes in ".{0,200}") {
        let _ = import_nft_json(&bytes);
        let wrapped = format!(r#"{{"nftables":[{{"chain":{{"family":"inet","table":"t","name":"f","type":"filter","hook":"forward"}}}},{{"rule":{{"family":"inet","table":"t","chain":"f","expr":[{bytes}]}}}}]}}"#);
        let _ = import_nft_json(&wrapped);
    }
}

#[test]
fn what_nft_lists_is_read_back() {
    let text = "action=accept specialtarget=dns\n\
                action=reject dsthost=198.51.100.0/24,2001:db8::/32 proto=tcp dstports=80-443 log=yes\n\
                action=accept dsthost=www.example.org proto=tcp limit=3/minute burst=7\n\
                action=accept dstdomain=db\n\
                action=forward srchost=192.0.2.0/24 proto=tcp,udp dstports=443 toport=8443\n\
                action=drop srcdomain=web\n\
                action=accept proto=icmp icmptype=8\n\
                action=accept proto=tcp connlimit=50\n";
    let json = export(&compile(text, 0).unwrap().policy, &place()).to_json().unwrap();
    assert_eq!(read(&json), (text.to_owned(), vec![]));
    if let Some(listed) = listed(&json) {
        assert_eq!(read(&listed), (text.to_owned(), vec![]), "{listed}");
    }
}

#[test]
fn what_cannot_be_said_opens_nothing() {
    let rule =
        |expr: &str| format!(r#",{{"rule":{{"family":"inet","table":"t","chain":"f","expr":[{expr}]}}}}"#);
    let read_rule = |expr: &str| {
        let chain = r#"{"chain":{"family":"inet","table":"t","name":"f","type":"filter","hook":"forward","policy":"drop"}}"#;
        read(&format!(r#"{{"nftables":[{chain}{}]}}"#, rule(expr)))
    };
    let mark = r#"{"match":{"op":"==","left":{"meta":{"key":"mark"}},"right":5}}"#;
    let to =
        r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"192.0.2.1"}}"#;
    let (text, unsaid) = read_rule(&format!(r#"{to},{mark},{{"accept":null}}"#));
    assert_eq!((text.as_str(), unsaid.len()), ("", 1));
    assert_eq!(unsaid[0], "table inet t, chain f, rule 0, statement 1: `meta mark`: left out");
    let (text, unsaid) = read_rule(&format!(r#"{to},{mark},{{"drop":null}}"#));
    assert_eq!(text, "action=drop dsthost=192.0.2.1\n");
    assert!(unsaid[0].ends_with("`meta mark`: said without it, so that more is dropped"), "{unsaid:?}");
    let state = |state: &str| {
        format!(r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":"{state}"}}}}"#)
    };
    assert_eq!(read_rule(&format!(r#"{},{{"drop":null}}"#, state("invalid"))), (String::new(), vec![]));
    assert_eq!(read_rule(&format!(r#"{},{{"accept":null}}"#, state("established"))), (String::new(), vec![]));
    assert_eq!(read_rule(&format!(r#"{},{{"drop":null}}"#, state("established"))).0, "action=drop\n");
    // Behind a conditional `return` nothing is accepted any more, and everything dropped.
    let chain = r#"{"chain":{"family":"inet","table":"t","name":"f","type":"filter","hook":"forward","policy":"drop"}}"#;
    let rules = [&format!(r#"{mark},{{"return":null}}"#), r#"{"accept":null}"#, r#"{"drop":null}"#].map(rule);
    let (text, unsaid) = read(&format!(r#"{{"nftables":[{chain}{}]}}"#, rules.concat()));
    assert_eq!((text.as_str(), unsaid.len()), ("action=drop\n", 3), "{unsaid:?}");
    for expr in [r#"{"queue":{"num":1}}"#, "7", "null", r#"{"jump":{"target":"f"}}"#] {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"t","name":"f","type":"filter","hook":"forward"}}}}{}]}}"#,
            rule(expr)
        );
        let read = import_nft_json(&text);
        assert!(read.is_err() || !read.unwrap().unsaid.is_empty(), "{expr}");
    }
}
