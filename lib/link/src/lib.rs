//! The shared-memory link between two domains.
#![cfg_attr(not(test), no_std)]
