//! What two members write down each for itself, as neither may depend on the other, is the same in both.

use dom0::name::Name;
use dom0::plan::address;
use firewallvm::address::Address;
use first_hop::address::{DNS_PORT, DNS_V4, DNS_V6};
use rules_compiler::packet;
use std::fmt::Write;

#[test]
fn compiler_and_firewall_mean_the_same_name_servers() {
    assert_eq!(packet::NAME_SERVERS_V4, DNS_V4);
    assert_eq!(packet::NAME_SERVER_V6, DNS_V6);
    assert_eq!(packet::DNS_PORT, DNS_PORT);
}

#[test]
fn every_address_that_dom0_gives_is_inside_for_the_firewall() {
    for number in address::NUMBERS {
        for v4 in [address::gateway(number), address::client(number)] {
            assert!(v4.is_internal() && address::INSIDE_V4.contains(&v4), "{v4}");
        }
        let v6 = address::stable_v6(address::v6_prefix(number), address::mac(number));
        assert!(v6.is_internal() && address::INSIDE_V6.contains(&v6), "{v6}");
    }
}

#[test]
fn compiler_and_dom0_take_the_same_words_for_names_of_domains() {
    let letters = |n| "a".repeat(n);
    let (longest, too_long) = (letters(control::message::NAME_LEN), letters(control::message::NAME_LEN + 1));
    let plain = ["work", "a", "a-", "a--b", "w0rk", "0work", "-a", "Work", "wo_rk", "wo.rk", "dom0", "dom1"];
    let mut differences = String::new();
    for word in plain.into_iter().chain([longest.as_str(), too_long.as_str()]) {
        let compiler = rules_compiler::parse(&format!("accept dstdomain={word}\n")).is_ok();
        let dom0 = word.parse::<Name>().is_ok();
        if compiler != dom0 {
            writeln!(differences, "{word}: the compiler {compiler}, dom0 {dom0}").unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
