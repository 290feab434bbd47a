//! Bare-metal entry of firewallvm.
fn main() {}
