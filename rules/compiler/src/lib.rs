//! The rule language: text in, program out.
//!
//! Here: what a rules file says ([`parse()`](parse::parse), [`ast`]), what is wrong with it ([`diagnostic`]), its
//! canonical text ([`print`]), small changes to it ([`edit`]) and nftables' form of it ([`nft`]). Not here: files, sockets, what is in force.
//! The language itself is described in `docs/rules.md`.
#![forbid(unsafe_code)]

pub mod ast;
pub mod compile;
pub mod diagnostic;
pub mod edit;
mod lints;
pub mod nft;
pub mod packet;
pub mod parse;
pub mod print;
pub mod reference;
mod sets;
pub mod span;
mod suggest;

pub use compile::{Compiled, compile, compile_file};
pub use diagnostic::Diagnostic;
pub use parse::{parse, parse_rule};
