//! The shared-memory link between two domains: bytes and records, no packets.
//!
//! A link is two one-way regions. Each end writes one of them and reads the other; nothing else is shared.
//! A region is a header page and a ring of records (`layout`); the only code that touches it is `shared`.
//! [`Link`] is one end: `send` stages records and `publish` shows a burst of them to the peer, `recv` copies
//! records out and `release` gives their room back, `arm` asks for the doorbell before sleeping.
//!
//! What the peer may do to its region, at any moment, is anything. An end therefore keeps its own indices
//! privately, loads a peer's value once, bounds it, copies before it validates, and takes the geometry from
//! whoever created the regions. The worst a peer can do is to get a [`PeerFault`] or to send nonsense.
//!
//! Called by the unikernels (through `rt`), by the virtual machine monitor (vif) and by dom0 (control links).
#![cfg_attr(not(any(test, feature = "host", loom)), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod counters;
mod fault;
#[cfg(all(any(test, feature = "host"), not(loom)))]
pub mod host;
pub mod layout;
mod link;
mod record;
mod recv;
mod send;
#[cfg(not(loom))]
pub mod shared;
#[cfg(loom)]
#[path = "shared_loom.rs"]
pub mod shared;
mod wakeup;

#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, loom))]
mod tests_loom;

pub use counters::Counters;
pub use fault::{BadGeometry, PeerFault, SendError};
pub use layout::{Geometry, MAX_PAYLOAD};
pub use link::Link;
pub use record::{Csum, Gso, GsoKind, Kind, Meta};
pub use wakeup::{Armed, Doorbell};
