//! Whole files: what compiles to what, and what is refused or warned about.

use rules_compiler::{Compiled, Diagnostic, compile};
use rules_program::policy::{Action, Direction, Policy, Ports, Protocols, Rate, Rule, Target};

const NOW: u64 = 1_700_000_000;

fn compiled(text: &str) -> Compiled {
    compile(text, NOW).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn errors(text: &str) -> Vec<String> {
    compile(text, NOW).expect_err("must be refused").into_iter().map(|error| error.message).collect()
}

fn warnings(text: &str) -> Vec<(u32, String)> {
    let line = |warning: Diagnostic| (warning.span.line, warning.message);
    compiled(text).warnings().into_iter().map(line).collect()
}

fn rule() -> Rule {
    Rule { line: 1, ..Rule::any(Direction::Outward, Action::Accept) }
}

#[test]
fn a_file_becomes_a_policy() {
    let text = "set a = 192.0.2.0/24, Host.Example.\nset b = @a, 2001:db8::/32, 192.0.2.0/24\n\n\
                accept @b,0.0.0.0/0 tcp,udp 53 limit=10/minute log=yes\n\
                forward proto=tcp dstports=8080 toport=80 # in\n\
                drop dstdomain=work proto=icmp icmptype=8\n";
    let network = |text: &str| Target::V4(text.parse().unwrap());
    let targets = vec![
        network("192.0.2.0/24"),
        Target::Name(0),
        Target::V6("2001:db8::/32".parse().unwrap()),
        Target::AnyV4,
    ];
    let first = Rule {
        targets,
        protocols: Protocols::TCP.and(Protocols::UDP),
        destination_ports: Ports { first: 53, last: 53 },
        rate: Some(Rate { count: 10, per_seconds: 60, burst: 10 }),
        log: true,
        line: 4,
        ..rule()
    };
    let second = Rule {
        direction: Direction::Inward,
        action: Action::Forward { to_port: Some(80) },
        protocols: Protocols::TCP,
        destination_ports: Ports { first: 8080, last: 8080 },
        line: 5,
        ..rule()
    };
    let third = Rule {
        action: Action::Drop,
        targets: vec![Target::Domain(0)],
        protocols: Protocols::ICMP.and(Protocols::ICMPV6),
        icmp_type: Some(8),
        line: 6,
        ..rule()
    };
    let expected = Policy {
        rules: vec![first, second, third],
        names: vec!["host.example".into()],
        domains: vec!["work".into()],
    };
    assert_eq!(compiled(text).policy, expected);
}

#[test]
fn lists_of_ports_are_rules_of_their_own_and_expired_rules_are_none() {
    let text = "drop expire=1600000000\naccept tcp 80,443,444 expire=1800000000\ndrop expire=1750000000\n";
    let compiled = compiled(text);
    assert_eq!(compiled.places, [1, 1, 2]);
    assert_eq!(compiled.next_expiry, Some(1_750_000_000));
    assert_eq!(compiled.policy.rules[1].destination_ports, Ports { first: 443, last: 444 });
    assert_eq!(compiled.rule(2).unwrap().1.span.line, 3);
    assert!(compile(text, 1_750_000_000).unwrap().places == [1, 1], "a rule ends at its time");
}

#[test]
fn sets_cannot_grow_without_bound() {
    let mut text = String::from("set s0 = 192.0.2.1\n");
    for i in 1..10_000u32 {
        text += &format!("set s{i} = @s{}, @s{}, {}\n", i - 1, i - 1, std::net::Ipv4Addr::from(i));
    }
    assert_eq!(errors(&text), ["sets hold more than 65536 addresses and names in all"]);
}

#[test]
fn limits_of_the_format_are_told_where_they_are_reached() {
    let domains: String = (0..33).map(|i| format!("accept dstdomain=d{i}\n")).collect();
    assert_eq!(errors(&domains), ["more than 32 domains"]);
    let names: String = (0..1025).map(|i| format!("accept h{i}.example\n")).collect();
    assert_eq!(errors(&names), ["more than 1024 host names"]);
    let limited: String = (0..257).map(|i| format!("accept tcp {i} limit=1/second\n")).collect();
    assert_eq!(errors(&limited), ["more than 256 rules with limits"]);
    let ports: Vec<String> = (0..130).map(|i| (i * 2).to_string()).collect();
    let ports = ports.join(",");
    assert_eq!(
        errors(&format!("accept proto=tcp dstports={ports} srcports={ports}")),
        ["more than 16384 rules, lists of ports spelt out"]
    );
    let rules = "drop\n".repeat(16_385);
    assert_eq!(errors(&rules), ["more than 16384 rules"]);
    assert_eq!(errors(&" ".repeat(2 << 20)).len(), 1);
    assert_eq!(errors(&"x\n".repeat(50_000)).len(), 101);
    assert_eq!(errors(&format!("drop # {}", "x".repeat(20_000))).len(), 1);
}

#[test]
fn what_was_hardly_meant_is_warned_about() {
    let shadow = "this rule can never match";
    let text = "accept 192.0.2.0/24 tcp 1-100\ndrop 192.0.2.7 tcp 80,90\ndrop 192.0.2.7 tcp 80,101\naccept\n\
                drop 2001:db8::1\ndrop dstdomain=work\nreject specialtarget=dns\n";
    let expected: Vec<_> = [2, 5, 7].map(|line| (line, shadow.to_owned())).into();
    assert_eq!(warnings(text), expected);
    assert_eq!(warnings("accept limit=1/second\ndrop 192.0.2.1\ndrop\n"), []);
    assert_eq!(warnings("accept srcdomain=a\naccept dstdomain=a\naccept srcdomain=b\n"), []);
    let dns = (1, "a host name, but no rule lets DNS through".to_owned());
    for text in ["accept host.example", "accept host.example\ndrop specialtarget=dns\naccept tcp 443"] {
        assert_eq!(warnings(text), std::slice::from_ref(&dns));
    }
    for lets in ["specialtarget=dns", "udp 53", "10.139.1.0/24", "0.0.0.0/0 udp"] {
        assert_eq!(warnings(&format!("accept host.example\naccept {lets}\n")), [], "{lets}");
    }
    assert_eq!(warnings("drop host.example\n"), []);
    assert_eq!(warnings("set a = 192.0.2.1\ndrop\n"), [(1, "the set `a` is not used".to_owned())]);
    assert_eq!(warnings("drop expire=5\n"), [(1, "this rule has expired".to_owned())]);
    let twice = (2, "a port that is forwarded twice".to_owned());
    let forwards = "forward proto=tcp dstports=80-90\nforward proto=tcp,udp dstports=85 toport=1\n";
    assert_eq!(warnings(forwards), [twice]);
    let forwards = "forward srchost=192.0.2.1 tcp 80 toport=1\nforward tcp 80 toport=2\n";
    assert_eq!(warnings(forwards), []);
}
