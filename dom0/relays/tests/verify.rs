//! What the program believes and what it refuses: a consensus recorded from C tor, and ones that are wrong on purpose.
//!
//! Always the real program, in its jail.

#[path = "support/network.rs"]
mod network;
#[path = "support/program.rs"]
mod program;

use bulkhead_relays::Refusal;
use bulkhead_relays::request::Request;
use bulkhead_relays::verify::Verified;
use network::{INTERVAL, VALID_AFTER, authorities, certificates};
use program::{Ran, relays, run};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use tor_llcrypto::pk::rsa::RsaIdentity;

const CONSENSUS: &str = include_str!("data/consensus");
const CERTIFICATES: &str = include_str!("data/certificates");
/// A minute after the recorded consensus began to count.
const THEN: u64 = 1_795_280_780;
const DAY: u64 = 86_400;

/// A request's bytes.
fn request<'a>(
    now: u64,
    authorities: impl IntoIterator<Item = &'a str>,
    certificates: &[u8],
    consensus: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("bulkhead-relays 1\nnow {now}\n");
    for authority in authorities {
        bytes += &format!("authority {authority}\n");
    }
    bytes += &format!("certificates {}\nconsensus {}\n\n", certificates.len(), consensus.len());
    [bytes.as_bytes(), certificates, consensus].concat()
}

fn ask(words: &[&str], input: &[u8]) -> Ran {
    run(&relays(), words, input)
}

fn recorded_authorities() -> Vec<&'static str> {
    CERTIFICATES.lines().filter_map(|line| line.strip_prefix("fingerprint ")).collect()
}

fn recorded(now: u64, consensus: &[u8]) -> Ran {
    ask(&[], &request(now, recorded_authorities(), CERTIFICATES.as_bytes(), consensus))
}

/// Asks about a network of our own, believing in the first so many authorities.
fn ours(now: u64, believed: usize, certificates: &str, consensus: &str) -> Ran {
    let ids: Vec<String> = authorities()[..believed].iter().map(network::Authority::id).collect();
    ask(&[], &request(now, ids.iter().map(String::as_str), certificates.as_bytes(), consensus.as_bytes()))
}

fn some_relays() -> Vec<(Ipv4Addr, u16)> {
    vec![([192, 0, 2, 1].into(), 9001), ([192, 0, 2, 2].into(), 443), ([192, 0, 2, 1].into(), 443)]
}

#[track_caller]
fn refused(ran: &Ran, reason: &str) {
    let prefix = format!("refused {reason}");
    assert!(ran.ended == Ok(3) && ran.answer.starts_with(&prefix), "{reason:?} expected: {ran:?}");
    assert_eq!(ran.answer.lines().count(), 1, "{ran:?}");
}

#[test]
fn recorded_consensus_is_believed() {
    let ran = recorded(THEN, CONSENSUS.as_bytes());
    let expected: String = (5000..5007).map(|port| format!("relay 127.0.0.1:{port}\n")).collect();
    let times = "valid-after 1795280720\nfresh-until 1795281020\nvalid-until 1795281620\n";
    assert_eq!(ran.answer, format!("verified\n{times}{expected}end 7\n"), "{ran:?}");
    assert_eq!(ran.ended, Ok(0));
}

/// Without a process of its own for each.
fn verify_recorded(consensus: Vec<u8>) -> Result<Verified, Refusal> {
    let consensus = String::from_utf8(consensus).map_err(|_| Refusal::Request("consensus-no-text"))?;
    let authorities = recorded_authorities().iter().filter_map(|id| RsaIdentity::from_hex(id)).collect();
    bulkhead_relays::verify(&Request {
        now: THEN,
        authorities,
        certificates: CERTIFICATES.to_owned(),
        consensus,
    })
}

#[test]
fn every_flipped_byte_of_what_is_signed_is_refused() {
    let signed = CONSENSUS.find("directory-signature ").unwrap() + "directory-signature ".len();
    let (mut malformed, mut bad) = (0, 0);
    for place in 0..signed {
        let mut bytes = CONSENSUS.as_bytes().to_vec();
        bytes[place] ^= 1 << (place % 8);
        match verify_recorded(bytes.clone()).unwrap_err() {
            Refusal::Signatures => bad += 1,
            Refusal::ConsensusMalformed(_) | Refusal::Request(_) => malformed += 1,
            // Digits of its times.
            Refusal::ConsensusExpired(_) | Refusal::ConsensusFuture(_) => {}
            other => panic!("byte {place}: {other}"),
        }
        // The program says the same.
        if place % 400 == 0 {
            assert_eq!(recorded(THEN, &bytes).ended, Ok(3), "byte {place}");
        }
    }
    assert!(malformed > 400 && bad > 400, "{malformed} malformed, {bad} bad");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to the documents: what is believed is what was signed.
    #[test]
    fn no_edit_changes_what_is_believed(
        edits in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0usize..200, edit()), 1..4)
    ) {
        let (mut consensus, mut certificates) = (CONSENSUS.to_owned(), CERTIFICATES.to_owned());
        for (is_consensus, place, length, edit) in edits {
            let text = if is_consensus { &mut consensus } else { &mut certificates };
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            match edit {
                Edit::Remove => text.replace_range(start..end, ""),
                Edit::Repeat => {
                    let again = text[start..end].to_owned();
                    text.insert_str(start, &again);
                }
                Edit::Insert(words) => text.insert_str(start, &words),
            }
        }
        let authorities = recorded_authorities().iter().filter_map(|id| RsaIdentity::from_hex(id)).collect();
        let request = Request { now: THEN, authorities, certificates, consensus };
        if let Ok(verified) = bulkhead_relays::verify(&request) {
            let relays: Vec<String> = verified.relays.iter().map(ToString::to_string).collect();
            let expected: Vec<String> = (5000..5007).map(|port| format!("127.0.0.1:{port}")).collect();
            prop_assert_eq!(relays, expected);
            prop_assert_eq!(verified.valid_until, 1_795_281_620);
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Remove,
    Repeat,
    Insert(String),
}

fn edit() -> impl Strategy<Value = Edit> {
    let words =
        "(r |a |s |m |\n|directory-signature |valid-until |-----BEGIN SIGNATURE-----\n|[a-zA-Z0-9 ]){1,6}";
    prop_oneof![Just(Edit::Remove), Just(Edit::Repeat), words.prop_map(Edit::Insert)]
}

#[test]
fn cut_anywhere_it_is_refused() {
    let last = CONSENSUS.rfind("directory-signature ").unwrap();
    for end in 0..last {
        assert!(verify_recorded(CONSENSUS.as_bytes()[..end].to_vec()).is_err(), "cut at {end}");
    }
    // Without the last signature two of three are left: enough.
    assert_eq!(recorded(THEN, &CONSENSUS.as_bytes()[..last]).ended, Ok(0));
    let second = CONSENSUS[..last].rfind("directory-signature ").unwrap();
    refused(&recorded(THEN, &CONSENSUS.as_bytes()[..second]), "consensus-unknown-authorities");
}

#[test]
fn time_counts_with_arti_s_tolerance() {
    let (after, until) = (1_795_280_720, 1_795_281_620);
    // The authorities hand it out some seconds (its voting-delay) before it counts.
    for now in [after - DAY - 4, after, until, until + 3 * DAY - 1] {
        assert_eq!(recorded(now, CONSENSUS.as_bytes()).ended, Ok(0), "{now}");
    }
    refused(&recorded(after - DAY - 5, CONSENSUS.as_bytes()), "consensus-future valid-after 1795280720\n");
    refused(&recorded(0, CONSENSUS.as_bytes()), "consensus-future");
    refused(
        &recorded(until + 3 * DAY + 1, CONSENSUS.as_bytes()),
        "consensus-expired valid-until 1795281620\n",
    );
    refused(&recorded(u64::MAX, CONSENSUS.as_bytes()), "request number");
}

#[test]
fn public_network_s_authorities_did_not_sign_it() {
    let bytes = request(THEN, [], CERTIFICATES.as_bytes(), CONSENSUS.as_bytes());
    refused(&ask(&[], &bytes), "consensus-unknown-authorities");
}

#[test]
fn our_own_networks_are_believed() {
    let all = authorities();
    let ran = ours(VALID_AFTER, 5, &certificates(all), &network::consensus(all, &some_relays()));
    let until = VALID_AFTER + 3 * INTERVAL;
    assert!(ran.answer.contains(&format!("valid-until {until}\n")), "{ran:?}");
    let relays = "relay 192.0.2.1:443\nrelay 192.0.2.1:9001\nrelay 192.0.2.2:443\nend 3\n";
    assert!(ran.ended == Ok(0) && ran.answer.ends_with(relays), "{ran:?}");
}

#[test]
fn more_than_half_must_have_signed() {
    let all = authorities();
    let by = |signers: usize| network::consensus(&all[..signers], &some_relays());
    refused(&ours(VALID_AFTER, 5, &certificates(all), &by(2)), "consensus-unknown-authorities");
    assert_eq!(ours(VALID_AFTER, 5, &certificates(all), &by(3)).ended, Ok(0));
    // Half is not more than half.
    refused(&ours(VALID_AFTER, 4, &certificates(all), &by(2)), "consensus-unknown-authorities");
    // One authority's signature counts once, however often it is there; so does one that is believed in twice.
    let thrice: String = [by(1), by(1)[network::body(&some_relays()).len()..].repeat(2)].concat();
    refused(&ours(VALID_AFTER, 5, &certificates(all), &thrice), "consensus-unknown-authorities");
    let (one, two) = (all[0].id(), all[1].id());
    let bytes =
        request(VALID_AFTER, [&*one, &*two, &*one, &*one], certificates(all).as_bytes(), by(1).as_bytes());
    refused(&ask(&[], &bytes), "consensus-unknown-authorities");
}

#[test]
fn other_authorities_are_nobody() {
    let all = authorities();
    // Three of the five sign; dom0 believes in three of which one signed.
    let ids = [all[2].id(), all[3].id(), all[4].id()];
    let consensus = network::consensus(&all[..3], &some_relays());
    let bytes = request(
        VALID_AFTER,
        ids.iter().map(String::as_str),
        certificates(all).as_bytes(),
        consensus.as_bytes(),
    );
    refused(&ask(&[], &bytes), "consensus-unknown-authorities");
}

#[test]
fn name_of_an_authority_is_not_its_signature() {
    let all = authorities();
    let body = network::body(&some_relays());
    // Signatures of another text.
    let others = network::signed(all, "network-status-version 3 microdesc\n");
    let signatures = &others[others.find("directory-signature ").unwrap()..];
    refused(&ours(VALID_AFTER, 5, &certificates(all), &(body.clone() + signatures)), "consensus-signatures");
    // Two good ones and one of another text are too few; three good ones are not made worse by it.
    let mixed = |good: usize| {
        let one = &others[others.rfind("directory-signature ").unwrap()..];
        network::signed(&all[..good], &body) + one
    };
    refused(&ours(VALID_AFTER, 5, &certificates(all), &mixed(2)), "consensus-signatures");
    assert_eq!(ours(VALID_AFTER, 5, &certificates(all), &mixed(3)).ended, Ok(0));
}

#[test]
fn certificates_must_be_there_in_time_and_consistent() {
    let all = authorities();
    let consensus = network::consensus(all, &some_relays());
    let with = |certificates: &str| ours(VALID_AFTER, 5, certificates, &consensus);
    assert_eq!(with(&certificates(&all[..3])).ended, Ok(0));
    let two = certificates(&all[..2]);
    refused(&with(&two), "certificates-missing good 2 foreign 0 inconsistent 0 untimely 0 malformed 0");
    refused(&with(""), "certificates-missing good 0");
    let old = all[2].certificate_of(VALID_AFTER - 90 * DAY, VALID_AFTER - 4 * DAY);
    refused(&with(&(two.clone() + &old)), "certificates-missing good 2 foreign 0 inconsistent 0 untimely 1");
    let early = all[2].certificate_of(VALID_AFTER + 2 * DAY, VALID_AFTER + 90 * DAY);
    refused(
        &with(&(two.clone() + &early)),
        "certificates-missing good 2 foreign 0 inconsistent 0 untimely 1",
    );
    // Another life time than what was signed.
    let certificate = all[2].certificate();
    let line = certificate.lines().find(|line| line.starts_with("dir-key-expires")).unwrap();
    let forged = certificate.replace(line, "dir-key-expires 2035-01-01 00:00:00");
    refused(&with(&(two.clone() + &forged)), "certificates-missing good 2 foreign 0 inconsistent 1");
    refused(&with(&(two.clone() + "dir-key-certificate-version 3\n")), "certificates-missing good 2");
    refused(&with("nonsense\n"), "certificates-");
    // One that is signed by its own keys, but not an authority's.
    let foreign = ours(VALID_AFTER, 4, &certificates(all), &network::consensus(&all[..3], &some_relays()));
    assert_eq!(foreign.ended, Ok(0), "{foreign:?}");
}

#[test]
fn requests_are_bounded_and_whole() {
    let good = request(THEN, recorded_authorities(), CERTIFICATES.as_bytes(), CONSENSUS.as_bytes());
    refused(&ask(&[], b""), "request greeting");
    refused(&ask(&[], b"bulkhead-relays 2\n\n"), "request greeting");
    refused(&ask(&[], b"bulkhead-relays 1\n\n"), "request head");
    refused(&ask(&[], b"bulkhead-relays 1\nnow 1\nshell ls\n\n"), "request head");
    refused(&ask(&[], b"bulkhead-relays 1\nnow -1\n\n"), "request number");
    refused(&ask(&[], b"bulkhead-relays 1\nnow 1\nauthority 00\n\n"), "request identity");
    refused(&ask(&[], &[0xFF; 5000]), "request");
    refused(&ask(&[], &good[..good.len() - 1]), "request consensus-cut");
    refused(&ask(&[], &[&good[..], b"\n"].concat()), "request too-long");
    let many: Vec<String> = (0..33).map(|n| format!("{n:040}")).collect();
    refused(
        &ask(&[], &request(1, many.iter().map(String::as_str), b"", b"")),
        "request too-many-authorities",
    );
    let long = vec![b'x'; 100 << 20];
    refused(&ask(&[], &request(1, [], b"", &long)), "request too-long");
    refused(&ask(&[], &request(1, [], &long[..300 << 10], b"")), "request too-long");
    // A head that lies.
    let lie = [&b"bulkhead-relays 1\nnow 1\ncertificates 0\nconsensus 9\n\n"[..], &long].concat();
    refused(&ask(&[], &lie), "request too-long");
    refused(&recorded(THEN, b"\xFF"), "request consensus-no-text");
}

#[test]
fn largest_consensus_of_nothing_is_refused() {
    for unit in ["\n", "r \n", "x", "@", "s Fast\n", "directory-signature ", "-----BEGIN SIGNATURE-----\n"] {
        let text = unit.repeat((16 << 20) / unit.len());
        let ran = recorded(THEN, text.as_bytes());
        assert_eq!(ran.ended, Ok(3), "{unit:?}: {:?}", ran.ended);
    }
}

#[test]
fn consensus_without_relays_is_none() {
    let all = authorities();
    refused(&ours(VALID_AFTER, 5, &certificates(all), &network::consensus(all, &[])), "consensus-malformed");
    let no_port = [([192, 0, 2, 1].into(), 0)];
    refused(
        &ours(VALID_AFTER, 5, &certificates(all), &network::consensus(all, &no_port)),
        "consensus-no-relays",
    );
}

#[test]
fn bootstrap_is_arti_s_own() {
    let ran = ask(&["--bootstrap"], b"");
    assert_eq!(ran.ended, Ok(0), "{ran:?}");
    let count = |word: &str| ran.answer.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("authority "), 9);
    let relays = count("relay ") + count("relay6 ");
    assert!(count("relay ") > 100 && ran.answer.ends_with(&format!("\nend {relays}\n")), "{ran:?}");
    assert_eq!(ask(&["--help"], b"").ended, Ok(2));
}
