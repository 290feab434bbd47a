//! Driver for Intel 82574L-class network cards.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
