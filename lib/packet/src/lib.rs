//! Packet headers: parsing, rewriting, checksums.
//!
//! Here: one file per header, [`headers`] which reads a whole frame once, [`rewrite`] and [`checksum`] which edit
//! it in place. Not here: any policy, state or I/O. Called by `firewallvm` for every packet and by `netvm`.
//!
//! Contract: a frame is parsed once; every length in [`headers::Headers`] was checked against the bytes, so what
//! is done with it later cannot fail on the same frame. Fixed-size arrays carry that proof: a header view is read
//! from `&[u8; N]`, whose accessors cannot panic.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod headers;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod plain;
pub mod quoted;
pub mod rewrite;
pub mod tcp;
pub mod udp;

mod fault;

pub use fault::Fault;
