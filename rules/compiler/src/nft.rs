//! Exchange with Linux's nftables, by the JSON that `nft -j` reads and writes.
//!
//! Here: a policy as a table of nftables, and nftables' rules as a rules file. Not here: running `nft`, files.

mod conditions;
pub mod export;
mod expressions;
mod forwards;
pub mod import;
mod limits;
