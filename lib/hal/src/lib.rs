//! What a driver may ask of a machine.
//!
//! Here: traits for registers, device-visible memory and time. Not here: any implementation but the
//! fakes (feature `fake`). Implemented by `rt`, used by the driver crates.
#![no_std]
#![forbid(unsafe_code)]

pub mod clock;
pub mod dma;
pub mod mmio;
