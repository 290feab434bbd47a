//! The firewallvm domain as a host-testable library: policy, connections, address translation.
//!
//! Begin with `decide`. A packet's walk: [`firewall`] (the loop) → [`from_client`] or [`from_net`] → [`decide`] →
//! [`flows`] → for a first packet [`opening`], [`policy`], [`nat`] → [`to_net`] or [`to_client`]. What the firewall
//! itself says to a client is in [`first_hop`], [`pmtu`] and [`answer`]. Not here: any device, any
//! machine (that is `main.rs` with `rt`), the form of packets (crate `packet`).
//!
//! No ALGs: nothing in a payload ever opens anything. The one payload that is read at all is a name server's answer:
//! it says which addresses a rule means that names a host ([`names`]).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

pub mod address;
pub mod answer;
pub mod clients;
pub mod control_plane;
pub mod decide;
pub mod dns;
pub mod errors;
pub mod fast;
pub mod firewall;
pub mod flows;
pub mod fragments;
pub mod from_client;
pub mod from_net;
pub mod hash;
pub mod names;
pub mod nat;
pub mod offload;
pub mod opening;
pub mod pmtu;
pub mod policy;
pub mod ports;
pub mod rejudge;
pub mod resets;
pub mod state;
pub mod to_client;
pub mod to_net;
pub mod translate;
pub mod uplink;
pub mod verdict;

pub use firewall::{Firewall, Next};
