//! Verifies a network consensus of Tor and says where its relays are.
//!
//! The manager starts this program so that it need not read what a torvm hands it: the documents come on standard
//! input, the answer is text on standard output, and all reading happens in a [jail] that offers nothing else.
//! Parsing and signatures are `tor-netdoc`'s; what counts is decided here, in [`verify`](verify()), as arti does.
//!
//! Here: the [request], the [answer], the rules of what is believed. Not here: who may reach a relay; that is dom0's.
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod answer;
pub mod bootstrap;
pub mod jail;
pub mod refusal;
pub mod request;
pub mod verify;

pub use refusal::Refusal;
pub use verify::verify;
