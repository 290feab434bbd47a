//! Stand-ins for the machine, for tests: memory, a disk that fails and loses power, and networks that end in a mirror.

pub mod bundle;
mod disk;
mod memory;
pub mod mirror;

pub use disk::FakeDisk;
pub use memory::FakeProcessor;
pub use mirror::Mirror;
