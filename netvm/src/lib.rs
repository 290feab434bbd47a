//! The netvm domain as a host-testable library: it owns the network card, and knows neither clients nor rules.
//!
//! Start with [`domain`]: one step of everything. Packets take `nic_to_firewall` inwards and
//! `firewall_to_nic` outwards. `address` gets the uplink's addresses and keeps DHCP, ARP, neighbour discovery
//! and router advertisements to itself; `neighbours` finds the hardware address of a next hop; `uplink` tells
//! firewallvm and dom0 what is known.
//!
//! The segment behind the card is hostile and so is the card: what it sends is parsed once, bounded, counted and
//! dropped when it is not what it should be. firewallvm is trusted with the uplink's address, not with memory.
//! Nothing here survives a restart, and nothing has to: the address is acquired anew, connections are
//! firewallvm's.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

mod address;
mod classify;
pub mod counters;
pub mod domain;
#[cfg(feature = "fake")]
pub mod fake;
mod firewall_to_nic;
mod frames;
mod manager;
mod neighbours;
pub mod nic;
mod nic_to_firewall;
mod segment;
mod uplink;

pub use counters::{Counter, Counters};
pub use domain::{Netvm, Progress};

#[cfg(test)]
mod tests;
