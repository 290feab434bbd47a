//! bulkheadd.
fn main() {}
