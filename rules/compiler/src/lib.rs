//! The rule language: text in, program out.
//!
//! Here: what a rules file says ([`parse()`](parse::parse), [`ast`]) and what is wrong with it ([`diagnostic`]); what it
//! means, as a program ([`compile()`](compile::compile)) and as a specification ([`reference`](mod@reference)); why a
//! packet fares as it does ([`explain()`](explain::explain)); its canonical text ([`mod@print`]), small changes to it
//! ([`edit`]), what it is to nftables ([`nft`]), and rules of other firewalls ([`import`]). Not here: files, sockets,
//! what is in force. The language itself is described in `docs/rules.md`.
#![forbid(unsafe_code)]

pub mod ast;
pub mod compile;
pub mod diagnostic;
pub mod edit;
pub mod explain;
pub mod import;
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
pub use explain::explain;
pub use import::qubes::import_qubes_xml;
pub use nft::import::import_nft_json;
pub use parse::{parse, parse_packet, parse_rule};
