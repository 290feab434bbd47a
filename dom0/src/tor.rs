//! Torvms as the daemon sees them: what their gateway program is told, what it says, which relays it may reach.
//!
//! Here: nothing that runs; that is the supervisor's. What a gateway program says is hostile: bounded and cleaned before
//! it is kept or shown.

pub mod configuration;
pub mod gateway;
pub mod journal;
pub mod relays;
pub mod rules;
pub mod store;
pub mod view;
