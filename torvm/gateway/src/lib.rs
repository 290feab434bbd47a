//! The gateway program: what clients ask for goes through the Tor network or nowhere.
//!
//! It runs on one thread, in torvm's user mode or on Linux. Clients reach it by four doors (`transparent`, `socks`,
//! `http`, `dns`); behind each stands [`gateway`], which alone speaks with arti. There is no other way out: this
//! program opens no connection of its own and asks no name server. Dom0 speaks with it by `control`.
//!
//! `unsafe` stands in `raw` only.
#![deny(unsafe_code)]

pub mod config;
pub mod control;
pub mod copy;
pub mod counters;
pub mod dns;
pub mod documents;
pub mod doors;
pub mod gateway;
pub mod guards;
pub mod http;
pub mod inbound;
pub mod isolation;
pub mod log;
pub mod onions;
pub mod questions;
pub mod raw;
pub mod refusal;
pub mod report;
pub mod socks;
pub mod status;
pub mod streams;
pub mod transparent;
