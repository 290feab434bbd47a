//! bulkhead.
fn main() {}
