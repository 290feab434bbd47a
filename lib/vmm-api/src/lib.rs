//! What dom0 says to a `bulkhead-vmm` process and what it hears back.
//!
//! Here: the machine's description, requests and events, and their framing on a `SOCK_SEQPACKET` pair.
//! Not here: anything that acts. A VMM is not trusted by dom0: an event is untrusted input.

pub mod config;
pub mod message;
pub mod wire;
