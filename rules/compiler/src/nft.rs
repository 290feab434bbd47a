//! Exchange with Linux's nftables, by the JSON that `nft -j` reads and writes.
//!
//! Here: a policy as a table of nftables. Not here: running `nft`, files.

mod conditions;
pub mod export;
mod expressions;
mod forwards;
mod limits;
