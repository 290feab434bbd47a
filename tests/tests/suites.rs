//! What public suites check of a packet filter, as scenarios of our own: the real firewallvm between links in
//! memory. `docs/conformance.md` says which suites, and how their own scripts are run.

mod suites {
    pub(crate) mod accept_all;
    pub(crate) mod audit;
    pub(crate) mod build;
    mod capture;
    mod corpus;
    mod fragments;
    mod headers;
    mod icmp;
    mod link;
    mod reassembly;
    mod tcp;
    pub(crate) mod world;
}

use suites::{accept_all, audit, build, world};
