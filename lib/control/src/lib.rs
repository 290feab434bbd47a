//! What dom0 and the driver domains tell each other.
//!
//! Here: message types, their codec, and how what is longer travels in pieces. Not here: transport, policy. Messages travel as records of kind
//! `Message` on a link: between dom0 and a domain on the port of role `Dom0`, and from netvm to firewallvm
//! on the same link that carries their packets, so that order between the two is kept.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codec;
pub mod message;
pub mod pieces;
pub mod tor;
