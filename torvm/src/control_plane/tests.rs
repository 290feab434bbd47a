//! dom0 at the other end of a real link.
use super::*;
use link::host::{self, CountBell};
use link::{Geometry, MAX_PAYLOAD};

fn pair() -> (Dom0<CountBell>, Link<CountBell>) {
    let (ours, theirs) = host::pair(Geometry::DEFAULT, 1).unwrap();
    (Dom0::new(ours), theirs)
}

fn heard(link: &mut Link<CountBell>) -> Vec<FromDomain> {
    let mut buffer = [0; MAX_PAYLOAD];
    let mut heard = Vec::new();
    while let Some((_, len)) = link.recv(&mut buffer).unwrap() {
        heard.push(codec::decode(&buffer[..len]).unwrap());
    }
    heard
}

fn say(link: &mut Link<CountBell>, message: &ToTor) {
    let mut buffer = [0; codec::MAX_LEN];
    let bytes = codec::encode(message, &mut buffer).unwrap();
    link.send(&Meta::MESSAGE, &[bytes]).unwrap();
    link.publish();
}

#[test]
fn hello_comes_first_and_pings_are_answered() {
    let (mut dom0, mut theirs) = pair();
    say(&mut theirs, &ToTor::Ping { nonce: 7 });
    assert_eq!(dom0.next_order(), Ok(None));
    dom0.flush();
    let heard = heard(&mut theirs);
    assert!(matches!(&heard[0], FromDomain::Hello { kind, .. } if kind == "torvm"));
    assert_eq!(heard[1], FromDomain::Pong { nonce: 7 });
}

#[test]
fn orders_come_in_order_and_a_configuration_comes_whole() {
    let (mut dom0, mut theirs) = pair();
    let text = "x = 1\n".repeat(2000);
    say(&mut theirs, &ToTor::Clock { unix_us: 5 });
    ToTor::configuration(1, &text, InForce::NextStart).for_each(|piece| say(&mut theirs, &piece));
    say(&mut theirs, &ToTor::Gateway(GatewayCommand::GetStatus));
    say(&mut theirs, &ToTor::Stop);
    assert_eq!(dom0.next_order(), Ok(Some(Order::Clock(5))));
    assert_eq!(
        dom0.next_order(),
        Ok(Some(Order::Configuration { whole: text.into_bytes(), from: InForce::NextStart }))
    );
    assert_eq!(dom0.next_order(), Ok(Some(Order::Gateway(Box::new(GatewayCommand::GetStatus)))));
    assert_eq!(dom0.next_order(), Ok(Some(Order::Stop)));
    assert_eq!(dom0.next_order(), Ok(None));
}

#[test]
fn what_cannot_be_read_or_told_is_counted() {
    let (mut dom0, mut theirs) = pair();
    theirs.send(&Meta::MESSAGE, &[&[0xFF; 30]]).unwrap();
    theirs.send_plain(&[0; 60]).unwrap();
    theirs.publish();
    let gap = ToTor::configuration(1, &"y".repeat(9000), InForce::Now).nth(1).unwrap();
    say(&mut theirs, &gap);
    assert_eq!(dom0.next_order(), Ok(None));
    let names = (0..70).map(|_| ("some counter", 1));
    dom0.tell_counters(names);
    dom0.flush();
    let heard = heard(&mut theirs);
    let counters: Vec<_> = heard
        .iter()
        .filter_map(|message| match message {
            FromDomain::Counters { counters, .. } => Some(counters.iter().cloned()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(counters.len(), 72);
    assert!(counters.iter().any(|(name, value)| name == "control malformed" && *value == 3));
    (0..10_000).for_each(|nonce| {
        dom0.tell(&FromDomain::Pong { nonce });
    });
    assert!(dom0.untold > 0 && !dom0.has_room_for_report());
}
