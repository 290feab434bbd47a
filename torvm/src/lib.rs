//! The Tor gateway domain. It runs one program, the gateway, in user mode on a small Linux system-call layer, and it
//! forwards nothing: what clients send ends here, in the program's sockets, and what leaves on the uplink are the
//! program's own connections.
//!
//! A system call's way: `processor` (the program stopped) → `calls` (which one) → `memory` (its arguments) →
//! `descriptors` (which object) → `files`, `epoll`, or `net` (a socket). Frames: `frames` → `net`. Here: everything but
//! the machine, which `main` brings (`processor`, `frames`, `disk` are what is asked of it), so that all of it is tested
//! on the host. No `unsafe`, no panics on what comes from outside: the program, clients, the uplink and dom0's messages
//! are all untrusted.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

pub mod bundle;
pub mod calls;
pub mod command_line;
pub mod control_plane;
pub mod descriptors;
pub mod disk;
pub mod epoll;
pub mod errno;
pub mod eventfd;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod files;
pub mod frames;
pub mod guest;
mod headroom;
pub mod layer;
pub mod life;
pub mod loader;
pub mod memory;
pub mod net;
pub mod pair;
pub mod processor;
pub mod ready;
pub mod sockets;
pub mod store;
pub mod time;
pub mod torvm;
