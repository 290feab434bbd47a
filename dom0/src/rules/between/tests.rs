use super::*;

fn rule(direction: Direction, action: Action, targets: Vec<Target>) -> Rule {
    Rule {
        direction,
        action,
        targets,
        protocols: Protocols::TCP,
        destination_ports: Ports { first: 80, last: 90 },
        source_ports: Ports::ALL,
        icmp_type: None,
        rate: None,
        connections: None,
        log: false,
        line: 7,
    }
}

fn policy(rules: Vec<Rule>, domains: &[&str]) -> Policy {
    Policy { rules, names: Vec::new(), domains: domains.iter().map(|d| (*d).to_owned()).collect() }
}

fn forward(targets: Vec<Target>) -> Policy {
    policy(vec![rule(Direction::Inward, Action::Forward { to_port: None }, targets)], &[])
}

fn with<T>(mine: &Policy, theirs: &Policy, look: impl Fn(&Side<'_>, &[Side<'_>]) -> T) -> T {
    let (work, personal) = ("work".parse().unwrap(), "personal".parse().unwrap());
    let mine = Side { name: &work, file: "work.rules", policy: mine };
    let theirs = Side { name: &personal, file: "personal.rules", policy: theirs };
    look(&mine, &[theirs])
}

#[test]
fn one_port_of_the_uplink_has_one_owner() {
    let both = |a: &Policy, b: &Policy| with(a, b, clash);
    let (any, v4, v6) = (
        forward(vec![]),
        forward(vec![Target::AnyV4]),
        forward(vec!["fd00::/8".parse().map(Target::V6).unwrap()]),
    );
    let said = both(&any, &v4).unwrap();
    assert_eq!(said, "TCP port 80 of the uplink is forwarded at work.rules:7 and at personal.rules:7");
    assert_eq!(both(&v6, &v4), None, "different addresses");
    let mut elsewhere = any.clone();
    elsewhere.rules[0].destination_ports = Ports { first: 91, last: 91 };
    assert_eq!(both(&any, &elsewhere), None, "different ports");
    elsewhere.rules[0].destination_ports = Ports { first: 90, last: 100 };
    assert!(both(&any, &elsewhere).unwrap().contains("port 90"));
    elsewhere.rules[0].protocols = Protocols::UDP;
    assert_eq!(both(&any, &elsewhere), None, "different protocols");
}

#[test]
fn both_ends_must_say_it() {
    let here = |_: &str| Whereabouts::Here;
    let look = |a: &Policy, b: &Policy| with(a, b, |mine, others| warnings(mine, others, here));
    let to = |name| policy(vec![rule(Direction::Outward, Action::Accept, vec![Target::Domain(0)])], &[name]);
    let from = |name| policy(vec![rule(Direction::Inward, Action::Accept, vec![Target::Domain(0)])], &[name]);
    assert_eq!(look(&to("personal"), &from("work")), Vec::<String>::new());
    let said = look(&to("personal"), &policy(vec![], &[]));
    assert_eq!(
        said,
        ["work.rules:7: personal has no matching srcdomain=work rule: nothing passes until both say so"]
    );
    let said = look(&from("personal"), &from("work"));
    assert!(said[0].contains("personal has no matching dstdomain=work rule"), "{said:?}");
    let mut narrow = from("work");
    narrow.rules[0].destination_ports = Ports { first: 22, last: 22 };
    assert_eq!(look(&to("personal"), &narrow).len(), 1, "another port is no answer");
    let mut dropping = to("personal");
    dropping.rules[0].action = Action::Drop;
    assert!(look(&dropping, &policy(vec![], &[])).is_empty(), "to drop needs nobody else");
}

#[test]
fn names_of_nobody_are_told() {
    let to = policy(vec![rule(Direction::Outward, Action::Accept, vec![Target::Domain(0)])], &["persnal"]);
    let look = |place| with(&to, &policy(vec![], &[]), |mine, others| warnings(mine, others, |_| place));
    assert_eq!(look(Whereabouts::Nowhere), ["work.rules:7: there is no domain \"persnal\""]);
    assert!(look(Whereabouts::Elsewhere)[0].contains("persnal is not behind the firewall of work"));
}

#[test]
fn warnings_end_before_they_hide_one_another() {
    let many = |n: u32| {
        let one = rule(Direction::Outward, Action::Accept, vec![Target::Domain(0)]);
        policy((1..=n).map(|line| Rule { line, ..one.clone() }).collect(), &["nobody"])
    };
    let look = |policy: &Policy| {
        with(policy, &self::policy(vec![], &[]), |mine, others| {
            warnings(mine, others, |_| Whereabouts::Nowhere)
        })
    };
    assert_eq!(look(&many(20)).len(), 20);
    let said = look(&many(16_000));
    assert_eq!((said.len(), said[20].as_str()), (21, "work.rules: and more like these"));
}
