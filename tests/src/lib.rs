//! What whole-system tests share; the tests themselves live in `tests/`.

pub mod lab;
pub mod leaks;
pub mod promises;
