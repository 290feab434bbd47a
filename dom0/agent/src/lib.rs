//! The agent inside an AppVM and the protocol that `bulkhead run` speaks with it.
//!
//! Here: frames, used by both sides, and the agent's side of a session. Not here: vsock itself (`vsock`, used by
//! the agent's `main`). An AppVM works without the agent; only `bulkhead run` needs it.
#![deny(unsafe_code)]

pub mod frame;
pub mod serve;
mod terminal;
pub mod vsock;

/// vsock port of the agent.
pub const PORT: u32 = 1024;
