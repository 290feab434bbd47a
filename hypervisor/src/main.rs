//! bulkhead-vmm.
fn main() {}
