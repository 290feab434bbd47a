//! Two clients never share a key; a new identity changes one client's keys and nobody else's.

use super::*;
use proptest::prelude::*;

/// A wish that owns what it is made of.
#[derive(Clone, Debug)]
struct Asked {
    host: String,
    port: Option<u16>,
    credentials: Option<Credentials>,
}

impl Asked {
    fn wish(&self) -> Wish<'_> {
        Wish { host: &self.host, port: self.port, credentials: self.credentials.as_ref() }
    }
}

/// Few values each, so that equal ones meet.
fn asked() -> impl Strategy<Value = Asked> {
    let word = || prop::collection::vec(b'a'..=b'b', 0..3);
    let credentials = prop_oneof![
        word().prop_map(Credentials::Socks4),
        (word(), word()).prop_map(|(u, p)| Credentials::Socks5(u, p)),
        word().prop_map(Credentials::Http),
    ];
    let port = prop::option::of(prop::sample::select(vec![22, 25, 80, 443, 465, 587, 993]));
    ("[abAB]{1,2}", port, prop::option::of(credentials)).prop_map(|(host, port, credentials)| Asked {
        host,
        port,
        credentials,
    })
}

fn rules() -> impl Strategy<Value = Isolation> {
    let class = prop::collection::vec(prop::sample::select(vec![22, 25, 80, 443, 465, 587]), 0..4);
    (any::<[bool; 3]>(), prop::collection::vec(class, 0..4)).prop_map(|(by, classes)| Isolation {
        by_destination_address: by[0],
        by_destination_port: by[1],
        by_socks_credentials: by[2],
        port_classes: classes.into_iter().map(|class| class.into_iter().collect()).collect(),
    })
}

fn client() -> impl Strategy<Value = Ipv4Addr> {
    (0..4u8).prop_map(|n| Ipv4Addr::new(10, 137, 0, n))
}

#[derive(Clone, Debug)]
enum Event {
    Identity(Option<Ipv4Addr>),
    Rules(Box<Isolation>),
    Stream(Ipv4Addr, Asked),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => prop::option::of(client()).prop_map(Event::Identity),
        1 => rules().prop_map(|rules| Event::Rules(Box::new(rules))),
        6 => (client(), asked()).prop_map(|(client, asked)| Event::Stream(client, asked)),
    ]
}

#[test]
fn classes_that_change_places_do_not_let_ports_share() {
    let classes = |ports: [u16; 2]| Isolation {
        port_classes: ports.iter().map(|port| std::iter::once(*port).collect()).collect(),
        ..Isolation::default()
    };
    let wish = |port| Wish { host: "example.test", port: Some(port), credentials: None };
    let client = Ipv4Addr::new(10, 137, 0, 6);
    let mut separation = Separation::new(classes([22, 25]));
    let shell = separation.key(client, &wish(22));
    separation.set_rules(classes([22, 25]));
    assert_eq!(separation.key(client, &wish(22)), shell, "the same rules once more");
    separation.set_rules(classes([25, 22]));
    assert_ne!(separation.key(client, &wish(25)), shell);
    separation.set_rules(classes([22, 25]));
    assert_ne!(separation.key(client, &wish(22)), shell, "what comes back is not what was");
}

proptest! {
    #[test]
    fn streams_share_only_within_a_client_and_an_identity(
        first in rules(), events in prop::collection::vec(event(), 0..60),
    ) {
        let mut separation = Separation::new(first);
        // Every key beside the client and the number of identities that the client had taken by then.
        let mut seen: Vec<(StreamKey, Ipv4Addr, u32)> = Vec::new();
        let mut taken: HashMap<Ipv4Addr, u32> = HashMap::new();
        for event in events {
            match event {
                Event::Rules(rules) => separation.set_rules(*rules),
                Event::Identity(Some(client)) => {
                    separation.new_identity(Some(client));
                    *taken.entry(client).or_default() += 1;
                }
                Event::Identity(None) => {
                    separation.new_identity(None);
                    for n in 0..4 {
                        *taken.entry(Ipv4Addr::new(10, 137, 0, n)).or_default() += 1;
                    }
                }
                Event::Stream(client, asked) => {
                    let key = separation.key(client, &asked.wish());
                    let number = taken.get(&client).copied().unwrap_or(0);
                    for (other, its_client, its_number) in &seen {
                        let together = key.compatible_same_type(other);
                        prop_assert!(!together || (*its_client, *its_number) == (client, number));
                        prop_assert_eq!(together, other.compatible_same_type(&key));
                        prop_assert_eq!(together, key.join_same_type(other).is_some());
                    }
                    seen.push((key, client, number));
                }
            }
        }
    }

    #[test]
    fn an_identity_that_is_not_the_clients_changes_nothing_for_it(
        rules in rules(), client in client(), other in client(), asked in asked(),
    ) {
        prop_assume!(client != other);
        let mut separation = Separation::new(rules);
        let before = separation.key(client, &asked.wish());
        separation.new_identity(Some(other));
        prop_assert_eq!(&before, &separation.key(client, &asked.wish()));
        separation.new_identity(Some(client));
        prop_assert_ne!(&before, &separation.key(client, &asked.wish()));
    }

    #[test]
    fn what_is_configured_keeps_apart_and_what_is_not_does_not(
        rules in rules(), client in client(), a in asked(), b in asked(),
    ) {
        let class = |port: Option<u16>| port.and_then(|p| rules.port_classes.iter().position(|c| c.contains(&p)));
        let differs = rules.by_destination_address && !a.host.eq_ignore_ascii_case(&b.host)
            || rules.by_destination_port && a.port != b.port
            || rules.by_socks_credentials && a.credentials != b.credentials
            || class(a.port) != class(b.port);
        let separation = Separation::new(rules);
        prop_assert_eq!(differs, separation.key(client, &a.wish()) != separation.key(client, &b.wish()));
    }
}
