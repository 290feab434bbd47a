use super::{super::limits::per_unit, *};
use rules_program::policy::{Ports, Rate, Target};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

pub(in crate::nft) fn place() -> Place {
    Place {
        name: "work".to_owned(),
        addresses: vec!["10.137.0.6".parse().unwrap(), "fd09:24ef:4179:1::6".parse().unwrap()],
        interface: None,
        uplink: Some("up0".to_owned()),
        inside: vec!["10.137.0.0/16".parse().unwrap(), "fd09:24ef:4179::/48".parse().unwrap()],
        name_servers: vec!["10.139.1.1".parse().unwrap(), "10.139.1.2".parse().unwrap()],
    }
}

pub(in crate::nft) fn rule(direction: Direction, action: Action) -> Rule {
    Rule::any(direction, action)
}

/// Every feature once.
pub(in crate::nft) fn everything() -> Policy {
    let out = |action| rule(Direction::Outward, action);
    let port = |port| Ports { first: port, last: port };
    let tcp_udp = Protocols::TCP.and(Protocols::UDP);
    let icmp = Protocols::ICMP.and(Protocols::ICMPV6);
    let many = (0..40).map(|n| Target::V4(format!("198.51.100.{}/31", n * 4).parse().unwrap())).collect();
    let rate = Rate { count: 10, per_seconds: 60, burst: 3 };
    Policy {
        rules: vec![
            Rule {
                targets: vec![Target::Dns],
                protocols: Protocols::UDP,
                log: true,
                line: 3,
                ..out(Action::Accept)
            },
            Rule { targets: many, ..out(Action::Drop) },
            Rule {
                targets: vec![
                    Target::Name(0),
                    Target::Domain(0),
                    Target::V6("2001:db8::/32".parse().unwrap()),
                    Target::V4("192.0.2.1/32".parse().unwrap()),
                ],
                protocols: tcp_udp,
                destination_ports: Ports { first: 80, last: 443 },
                source_ports: port(1024),
                rate: Some(rate),
                connections: Some(5),
                ..out(Action::Accept)
            },
            Rule { protocols: icmp, icmp_type: Some(8), ..out(Action::Accept) },
            Rule { protocols: Protocols::ICMPV6, targets: vec![Target::AnyV6], ..out(Action::Reject) },
            Rule {
                protocols: Protocols::TCP,
                destination_ports: port(25),
                targets: vec![Target::AnyV4, Target::V4("192.0.2.0/24".parse().unwrap())],
                ..out(Action::Reject)
            },
            Rule {
                protocols: tcp_udp,
                destination_ports: port(8080),
                ..rule(Direction::Inward, Action::Forward { to_port: Some(80) })
            },
            Rule {
                targets: vec![Target::Domain(1)],
                rate: Some(rate),
                ..rule(Direction::Inward, Action::Accept)
            },
            out(Action::Accept),
        ],
        names: vec!["www.example.org".to_owned()],
        domains: vec!["db".to_owned(), "web".to_owned()],
    }
}

/// The ruleset that `nft` lists once it has loaded this one.
pub(in crate::nft) fn listed(json: &str) -> Option<String> {
    Some(in_namespace("nft -j -f /dev/stdin && nft -j list ruleset", json)?.unwrap())
}

/// What `nft` says to the JSON when it only checks it.
fn checked(json: &str) -> Option<Result<String, String>> {
    in_namespace("nft -j -c -f /dev/stdin", json)
}

/// What commands say in a network namespace of their own; `None` where that cannot be tried.
fn in_namespace(commands: &str, json: &str) -> Option<Result<String, String>> {
    let run = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let able = run(Command::new("unshare").args(["--net", "nft", "--version"]));
    if !able.is_ok_and(|status| status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: not root, or no nft: what it says to exports was not tried"
        );
        return None;
    }
    let mut nft = Command::new("unshare")
        .args(["--net", "sh", "-c", commands])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    let done = nft.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Some(if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) })
}

#[test]
fn nft_takes_every_feature() {
    let with_interface = Place { interface: Some("vif1".to_owned()), ..place() };
    let bare = Place { name: "x".to_owned(), ..Place::default() };
    for place in [place(), with_interface, bare] {
        for policy in [everything(), Policy::default()] {
            let json = export(&policy, &place).to_json().unwrap();
            if let Some(said) = checked(&json) {
                assert_eq!(said.as_deref(), Ok(""), "{json}");
            }
        }
    }
    if let Some(said) = checked(r#"{"nftables":[{"add":{"rule":{"family":"inet"}}}]}"#) {
        assert!(said.is_err(), "it objects to what is wrong");
    }
}

#[test]
fn rates_are_said_in_units_that_nft_has() {
    assert_eq!(per_unit(10, 1), (10, "second", true));
    assert_eq!(per_unit(3, 60), (3, "minute", true));
    assert_eq!(per_unit(120, 60), (2, "second", true));
    assert_eq!(per_unit(5, 7200), (60, "day", true));
    assert_eq!(per_unit(3, 7), (259_200, "week", true));
    assert_eq!(per_unit(1, 11), (54_981, "week", false));
    assert_eq!(per_unit(u32::MAX, 1), (u32::MAX, "second", true));
    assert_eq!(per_unit(u32::MAX, 11), (u32::MAX / 11, "second", false));
    assert_eq!(per_unit(1, u32::MAX), (1, "week", false));
}

#[test]
fn what_matches_nothing_is_left_out() {
    let never = Rule {
        protocols: Protocols::ICMP,
        destination_ports: Ports { first: 1, last: 2 },
        ..rule(Direction::Outward, Action::Accept)
    };
    let policy = Policy { rules: vec![never], ..Policy::default() };
    let json = export(&policy, &place()).to_json().unwrap();
    assert!(!json.contains("rule 0"), "{json}");
}
