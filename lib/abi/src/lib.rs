//! The contract between a unikernel and the machine that runs it.
//!
//! Here: numbers and `repr(C)` layouts that both sides must agree on, each with an assertion.
//! Not here: any code that does something, any dependency. Called by `rt` (guest) and `hypervisor` (host).
#![no_std]
#![forbid(unsafe_code)]

pub mod boot_info;
pub mod link_device;
pub mod memory_map;
