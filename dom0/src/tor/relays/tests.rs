use super::*;
use proptest::prelude::*;

const HOUR: u64 = 3600;

fn set(valid_after: u64, relays: &[&str]) -> Set {
    Set {
        valid_after,
        fresh_until: valid_after + HOUR,
        valid_until: valid_after + 3 * HOUR,
        relays: relays.iter().map(|relay| relay.parse().unwrap()).collect(),
    }
}

fn private() -> Relays {
    Relays::new(vec!["AA".to_owned()])
}

fn at(relays: &Relays, now: u64) -> Vec<String> {
    relays.at(now).iter().map(ToString::to_string).collect()
}

const T: u64 = 100 * 24 * HOUR;

#[test]
fn relays_of_the_last_hours_stay_as_long_as_their_consensus_counts() {
    let mut relays = private();
    relays.take_in(set(T, &["11.0.0.1:1"]), T).unwrap();
    relays.take_in(set(T + HOUR, &["11.0.0.2:1"]), T + HOUR).unwrap();
    assert_eq!(at(&relays, T + HOUR), ["11.0.0.1:1", "11.0.0.2:1"]);
    assert_eq!(at(&relays, T + 3 * HOUR), ["11.0.0.1:1", "11.0.0.2:1"]);
    assert_eq!(relays.next_change(T + HOUR), Some(T + 3 * HOUR + 1));
    assert_eq!(at(&relays, T + 3 * HOUR + 1), ["11.0.0.2:1"]);
    // The newest one stays for three days more, as in arti.
    assert_eq!(relays.next_change(T + 4 * HOUR), Some(T + 4 * HOUR + LATE + 1));
    assert_eq!(at(&relays, T + 4 * HOUR + LATE), ["11.0.0.2:1"]);
    assert_eq!(at(&relays, T + 4 * HOUR + LATE + 1), [""; 0]);
    assert_eq!(relays.next_change(T + 4 * HOUR + LATE + 1), None);
}

#[test]
fn nobody_goes_back() {
    let mut relays = private();
    relays.take_in(set(T, &["11.0.0.1:1"]), T).unwrap();
    let old = set(T - 10 * HOUR, &["11.0.0.9:1"]);
    let refused = relays.take_in(old, T).unwrap_err();
    assert_eq!(refused, Superseded { valid_after: T - 10 * HOUR, newest: T });
    assert_eq!(at(&relays, T), ["11.0.0.1:1"]);
    // One that still counts joins, and leaves first.
    relays.take_in(set(T - HOUR, &["11.0.0.2:1"]), T).unwrap();
    assert_eq!(at(&relays, T), ["11.0.0.1:1", "11.0.0.2:1"]);
    assert_eq!(at(&relays, T + 2 * HOUR + 1), ["11.0.0.1:1"]);
    assert_eq!(relays.newest().unwrap().valid_after, T);
}

#[test]
fn clock_that_was_set_back_trusts_nothing_from_the_future() {
    let mut relays = private();
    relays.take_in(set(T, &["11.0.0.1:1"]), T).unwrap();
    assert_eq!(at(&relays, T - EARLY), ["11.0.0.1:1"]);
    assert_eq!(at(&relays, T - EARLY - 1), [""; 0]);
    assert_eq!(relays.next_change(T - EARLY - 1), Some(T - EARLY));
}

#[test]
fn what_is_ours_is_never_a_relay() {
    let ours = ["10.137.0.6:443", "10.137.63.254:9001", "10.139.1.1:53", "10.139.1.2:53"];
    let local = [
        "192.168.1.1:80",
        "127.0.0.1:9050",
        "169.254.169.254:80",
        "100.64.0.1:1",
        "10.0.0.1:1",
        "240.0.0.1:1",
    ];
    let all = set(T, &[&ours[..], &local[..], &["11.0.0.1:443"]].concat());
    let mut relays = private();
    relays.take_in(all.clone(), T).unwrap();
    assert_eq!(relays.at(T).len(), local.len() + 1);
    let mut public = Relays::new(Vec::new());
    public.take_in(all, T).unwrap();
    assert_eq!(at(&public, T), ["11.0.0.1:443"]);
}

#[test]
fn kept_text_of_another_network_or_damaged_is_not_used() {
    let mut relays = private();
    relays.take_in(set(T, &["11.0.0.1:1", "[2001:db8::1]:2"]), T).unwrap();
    relays.take_in(set(T + HOUR, &["11.0.0.2:1"]), T + HOUR).unwrap();
    let text = relays.to_text();
    let read = |text: &str| Relays::of_text(text, relays.authorities());
    assert_eq!(read(&text), Ok(relays.clone()));
    assert_eq!(Relays::of_text(&text, &[]), Err("is of another network"));
    assert_eq!(Relays::of_text(&text, &["BB".to_owned()]), Err("is of another network"));
    for end in 0..text.len() {
        // Cut between two sets it is a smaller text.
        let is_whole = text[end..].starts_with("verified");
        assert_eq!(read(&text[..end]).is_ok(), is_whole, "{end}");
    }
    assert!(read(&text.replace("end 1", "end 2")).is_err());
    let sets = text.find("verified").unwrap();
    assert!(read(&(text.clone() + &text[sets..])).is_err(), "out of order");
    assert!(read(&(text + "refused x\n")).is_err());
}

proptest! {
    /// Whatever is verified in whatever order: what is allowed was verified, and at most so long ago.
    #[test]
    fn allowed_is_what_was_verified(
        sets in prop::collection::vec((0u64..200, 0u8..6, 1u64..200), 1..12),
        asked in 0u64..400,
    ) {
        let mut relays = private();
        let mut told: Vec<Set> = Vec::new();
        for (age, relay, now) in sets {
            let verified = set(T + age * HOUR / 4, &[&format!("11.0.0.{relay}:1")]);
            if relays.take_in(verified.clone(), T + now * HOUR / 4).is_ok() {
                told.push(verified);
            }
            prop_assert!(relays.sets.len() <= MAX_SETS);
            prop_assert_eq!(Relays::of_text(&relays.to_text(), relays.authorities()), Ok(relays.clone()));
        }
        let now = T + asked * HOUR / 4;
        for relay in relays.at(now) {
            let backs = |set: &&Set| set.relays.contains(&relay) && now <= set.valid_until + LATE && now + EARLY >= set.valid_after;
            prop_assert!(told.iter().any(|set| backs(&set)));
        }
        // Between two changes nothing changes.
        let next = relays.next_change(now).unwrap_or(now + 1000);
        prop_assert_eq!(relays.at(now), relays.at(next - 1));
    }
}
