//! Rules as text.
//!
//! Here: the language. Not here: files, sockets, what is in force.
#![forbid(unsafe_code)]

pub mod nft;
