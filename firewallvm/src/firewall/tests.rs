//! The firewall from outside: frames into its links, frames out of them.

mod conversations;
mod hostile;
mod icmp;
mod limits;
mod names;
mod offload;
mod pieces;
mod rules;
mod services;
mod spoof;
mod tcp;
mod world;
