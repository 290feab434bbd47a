//! Every kind of address that no name leads to, one by one, through the whole reader.

use super::{NAME, hears, names, of};
use crate::names::{
    Count,
    tests::messages::{Asked, is},
};

const OWN4: &str = "192.0.2.77";
const OWN6: &str = "2001:db8:7::20";

#[track_caller]
fn check(address: &str, pinned: bool) {
    let mut names = names(&[NAME]);
    names.set_own(OWN4.parse().ok(), OWN6.parse().ok());
    let asked = if address.contains(':') { Asked::aaaa(1, NAME) } else { Asked::a(1, NAME) };
    let decoy = if address.contains(':') { "2001:db8::1" } else { "198.51.100.1" };
    hears(&mut names, &asked, &[is(NAME, address, 300), is(NAME, decoy, 300)], 0);
    assert_eq!(!of(&names, address, 0).is_empty(), pinned, "{address}");
    assert!(names.ever_of(super::WORK, address.parse().unwrap()).is_empty() != pinned, "{address}");
    // The rest of the answer stays good.
    assert_eq!(of(&names, decoy, 0), [0]);
    assert_eq!(names.counter(Count::Rebinding), u64::from(!pinned), "{address}");
    assert_eq!(names.counter(Count::Pinned), 1 + u64::from(pinned), "{address}");
}

#[test]
fn no_name_leads_inside() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.255",
        "10.0.0.1",
        "10.137.0.6",
        "10.139.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.7.1",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "192.0.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        OWN4,
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.77",
        "::ffff:198.51.100.9",
        "fc00::1",
        "fd09:24ef:4179::53",
        "fd09:24ef:4179:1::2",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        OWN6,
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::192.0.2.77",
        "64:ff9b:1::198.51.100.9",
        "2002:a00:1::1",
        "2002:7f00:1::1",
        "2002:c000:24d::1",
        "2001:0:1::1",
        "2001:10::1",
        "2001:20::1",
        "100::1",
    ] {
        check(address, false);
    }
}

#[test]
fn names_lead_everywhere_else() {
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.0.0.1",
        "128.0.0.1",
        "169.253.0.1",
        "169.255.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.0.2.76",
        "192.1.0.1",
        "192.167.0.1",
        "192.169.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "203.0.113.1",
        "223.255.255.255",
        "2001:db8:7::21",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "2606:4700::1111",
        "3fff::1",
        "100:0:0:1::1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:30::1",
        "fbff::1",
    ] {
        check(address, true);
    }
}
