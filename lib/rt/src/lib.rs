//! Unikernel runtime.
#![no_std]
