//! Linux's own packet filter as the oracle: what it makes of our rules as exported to nftables, what the rules say,
//! and what the real engine does, packet by packet. `docs/oracle.md` says more.

mod oracle {
    pub(crate) mod cases;
    pub(crate) mod compare;
    pub(crate) mod corners;
    pub(crate) mod domains;
    pub(crate) mod engine;
    pub(crate) mod forwards;
    pub(crate) mod known;
    pub(crate) mod names;
    pub(crate) mod namespace;
    pub(crate) mod odd;
    pub(crate) mod outcome;
    pub(crate) mod pieces;
    pub(crate) mod policies;
    pub(crate) mod reference;
    pub(crate) mod rounds;
    pub(crate) mod wire;
}

use oracle::{domains, forwards, known, names, namespace, rounds};

#[test]
fn linux_and_the_engine_agree() {
    namespace::inside("linux_and_the_engine_agree", rounds::agree);
}

#[test]
fn a_rule_that_differs_is_noticed() {
    namespace::inside("a_rule_that_differs_is_noticed", rounds::notice);
}

#[test]
fn domains_reach_each_other_where_both_say_so() {
    namespace::inside("domains_reach_each_other_where_both_say_so", domains::agree);
}

#[test]
fn forwarded_ports_lead_to_the_same_place() {
    namespace::inside("forwarded_ports_lead_to_the_same_place", forwards::agree);
}

#[test]
fn names_mean_the_addresses_that_were_told() {
    namespace::inside("names_mean_the_addresses_that_were_told", names::agree);
}

#[test]
fn the_documentation_has_every_difference() {
    known::is_documented(include_str!("../../docs/oracle.md"));
}
