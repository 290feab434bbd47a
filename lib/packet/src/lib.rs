//! Packet headers: parsing, rewriting, checksums.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
