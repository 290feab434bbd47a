//! The device-specific configuration: written by the device's worker, read by the guest's processors.

use std::sync::{Mutex, PoisonError};

/// Bytes and the number of their version.
#[derive(Debug)]
pub struct ConfigSpace(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    generation: u8,
}

impl ConfigSpace {
    /// Makes a configuration with this content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(State { bytes, generation: 0 }))
    }

    /// Copies bytes out; beyond the end there are zeroes.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        into.fill(0);
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = state.bytes.get(offset..) {
            let len = from.len().min(into.len());
            into[..len].copy_from_slice(&from[..len]);
        }
    }

    /// Replaces bytes and starts a new generation; what does not fit is left out.
    pub fn update(&self, offset: usize, with: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = state.bytes.get_mut(offset..) {
            let len = to.len().min(with.len());
            to[..len].copy_from_slice(&with[..len]);
            state.generation = state.generation.wrapping_add(1);
        }
    }

    /// Number of the version; a driver reads it before and after a wide field.
    #[must_use]
    pub fn generation(&self) -> u8 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).generation
    }
}
