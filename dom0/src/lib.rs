//! The manager: `bulkheadd`, the daemon, and `bulkhead`, the command line.
//!
//! Here: domain files, the planner, the supervisor of VMM processes, NIC assignment, the command line.
//! Not here: packets. The daemon parses nothing from a domain but `control` messages, nothing from a VMM
//! but `vmm_api` events, and treats both as allegations.
#![deny(unsafe_code)]

pub mod cli;
pub mod console;
pub mod control_link;
pub mod daemon;
pub mod domain;
pub mod enclosed;
mod journal;
pub mod name;
pub mod nic;
pub mod plan;
pub mod problem;
pub mod protocol;
pub mod region;
pub mod rules;
pub mod server;
pub mod settings;
pub mod spawn;
pub mod supervise;
pub mod tap;
pub mod tor;
pub mod vmm;
