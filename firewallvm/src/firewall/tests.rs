//! The firewall from outside: frames into its links, frames out of them.

mod between;
mod changes;
mod conversations;
mod fast;
mod forwards;
mod hostile;
mod icmp;
mod limited;
mod limits;
mod names;
mod offload;
mod pieces;
mod rules;
mod services;
mod spoof;
mod tcp;
mod world;
