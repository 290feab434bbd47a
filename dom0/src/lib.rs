//! The manager: `bulkheadd`, the daemon, and `bulkhead`, the command line.
//!
//! Here: domain files, the planner, the supervisor of VMM processes, NIC assignment, the command line.
//! Not here: packets. The daemon parses nothing from a domain but `control` messages, nothing from a VMM
//! but `vmm_api` events, and treats both as allegations.
#![deny(unsafe_code)]

pub mod domain;
pub mod name;
pub mod plan;
pub mod problem;
