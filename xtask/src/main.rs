//! Build and lab tooling.
fn main() {}
