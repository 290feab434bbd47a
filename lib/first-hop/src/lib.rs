//! What a domain that is its clients' gateway says to them: one station on each link, whose addresses are known.
//!
//! Used by `firewallvm` and `torvm`. Here: who a client is ([`client`]), the gateway's own addresses ([`address`]) and the
//! answers that need no state ([`arp`], [`nd`], [`dhcp`]). Not here: any policy, any link, and no counters; who calls
//! counts what is [`Refused`] under a name of its own.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod address;
pub mod arp;
pub mod client;
pub mod dhcp;
pub mod nd;

pub use client::Client;

/// Malformed, not for us, or not from who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;
