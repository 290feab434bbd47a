//! The netvm domain as a host-testable library.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
