//! Bare-metal entry of netvm.
fn main() {}
