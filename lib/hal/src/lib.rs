//! What a driver may ask of a machine.
//!
//! Here: traits for registers, device-visible memory and time. Not here: any implementation but the
//! fakes (feature `fake`). Implemented by `rt`, used by the driver crates.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fake"))]
extern crate alloc;

pub mod clock;
pub mod dma;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod mmio;
